"""Pages and pictures as files: at once or not at all, and never in the place of a folder or a device."""

import os
from pathlib import Path

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import storage_errors

ANOTHER_FILE = "name another file"
"""What to do where a file cannot be written."""


def written(content: bytes, output: str | os.PathLike[str] | None) -> bytes:
    """Write a page or a picture, if a file is named, which is replaced where it is there; returns its content.

    Parameters
    ----------
    content
        What the file is to hold.
    output
        Where; its folder is there.

    Raises
    ------
    UsageError
        If something else than a file is there.
    StorageError
        If it cannot be written.
    """
    if output is not None:
        path = Path(output)
        require_free(path, FILE, elsewhere=ANOTHER_FILE)
        with storage_errors(path, elsewhere=ANOTHER_FILE, needs=len(content)):
            replace_file(path, content)
    return content
