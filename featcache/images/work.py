"""Upper bounds of the time and the memory that decoding takes, from an image's headers, before it is decoded.

A picture of some kilobytes may ask for minutes: hundreds of scans, a million tiny chunks, strips that all cover the
whole picture. A thread that decodes cannot be stopped, so what would take longer than `MAX_SECONDS` is refused.
The rates were measured on one slow core (2.6 GHz, shared); a real photo stays far below all of these limits.
"""

import io
import re
import struct

from PIL import ExifTags, Image

from featcache.errors import ImageError
from featcache.images.limits import LARGE_PIXELS, MAX_MEMORY

MAX_SECONDS = 8

MAX_SCANS = 100
"""Scans of a JPEG. Encoders write 10 for colour and 6 for grey (libjpeg's ``jpeg_simple_progression``); libtiff refuses
more than 100, too (``LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER``). A scan of twelve bytes costs a pass over all pixels."""

MAX_SCANNED_PIXELS = 4_000_000_000
"""Pixels × scans of a JPEG: 1 to 2 ns each."""

SMALL_FILE = 2**20
"""Bytes up to which headers are not looked at: the worst that they can ask for takes 2 s."""

_READS = {"JPEG": 4_000, "PNG": 500_000, "GIF": 2_000_000, "TIFF": 50_000}
"""Reads by which Pillow may parse the headers of a larger file. A segment of a JPEG takes four, a chunk of a PNG three;
segments of EXIF are appended to each other, so that their number counts squared."""
_OTHER_READS = 100_000
_MORE_READS = 500_000

_INFLATED = 2**30
_TAGS, _RATIONALS, _NUMBERS = 10_000, 2**14, 2**19
_COMMENTS = 10_000
_MAX_EXIF = 2**24
_COVERED = 5
"""How often strips and tiles may cover the picture: four separate planes, and one for those at the edges."""

_SCAN, _COMMENT = re.compile(b"\xff\xda\0"), re.compile(b"#")
_RATIONAL_KINDS, _BYTE_KINDS = (5, 10), (1, 2, 6, 7)
_DECODERS = {"WEBP": 8, "AVIF": 12, "HEIC": 10, "JPEG XL": 24}
_IN_PYTHON = {"ppm": 8, "ppm_plain": 8, "bmp_rle": 3}
"""Decoders that Pillow has in Python, and the bytes of a pixel that they hold beside the picture."""


def too_much_work(name: str, what: str) -> ImageError:
    """Return the error for a picture whose decoding would take too long."""
    return ImageError(
        "too much work",
        f"{name} with {what}: decoding it would take longer than {MAX_SECONDS} s; save it again with an image editor",
    )


