"""The map of features in a real browser: with scripts a canvas that answers, without them a picture."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.feature_caches import feature_cache
from helpers.made_sweeps import HOSTILE, MadePhotos, material

from featcache.report.sections import feature_map

pytest.importorskip("jinja2", reason="jinja2, the extra `report`, is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

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
def address(tmp_path_factory):
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
    page = render(
        "page.html", packages=("featcache.report",), title="map", headline="map", sections=[found], sheets=[]
    )
    (folder / "map.html").write_text(page, "utf-8")
    return (folder / "map.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, address):
    """A page, and what it complained of or asked for, which is to stay empty."""
    page = browser.new_page(viewport={"width": 900, "height": 1000})
    told: list[str] = []
    # The browser advises who reads a canvas back, as these tests do.
    page.on("console", lambda message: "getImageData" in message.text or told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url) if request.url != address else None)
    page.goto(address)
    page.locator(".map-canvas").scroll_into_view_if_needed()
    yield page
    page.close()
    assert [text for text in told if not text.startswith("data:")] == []


def test_a_point_tells_its_file_and_its_class_when_hovered(opened):
    assert not opened.locator(".map-still").is_visible()
    opened.mouse.move(*opened.evaluate(PLACE_OF_A_POINT, 7))
    assert opened.locator(".map-tip").inner_text().strip() == (
        "train/7.jpg: </script><img src=x onerror=alert(1)>, taken for \"quoted\" & 'single'"
    )
    assert opened.locator(".map-tip .map-photo.sheet0").count() == 1
    opened.mouse.move(0, 0)
    assert not opened.locator(".map-tip").is_visible()


def test_arrow_keys_go_from_left_to_right_and_m_to_the_mistake(opened):
    told = opened.locator(".map-told")
    opened.locator(".map-canvas").focus()
    seen = []
    for _ in range(24):
        opened.keyboard.press("ArrowRight")
        seen.append(told.inner_text().partition(":")[0])
    data = opened.evaluate("() => JSON.parse(document.getElementById('map-data').textContent)")
    assert seen == [data["name"][n] for n in np.argsort(data["x"], kind="stable")]
    opened.keyboard.press("m")
    assert told.inner_text().startswith("train/7.jpg: ")
    opened.keyboard.press("Escape")
    assert not opened.locator(".map-tip").is_visible()
    opened.locator(".map-next").click()
    assert opened.locator(".map-tip").is_visible()


def test_one_class_is_shown_alone(opened):
    everything = opened.evaluate(DRAWN)
    opened.locator(".map-class").select_option("3")
    assert 0 < opened.evaluate(DRAWN) < everything
    opened.mouse.move(*opened.evaluate(PLACE_OF_A_POINT, 4))
    assert "train/4.jpg" not in opened.locator(".map-tip").inner_text()
    opened.locator(".map-class").select_option("")
    assert opened.evaluate(DRAWN) == everything


def test_without_scripts_there_is_the_picture_and_the_table(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".map-still").is_visible()
    assert not page.locator(".map-canvas").is_visible()
    assert not page.locator(".map-controls").is_visible()
    assert page.locator("#map table tbody tr").count() == 6
    context.close()
