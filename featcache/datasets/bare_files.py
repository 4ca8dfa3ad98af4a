"""Files whose names do not tell an image that is read: whether they begin as one does."""

import os

from featcache.core.disk.names import open_regular_file
from featcache.images.names import unread_format
from featcache.images.signatures import BEGINNING, picture_format

_BEGIN_AS_TIFF = frozenset({"camera RAW", "DICOM"})
"""Formats whose files may begin as a TIFF does, and whose picture a reader of TIFF does not show."""


def format_by_content(path: str) -> str | None:
    """Return the format of a picture by its first bytes, where its name has no extension or that of an unread format.

    ``None`` of all other files, which are not opened, and of one that cannot be read or is no picture.
    """
    named = unread_format(path)
    if named is None and os.path.splitext(path)[1]:
        return None
    try:
        descriptor, _ = open_regular_file(path)
    except OSError:
        return None
    try:
        found = picture_format(os.read(descriptor, BEGINNING))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if found == "TIFF" and named in _BEGIN_AS_TIFF else found
