"""Odd, damaged and hostile files: pixels against independent compositions, failures by their texts."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from featcache.errors import ImageError
from featcache.images import decoding
from featcache.images.decoding import MAX_PIXELS, QUARANTINE_REASONS
from featcache.images.resizing import decode, prepare
from featcache.images.signatures import READABLE
from featcache.images.transforms import Transforms

# Pillow warns about broken tag tables; no thread-safe way to silence that exists before Python 3.14.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

ODD_FILES = Path(__file__).parents[3] / "shared" / "data" / "odd_files"
ORIENTATION = 0x0112


def make(**changes) -> Transforms:
    values = {"input_size": (24, 24), "crop_mode": "center", "interpolation": "bilinear"}
    return Transforms(**values | {"mean": (0.5,) * 3, "std": (0.5,) * 3} | changes)


PLAIN = make()


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int = 40, width: int = 56) -> Image.Image:
    y, x, c = np.ogrid[:height, :width, :3]
    return Image.fromarray((x * 3 + y * 2 + c * 40).astype(np.uint8))


def png(width, height, depth, colour, rows: list[bytes], *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand, for what Pillow itself does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    between = b"".join(chunk(name, body) for name, body in extra)
    return b"\x89PNG\r\n\x1a\n" + header + between + pixels + chunk(b"IEND", b"")


def tiff(width, height, bits, photometric, body: bytes, premultiplied: bool = False) -> bytes:
    """A one-strip grey TIFF written by hand."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1 + premultiplied), (278, height), (279, len(body))] + [(338, 1)] * premultiplied
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + table + bytes(4)
    )


# ---- the RGB rule


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


def check_transparency(data: bytes, rgb: np.ndarray, alpha: np.ndarray) -> None:
    white, drop = decode(data, make(rgb="white")), decode(data, make(rgb="drop"))
    assert white.dtype == drop.dtype == np.uint8
    # Half a level for rounding, plus what Pillow's integer division by 255 may add.
    assert np.abs(white - over_white(rgb, alpha)).max() <= 1
    np.testing.assert_array_equal(drop, rgb)


def grey3(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_rgba_is_composited_or_dropped(kind):
    pixels = noise(9, 11, 4)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(pixels), kind, **options)
    check_transparency(data, pixels[..., :3], pixels[..., 3])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha(kind):
    pixels = noise(9, 11, 2)
    check_transparency(encode(Image.fromarray(pixels), kind), grey3(pixels[..., 0]), pixels[..., 1])


def test_grey_premultiplied_by_its_alpha():
    grey, alpha = np.array([[200, 100, 0]]), np.array([[255, 128, 0]])
    body = np.stack([grey * alpha // 255, alpha], axis=-1).astype(np.uint8).tobytes()
    white = decode(tiff(3, 1, 8, 1, body, premultiplied=True), PLAIN)
    assert np.abs(white - over_white(grey3(grey), alpha)).max() <= 2  # two divisions by the alpha


def paletted() -> tuple[Image.Image, np.ndarray, np.ndarray]:
    palette, index = noise(16, 3, seed=1), noise(9, 11) % 16
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    return image, palette[index], index


@pytest.mark.parametrize("several", [True, False])
def test_palette_with_transparency(several):
    image, rgb, index = paletted()
    alphas = np.arange(16, dtype=np.uint8) * 17 if several else np.where(np.arange(16) == 3, 0, 255)
    data = encode(image, "PNG", transparency=alphas.astype(np.uint8).tobytes() if several else 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow would warn about palettes with bytes transparency
        check_transparency(data, rgb, alphas[index])


def test_palette_without_transparency_and_gif_with():
    image, rgb, index = paletted()
    np.testing.assert_array_equal(decode(encode(image, "PNG"), PLAIN), rgb)
    data = encode(image, "GIF", transparency=5, optimize=False)
    check_transparency(data, rgb, np.where(index == 5, 0, 255))


def test_one_transparent_colour_of_grey_and_rgb():
    grey = noise(9, 11) // 64 * 64
    data = encode(Image.fromarray(grey), "PNG", transparency=64)
    check_transparency(data, grey3(grey), np.where(grey == 64, 0, 255))
    rgb = grey3(grey)
    data = encode(Image.fromarray(rgb), "PNG", transparency=(64, 64, 64))
    check_transparency(data, rgb, np.where(grey == 64, 0, 255))


def test_grey_is_replicated_and_one_bit_is_0_or_255():
    grey = noise(9, 11)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(grey), "PNG"), PLAIN), grey3(grey))
    bits = grey > 127
    for kind in ("PNG", "TIFF", "PPM", "BMP"):
        data = encode(Image.fromarray(bits), kind)
        np.testing.assert_array_equal(decode(data, PLAIN), grey3(bits * np.uint8(255)))


