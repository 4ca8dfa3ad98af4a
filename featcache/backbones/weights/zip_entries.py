"""The directory of a zip archive of weights, no larger than one of weights is."""

import struct
import zipfile
from typing import Any, BinaryIO

from featcache.backbones.weights.torch_pickle import MalformedError

MOST_OF_DIRECTORY = 2**21
"""Bytes of a directory: 100 or 150 for each tensor, and the networks that are known here have some hundreds.

`zipfile` takes a second and 200 MB for 10 MB of it.
"""

_INCOMPLETE = "the download is incomplete: delete it and download it again"


class _Limited:
    """A file of which `zipfile` reads only as much at once as it may: it reads a directory as a whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        if count is None or count > MOST_OF_DIRECTORY:
            raise MalformedError(
                f"its directory of entries has {count or 0:,} bytes, and at most {MOST_OF_DIRECTORY:,} are read",
                "save the weights alone, without what else the archive holds",
            )
        return self._file.read(count)


def zip_entries(file: BinaryIO) -> list[zipfile.ZipInfo]:
    """Return the entries of a zip archive.

    Parameters
    ----------
    file
        The open file.

    Raises
    ------
    MalformedError
        If it cannot be read, or the directory is larger than `MOST_OF_DIRECTORY`.
    """
    limited: Any = _Limited(file)
    try:
        with zipfile.ZipFile(limited) as archive:
            return archive.infolist()
    # The last four are what zipfile lets through on damaged bytes (NotImplementedError: a newer version).
    except (zipfile.BadZipFile, struct.error, NotImplementedError, ValueError, OSError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError("damaged or incomplete as a zip archive", _INCOMPLETE) from error
