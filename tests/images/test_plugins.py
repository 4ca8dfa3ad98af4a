"""HEIC and JPEG XL against the plugins' own decoding, within the limits of every other format."""

import contextlib
import io
import random
import re
import struct

import numpy as np
import pytest
from PIL import Image

from featcache import open_dataset
from featcache.errors import ImageError
from featcache.images import decoding
from featcache.images.decoding import examine, read
from featcache.images.names import is_image_name, unread_format
from featcache.images.plugins import codestream, jpeg_xl_size

Y, X = np.mgrid[:48, :64]
PIXELS = np.stack([X * 4, Y * 5, (X + Y) * 2], -1).astype(np.uint8)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def heif():
    module = pytest.importorskip(
        "pillow_heif", reason="pillow-heif is not installed: pip install 'featcache[heif]'"
    )

    def encode(picture: Image.Image, **options) -> bytes:
        file = io.BytesIO()
        module.from_pillow(picture).save(file, **options)
        return file.getvalue()

    encode.open = module.open_heif  # type: ignore[attr-defined]
    return encode


@pytest.fixture
def jxl():
    pytest.importorskip(
        "pillow_jxl", reason="pillow-jxl-plugin is not installed: pip install 'featcache[jxl]'"
    )
    return lambda picture, **options: encoded(picture, "JXL", **options)


def upright(data: bytes, **options) -> np.ndarray:
    return read(data, **({"exif": "apply", "rgb": "white"} | options))


@pytest.mark.parametrize(
    "options", [{}, {"quality": -1}, {"quality": 30}], ids=["usual", "lossless", "coarse"]
)
def test_a_heic_is_decoded_as_its_library_does(heif, options):
    data = heif(Image.fromarray(PIXELS), **options)
    np.testing.assert_array_equal(upright(data), np.asarray(heif.open(io.BytesIO(data)).to_pillow()))
    assert np.abs(upright(data).astype(int) - PIXELS).mean() < 9
    assert (examine(data).format, examine(data).mode, examine(data).width) == ("HEIC", "RGB", 64)


def test_grey_and_transparent_heics_follow_the_rgb_rule(heif):
    grey = upright(heif(Image.fromarray(PIXELS).convert("L")))
    assert (grey[..., 0] == grey[..., 2]).all()
    clear = Image.fromarray(np.dstack([PIXELS, np.zeros((48, 64), np.uint8)]))
    assert (upright(heif(clear, quality=-1)) == 255).all()


def test_a_turned_heic_is_upright_under_both_rules(heif):
    """As a TIFF's, a HEIC's orientation is part of the format: its decoder turns it, once."""
    picture = Image.fromarray(PIXELS)
    picture.getexif()[0x112] = 6
    data = heif(picture)
    assert b"irot" in data
    for exif in ("apply", "ignore"):
        np.testing.assert_array_equal(
            upright(data, exif=exif), np.asarray(heif.open(io.BytesIO(data)).to_pillow())
        )
    assert examine(data).orientation == 1


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "use_container": True}, {}])
def test_a_jpeg_xl_is_decoded_as_its_library_does(jxl, options):
    data = jxl(Image.fromarray(PIXELS), **options)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(upright(data), np.asarray(image.convert("RGB")))
    if options:
        np.testing.assert_array_equal(upright(data), PIXELS)
    assert (examine(data).format, examine(data).mode) == ("JPEG XL", "RGB")


def test_sixteen_bits_of_a_jpeg_xl_are_scaled(jxl):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    data = jxl(Image.fromarray(values), lossless=True)
    assert examine(data).largest == 4095
    expected = np.round(values / 4095 * 255).astype(int)
    assert np.abs(upright(data, rgb="range=0:4095")[..., 0] - expected).max() <= 1