class CountedReads(io.BytesIO):
    """Bytes that can be read a limited number of times: the loops in which Pillow parses headers end."""

    left = 0
    name = ""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does; raises `ImageError` if that was asked too often."""
        self.left -= 1
        if self.left < 0:
            raise too_much_work(self.name, "too many parts")
        return super().read(size)


def open_stream(name: str, data: bytes) -> io.BytesIO:
    """Return the stream that Pillow reads an image's headers from.

    Parameters
    ----------
    name
        The format.
    data
        The encoded image.

    Raises
    ------
    ImageError
        Its headers ask for too much work, with the reason ``too much work``.
    """
    if len(data) <= SMALL_FILE:
        return io.BytesIO(data)
    if check := {"PNG": _check_chunks, "TIFF": _check_tags, "PPM": _check_text}.get(name):
        check(data)
    stream = CountedReads(data)
    stream.name, stream.left = name, _READS.get(name, _OTHER_READS)
    return stream


def _check_chunks(data: bytes) -> None:
    """Refuse a PNG whose compressed notes (profiles, texts) inflate to too much, which Pillow limits one by one."""
    position, inflated = 8, 0
    for _ in range(_READS["PNG"]):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"iCCP", b"zTXt", b"iTXt"):
            inflated += min(2**20, 1032 * length)
            if inflated > _INFLATED:
                raise too_much_work("PNG", "over 1,000 compressed profiles or texts")
        position += 12 + length


def _check_tags(data: bytes) -> None:
    """Refuse a TIFF with so many tags or values of a tag that only making Python's numbers of them would take long."""
    order = "<" if data[:1] == b"I" else ">"
    big = b"+" in data[2:4]
    start, count, entry, size = (8, "Q", "HHQ", 20) if big else (4, "I", "HHI", 12)
    try:
        (offset,) = struct.unpack_from(order + count, data, start)
        (tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
        if tags > _TAGS:
            raise too_much_work("TIFF", f"{tags:,} tags")
        first = offset + (8 if big else 2)
        for number in range(tags):
            tag, kind, values = struct.unpack_from(order + entry, data, first + size * number)
            most = _RATIONALS if kind in _RATIONAL_KINDS else _NUMBERS
            if kind not in _BYTE_KINDS and values > most:
                raise too_much_work("TIFF", f"{values:,} values of tag {tag}")
    except (struct.error, OverflowError):
        return  # Pillow says what is wrong


def _check_text(data: bytes) -> None:
    """Refuse plain text of which Pillow makes one Python number a value, or cuts each comment out of a copy."""
    if data[1:2] in b"123":
        if len(data) / 3e6 > MAX_SECONDS:
            raise too_much_work("PPM", f"{len(data):,} bytes of plain text")
        if (comments := len(_COMMENT.findall(data))) > _COMMENTS:
            raise too_much_work("PPM", f"{comments:,} comments")


def require_feasible(name: str, image: Image.Image, data: bytes, *, turn: bool, whole: bool) -> int:
    """Check an opened picture's headers, and return the bytes of memory that decoding it takes at most.

    Parameters
    ----------
    name
        The format.
    image
        What a plugin of Pillow's made of `data`; not loaded yet.
    data
        The encoded image.
    turn
        Whether the picture is turned upright.
    whole
        Whether all of its pixels are wanted as an array.

    Raises
    ------
    ImageError
        With the reason ``too much work`` or ``too much memory``.
    """
    pixels = image.width * image.height
    scans = _scans(image, data, pixels) if name == "JPEG" else 1
    _check_parts(name, image, data, pixels)
    if pixels <= LARGE_PIXELS and name != "TIFF":
        return 16 * pixels
    each = _bytes_per_pixel(image, turn=turn, whole=whole, decoder=_decoder_bytes(name, image, scans))
    # Pillow keeps a pointer to every row, of three pictures at most.
    needed = int(pixels * each) + 24 * max(image.size) + 3 * len(data) * (name == "WEBP")
    if needed > MAX_MEMORY:
        raise ImageError(
            "too much memory",
            f"{name} {image.mode} of {image.width}×{image.height} pixels takes {needed / 1e9:.1f} GB to decode, at "
            f"most {MAX_MEMORY / 1e9:.1f} GB are used; shrink it, or save it as a plain RGB image",
        )
    return needed


def _check_parts(name: str, image: Image.Image, data: bytes, pixels: int) -> None:
    """Refuse pictures in too many parts, and let the parser read as often as the others need."""
    tiles = getattr(image, "tile", ())
    codec = tiles[0][0] if tiles else ""
    if len(tiles) > 1:
        covered = sum((right - left) * (lower - upper) for _, (left, upper, right, lower), *_ in tiles)
        if covered > _COVERED * pixels:
            raise too_much_work(name, f"{len(tiles):,} strips that overlap")
    if codec == "bmp_rle" and len(data) / 6e6 + pixels / 16e6 > MAX_SECONDS:
        raise too_much_work(name, f"{image.width}×{image.height} run-length encoded pixels")
    if (size := len(image.info.get("exif") or b"")) > _MAX_EXIF:
        raise too_much_work(name, f"{size:,} bytes of EXIF")
    stream = getattr(image, "fp", None)
    if isinstance(stream, CountedReads):
        stream.left = len(data) if codec in _IN_PYTHON else _MORE_READS + 2 * len(tiles)


def _scans(image: Image.Image, data: bytes, pixels: int) -> int:
    """Return how many scans a JPEG has at most, 1 where all components are in one."""
    layers = len(image.layer)  # type: ignore[attr-defined]
    after = image.fp.tell()  # type: ignore[attr-defined]
    header = b"\xff\xda\0" + bytes((6 + 2 * layers, layers))
    together = bytes(data[after - 8 - 2 * layers : after]).startswith(header)
    if together and "progressive" not in image.info:
        return 1
    if pixels * len(data) / 12 < MAX_SCANNED_PIXELS:
        return 2
    scans = len(_SCAN.findall(data))
    if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
        raise too_much_work("JPEG", f"{scans} scans of {image.width}×{image.height} pixels")
    return max(2, scans)


def _bytes_per_pixel(image: Image.Image, *, turn: bool, whole: bool, decoder: float) -> float:
    """Return the bytes that a pixel takes at the peak: when decoded, converted, turned upright, or in an array, too."""
    stored = _stored_bytes(image)
    plain = image.mode == "RGB" and "transparency" not in image.info
    converted = stored if plain else stored + 4
    return max(stored + decoder, converted, 8 * (turn and _is_turned(image)), 7 * whole)


def _stored_bytes(image: Image.Image) -> int:
    if image.mode.startswith("I;16"):
        return 2
    return 1 if image.mode in ("1", "L", "P") else 4


def _is_turned(image: Image.Image) -> bool:
    """Return whether a picture may have to be turned; it is asked before its pixels are there, and changes nothing."""
    if (block := image.info.get("exif")) is not None:
        exif = Image.Exif()
        try:
            exif.load(block)
            if (number := exif.get(ExifTags.Base.Orientation)) is not None:
                return number != 1
        except Exception:  # an unreadable block says nothing about the pixels
            return False
    return bool(image.info.keys() & {"xmp", "XML:com.adobe.xmp", "Raw profile type exif"})


def _decoder_bytes(name: str, image: Image.Image, scans: int) -> float:
    """Return the bytes that a decoder holds for each pixel beside the picture."""
    if name == "JPEG":  # of several scans: all coefficients, 16 bits each
        factors = [across * down for _, across, down, _ in image.layer]  # type: ignore[attr-defined]
        return 2 * sum(factors) / max(factors, default=1) if scans > 1 else 0
    if name == "TIFF":
        return _libtiff_bytes(image) + _stored_bytes(image) * (_number(image, 274, 1) != 1)
    tiles = getattr(image, "tile", ())
    return _DECODERS.get(name) or _IN_PYTHON.get(tiles[0][0] if tiles else "", 0)


def _libtiff_bytes(image: Image.Image) -> float:
    """Return the bytes of libtiff's buffer, which holds a strip or a tile, for each pixel of the picture."""
    bits = image.tag_v2.get(258, 1)  # type: ignore[attr-defined]
    bits = max(32, sum(bits) if isinstance(bits, tuple) else int(bits))
    width = _number(image, 322, image.width)
    rows = _number(image, 323, 0) or min(_number(image, 278, image.height), max(image.size))
    return bits / 8 * width * rows / (image.width * image.height)


def _number(image: Image.Image, tag: int, default: int) -> int:
    value = image.tag_v2.get(tag, default)  # type: ignore[attr-defined]
    return value if isinstance(value, int) else default
