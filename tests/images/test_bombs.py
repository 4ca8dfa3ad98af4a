"""Files that ask for minutes or gigabytes are refused by their headers; what is just harmless is decoded as ever."""

import io
import os
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import bombs
from helpers.bombs import TOO_MUCH_MEMORY, TOO_MUCH_WORK, encode, png
from PIL import Image

from featcache.errors import ImageError
from featcache.images import decoding, limits, loading, rgb, work
from featcache.images.limits import MAX_FILE_BYTES
from featcache.images.resizing import decode, prepare
from featcache.images.transforms import Transforms

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

HALF = (0.5, 0.5, 0.5)


def transforms(**changes) -> Transforms:
    values = {"input_size": (24, 24), "crop_mode": "center", "interpolation": "bilinear"}
    return Transforms(**values | {"mean": HALF, "std": HALF} | changes)


PLAIN = transforms()


@pytest.fixture
def strips(monkeypatch):
    """Let pictures of more than 64 pixels count as large: they are then converted in strips of a row or a few."""

    def count_as_large(pixels: int) -> None:
        for module in (decoding, loading, rgb, work):
            monkeypatch.setattr(module, "LARGE_PIXELS", pixels)

    count_as_large(64)
    return count_as_large


# ---- bombs


@pytest.mark.parametrize("name", TOO_MUCH_WORK)
def test_what_would_take_too_long_is_refused_before_it_is_decoded(name, monkeypatch):
    monkeypatch.setattr(decoding, "load_pixels", pytest.fail)
    told = r"^too much work: [A-Z]+ with .+: decoding it would take longer than 8 s; save it again with an image editor"
    with pytest.raises(ImageError, match=told):
        prepare(TOO_MUCH_WORK[name](), PLAIN)


def test_what_would_take_too_much_memory_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(decoding, "load_pixels", pytest.fail)
    with pytest.raises(
        ImageError,
        match=r"^too much memory: WEBP RGB of 16383×10370 pixels takes 2\.0 GB to decode, at most 1\.9 GB",
    ):
        prepare(TOO_MUCH_MEMORY["WebP of 170 megapixels"](), PLAIN)
    monkeypatch.setattr(work, "MAX_MEMORY", 2**25)
    with pytest.raises(
        ImageError, match=r"^too much memory: TIFF L of 1×1 pixels takes .*; shrink it, or save it as"
    ):
        prepare(bombs.huge_tile(3000), PLAIN)
    with pytest.raises(ImageError, match=r"^too much memory: WEBP RGBA of 1900×1700 pixels takes"):
        prepare(bombs.webp(1900, 1700), PLAIN)


def test_tiny_parts_behind_the_headers_are_counted_too():
    with pytest.raises(ImageError, match=r"^too much work: PNG with too many parts"):
        prepare(bombs.tiny_idat(270_000), PLAIN)


@pytest.mark.parametrize(
    "make",
    [
        lambda: bombs.scans(64, 64, 80),
        lambda: bombs.profiles(3),
        lambda: bombs.tiny_chunks(70_000),
        lambda: bombs.segments(0xE1, b"Exif\0\0" + bytes(60_000), 40),
        lambda: bombs.broken_tags(3),
        lambda: bombs.grey_tiff(
            8, 70_000, 8, (273, 4, 70_000, 122), (278, 4, 1, 1), tail=struct.pack("<I", 8) * 70_000
        ),
    ],
)
def test_what_is_below_the_limits_is_decoded(make):
    assert decode(make(), PLAIN).shape[2] == 3


