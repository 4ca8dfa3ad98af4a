"""Small image files that ask for minutes or gigabytes, most of them made by hand."""

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


# ---- PNG


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    row: bytes,
    *extra: tuple[bytes, bytes],
    interlace: int = 0,
) -> bytes:
    """A PNG of equal rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(b"\0" + row) for _ in range(height)) + packer.flush()
    between = b"".join(chunk(name, value) for name, value in extra)
    return b"\x89PNG\r\n\x1a\n" + header + between + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_with(before: bytes) -> bytes:
    """A small PNG with more chunks before its pixels."""
    plain = png(8, 8, 8, 2, bytes(24))
    return plain[:33] + before + plain[33:]


def profiles(count: int) -> bytes:
    return png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**20 - 10), 9)) * count)


def texts(count: int) -> bytes:
    """Texts that are no UTF-8: Pillow does not count their bytes."""
    return png_with(chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(b"\xff" * (2**20 - 10), 9)) * count)


def tiny_chunks(count: int) -> bytes:
    return png_with(chunk(b"gAMA", b"\0\0\0\1") * count)


def tiny_idat(count: int) -> bytes:
    plain = png(8, 8, 8, 2, bytes(24))
    end = plain.index(b"IDAT") - 4
    return plain[:end] + chunk(b"IDAT", b"") * count + plain[end:]


# ---- JPEG


def segments(marker: int, body: bytes, count: int) -> bytes:
    plain = encode(Image.new("RGB", (8, 8)), "JPEG")
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body
    return plain[:2] + segment * count + plain[2:]


def junk(count: int) -> bytes:
    plain = encode(Image.new("RGB", (8, 8)), "JPEG")
    return plain[:20] + b"\0" * count + plain[20:]


def scans(width: int, height: int, count: int) -> bytes:
    """A progressive JPEG whose last scan is there `count` times more."""
    plain = encode(Image.new("L", (width, height), 128), "JPEG", progressive=True)
    end, start = plain.rindex(b"\xff\xd9"), plain.rindex(b"\xff\xda")
    return plain[:end] + plain[start:end] * count + plain[end:]


def sequential_scans(width: int, height: int, count: int) -> bytes:
    """A baseline JPEG whose components have scans of their own, the first of them `count` times more."""
    plain = encode(Image.new("RGB", (width, height)), "JPEG", subsampling=0)
    start, end = plain.index(b"\xff\xda"), plain.rindex(b"\xff\xd9")
    one = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    body = plain[start + 14 : end]
    return plain[:start] + (one + body) * count + plain[end:]


# ---- TIFF


def tiff(tags: list[tuple[int, int, int, int]], tail: bytes = b"", *, big: bool = False) -> bytes:
    """A TIFF of one directory: tag, type, count and value or offset of each."""
    if big:
        table = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
        return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(tags)) + table + bytes(8) + tail
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(4) + tail


def grey_tiff(
    width: int, height: int, bits: int, *extra: tuple[int, int, int, int], tail: bytes = b""
) -> bytes:
    plain = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 64}
    tags = {tag: (tag, 4, 1, value) for tag, value in plain.items()} | {tag[0]: tag for tag in extra}
    return tiff([tags[tag] for tag in sorted(tags)], tail)


def overlapping_strips(count: int) -> bytes:
    """Strips that all cover nearly all of a picture of one bit a pixel."""
    offsets = b"".join(struct.pack("<I", 8 + i) for i in range(count))
    after = 8 + 2 + 12 * 9 + 4
    return grey_tiff(1000, 1001, 1, (273, 4, count, after), (278, 4, 1, 1000), tail=offsets + bytes(200_000))


def many_values(tag: int, kind: int, count: int) -> bytes:
    after = 8 + 2 + 12 * (9 if tag in (258, 273) else 10) + 4
    return grey_tiff(8, 8, 8, (tag, kind, count, after), tail=b"\1\0\0\0" * (count * (2 if kind == 5 else 1)))


def broken_tags(count: int, *, big: bool = False) -> bytes:
    """Tags whose values lie beyond the file: Pillow warns of each."""
    if big:
        return tiff([(i % 60_000 + 1000, 4, 1_000_000, 8) for i in range(count)], big=True)
    plain = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1), (273, 4, 1, 8)]
    plain += [(277, 4, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]
    return tiff(plain + [(i + 1000, 4, 1_000_000, 8) for i in range(count)], bytes(64))


def huge_tile(side: int) -> bytes:
    """One pixel in a deflated tile of `side` × `side`."""
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(bytes(side)) for _ in range(side)) + packer.flush()
    tags = [(256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)]
    tags += [(324, 8 + 2 + 12 * 10 + 4), (325, len(body))]
    return tiff([(tag, 4, 1, value) for tag, value in tags], body)


# ---- BMP, PPM, GIF


def bmp_rle(width: int, height: int, body: bytes, *, nibbles: bool = False) -> bytes:
    palette = bytes(i * k % 256 for i in range(256) for k in (1, 3, 7, 0))
    header = struct.pack(
        "<IIIHHIIIIII",
        40,
        width,
        height,
        1,
        4 if nibbles else 8,
        2 if nibbles else 1,
        len(body),
        0,
        0,
        256,
        0,
    )
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(body), 0, 0, 54 + 1024) + header + palette + body


def gif_blocks(count: int) -> bytes:
    comment = b"!\xfe" + b"\1x" * count + b"\0"
    return (
        b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + comment + b",\0\0\0\0\x08\0\x08\0\0\2\2\x84\x51\0;"
    )


# ---- WebP


def webp(width: int, height: int, *, animated: bool = True) -> bytes:
    frames = [Image.new("RGBA", (width, height), (200, 30, 90, shade)) for shade in (100, 200)]
    options = {"save_all": True, "append_images": frames[1:]} if animated else {}
    return encode(frames[0], "WEBP", lossless=True, quality=0, method=0, **options)


def webp_header(width: int, height: int) -> bytes:
    """A lossless WebP whose pixels are missing."""
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(9)
    image = b"VP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(image)) + b"WEBP" + image


TOO_MUCH_WORK: dict[str, Callable[[], bytes]] = {
    "PNG of 1,200 compressed profiles": lambda: profiles(1200),
    "PNG of 1,200 compressed texts": lambda: texts(1200),
    "PNG of 170,000 tiny chunks": lambda: tiny_chunks(170_000),
    "JPEG of 300,000 comments": lambda: segments(0xFE, b"", 300_000),
    "JPEG of 30,000 EXIF segments": lambda: segments(0xE1, b"Exif\0\0" + bytes(44), 30_000),
    "JPEG of 2 MB of junk": lambda: junk(2_000_000),
    "JPEG of 406 scans": lambda: scans(3400, 3400, 400),
    "JPEG of 98 scans of 42 megapixels": lambda: scans(6500, 6500, 92),
    "JPEG of 150 scans one by one": lambda: sequential_scans(3000, 3000, 150),
    "TIFF of 300,000 fractions": lambda: many_values(282, 5, 300_000),
    "TIFF of 600,000 strips": lambda: many_values(273, 4, 600_000),
    "TIFF of 2,000 overlapping strips": lambda: overlapping_strips(2000),
    "TIFF of 100,000 broken tags": lambda: broken_tags(100_000, big=True),
    "PPM of 26 MB of plain text": lambda: b"P3 4000 4000 255\n" + b"7 " * 13_000_000,
    "PPM of 600,000 comments": lambda: b"P3 1000 1000 255\n" + b"#\n" * 600_000,
    "PPM with a comment of 2 MB": lambda: b"P6 #" + b"x" * 2_000_000 + b"\n8 8 255\n" + bytes(192),
    "BMP of 150 megapixels in lines without runs": lambda: bmp_rle(15_000, 10_000, b"\0\0" * 10_000),
    "GIF of 1.1 million blocks": lambda: gif_blocks(1_100_000),
}

TOO_MUCH_MEMORY: dict[str, Callable[[], bytes]] = {
    "WebP of 170 megapixels": lambda: webp_header(16383, 10370),
    "TIFF with a tile of 1.6 gigapixels": lambda: huge_tile(40_000),
}
