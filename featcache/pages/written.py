"""Pages, pictures and tables written to a file that the user names."""

import os
from pathlib import Path

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import storage_errors

_ANOTHER = "name another file"


def written(content: bytes, output: str | os.PathLike[str] | None) -> bytes:
    """Write a file, if one is named; returns its content.

    Raises
    ------
    UsageError
        If something else is there.
    StorageError
        If it cannot be written.
    """
    if output is not None:
        path = Path(output)
        require_free(path, FILE, elsewhere=_ANOTHER)
        with storage_errors(path, elsewhere=_ANOTHER, needs=len(content)):
            replace_file(path, content)
    return content