def test_a_jpeg_of_many_small_scans_is_not_even_searched_for_them():
    # 500 scans of 64×64 pixels take a millisecond.
    np.testing.assert_array_equal(
        decode(bombs.scans(64, 64, 500), PLAIN), decode(bombs.scans(64, 64, 0), PLAIN)
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="memory is measured in a forked process")
@pytest.mark.parametrize("name", [*TOO_MUCH_WORK, *TOO_MUCH_MEMORY])
def test_bombs_take_no_memory(name):
    made = (TOO_MUCH_WORK | TOO_MUCH_MEMORY)[name]()
    assert grown(lambda: reason(made)) < 50e6


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["grey 16 with a transparent value", "RGBA", "palette", "WebP"])
def test_a_large_picture_takes_twice_its_pixels(mode):
    """A quarter of the most pixels that are read; the issue's ten pictures are four times as large."""
    side = 6500
    made = {
        "grey 16 with a transparent value": lambda: png(
            side, side, 16, 0, (np.arange(side) * 7 % 65536).astype(">u2").tobytes(), (b"tRNS", b"\0\7")
        ),
        "RGBA": lambda: png(side, side, 8, 6, bytes(range(256)) * (4 * side // 256) + bytes(4 * side % 256)),
        "palette": lambda: png(
            side, side, 8, 3, bytes(side), (b"PLTE", bytes(768)), (b"tRNS", bytes(range(256)))
        ),
        "WebP": lambda: bombs.webp(side, side),
    }[mode]()
    most = {"grey 16 with a transparent value": 6, "RGBA": 8, "palette": 5, "WebP": 12}[mode]
    # One byte a pixel for heaps that round up: libwebp's took 12.53.
    assert grown(lambda: prepare(made, PLAIN)) < (most + 1) * side**2


def reason(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        prepare(data, PLAIN)
    return caught.value.reason


def grown(work_: object) -> int:
    """Bytes by which a forked process grows while it calls a function."""
    import resource

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            work_()  # type: ignore[operator]
            told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        except BaseException:
            told = -1
        os.write(writing, str(told).encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = int(os.read(reading, 99))
    os.close(reading)
    os.close(writing)
    assert told >= 0
    return told * (1 if sys.platform == "darwin" else 1024)


# ---- the same pixels in strips


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[0] * 1000 + shape[1]).integers(0, 256, shape, dtype=np.uint8)


def of_mode(mode: str, width: int, height: int) -> Image.Image:
    bands = {"1": 1, "P": 1, "L": 1, "LA": 2, "PA": 2, "I;16": 2, "RGB": 3, "LAB": 3, "YCbCr": 3}.get(mode, 4)
    if mode == "1":
        return Image.fromarray(noise(height, width) > 127)
    picture = Image.frombytes(mode, (width, height), noise(height, width, bands).tobytes())
    if mode == "P":
        picture.putpalette(noise(256, 3).tobytes())
    return picture


def files(width: int, height: int):
    for mode, kind, options in (
        ("1", "PNG", {}),
        ("1", "PNG", {"transparency": 255}),
        ("L", "PNG", {"transparency": 7}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": bytes(range(256))}),
        ("P", "GIF", {"transparency": 5}),
        ("RGB", "PNG", {"transparency": (1, 2, 3)}),
        ("RGBA", "PNG", {}),
        ("RGBA", "WEBP", {"lossless": True, "exact": True}),
        ("RGB", "WEBP", {"quality": 90}),
        ("I;16", "PNG", {}),
        ("I;16", "PNG", {"transparency": 300}),
        ("I;16", "TIFF", {}),
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}),
        ("CMYK", "JPEG", {"progressive": True}),
        ("LAB", "TIFF", {}),
        ("YCbCr", "TIFF", {}),
        ("RGB", "JPEG", {}),
    ):
        exif = Image.Exif()
        exif[0x112] = 6
        turned = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}
        yield f"{mode} {kind} {options}", encode(of_mode(mode, width, height), kind, **options, **turned)
    yield "16-bit LA", png(width, height, 16, 4, noise(1, 4 * width).tobytes())
    yield "16-bit RGBA", png(width, height, 16, 6, noise(1, 8 * width).tobytes())
    grey = noise(height, 2 * width).tobytes()
    yield (
        "white is zero",
        bombs.tiff(
            [
                (tag, 4, 1, value)
                for tag, value in {
                    256: width,
                    257: height,
                    258: 16,
                    259: 1,
                    262: 0,
                    273: 122,
                    277: 1,
                    278: height,
                }.items()
            ]
            + [(279, 4, 1, len(grey))],
            grey,
        ),
    )
    premultiplied = np.sort(noise(height, width, 2), axis=2).tobytes()
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 134, 277: 2, 278: height}
    tags |= {279: len(premultiplied), 338: 1}
    yield "La", bombs.tiff([(tag, 4, 1, value) for tag, value in tags.items()], premultiplied)
    for largest, samples, size in ((65535, 3, 2), (1000, 3, 2), (100, 3, 1), (4095, 1, 2), (7, 1, 1)):
        head = b"P%d %d %d %d\n" % (6 if samples == 3 else 5, width, height, largest)
        yield f"PPM to {largest}", head + noise(height, width * samples * size).tobytes()


