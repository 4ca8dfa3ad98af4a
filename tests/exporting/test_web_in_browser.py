"""The page in a real browser: it says what onnxruntime says in Python, asks nobody, works offline, and can be used."""

import base64
import io
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import chromium, missing, opened, violations
from helpers.web_demo import CLASSES, SIDE, described, served, stand_in, transforms
from PIL import ExifTags, Image

from featcache.exporting.web import write_web_folder
from featcache.images.resizing import prepare

pytestmark = pytest.mark.slow

READY = "html[data-state=ready]"
CLASSIFY = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const { values, distance, picture } = await featcache.classify(new Blob([bytes]));
  return { values: [...values], distance, pixels: [...picture.data] };
}"""


@pytest.fixture(scope="module")
def browser():
    # Every name but those of the server's machine is unknown, to the service worker, too; the camera is a test picture.
    with chromium(
        "--host-resolver-rules=MAP plain.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost",
        "--use-fake-device-for-media-stream",
    ) as started:
        yield started


@pytest.fixture(scope="module")
def runtime():
    folder = Path(os.environ.get("ONNXRUNTIME_WEB", "/nowhere"))
    if not folder.is_dir():
        missing(
            "ONNXRUNTIME_WEB names no folder: npm install onnxruntime-web, ONNXRUNTIME_WEB=…/onnxruntime-web"
        )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, runtime):
    folder = tmp_path_factory.mktemp("web") / "page"
    write_web_folder(folder, stand_in(), described(transforms(), below=0.35, beyond=0.9), runtime=runtime)
    return folder


@contextmanager
def visited(browser, address, **options):
    """Open the page from its server; yields the page, what the console said, and which other addresses were tried."""
    context = browser.new_context(**options)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("filechooser", lambda chooser: None)  # from now on, not from the moment of a key
    own = (address, "blob:", "data:")
    context.on("request", lambda request: request.url.startswith(own) or asked.append(request.url))
    try:
        page.goto(address)
        page.wait_for_selector(READY)
        yield page, said, asked
    finally:
        context.close()


@pytest.fixture(scope="module")
def visit(browser, folder):
    """One visit for all tests that leave the page as the next one can use it: a load takes seconds."""
    with served(folder) as address, visited(browser, address) as (page, said, asked):
        yield page, said, asked


def _file(content, name="x.jpg"):
    return [{"name": name, "mimeType": "image/jpeg", "buffer": content}]


def _photo(seed, kind, height, width, **options):
    """A soft random picture, as photos are soft."""
    rng = np.random.default_rng(seed)
    channels = 4 if options.pop("alpha", False) else 3
    few = rng.integers(0, 256, (5, 5, channels), dtype=np.uint8)
    image = Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)
    if options.pop("grey", False):
        image = image.convert("L")
    number = options.pop("orientation", None)
    if number:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = number
        options["exif"] = exif.tobytes()
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _photos():
    """Twenty photos of what browsers read, of all orientations, wide, tall, small and transparent."""
    yield from (_photo(n, "JPEG", 90, 140, orientation=n, quality=92) for n in range(1, 9))
    yield from (_photo(20 + n, "JPEG", 40 + 300 * n, 200, subsampling=n, quality=70) for n in range(3))
    yield _photo(30, "JPEG", 300, 200, grey=True)
    yield _photo(31, "JPEG", 300, 411, progressive=True)
    yield _photo(32, "PNG", 30, 2500)
    yield _photo(33, "PNG", 120, 90, alpha=True, orientation=6)
    yield _photo(34, "WEBP", 120, 90, alpha=True, lossless=True, exact=True)
    yield _photo(35, "WEBP", 120, 190, quality=80, orientation=8)
    yield _photo(36, "BMP", 33, 44)
    yield _photo(37, "GIF", 60, 60)
    yield _photo(38, "PNG", 7, 9)


def _classified(page, photo):
    return page.evaluate(CLASSIFY, base64.b64encode(photo).decode())


@pytest.fixture(scope="module")
def judged():
    """Photos with what onnxruntime says of them in Python, prepared by Pillow."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, the extra `onnx`, is not installed")
    session = onnxruntime.InferenceSession(stand_in())
    found = []
    for photo in _photos():
        pixels = prepare(photo, transforms())
        values, distance = session.run(None, {"images": pixels[None]})
        found.append((photo, pixels, values[0], distance[0]))
    return found