def test_cmyk_and_lab_go_through_pillow():
    cmyk = smooth().convert("CMYK")
    for kind, options in (("JPEG", {"quality": 95}), ("TIFF", {})):
        data = encode(cmyk, kind, **options)
        with Image.open(io.BytesIO(data)) as image:
            assert image.mode == "CMYK"
            np.testing.assert_array_equal(decode(data, PLAIN), np.asarray(image.convert("RGB")))
    assert np.abs(decode(encode(cmyk, "TIFF"), PLAIN).astype(int) - np.asarray(smooth())).max() <= 1
    lab = Image.merge("LAB", [Image.new("L", (3, 2), value) for value in (255, 128, 128)])
    assert decode(encode(lab, "TIFF"), PLAIN).min() >= 253  # the lightest grey of LAB is white


SIXTEEN = np.array([[0, 1, 128, 129, 257], [32767, 32768, 40000, 65406, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    expected = np.round(SIXTEEN / 257).astype(np.uint8)
    if kind == "big-endian TIFF":
        body = SIXTEEN.astype(">u2").tobytes()
        data = tiff(5, 2, 16, 1, body)
        swapped = b"MM\0*" + struct.pack(">I", 8 + len(body)) + body + struct.pack(">H", 9)
        table = data[8 + len(body) + 2 :]
        entries = [struct.unpack_from("<HHII", table, 12 * i) for i in range(9)]
        data = swapped + b"".join(struct.pack(">HHII", *entry) for entry in entries) + bytes(4)
    elif kind == "PPM":
        data = b"P5 5 2 65535\n" + SIXTEEN.astype(">u2").tobytes()
    else:
        data = encode(Image.fromarray(SIXTEEN), kind)
    np.testing.assert_array_equal(decode(data, PLAIN), grey3(expected))


def test_sixteen_bit_grey_with_a_transparent_value():
    rows = [row.astype(">u2").tobytes() for row in SIXTEEN]
    data = png(5, 2, 16, 0, rows, (b"tRNS", struct.pack(">H", 32767)))
    check_transparency(data, grey3(np.round(SIXTEEN / 257)), np.where(SIXTEEN == 32767, 0, 255))


def test_sixteen_bit_colour_is_colour():
    rgb = np.array([[[0, 40000, 65535], [65535, 257, 512]]], np.uint16)
    ours = decode(png(2, 1, 16, 2, [rgb.astype(">u2").tobytes()]), PLAIN)
    assert np.abs(ours - rgb / 257).max() <= 1  # Pillow keeps the high byte


def test_twelve_bits_and_white_is_zero():
    twelve = bytes([0xFF, 0xF0, 0x00, 0x80, 0x00, 0x00])  # 4095, 0, 2048, 0
    np.testing.assert_array_equal(decode(tiff(4, 1, 12, 1, twelve), PLAIN)[0, :, 0], [255, 0, 128, 0])
    inverted = tiff(2, 1, 16, 0, struct.pack("<2H", 0, 65535))
    np.testing.assert_array_equal(decode(inverted, PLAIN)[0, :, 0], [255, 0])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_pixels_are_refused(dtype):
    data = encode(Image.fromarray(np.ones((3, 4), dtype)), "TIFF")
    with pytest.raises(
        ImageError, match=r"unsupported pixels: [IF] TIFF of 32 bits; convert it to 8 or 16 bits"
    ):
        decode(data, PLAIN)


# ---- frames, shapes, names


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_is_taken(kind):
    red, blue = (Image.new("RGB", (9, 7), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(red, kind, save_all=True, append_images=[blue], **options)
    np.testing.assert_array_equal(decode(data, PLAIN), np.asarray(red))


def test_mpo_is_read_as_its_first_picture():
    data = encode(smooth(), "MPO", save_all=True, append_images=[smooth(20, 20)], quality=95)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "MPO"
    np.testing.assert_array_equal(decode(data, PLAIN), decode(encode(smooth(), "JPEG", quality=95), PLAIN))


@pytest.mark.parametrize("kind", READABLE)
def test_every_readable_format_is_read(kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow lacks {kind}")
    assert np.abs(decode(encode(smooth(), kind), PLAIN).astype(int) - np.asarray(smooth())).mean() < 9
    assert prepare(encode(smooth(), kind), PLAIN).shape == (24, 24, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_extreme_shapes(size):
    data = encode(Image.new("RGB", size, (10, 200, 30)), "PNG")
    assert decode(data, PLAIN).shape == (size[1], size[0], 3)
    for mode in ("center", "squash"):
        np.testing.assert_array_equal(
            prepare(data, make(crop_mode=mode)), np.full((24, 24, 3), (10, 200, 30))
        )
    assert prepare(data, make(crop_mode="crop_or_pad")).shape == (24, 24, 3)


def test_jpeg_pixels_are_pillows_and_views_of_bytes_do():
    data = encode(smooth(300, 400), "JPEG", quality=80, progressive=True)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image)
    for given_bytes in (data, bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(decode(given_bytes, PLAIN), expected)


def test_threads_read_the_same():
    files = [encode(Image.fromarray(noise(50, 60, 3, seed=i)), "JPEG") for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda data: prepare(data, PLAIN), files))
    for data, array in zip(files, together, strict=True):
        np.testing.assert_array_equal(array, prepare(data, PLAIN))


# ---- EXIF


def with_orientation(image: Image.Image, value: object, kind: str, **options) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return encode(image, kind, exif=exif, **options)


UNDO = {  # orientation -> what was done to the upright picture when it was stored
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_every_orientation_comes_out_upright(orientation, kind):
    upright = np.asarray(smooth(16, 24))
    stored = Image.fromarray(np.ascontiguousarray(UNDO[orientation](upright)))
    options = {"PNG": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}[kind]
    data = with_orientation(stored, orientation, kind, **options)
    tolerance = 3 if kind == "JPEG" else 0
    assert np.abs(decode(data, PLAIN).astype(int) - upright).max() <= tolerance
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data, make(exif="ignore")), np.asarray(image))
        np.testing.assert_array_equal(decode(data, PLAIN), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_a_tiff_is_always_upright(exif):
    upright = np.asarray(smooth(16, 24))
    data = encode(Image.fromarray(np.ascontiguousarray(UNDO[6](upright))), "TIFF", tiffinfo={ORIENTATION: 6})
    np.testing.assert_array_equal(decode(data, make(exif=exif)), upright)


BROKEN_EXIF = {
    "noise": b"Exif\0\0" + noise(200).tobytes(),
    "empty": b"Exif\0\0",
    "table beyond the end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "table cut off": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0",
    "orientation 99": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    "orientation as text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", BROKEN_EXIF)
def test_broken_exif_keeps_the_picture_as_it_is(name, kind):
    plain = encode(smooth(), kind)
    data = encode(smooth(), kind, exif=BROKEN_EXIF[name])
    assert BROKEN_EXIF[name][6:] in data
    np.testing.assert_array_equal(decode(data, PLAIN), decode(plain, PLAIN))


def test_a_readable_orientation_beside_a_broken_tag_still_counts():
    # A date stored as a fraction: ImageOps.exif_transpose fails when it writes that back (Pillow 13).
    entries = struct.pack("<HHII", ORIENTATION, 3, 1, 6) + struct.pack("<HHII", 0x0132, 5, 1, 38)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4) + struct.pack("<II", 1, 2)
    assert decode(encode(smooth(16, 24), "JPEG", exif=exif), PLAIN).shape == (24, 16, 3)


# ---- damage


def outcome(data: bytes) -> np.ndarray | str:
    """Pixels, or the reason; any other exception fails the test."""
    try:
        array = decode(data, PLAIN)
    except ImageError as error:
        failure = error
    else:
        assert array.dtype == np.uint8
        assert array.ndim == 3
        assert array.shape[2] == 3
        return array
    assert str(failure) == f"{failure.reason}: {failure.detail}"
    assert len(failure.detail) > 5
    assert failure.reason in QUARANTINE_REASONS
    return failure.reason


WHOLE = {
    "JPEG": encode(Image.fromarray(noise(40, 56, 3)), "JPEG"),
    "progressive JPEG": encode(Image.fromarray(noise(40, 56, 3)), "JPEG", progressive=True),
    "PNG": encode(Image.fromarray(noise(40, 56, 3)), "PNG"),
    "GIF": encode(Image.fromarray(noise(40, 56)), "GIF"),
    "BMP": encode(Image.fromarray(noise(40, 56, 3)), "BMP"),
    "WEBP": encode(Image.fromarray(noise(40, 56, 3)), "WEBP"),
    "TIFF": encode(Image.fromarray(noise(40, 56, 3)), "TIFF", compression="tiff_lzw"),
    "PPM": encode(Image.fromarray(noise(40, 56, 3)), "PPM"),
}
if features.check("avif"):
    WHOLE["AVIF"] = encode(Image.fromarray(noise(40, 56, 3)), "AVIF")


@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_files_are_refused_at_every_length(kind):
    whole = WHOLE[kind]
    expected = decode(whole, PLAIN)
    allowed = {"truncated"} if "JPEG" in kind or kind == "PNG" else {"truncated", "damaged"}
    for length in {*range(16, len(whole), max(1, len(whole) // 150)), *range(len(whole) - 30, len(whole))}:
        found = outcome(whole[:length])
        if isinstance(found, np.ndarray):  # only the end marker is missing: every pixel is there
            assert length > len(whole) - 30
            np.testing.assert_array_equal(found, expected)
        else:
            assert found in allowed


def test_truncation_is_called_by_its_name():
    with pytest.raises(ImageError, match=r"truncated: JPEG of 900 bytes: image file is truncated"):
        decode(WHOLE["JPEG"][:900], PLAIN)
    for kind in ("GIF", "BMP", "WEBP", "TIFF", "PPM"):
        half = WHOLE[kind][: len(WHOLE[kind]) // 2]
        with pytest.raises(ImageError, match=f"^truncated: {kind} of {len(half)} bytes: "):
            prepare(half, PLAIN)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "^empty file: 0 bytes; copy or download it again"),
        (
            b"<!DOCTYPE html><html>404</html>",
            r"^not an image: a web page \(a failed download\?\); copy or download it again$",
        ),
        (b"\n <HTML>", "a web page"),
        (b"id,label\n1,cat\n", r"^not an image: text; copy or download it again$"),
        ("Füchse".encode()[:2] * 300, "^not an image: no known image format; copy"),
        (bytes(5000), r"^not an image: zeros \(a failed copy\?\); copy"),
        (b"\xff", "^not an image"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "^unsupported format: HEIC; convert it to one of JPEG, PNG"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "^unsupported format: HEIC"),
        (b"\0\0\0\x1cftypisom\0\0\0\0isomiso2", "^unsupported format: MP4 or QuickTime video"),
        (b"8BPS\0\1", "^unsupported format: Photoshop"),
        (b'<?xml version="1.0"?>\n<svg xmlns="">', "^unsupported format: SVG"),
        (b"%PDF-1.7", "^unsupported format: PDF"),
        (bytes(128) + b"DICM", "^unsupported format: DICOM"),
        (b"BMW, a car\n", "^damaged: BMP of 11 bytes: |^truncated: BMP of 11 bytes: "),
    ],
)
def test_what_is_no_readable_image_is_named(data, text, without_plugins):
    with pytest.raises(ImageError, match=text):
        decode(data, PLAIN)


SECRET = b"hunter2"


@pytest.mark.parametrize(
    "before", [b"", b"P3 ", b"P1\n", b"P6 9 ", b"P5 1 1 ", b"P2 2 2 255\n", b"BM", b"GIF89a"]
)
def test_nothing_of_what_is_no_image_is_told(before):
    for data in (before + SECRET, before + SECRET * 90, before + b" " + SECRET + b" 12 "):
        with pytest.raises(ImageError) as told:
            decode(data, PLAIN)
        assert "unter" not in f"{told.value} {told.value.args}"


@pytest.mark.parametrize(("kind", "name"), [("ICO", "ICO"), ("JPEG2000", "JPEG 2000"), ("EPS", "PostScript")])
def test_formats_that_pillow_could_read_but_we_do_not(kind, name):
    with pytest.raises(ImageError, match=f"^unsupported format: {name}; convert it"):
        decode(encode(smooth(), kind), PLAIN)


def test_a_format_that_this_pillow_lacks_is_unsupported(monkeypatch):
    Image.init()
    data = encode(smooth(), "WEBP")
    monkeypatch.setitem(
        Image.OPEN, "WEBP", (Image.OPEN["WEBP"][0], lambda prefix: "WEBP support not installed")
    )
    with pytest.raises(ImageError, match="unsupported format: this Pillow was built without WEBP"):
        decode(data, PLAIN)
    monkeypatch.delitem(Image.OPEN, "WEBP")
    with pytest.raises(ImageError, match="built without WEBP; install a full wheel"):
        decode(data, PLAIN)


def test_bombs_are_refused_before_decoding():
    bomb = png(60_000, 60_000, 8, 2, [b""])
    with pytest.raises(
        ImageError, match=r"^too many pixels: 60000×60000, at most 178,956,970 are read; shrink"
    ):
        decode(bomb, PLAIN)
    with Image.open(io.BytesIO(png(1, 1, 8, 0, [b"\0"]))):
        assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_large_pictures_raise_no_bomb_warning():
    # Between Pillow's warning and its error: read, and here found to hold no pixels.
    large = png(10_000, 9_000, 1, 0, [b""])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outcome(large) == "truncated"


def test_pillows_own_bomb_error_does_not_escape(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # a user's own limit; WEBP and GIF check it themselves
    assert outcome(WHOLE["WEBP"]) == "too many pixels"


def test_running_out_of_memory_is_a_reason(monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setitem(Image.OPEN, "PNG", (exhausted, None))
    with pytest.raises(ImageError, match=r"^out of memory: PNG of \d+ bytes: MemoryError"):
        decode(WHOLE["PNG"], PLAIN)


SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBPVP8 ", b"GIF89a", b"BM", b"II*\0"]
SIGNATURES += [b"MM\0*", b"P5 ", b"P3\n", b"\0\0\0\x1cftypavif", b""]


@given(st.sampled_from(SIGNATURES), st.binary(max_size=300))
@settings(max_examples=400, deadline=None)
def test_no_other_exception_for_random_bytes(signature, rest):
    with mock.patch.object(decoding, "MAX_PIXELS", 10**6):
        outcome(signature + rest)


@pytest.mark.parametrize("kind", WHOLE)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_other_exception_for_flipped_bytes(kind, flips):
    data = bytearray(WHOLE[kind])
    for place, mask in flips:
        # The square favours the header, where the fields are that lead decoders astray.
        data[int(place * place * len(data))] ^= mask
    with mock.patch.object(decoding, "MAX_PIXELS", 10**6):
        outcome(bytes(data))


def test_reasons_keep_their_numbers():
    # The index + 1 stands in cache files: this list may only grow at its end.
    assert QUARANTINE_REASONS[:15] == (
        "empty file",
        "not an image",
        "unsupported format",
        "unsupported pixels",
        "too many pixels",
        "truncated",
        "damaged",
        "unreadable file",
        "changed during extraction",
        "out of memory",
        "too many bytes",
        "too much memory",
        "too much work",
        "not a regular file",
        "outside the dataset",
    )


@pytest.mark.skipif(not ODD_FILES.is_dir(), reason="../shared/data/odd_files is not there")
def test_every_odd_file_of_the_field_decodes():
    files = [path for path in sorted(ODD_FILES.iterdir()) if path.suffix != ".md"]
    assert files
    for path in files:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            assert decode(data, PLAIN).shape == (upright.height, upright.width, 3), path.name
        assert prepare(data, PLAIN).shape == (24, 24, 3), path.name
