"""What a file looks like that is none of those expected: its kind, and never any of what stands in it.

It may be any file of the machine, such as one of passwords, that somebody or some data named.
"""

import re

_PAGE = rb"\s*<(!doctype|html|head|body|\?xml|error)"

CACHE = "a cache of features"
HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""

_LOOKS = (
    (rb"featcache \d+\n", CACHE),
    (rb"\x89PNG\r\n", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"RIFF....WEBP", "a WebP image"),
    (rb"version https://git-lfs", "a Git LFS pointer (run git lfs pull)"),
    (_PAGE, "a web page (a failed download?)"),
    (rb"PK[\x03\x05\x07]", "a zip archive"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed file"),
    (rb".{257}ustar", "a tar archive"),
    (HDF5, "an HDF5 file of something else"),
    (rb"\x93NUMPY", "a numpy array"),
    (rb"PAR1", "a Parquet table"),
    (rb"ARROW1", "an Arrow table"),
    (rb"%PDF", "a PDF document"),
    (rb"SQLite format 3", "a database"),
    (rb"\x7fELF|MZ", "a program"),
    (rb"\x80[\x02-\x05]", "a Python pickle"),
    (rb"\0+\Z", "zeros (a failed copy?)"),
)


def looks_like(start: bytes) -> str:
    """Return what a file seems to be.

    Parameters
    ----------
    start
        Its first bytes, some hundreds.

    Returns
    -------
    str
        Such as ``"a PNG image"``, ``"text"`` or ``"empty"``; nothing where it is not known.
    """
    if not start:
        return "empty"
    start = bytes(start[:512])
    for pattern, what in _LOOKS:
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            return what
    # Text may be cut within a character of up to four bytes.
    is_text = b"\0" not in start and len(start.decode("utf-8", "ignore").encode()) > len(start) - 4
    return "text" if is_text else ""
