"""HEIC and JPEG XL, which modules beside Pillow read: each is imported when the first such picture is met.

Neither is registered with Pillow by us, and both are given no more than they need: of a JPEG XL the codestream, without
notes that may inflate, and not before its header said how large it is, as its module decodes while it opens.
"""

import struct
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from PIL import Image

from featcache.errors import ImageError
from featcache.images.signatures import WITH_PLUGIN
from featcache.images.work import open_stream, too_much_work

JPEG_XL = "JPEG XL"

_CODESTREAM = b"\xff\x0a"
_HEADER = 16
"""Bytes of a codestream that hold its size for sure: 2 bits and 30 for each side, and 3."""
_MOST_BOXES = 10_000
_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def open_with_plugin(name: str, data: bytes) -> Image.Image:
    """Parse the header of a HEIC or a JPEG XL; no pixel is decoded yet.

    Raises
    ------
    ImageError
        If the module that reads it cannot be imported.
    """
    if name == JPEG_XL:
        header = Image.Image()
        header._size = jpeg_xl_size(data)  # type: ignore[attr-defined]
        header.format = JPEG_XL
        return header
    return _module("HEIC", "pillow_heif").HeifImageFile(open_stream(name, data), "")


def decode_jpeg_xl(header: Image.Image, data: bytes) -> Image.Image:
    """Return the pixels of a JPEG XL upright, as the decoder turns them; its EXIF says nothing of that by the standard.

    Parameters
    ----------
    header
        Of `open_with_plugin`.
    data
        The encoded image.

    Raises
    ------
    ImageError
        If the module that reads it cannot be imported.
    ValueError
        If it cannot be decoded.
    """
    plugin = _module(JPEG_XL, "pillow_jxl.JpegXLImagePlugin")
    try:
        image = plugin.JXLImageFile(open_stream(JPEG_XL, codestream(data)), "")
        image.load()
    except Exception:
        raise
    except BaseException as error:  # a panic of Rust is none of Python's exceptions
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("its header or pixels make no sense") from error
    if sorted(image.size) != sorted(header.size):  # its sides may be swapped: it is upright
        raise ValueError("its header names another size")
    image.info.clear()
    return image


def _module(name: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImageError(
            "unsupported format",
            f"{name}; {WITH_PLUGIN[name][1]} is installed and cannot be imported ({error}); install it again: pip "
            f"install --force-reinstall 'featcache[{WITH_PLUGIN[name][2]}]'",
        ) from error


# JPEG XL ------------------------------------------------------------------------------------------------------


def codestream(data: bytes) -> bytes:
    """Return what a JPEG XL file decodes to a picture, without the boxes around it (ISO/IEC 18181-2)."""
    return bytes(data) if data[:2] == _CODESTREAM else b"".join(_parts(data))


def _parts(data: bytes) -> Iterator[bytes]:
    position = 0
    for _ in range(_MOST_BOXES):
        if position + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            if start + 8 > len(data):
                return
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = position + size if size else len(data)
        if end < start:
            return
        if kind in (b"jxlc", b"jxlp"):  # the latter are parts, each behind its number
            yield bytes(data[start + 4 * (kind == b"jxlp") : end])
        position = end
    raise too_much_work(JPEG_XL, "too many parts")


def jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Return width and height as the header of a JPEG XL states them (ISO/IEC 18181-1, D.2), before it is turned.

    Raises
    ------
    ValueError
        If there is no such header.
    """
    start = codestream(data[: 2 + _HEADER] if data[:2] == _CODESTREAM else data)[: 2 + _HEADER]
    if start[:2] != _CODESTREAM:
        raise ValueError("truncated: no codestream")
    bits = _Bits(int.from_bytes(start[2:], "little"))
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return _side(bits, small), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


class _Bits:
    """Bits of a number, the lowest first."""

    def __init__(self, number: int) -> None:
        self.number = number

    def take(self, count: int) -> int:
        value = self.number & ((1 << count) - 1)
        self.number >>= count
        return value


def _side(bits: _Bits, small: int) -> int:
    return 8 * (1 + bits.take(5)) if small else 1 + bits.take(_BITS[bits.take(2)])
