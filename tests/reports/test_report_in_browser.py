"""A whole page of a classifier that was swept over photos, with every section, in a real browser."""

import pytest
from helpers.browser import chromium, opened, violations
from helpers.photo_folders import photo_folder
from helpers.tiny_finetuning import tiny_network

from featcache import audit, extract, report, sweep

pytest.importorskip("jinja2", reason="jinja2, the extra `report`, is not installed")

pytestmark = pytest.mark.slow

OPEN_ALL = "document.querySelectorAll('details').forEach(box => { box.open = true; })"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    parts = {"train": 12, "val": 5, "test": 5}
    tree = {f"{part}/{name}": count for part, count in parts.items() for name in ("ant", "bee", "cow")}
    photos = photo_folder(root / "photos", tree)
    cache = extract(photos, backbone=tiny_network(), output=root / "own.h5").cache
    sweep(cache, head="linear,ridge", epochs=20, output=root / "sweep")
    found = audit(cache, only="outliers,imbalance")
    page = report(root / "sweep", root / "page.html", audit=found)
    keys = [section.key for section in page.sections]
    assert {
        "audit-outliers",
        "audit-imbalance",
        "data",
        "recipe",
        "leaderboard",
        "confusion",
        "per-class",
        "calibration",
        "predictions",
    } < set(keys)
    return root / "page.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_silent_offline_accessible_and_as_wide_as_the_screen(browser, path, scheme, width):
    with opened(browser, path, color_scheme=scheme, viewport={"width": width, "height": 800}) as tab:
        tab.page.evaluate(OPEN_ALL)
        assert violations(tab.page) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        assert (tab.said, tab.asked) == ([], [])


def test_without_scripts_only_controls_are_missing(browser, path):
    words = []
    for options in ({}, {"java_script_enabled": False}):
        with opened(browser, path, **options) as tab:
            words.append(set(tab.page.locator("main").inner_text().split()))
            pictures = tab.page.locator(".photo > .thumb:not(.none)").count()
            assert pictures > 9
    assert words[0] - words[1] <= {"Filter", "Show", "Next", "mistake"}


def test_a_file_s_name_is_selected_whole(browser, path):
    with opened(browser, path) as tab:
        name = tab.page.locator(".photo .file").first
        name.click()
        assert tab.page.evaluate("getSelection().toString()") == name.get_attribute("title")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_leaderboard_is_seen_whole(browser, path, width):
    """On a phone the best must not lie beyond the edge of a chart that is scrolled."""
    with opened(browser, path, viewport={"width": width, "height": 800}) as tab:
        (chart,) = [one for one in tab.page.locator("#leaderboard svg.chart").all() if one.is_visible()]
        chosen = chart.locator(".mark").first.bounding_box()
        assert 0 <= chosen["x"] <= width - chosen["width"]
        box = chart.bounding_box()
        assert box["x"] + box["width"] <= width
