"""Pictures, format by format, decoded as an extraction and as ``data check`` do."""

import io
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from featcache.errors import ImageError
from featcache.images import decoding

from ..reader import Reader, Subject

_WORDS = {
    "jpeg": (
        b"\xff\xd8\xff",
        b"\xff\xda",
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xe1\x00\x20Exif\0\0II*\0",
        b"\xff\xd9",
    ),
    "png": (
        b"IHDR",
        b"IDAT",
        b"IEND",
        b"tEXt",
        b"iCCP",
        b"eXIf",
        b"acTL",
        b"fdAT",
        b"tRNS",
        b"PLTE",
        b"zTXt",
        b"iTXt",
    ),
    "gif": (b"\x21\xf9\x04", b"\x2c", b"\x3b", b"\x21\xff\x0bNETSCAPE2.0"),
    "webp": (b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"EXIF", b"ICCP", b"ALPH"),
    "avif": (b"ftyp", b"meta", b"iloc", b"iinf", b"iprp", b"ipco", b"ispe", b"mdat", b"irot", b"imir"),
    "ppm": (b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n", b"#", b"65535", b" "),
}


def _encoded(mode: str, kind: str, size: int = 12, **options: object) -> bytes:
    values = np.random.default_rng(size).integers(0, 256, (size, size + 3, 4), np.uint8)
    picture = Image.fromarray(values, "RGBA").convert(mode)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def _jpegs() -> list[bytes]:
    return [
        _encoded("RGB", "JPEG", exif=_exif(6)),
        _encoded("L", "JPEG"),
        _encoded("CMYK", "JPEG", progressive=True, icc_profile=b"profile" * 20),
        _encoded("RGB", "JPEG", 40, progressive=True, subsampling=2),
    ]


def _pngs() -> list[bytes]:
    modes = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")
    found = [_encoded(mode, "PNG") for mode in modes if mode != "I;16"]
    grey = io.BytesIO()
    Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12) * 400).save(grey, "PNG")
    frames = [Image.new("RGB", (9, 7), (60 * n, 0, 0)) for n in range(3)]
    several = io.BytesIO()
    frames[0].save(several, "PNG", save_all=True, append_images=frames[1:])
    return [
        *found,
        grey.getvalue(),
        several.getvalue(),
        _encoded("RGB", "PNG", exif=_exif(3), icc_profile=b"x" * 99),
    ]


def _frames(kind: str) -> bytes:
    frames = [Image.new("P" if kind == "GIF" else "RGBA", (9, 7), n) for n in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:], transparency=0)
    return stream.getvalue()


def _tiffs() -> list[bytes]:
    kinds = (
        ("RGB", None),
        ("L", "tiff_lzw"),
        ("CMYK", "tiff_adobe_deflate"),
        ("RGBA", "packbits"),
        ("1", "group4"),
        ("RGB", "jpeg"),
    )
    return [
        _encoded(mode, "TIFF", **({"compression": packing} if packing else {})) for mode, packing in kinds
    ]


_SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "jpeg": _jpegs,
    "png": _pngs,
    "gif": lambda: [_encoded("P", "GIF"), _frames("GIF")],
    "webp": lambda: [
        _encoded("RGB", "WEBP"),
        _encoded("RGBA", "WEBP", lossless=True, exif=_exif(8)),
        _frames("WEBP"),
    ],
    "bmp": lambda: [_encoded(mode, "BMP") for mode in ("RGB", "L", "1", "P", "RGBA")],
    "tiff": _tiffs,
    "ppm": lambda: [
        _encoded("RGB", "PPM"),
        _encoded("L", "PPM"),
        _encoded("1", "PPM"),
        b"P3\n2 1 255\n1 2 3 4 5 6\n",
    ],
    "avif": lambda: [_encoded("RGB", "AVIF"), _encoded("RGBA", "AVIF", exif=_exif(5))],
    "heic": lambda: [_encoded("RGB", "HEIF"), _encoded("RGBA", "HEIF")],
    "jxl": lambda: [_encoded("RGB", "JXL"), _encoded("RGBA", "JXL", lossless=True)],
}
_RULES = ("white", "drop", "range=0:4095", "drop,range=10:60000")
_MOST_PIXELS = 1 << 22
"""In the place of 179 million: larger ones would take all of the fuzzer's time."""
_PLUGINS = {"heic": "pillow_heif", "jxl": "pillow_jxl"}


def _prepare(kind: str, folder: Path) -> Subject:
    if kind == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if kind == "jxl":
        import pillow_jxl  # noqa: F401 - registers itself

    decoding.MAX_PIXELS = _MOST_PIXELS

    def use(data: bytes) -> None:
        rule = _RULES[len(data) % len(_RULES)]
        for work in (
            lambda: decoding.examine(data),
            lambda: decoding.read(data, exif=("apply", "ignore")[len(data) % 2], rgb=rule),
        ):
            try:
                work()
            except ImageError as error:
                if error.reason not in decoding.QUARANTINE_REASONS:
                    raise LookupError(f"no such reason: {error.reason}") from error
                raise

    # 100 bytes a pixel: what the hungriest decoder (JPEG XL, 24) and the copies beside it take of _MOST_PIXELS.
    return Subject(_SEEDS[kind](), use, words=_WORDS.get(kind, ()), memory=100 * _MOST_PIXELS, seconds=16.0)


READERS = tuple(
    Reader(kind, partial(_prepare, kind))
    for kind in _SEEDS
    if kind not in _PLUGINS or find_spec(_PLUGINS[kind]) is not None
)
