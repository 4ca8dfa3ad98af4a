"""The map of features in a real browser: with scripts a canvas that answers, without them a picture."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.browser import chromium, opened, violations
from helpers.feature_caches import feature_cache
from helpers.made_sweeps import HOSTILE, MadePhotos, material

from featcache.reports.sections import feature_map

pytest.importorskip("jinja2", reason="jinja2, the extra `report`, is not installed")

pytestmark = pytest.mark.slow

PLACE_OF_A_POINT = """number => {
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const box = document.querySelector(".map-canvas").getBoundingClientRect();
  const [x, y] = [data.x, data.y], low = v => Math.min(...v), high = v => Math.max(...v);
  const scale = Math.min((box.width - 24) / (high(x) - low(x)), (box.height - 24) / (high(y) - low(y)));
  return [box.left + box.width / 2 + scale * (x[number] - (low(x) + high(x)) / 2),
          box.top + box.height / 2 + scale * (y[number] - (low(y) + high(y)) / 2)];
}"""
DRAWN = """() => {
  const canvas = document.querySelector(".map-canvas");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let at = 3; at < pixels.length; at += 4) sum += pixels[at];
  return sum;
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    labels = np.arange(24) % 6
    centres = 30 * np.stack([np.cos(labels), np.sin(labels)], axis=1)
    features = (centres + np.random.default_rng(0).normal(size=(24, 2))).astype(np.float32)
    cache = feature_cache(folder / "a.h5", features, labels, ["train"] * 24, classes=HOSTILE)
    values = np.eye(6)[np.where(np.arange(24) == 7, 2, labels)]
    found = feature_map.section(
        material(cache=cache, rows=np.arange(24), values=values, labels=labels, sprites=MadePhotos())
    )
    from featcache.pages.page import render

    found = replace(found, template=f"sections/{found.template.rpartition('/')[2]}")
    text = render(
        "page.html", packages=("featcache.reports",), title="map", headline="map", sections=[found], sheets=[]
    )
    (folder / "map.html").write_text(text, "utf-8")
    return folder / "map.html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser, path):
    """A page that is to complain of nothing and to ask for nothing."""
    with opened(browser, path, viewport={"width": 900, "height": 1000}) as found:
        found.page.locator(".map-canvas").scroll_into_view_if_needed()
        yield found.page
    # The browser advises who reads a canvas back, as these tests do.
    assert [text for text in found.said if "getImageData" not in text] == []
    assert found.asked == []


def test_a_point_tells_its_file_and_its_class_when_hovered(page):
    assert not page.locator(".map-still").is_visible()
    page.mouse.move(*page.evaluate(PLACE_OF_A_POINT, 7))
    assert page.locator(".map-tip").inner_text().strip() == (
        "train/7.jpg: </script><img src=x onerror=alert(1)>, taken for \"quoted\" & 'single'"
    )
    assert page.locator(".map-tip .map-photo.sheet0").count() == 1
    page.mouse.move(0, 0)
    assert not page.locator(".map-tip").is_visible()


def test_arrow_keys_go_from_left_to_right_and_m_to_the_mistake(page):
    told = page.locator(".map-told")
    page.locator(".map-canvas").focus()
    seen = []
    for _ in range(24):
        page.keyboard.press("ArrowRight")
        seen.append(told.inner_text().partition(":")[0])
    data = page.evaluate("() => JSON.parse(document.getElementById('map-data').textContent)")
    assert seen == [f"train/{n}.jpg" for n in np.argsort(data["x"], kind="stable")]
    page.keyboard.press("m")
    assert told.inner_text().startswith("train/7.jpg: ")
    page.keyboard.press("Escape")
    assert not page.locator(".map-tip").is_visible()
    page.locator(".map-next").click()
    assert page.locator(".map-tip").is_visible()


def test_one_class_is_shown_alone(page):
    everything = page.evaluate(DRAWN)
    page.locator(".map-class").select_option("3")
    assert 0 < page.evaluate(DRAWN) < everything
    page.mouse.move(*page.evaluate(PLACE_OF_A_POINT, 4))
    assert "train/4.jpg" not in page.locator(".map-tip").inner_text()
    page.locator(".map-class").select_option("")
    assert page.evaluate(DRAWN) == everything


def test_without_scripts_there_is_the_picture_and_the_table(browser, path):
    with opened(browser, path, java_script_enabled=False) as found:
        assert found.page.locator(".map-still").is_visible()
        assert not found.page.locator(".map-canvas").is_visible()
        assert not found.page.locator(".map-controls").is_visible()
        assert found.page.locator("#map table tbody tr").count() == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_of_it_is_closed_to_anyone(browser, path, scheme):
    with opened(browser, path, color_scheme=scheme) as found:
        assert violations(found.page) == []
