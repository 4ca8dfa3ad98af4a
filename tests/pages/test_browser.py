"""A page in a real browser: silent, offline, usable by pointer and keyboard, whole without scripts, accessible."""

import pytest
from helpers.browser import chromium, opened, violations
from helpers.sample_charts import HOSTILE
from helpers.sample_page import sample_page

from featcache.core.display import escaped

pytestmark = pytest.mark.slow

CLASSES = "#classes tbody tr:not([hidden]) td:first-child"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(sample_page(), "utf-8")
    return path


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}], ids=["scripts", "no scripts"])
def test_no_word_on_the_console_and_no_request(browser, path, options):
    with opened(browser, path, **options) as tab:
        tab.page.wait_for_load_state("networkidle")
        assert tab.said == []
        assert tab.asked == []


def test_a_request_would_be_counted(browser, tmp_path):
    path = tmp_path / "asks.html"
    path.write_text('<img src="https://example.invalid/x.png">')
    with opened(browser, path) as tab:
        assert tab.asked == ["https://example.invalid/x.png"]


def test_a_script_that_is_not_the_pages_own_would_not_run(browser, path, tmp_path):
    other = tmp_path / "injected.html"
    other.write_text(
        path.read_text("utf-8").replace("<footer>", "<script>document.title='run'</script><footer>")
    )
    with opened(browser, other) as tab:
        assert tab.page.title() == "flowers/classifier"
        assert any("Content Security Policy" in text for text in tab.said)


def test_heads_sort_by_click_and_by_key(browser, path):
    with opened(browser, path) as tab:
        page = tab.page
        shares = "[...document.querySelectorAll('#classes td:nth-child(3)')].map(cell => cell.dataset.sort)"
        button = page.locator("#classes th:nth-child(3) button")
        button.click()
        found = page.evaluate(shares)
        assert found[-1] == ""  # what is missing is last, whichever way
        assert found[:-1] == sorted(found[:-1], key=float, reverse=True)
        assert page.locator("#classes th:nth-child(3)").get_attribute("aria-sort") == "descending"
        button.focus()
        page.keyboard.press("Enter")
        found = page.evaluate(shares)
        assert found[-1] == ""
        assert found[:-1] == sorted(found[:-1], key=float)
        page.locator("#classes th:nth-child(1) button").click()
        assert page.locator("#classes th:nth-child(3)").get_attribute("aria-sort") is None


def test_rows_are_filtered_by_every_word(browser, path):
    with opened(browser, path) as tab:
        page = tab.page
        assert page.locator(CLASSES).count() == 10
        page.locator(".filter input").fill("quotes MORE")
        assert page.locator(CLASSES).all_inner_texts() == [escaped(HOSTILE[1])]
        assert page.locator(".found").inner_text() == "1 of 10 rows"
        page.locator(".filter input").fill("")
        assert page.locator(CLASSES).count() == 10


def test_points_say_what_they_are_when_hovered(browser, path):
    with opened(browser, path) as tab:
        page, tip = tab.page, tab.page.locator(".tip")
        assert tip.is_hidden()
        page.locator("svg[aria-label='Accuracy by backbone'] .bar").first.hover()
        assert tip.inner_text() == "accuracy, resnet50: 91.0 % (90.0–93.0 %)"
        page.keyboard.press("Escape")
        assert tip.is_hidden()
        page.locator("svg[aria-label='Precision against recall'] .c0 .hit").last.hover()
        assert tip.inner_text() == "class 0, recall 100.0 %: 80.0 %"


def test_of_points_near_the_pointer_the_nearest_speaks(browser, path):
    """Also where another one's square for the pointer lies on top of it."""
    with opened(browser, path) as tab:
        page, tip = tab.page, tab.page.locator(".tip")
        points = page.evaluate("""() => [...document.querySelectorAll("svg.chart .hit")].map((mark) => {
          const box = mark.getBoundingClientRect();
          return [box.left + box.width / 2 + scrollX, box.top + box.height / 2 + scrollY,
                  mark.getAttribute("data-tip"), Math.max(box.width, box.height)];
        })""")
        assert max(size for *_, size in points) <= 20
        heard = 0
        for x, y, text, _ in points[:40]:
            page.evaluate("y => scrollTo(0, y - 300)", y)
            top = page.evaluate("scrollY")
            page.mouse.move(x, y - top)
            alike = {own for left, high, own, _ in points if abs(left - x) < 0.5 and abs(high - y) < 0.5}
            assert tip.inner_text() in alike | {text}
            heard += 1
        assert heard


def test_a_link_of_the_matrix_opens_what_hides_its_picture(browser, path):
    with opened(browser, path) as tab:
        assert not tab.page.locator("#gone").is_visible()
        tab.page.locator(".matrix a").click()
        assert tab.page.locator("#gone").is_visible()


def test_all_texts_are_there_without_scripts(browser, path):
    texts = []
    for options in ({}, {"java_script_enabled": False}):
        with opened(browser, path, **options) as tab:
            texts.append(tab.page.locator("main").inner_text().split())
    with_scripts, without = (set(words) - {"Filter"} for words in texts)
    assert with_scripts - without == set()
    assert escaped(HOSTILE[0]) in without


def test_without_scripts_no_control_is_dead_and_points_still_say_what_they_are(browser, path):
    with opened(browser, path, java_script_enabled=False) as tab:
        assert not tab.page.locator(".filter").is_visible()
        assert tab.page.locator("th button").count() == 0
        titles = tab.page.locator("svg[aria-label='Accuracy by backbone'] .bar > title")
        assert titles.first.text_content() == "accuracy, resnet50: 91.0 % (90.0–93.0 %)"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_of_the_page(browser, path, width):
    with opened(browser, path, viewport={"width": width, "height": 800}) as tab:
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_is_reached_by_keyboard(browser, path):
    with opened(browser, path) as tab:
        page = tab.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        seen = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.tagName"))
        assert {"A", "BUTTON", "INPUT", "SUMMARY"} <= seen
        outline = "getComputedStyle(document.querySelector('th button')).outlineStyle"
        page.locator("th button").first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(browser, path, scheme, width):
    with opened(browser, path, color_scheme=scheme, viewport={"width": width, "height": 800}) as tab:
        tab.page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true; })")
        assert violations(tab.page) == []