@pytest.mark.parametrize("size", [(9, 8), (65, 3), (37, 53), (1, 70), (200, 1)])
def test_strips_and_own_decoders_give_the_same_pixels(size, strips):
    for name, data in files(*size):
        for rule in ({"rgb": "white", "exif": "apply"}, {"rgb": "drop", "exif": "ignore"}):
            strips(2**20)
            whole = decode(data, transforms(**rule)), prepare(data, transforms(**rule))
            strips(64)
            in_strips = decode(data, transforms(**rule)), prepare(data, transforms(**rule))
            for ours, expected in zip(in_strips, whole, strict=True):
                np.testing.assert_array_equal(ours, expected, err_msg=name)
                assert not ours.flags.writeable


def test_damage_is_named_the_same_in_strips(strips):
    cut = b"P6 20 20 1000\n" + bytes(20 * 20 * 6 - 1)
    for pixels in (64, 2**20):
        strips(pixels)
        with pytest.raises(ImageError, match=r"^damaged: PPM of 2413 bytes: not enough image data"):
            decode(cut, PLAIN)
        with pytest.raises(ImageError, match=r"^(truncated|damaged): WEBP of \d+ bytes: "):
            decode(encode(of_mode("RGB", 64, 64), "WEBP")[:-500], PLAIN)


# ---- sizes of files, and memory that is shared


def test_a_sparse_file_of_terabytes_is_not_read(tmp_path):
    from featcache.datasets.file_bytes import read_regular_file

    path = tmp_path / "x.png"
    with path.open("wb") as stream:
        stream.truncate(3 * 2**40 if sys.platform == "linux" else MAX_FILE_BYTES + 1)
    with pytest.raises(
        ImageError, match=r"^too many bytes: [\d,]+ bytes, at most 536,870,912 are read; compress it"
    ):
        read_regular_file(str(path))


def test_pictures_that_do_not_fit_together_are_decoded_one_after_the_other(monkeypatch):
    data = encode(of_mode("RGB", 700, 700), "JPEG")
    monkeypatch.setattr(limits, "_SMALL_PICTURE", 0)
    monkeypatch.setattr(limits, "DECODING", limits.ByteBudget(20 * 700**2))
    inside, most, together = [], [], threading.Barrier(4)
    load = decoding.load_pixels

    def counted(image: Image.Image, given: bytes) -> Image.Image:
        inside.append(1)
        most.append(len(inside))
        loaded = load(image, given)
        inside.pop()
        return loaded

    monkeypatch.setattr(decoding, "load_pixels", counted)

    def read() -> None:
        together.wait()
        prepare(data, PLAIN)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
    assert limits.DECODING.held == 0


def test_a_picture_that_failed_holds_no_memory(monkeypatch):
    monkeypatch.setattr(limits, "_SMALL_PICTURE", 0)
    with pytest.raises(ImageError, match="truncated"):
        prepare(encode(of_mode("RGB", 60, 60), "JPEG")[:-600], PLAIN)
    assert limits.DECODING.held == 0


def test_reads_are_counted_for_large_files_only():
    assert type(work.open_stream("JPEG", bytes(2**20))) is io.BytesIO
    stream = work.open_stream("JPEG", bytes(2**20 + 1))
    for _ in range(4000):
        stream.read(1)
    with pytest.raises(ImageError, match="too much work: JPEG with too many parts"):
        stream.read(1)


def test_every_limit_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "guide" / "images.md").read_text("utf-8")
    for text in (f"{MAX_FILE_BYTES / 1e6:.0f} MB", f"{work.MAX_MEMORY / 1e9} GB", f"{work.MAX_SCANS} scans"):
        assert text in page