def _check(page, judged):
    for photo, pixels, values, distance in judged:
        found = _classified(page, photo)
        shown = np.reshape(found["pixels"], (SIDE, SIDE, 3))
        # No difference was seen with chromium 156, whose decoder of JPEG is Pillow's, and of which WebGL keeps colours
        # apart from alpha. Other decoders round differently: by two levels at most, and by one of the alpha.
        assert np.abs(shown - pixels.astype(int)).max() <= 2
        np.testing.assert_allclose(found["values"], values, atol=0.02)
        np.testing.assert_allclose(found["distance"], distance, atol=2 / 255 + 1e-6)
        best, second = np.sort(values)[::-1][:2]
        assert best - second > 0.04  # else the class would not be told apart by that tolerance
        assert np.argmax(found["values"]) == np.argmax(values)


def test_twenty_photos_are_classified_as_in_python_and_nobody_else_is_asked(visit, judged):
    page, said, asked = visit
    assert len(judged) == 20
    assert len({int(np.argmax(values)) for *_, values, _ in judged}) > 2
    _check(page, judged)
    assert (said, asked) == ([], [])


def test_the_page_s_own_policy_forbids_other_addresses(visit):
    page, said, asked = visit
    page.evaluate("fetch('https://example.invalid/').catch(() => null)")
    assert any("Content Security Policy" in text for text in said)
    said.clear()
    # And where a page would ask all the same, these tests would see it.
    other = page.context.new_page()
    other.set_content("<img src='https://example.invalid/x.png'>")
    other.close()
    assert asked == ["https://example.invalid/x.png"]
    asked.clear()


def test_after_the_first_load_it_works_without_its_server(browser, folder, judged):
    with served(folder) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(READY)
        assert "Works offline\nyes, from now on" in page.locator("#facts").inner_text()
    try:
        for place in (address, f"{address}index.html"):
            page.goto(place)
            page.wait_for_selector(READY)
            _check(page, judged[:3])
    finally:
        context.close()


def test_another_classifier_behind_the_same_address_shows_at_once(browser, folder, runtime, tmp_path):
    own = tmp_path / "page"
    write_web_folder(own, stand_in(), described(transforms()), runtime=runtime)
    with served(own) as address, visited(browser, address) as (page, said, _):
        classes = ("one", "two", "three", "four")
        model = stand_in(classes=4)
        write_web_folder(own, model, described(transforms(), classes=classes), runtime=runtime)
        page.reload()
        page.wait_for_selector(READY)
        assert "one of 4 classes" in page.locator("#facts").inner_text()
        assert len(_classified(page, next(_photos()))["values"]) == 4
        assert said == []


def _answered(page):
    page.wait_for_selector("#answer:not([hidden])")
    page.wait_for_selector("#headline:not(:text('One moment'))")
    return page.locator("#headline").inner_text()


GIVE = """([text, type]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], `${type}.jpg`, { type: "image/jpeg" }));
  const options = { bubbles: true, dataTransfer: transfer, clipboardData: transfer };
  document.body.dispatchEvent(type === "drop" ? new DragEvent(type, options) : new ClipboardEvent(type, options));
}"""


def test_a_photo_is_chosen_dropped_or_pasted(visit, judged):
    page, said, _ = visit
    photo, _, values, _ = next(each for each in judged if max(each[2]) > 0.4 and each[3] < 0.85)
    wanted = f"{CLASSES[int(np.argmax(values))]}, {100 * float(max(values)):.1f} %"
    for way in ("choose", "drop", "paste"):
        if way == "choose":
            page.locator("#choose").focus()
            with page.expect_file_chooser() as chooser:
                page.keyboard.press("Enter")
            chooser.value.set_files(_file(photo, "choose.jpg"))
        else:
            page.evaluate(GIVE, [base64.b64encode(photo).decode(), way])
        page.wait_for_selector(f"img[alt='The photo {way}.jpg']")
        assert _answered(page) == wanted
        assert page.title() == wanted
        rows = page.locator("#bars tbody tr")
        assert rows.count() == 5
        assert rows.first.inner_text().split("\t")[0] == CLASSES[int(np.argmax(values))]
        assert page.locator("#bars caption").inner_text() == "Classes, the first 5 of 6"
        assert page.locator("#bars b").count() == 0  # "<b>fish</b>" is a name
    assert said == []


