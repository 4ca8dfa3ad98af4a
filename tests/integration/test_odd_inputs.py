"""Every odd input that is documented, in one folder, through the source, the decoder, an extraction and `data check`.

The table of docs/guide/images.md says what becomes of each; here each is made, and nothing else decides what is
expected.
"""

import io
import os
import re
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from helpers import bombs
from helpers.fake_network import FakeNetwork
from helpers.photo_folders import photo_folder
from PIL import Image

from featcache import DatasetCheck, Extraction, check_dataset, extract, open_dataset

# Pillow warns about broken tag tables; no thread-safe way to silence that exists before Python 3.14.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "images.md"
ODD_FILES = Path(__file__).parents[3] / "shared" / "data" / "odd_files"


def documented() -> dict[str, str]:
    """Input to outcome, as the page says."""
    rows = re.findall(
        r"^\| (.+?) \| (decoded|quarantined: .+?|left out: .+?) \|", PAGE.read_text("utf-8"), re.M
    )
    return dict(rows)


OUTCOMES = documented()


# The pictures -------------------------------------------------------------------------------------------------

_Y, _X, _C = np.ogrid[:40, :56, :3]
BASE = Image.fromarray((_X * 3 + _Y + _C * 20).astype(np.uint8))
GREY = BASE.convert("L")
ALPHA = Image.fromarray(np.repeat(np.linspace(0, 255, 56, dtype=np.uint8)[None], 40, axis=0))
RED, BLUE = (Image.new("RGB", (56, 40), colour) for colour in ("red", "blue"))


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.copy().save(file, kind, **options)  # a copy: saving leaves settings behind on a picture
    return file.getvalue()


def on_white(picture: Image.Image) -> Image.Image:
    """Composited in floating point, by the definition of alpha."""
    share = np.asarray(ALPHA, float)[..., None] / 255
    return Image.fromarray(
        (np.asarray(picture.convert("RGB")) * share + 255 * (1 - share)).round().astype(np.uint8)
    )


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(Image.fromarray(np.rot90(np.asarray(BASE)).copy()), "JPEG", quality=95, exif=exif)


def halves() -> Image.Image:
    """Two colours of a palette: red on the left, the transparent one on the right."""
    picture = Image.fromarray((np.arange(56) >= 28).astype(np.uint8)[None].repeat(40, axis=0))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    return picture


def halves_on_white() -> Image.Image:
    picture = RED.copy()
    picture.paste("white", (28, 0, 56, 40))
    return picture


def sixteen() -> Image.Image:
    return Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb() -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + png_chunk(b"IDAT", zlib.compress(bytes(100)))
        + png_chunk(b"IEND", b"")
    )


def broken_gif() -> bytes:
    """Whole to its end marker, but its compressed pixels are another picture's beginning and noise."""
    whole = encode(BASE.convert("P"), "GIF")
    return whole[:-300] + b"\xff" * 299 + b";"


JPEG, PNG = encode(BASE, "JPEG", quality=95), encode(BASE, "PNG")


def damaged_png() -> bytes:
    at = PNG.index(b"IDAT") + 8
    return PNG[:at] + bytes([PNG[at] ^ 0xFF]) + PNG[at + 1 :]


# The inputs ---------------------------------------------------------------------------------------------------


def nothing(path: Path) -> None:
    """Is done to an input after the scan."""


@dataclass(frozen=True)
class Input:
    """An odd input.

    Parameters
    ----------
    name
        Of its file.
    make
        Its bytes, or a function that puts something else there.
    picture
        What an extraction sees, where it is decoded.
    tolerance
        Levels that a pixel may differ by: 1 for resizing another way, more where JPEG is lossy.
    later
        What happens to it after the scan.
    """

    name: str
    make: bytes | Callable[[Path], object]
    picture: Image.Image = field(default_factory=lambda: BASE)
    tolerance: int = 1
    later: Callable[[Path], object] = nothing


def elsewhere(path: Path) -> None:
    target = path.parents[3] / "elsewhere.png"
    target.write_bytes(PNG)
    path.symlink_to(target)


