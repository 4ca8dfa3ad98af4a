"""Pages of explanations in a real browser: light and dark, on a phone, without scripts, and as axe-core judges them."""

import re
import shutil
from dataclasses import replace

import pytest
from helpers.browser import chromium, opened, violations
from helpers.tiny_finetuning import registered, tiny_network, tiny_photos

from featcache import explain, extract, train_head
from featcache.explanations.channels import activations, filters

pytest.importorskip("jinja2", reason="jinja2, the extra `report`, is not installed")

pytestmark = pytest.mark.slow

PAGES = ("photos", "channels", "filters")
LONG = f"{'long-' * 40}name.png"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Photos of which one has a hostile name, two one long name, one no picture, and one a map that is not drawn."""
    root = tmp_path_factory.mktemp("explained")
    with registered():
        photos = tiny_photos(root / "photos")
        network = tiny_network()
        cache = extract(
            photos, backbone=network, layers=("pool",), image_statistics=False, output=root / "f.h5"
        )
        classifier = replace(train_head(cache, head="ridge", output=None), network=network)
        files = [root / name for name in ('<b onmouseover=alert(1)> "x".png', LONG, "broken.jpg")]
        for source, file in zip(sorted(photos.glob("test/*/*")), files[:2], strict=False):
            shutil.copy(source, file)
        files[2].write_bytes(b"no picture")
        # Of one name, and taken for the same.
        (root / "again").mkdir()
        files += [shutil.copy(files[1], root / "again" / LONG)]
        found = explain(classifier, files)
        first, *others = found.photos
        heats = (
            replace(first.heats[0], remark="The map is flat: no part speaks more than another."),
            *first.heats[1:],
        )
        lost = tuple(replace(near, picture=None) for near in first.neighbours)
        found = replace(found, photos=(replace(first, heats=heats, neighbours=lost), *others))
        found.to_html(root / "photos.html")
        activations(network, files, "block_2").to_html(root / "channels.html")
        filters(network).to_html(root / "filters.html")
    return root, found


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_it_is_silent_offline_accessible_and_as_wide_as_the_screen(browser, shown, page, scheme, width):
    path = shown[0] / f"{page}.html"
    with opened(browser, path, color_scheme=scheme, viewport={"width": width, "height": 800}) as tab:
        assert violations(tab.page) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        assert (tab.said, tab.asked) == ([], [])


@pytest.mark.parametrize("page", PAGES)
def test_without_scripts_nothing_is_missing(browser, shown, page):
    read = []
    for options in ({}, {"java_script_enabled": False}):
        with opened(browser, shown[0] / f"{page}.html", **options) as tab:
            pictures = tab.page.locator("main img")
            sizes = pictures.evaluate_all("all => all.map(one => one.naturalWidth)")
            assert len(sizes) > 2
            assert all(sizes)
            read.append((tab.page.locator("main").inner_text(), sizes))
    assert read[0] == read[1]


def test_every_photo_is_told_with_its_name_what_it_is_taken_for_and_why_not(browser, shown):
    root, found = shown
    with opened(browser, root / "photos.html") as tab:
        sections = tab.page.locator("main > section").all()
        assert len(sections) == len(found.photos)
        for section, photo in zip(sections, found.photos, strict=True):
            text = re.sub(r"\s+", " ", section.inner_text())
            assert photo.id in text
            for told in (*(heat.name for heat in photo.heats), *(near.id for near in photo.neighbours)):
                assert told in text
            assert (photo.error or "") in text
            drawn = (
                0
                if photo.error
                else 1 + len(photo.heats) + sum(n.picture is not None for n in photo.neighbours)
            )
            assert section.locator("img").count() == drawn
        assert "The map is flat" in sections[0].inner_text()
        assert tab.page.evaluate("document.querySelectorAll('[onmouseover]').length") == 0


def test_a_training_photo_s_name_is_selected_whole(browser, shown):
    root, found = shown
    with opened(browser, root / "photos.html") as tab:
        tab.page.locator(".row .file").first.click()
        assert tab.page.evaluate("getSelection().toString()") == found.photos[0].neighbours[0].id