def test_the_frame_is_the_part_that_the_network_sees(visit):
    page, *_ = visit
    # Upright 400 high and 200 wide; of 36 columns the network sees 32, and as many rows.
    page.locator("#file").set_input_files(_file(_photo(1, "JPEG", 200, 400, orientation=6), "frame.jpg"))
    page.wait_for_selector("img[alt='The photo frame.jpg']")
    image, frame = page.locator("#photo").bounding_box(), page.locator("#frame").bounding_box()
    assert image["height"] == pytest.approx(2 * image["width"], rel=0.02)
    assert frame["width"] == pytest.approx(image["width"] * 32 / 36, rel=0.03)
    assert frame["height"] == pytest.approx(frame["width"], rel=0.03)
    middle = frame["y"] + frame["height"] / 2
    assert middle == pytest.approx(image["y"] + image["height"] / 2, abs=4)


def test_what_is_no_photo_is_told_plainly(visit):
    page, said, _ = visit
    for content, text in (
        (b"no photo", "This browser cannot read the file as a photo."),
        (b"", "The file is empty"),
    ):
        page.locator("#file").set_input_files(_file(content))
        page.wait_for_selector(f"#problem:text('{text}')")
        assert page.locator("#headline").inner_text() == "No answer"
        assert page.locator("#answer").is_hidden()
    assert said == []


def test_the_camera_is_refused_or_takes_a_picture_and_is_turned_off(visit):
    page, said, _ = visit
    page.locator("#camera").click()
    page.wait_for_selector("#problem:text('The camera was refused: allow it for this page')")
    assert page.locator("#camera").is_enabled()
    page.context.grant_permissions(["camera"])
    page.locator("#camera").click()
    page.wait_for_selector("#live:not([hidden])")
    page.locator("#shoot").click()
    page.wait_for_selector("img[alt='The photo from the camera']")
    _answered(page)
    page.locator("#stop").click()
    assert page.locator("#live").is_hidden()
    assert page.evaluate("document.getElementById('video').srcObject.active") is False
    assert said == []


@pytest.mark.parametrize(
    ("task", "classes", "limits", "headline"),
    [
        ("multiclass", CLASSES, {"below": 1.5, "beyond": -1.0}, "Unknown"),
        ("regression", ("weight",), {}, "weight: "),
    ],
    ids=["unknown", "regression"],
)
def test_other_kinds_of_answers_are_shown_and_accessible(
    browser, runtime, tmp_path, task, classes, limits, headline
):
    description = described(transforms(), task=task, classes=classes, **limits)
    write_web_folder(tmp_path / "page", stand_in(task, len(classes)), description, runtime=runtime)
    with served(tmp_path / "page") as address, visited(browser, address) as (page, said, _):
        page.locator("#file").set_input_files(_file(_photo(1, "PNG", 40, 50)))
        assert headline in _answered(page)
        assert page.locator("#why p").count() == len(limits)
        assert page.locator("#bars .track").count() == (0 if task == "regression" else 5)
        assert violations(page) == []
        assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_nothing_sticks_out(visit, scheme, width):
    page, *_ = visit
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    for content in (b"no photo", _photo(1, "PNG", 40, 300)):
        page.locator("#file").set_input_files(_file(content))
        page.wait_for_selector(
            "#answer[hidden]" if content == b"no photo" else "#answer:not([hidden])", state="attached"
        )
        page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true; })")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_over_plain_http_files_are_classified_and_the_rest_is_told(browser, folder, judged):
    with served(folder) as address:
        elsewhere = address.replace("localhost", "plain.test")  # browsers trust that name as little as any
        with visited(browser, elsewhere) as (page, said, asked):
            _check(page, judged[:1])
            assert "Works offline\nno: that needs localhost or https" in page.locator("#facts").inner_text()
            page.locator("#camera").click()
            page.wait_for_selector(
                "#problem:text('only to pages from localhost or over https; choose a photo')"
            )
            assert (said, asked) == ([], [])


def test_opened_as_a_file_it_says_what_to_do(browser, folder):
    with opened(browser, folder / "index.html") as tab:
        notice = tab.page.locator("#not-started")
        notice.wait_for(state="visible")
        assert "python3 -m http.server 8000 --bind 127.0.0.1" in notice.inner_text()
        assert tab.page.locator("#give").is_hidden()


def test_a_missing_file_is_told_plainly(browser, folder, tmp_path):
    own = tmp_path / "page"
    shutil.copytree(folder, own)
    (own / "model.onnx").unlink()
    with served(own) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#problem:not([hidden])")
        assert page.locator("#headline").inner_text() == "The network could not be loaded"
        assert "Write the folder again with featcache export --web" in page.locator("#problem").inner_text()
        assert page.locator("#choose").is_disabled()
        context.close()
