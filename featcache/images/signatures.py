"""Formats of pictures: how their files begin, which of them are read, and what opens the others. No Pillow here."""

import re
from collections.abc import Mapping
from importlib.util import find_spec

READABLE: Mapping[str, bytes] = {
    "JPEG": rb"\xff\xd8\xff",  # MPO (stereo pairs, phone portraits) is a JPEG with more pictures behind it
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-6]\s",
    "AVIF": rb"....ftyp(?:avi[fs]|m[is]f1.{4,40}?avi[fs])",
}
"""Formats that Pillow reads, and how their files begin."""

WITH_PLUGIN: Mapping[str, tuple[bytes, str, str]] = {
    "HEIC": (rb"....ftyp(?:hei|hev|m[is]f1)", "pillow_heif", "heif"),
    "JPEG XL": (rb"\0\0\0\x0cJXL |\xff\x0a", "pillow_jxl", "jxl"),
}
"""Formats that are read where a module is installed: how their files begin, the module, and the extra that has it."""

_REFUSED: Mapping[str, bytes] = {
    "MP4 or QuickTime video": rb"....ftyp",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "Photoshop": rb"8BPS",
    "ICO": rb"\0\0[\1\2]\0",
    "SVG": rb"\s*(?:<\?xml.{0,500}?)?<svg",
    "PDF": rb"%PDF",
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PAM or PFM": rb"P[7fF]\s",
    "OpenEXR": rb"v/1\x01",
    "DICOM": rb".{128}DICM",
}
_PATTERNS = {**READABLE, **{name: own[0] for name, own in WITH_PLUGIN.items()}, **_REFUSED}
_NAMES = tuple(_PATTERNS)
_SIGNATURE = re.compile(b"|".join(b"(%b)" % pattern for pattern in _PATTERNS.values()), re.DOTALL)

BEGINNING = 64
"""Bytes that `picture_format` needs of a file."""

_SHORT = {"BMP": rb"BM.{4}\0\0\0\0", "PPM": rb"P[1-6]\s\s*(?:#|\d+\s+\d+\s)"}
"""Longer beginnings of the formats that plain text may begin like, too: ``BMW`` or ``P1 is``."""
_PICTURES = {**READABLE, **_SHORT, **{name: own[0] for name, own in WITH_PLUGIN.items()}}
_PICTURE = re.compile(b"|".join(b"(%b)" % pattern for pattern in _PICTURES.values()), re.DOTALL)


def format_name(data: bytes) -> str | None:
    """Return the format of an encoded image, whether it is read or not; ``None`` where it is of none that is known."""
    match = _SIGNATURE.match(data)
    return None if match is None else _NAMES[(match.lastindex or 1) - 1]


def picture_format(start: bytes) -> str | None:
    """Return the format of a file whose name says nothing; ``None`` where it does not begin as a picture does.

    Parameters
    ----------
    start
        Its first `BEGINNING` bytes.
    """
    match = _PICTURE.match(start)
    return None if match is None else tuple(_PICTURES)[(match.lastindex or 1) - 1]


def is_read(name: str) -> bool:
    """Return whether pictures of a format are read here: Pillow reads them, or what does is installed."""
    return name in READABLE or (name in WITH_PLUGIN and find_spec(WITH_PLUGIN[name][1]) is not None)


def way_out(name: str) -> str:
    """Return what a picture of a format that is not read is to be made, as the end of "convert it to …"."""
    formats = f"one of {', '.join(READABLE)}"
    if name not in WITH_PLUGIN:
        return formats
    return f"{formats}, or install what opens {name}: pip install 'featcache[{WITH_PLUGIN[name][2]}]'"