def test_folders_take_them_where_they_can_be_read(heif, tmp_path):
    for name in ("cat/1.HEIC", "dog/2.heif", "dog/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(heif(Image.fromarray(PIXELS)))
    with pytest.warns(match=r"1 file without extension \(3\) is an image"):
        found = open_dataset(str(tmp_path))
    assert [record.id for record in found.records] == ["cat/1.HEIC", "dog/2.heif", "dog/3"]
    assert not found.skipped


# Without the plugins ------------------------------------------------------------------------------------------

REFUSED = {
    "HEIC": (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "pip install 'featcache[heif]'"),
    "HEIC, generic brand": (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "pip install 'featcache[heif]'"),
    "HEIC sequence": (b"\0\0\0\x1cftyphevc\0\0\0\0mif1heic", "pip install 'featcache[heif]'"),
    "JPEG XL": (b"\xff\x0a\x7f", "pip install 'featcache[jxl]'"),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n", "pip install 'featcache[jxl]'"),
    "JPEG 2000": (b"\xff\x4f\xff\x51", "PPM, AVIF$"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_opens_them_is_named_where_it_is_missing(kind, without_plugins):
    data, way_out = REFUSED[kind]
    way_out = way_out if way_out.endswith("$") else re.escape(way_out) + "$"
    name = kind.partition(",")[0].removesuffix(" sequence").removesuffix(" in boxes")
    with pytest.raises(
        ImageError, match=f"^unsupported format: {name}; convert it to one of JPEG, .*{way_out}"
    ):
        upright(data)


def test_names_follow_what_is_installed(without_plugins):
    assert (is_image_name("a.HEIC"), unread_format("a.HEIC")) == (False, "HEIC")
    assert (is_image_name("a.jxl"), unread_format("a.jxl")) == (False, "JPEG XL")


def test_a_plugin_that_cannot_be_imported_is_an_unsupported_format(monkeypatch):
    def broken(name: str):
        raise ImportError("libheif.so.1: cannot open shared object file")

    monkeypatch.setattr(decoding, "is_read", lambda name: True)
    monkeypatch.setattr("featcache.images.plugins.import_module", broken)
    with pytest.raises(
        ImageError, match=r"^unsupported format: HEIC; pillow_heif is installed and cannot be imported"
    ):
        upright(REFUSED["HEIC"][0])


# Limits -------------------------------------------------------------------------------------------------------


def jpeg_xl_header(width: int, height: int) -> bytes:
    """The first bytes of a codestream by ISO/IEC 18181-1, D.2, every side in its longest form."""
    bits = 0 | (3 << 1) | ((height - 1) << 3) | (0 << 33) | (3 << 36) | ((width - 1) << 38)
    return b"\xff\x0a" + bits.to_bytes(16, "little")


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (70_000, 3), (2**30, 2**30)])
def test_the_size_of_a_jpeg_xl_is_in_its_header(size):
    bare = jpeg_xl_header(*size)
    assert jpeg_xl_size(bare) == size
    start = struct.pack(">I4sI", 12, b"JXL ", 0x0D0A870A)
    parts = [
        struct.pack(">I4sI", 12 + 5, b"jxlp", 0) + bare[:5],
        struct.pack(">I4sI", 0, b"jxlp", 1) + bare[5:],
    ]
    assert jpeg_xl_size(start + b"".join(parts)) == size
    assert codestream(start + struct.pack(">I4sQ", 1, b"jxlc", 16 + len(bare)) + bare) == bare


def test_sizes_of_the_library_are_read(jxl):
    for size in ((8, 8), (256, 256), (264, 100), (192, 108), (9000, 8), (1, 300), (640, 480)):
        assert jpeg_xl_size(jxl(Image.new("RGB", size))) == size


def test_bombs_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(decoding, "is_read", lambda name: True)
    with pytest.raises(ImageError, match=r"^too many pixels: 1000000×1000000, at most"):
        upright(jpeg_xl_header(1_000_000, 1_000_000))
    with pytest.raises(ImageError, match=r"^too much memory: JPEG XL .*14000×12000 pixels takes"):
        upright(jpeg_xl_header(14_000, 12_000))
    with pytest.raises(ImageError, match=r"^too much work: JPEG XL with too many parts"):
        upright(struct.pack(">I4sI", 12, b"JXL ", 0x0D0A870A) + struct.pack(">I4s", 8, b"free") * 10_001)
    with pytest.raises(ImageError, match=r"^truncated: JPEG XL of 12 bytes"):
        upright(struct.pack(">I4sI", 12, b"JXL ", 0x0D0A870A))


@pytest.mark.parametrize("kind", ["heif", "jxl"])
def test_damaged_ones_are_quarantined_whatever_is_damaged(kind, request):
    data = request.getfixturevalue(kind)(Image.fromarray(PIXELS))
    chosen = random.Random(7)
    for number in range(60):
        damaged = bytearray(data[: chosen.randrange(len(data))] if number % 3 == 0 else data)
        for _ in range(chosen.randrange(1, 5) if damaged and number % 3 else 0):
            damaged[chosen.randrange(len(damaged))] = chosen.randrange(256)
        with contextlib.suppress(ImageError):  # which has one of the known reasons, or cannot be made
            assert upright(bytes(damaged)).dtype == np.uint8