def all_holes(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(3 * 2**40)


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_above(path: Path) -> None:
    path.symlink_to(path.parent, target_is_directory=True)


def with_blue() -> dict:
    return {"save_all": True, "append_images": [BLUE.copy()]}


INPUTS: Mapping[str, Input] = {
    "JPEG, RGB": Input("rgb.jpg", JPEG, tolerance=4),
    "JPEG, grey": Input("grey.jpg", encode(GREY, "JPEG", quality=95), GREY, 3),
    "JPEG, CMYK": Input("cmyk.jpg", encode(BASE.convert("CMYK"), "JPEG", quality=95), tolerance=6),
    "JPEG with EXIF orientation 6": Input("turned.jpg", turned(), tolerance=4),
    "JPEG with a broken EXIF block": Input(
        "exif.jpg", encode(BASE, "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"), tolerance=4
    ),
    "JPEG with several pictures (MPO)": Input(
        "mpo.jpg", encode(BASE, "MPO", quality=95, **with_blue()), tolerance=4
    ),
    "JPEG named .png": Input("jpeg.png", JPEG, tolerance=4),
    "PNG, 1 bit": Input(
        "bits.png",
        encode(GREY.point(lambda v: 255 * (v > 99), "1"), "PNG"),
        GREY.point(lambda v: 255 * (v > 99)),
    ),
    "PNG, palette": Input(
        "palette.png",
        encode(halves(), "PNG"),
        Image.fromarray(np.hstack([np.asarray(RED)[:, :28], np.asarray(BLUE)[:, 28:]])),
    ),
    "PNG, palette with a transparent colour": Input(
        "transparent.png", encode(halves(), "PNG", transparency=1), halves_on_white()
    ),
    "PNG, grey with alpha (LA)": Input(
        "la.png", encode(Image.merge("LA", (GREY, ALPHA)), "PNG"), on_white(GREY), 2
    ),
    "PNG, RGBA": Input(
        "rgba.png", encode(Image.merge("RGBA", (*BASE.split(), ALPHA)), "PNG"), on_white(BASE), 2
    ),
    "PNG, 16-bit grey": Input("sixteen.png", encode(sixteen(), "PNG"), GREY),
    "PNG, 1×10,000 pixels": Input("line.png", encode(BLUE.resize((1, 10_000)), "PNG"), BLUE),
    "TIFF, 16-bit grey": Input("sixteen.tif", encode(sixteen(), "TIFF"), GREY),
    "TIFF, several pages": Input("pages.tiff", encode(BASE, "TIFF", **with_blue())),
    "GIF, animated": Input("moving.gif", encode(RED, "GIF", **with_blue()), RED),
    "WebP, animated": Input("moving.webp", encode(BASE, "WEBP", lossless=True, **with_blue())),
    "WebP named .jpg": Input("webp.jpg", encode(BASE, "WEBP", lossless=True)),
    "BMP": Input("plain.bmp", encode(BASE, "BMP")),
    "PPM": Input("plain.ppm", encode(BASE, "PPM")),
    "file name that is no UTF-8": Input(os.fsdecode(b"caf\xe9.png"), PNG),
    "link to an image elsewhere": Input("linked.png", elsewhere),
    "0 bytes": Input("empty.jpg", b""),
    "text named .jpg": Input("text.jpg", b"id,label\n1,cat\n"),
    "web page named .jpg": Input("page.jpg", b"<!DOCTYPE html><html>404</html>"),
    "zeros": Input("zeros.jpg", bytes(5000)),
    "HEIC named .jpg": Input("heic.jpg", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)),
    "SVG named .png": Input("vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "PDF named .jpg": Input("scan.jpg", b"%PDF-1.7\n" + bytes(100)),
    "JPEG 2000 named .jpg": Input("j2k.jpg", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100)),
    "TIFF, 32-bit float": Input("float.tif", encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")),
    "TIFF, 32-bit integer": Input("integer.tif", encode(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF")),
    "PNG, 60,000×60,000 pixels (a bomb)": Input("bomb.png", bomb()),
    "PNG of 3 TB, all holes": Input("sparse.png", all_holes),
    "WebP of 170 megapixels": Input("large.webp", bombs.webp_header(16_383, 10_370)),
    "JPEG of 406 scans": Input("scans.jpg", bombs.scans(3400, 3400, 400)),
    "JPEG, cut in half": Input("cut.jpg", JPEG[: len(JPEG) // 2]),
    "PNG, cut in half": Input("cut.png", PNG[: len(PNG) // 2]),
    "JPEG without anything behind its header": Input("header.jpg", JPEG[:100]),
    "PNG with a damaged checksum": Input("damaged.png", damaged_png()),
    "GIF with a broken body": Input("broken.gif", broken_gif()),
    "vanished after the scan": Input("vanished.png", PNG, later=Path.unlink),
    "became a FIFO after the scan": Input("became.png", PNG, later=become_fifo),
    "FIFO named .jpg": Input("fifo.jpg", os.mkfifo),
    "link to a device": Input("device.jpg", lambda path: path.symlink_to("/dev/zero")),
    "link that leads nowhere": Input("nowhere.jpg", lambda path: path.symlink_to("/nowhere/at/all.jpg")),
    "link that leads to itself": Input("self.jpg", lambda path: path.symlink_to(path)),
    "folder link that leads back above": Input("above", link_to_above),
    "hidden file": Input("._rgb.jpg", JPEG),
    ".heic by its name": Input("photo.heic", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"),
    ".txt by its name": Input("notes.txt", b"notes"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a folder of everything."""

    done: Extraction
    check: DatasetCheck


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Outcome:
    root = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATCACHE_HOME", str(root / "home"))
        for name in ("pillow_heif", "pillow_jxl"):  # as where neither is installed
            patch.setitem(sys.modules, name, None)
        folder = photo_folder(root / "set", {"train/plain": 2}) / "train" / "odd"
        folder.mkdir()
        for one in INPUTS.values():
            if callable(one.make):
                one.make(folder / one.name)
            else:
                (folder / one.name).write_bytes(one.make)
        data = open_dataset(str(root / "set"))
        for one in INPUTS.values():
            one.later(folder / one.name)
        done = extract(data, backbone=FakeNetwork(), output=root / "odd.h5")
        return Outcome(done, check_dataset(data))


def test_every_documented_input_is_made_here_and_the_other_way_round():
    assert list(OUTCOMES) == list(INPUTS)


@pytest.mark.timeout(60)  # a FIFO that is waited for would be waited for for ever
@pytest.mark.parametrize("what", OUTCOMES)
def test_each_has_its_documented_outcome(outcome, what):
    name = f"train/odd/{INPUTS[what].name}"
    fate, _, reason = OUTCOMES[what].partition(": ")
    cache = outcome.done.cache
    assert (name in cache.ids) == (fate != "left out")
    assert outcome.done.quarantined.get(name) == (reason if fate == "quarantined" else None)
    assert (name in outcome.check.unreadable) == (fate == "quarantined")
    if fate == "decoded":
        row = cache.ids.index(name)
        seen = cache.features(np.array([row]))[0, : 8 * 8 * 3].reshape(8, 8, 3)
        wanted = INPUTS[what].picture.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
        assert np.abs(seen - np.asarray(wanted, float)).max() <= INPUTS[what].tolerance


def test_what_is_left_out_is_counted_by_reason(outcome):
    reasons = Counter(text.partition(": ")[2] for text in OUTCOMES.values() if text.startswith("left out"))
    assert outcome.done.skipped == outcome.check.skipped == reasons


def test_data_check_and_the_extraction_agree_on_all_of_them(outcome):
    assert {
        name: reason for name, (reason, _) in outcome.check.unreadable.items()
    } == outcome.done.quarantined
    assert len(outcome.done.cache.rows_of()) == outcome.done.images - len(outcome.done.quarantined)


def test_reasons_are_said_in_details_that_help(outcome):
    for reason, detail in outcome.check.unreadable.values():
        assert detail
        assert reason != detail


@pytest.mark.skipif(not ODD_FILES.is_dir(), reason="../shared/data/odd_files is not there")
def test_all_odd_files_of_the_field_are_decoded(tmp_path):
    for number, path in enumerate(sorted(ODD_FILES.iterdir())):
        if path.suffix != ".md":
            (tmp_path / "set" / str(number % 2)).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / str(number % 2) / path.name).symlink_to(path)
    data = open_dataset(str(tmp_path / "set"))
    done = extract(data, backbone=FakeNetwork(), image_statistics=False, output=tmp_path / "odd.h5")
    assert (done.quarantined, done.skipped) == ({}, {})
    assert done.images == len([path for path in ODD_FILES.iterdir() if path.suffix != ".md"])
    assert np.isfinite(done.cache.features(done.cache.rows_of())).all()
