"""Files whose names have no extension: whether they begin as a picture does."""

import os

from featcache.core.disk.names import open_regular_file
from featcache.images.signatures import BEGINNING, picture_format


def format_without_extension(path: str) -> str | None:
    """Return the format of a picture whose name has no extension, by its first bytes.

    ``None`` of a file with an extension, which is not opened, and of one that cannot be read or is no picture.
    """
    if os.path.splitext(path)[1]:
        return None
    try:
        descriptor, _ = open_regular_file(path)
    except OSError:
        return None
    try:
        return picture_format(os.read(descriptor, BEGINNING))
    except OSError:
        return None
    finally:
        os.close(descriptor)
