"""The bytes of regular files, and of parts of them, without waiting for what is none."""

import os
from collections.abc import Callable
from functools import partial

from featcache.core.disk.names import NotRegularError, open_regular_file
from featcache.datasets.file_state import size_and_times
from featcache.errors import ImageError
from featcache.images.limits import require_readable_size


def read_regular_file(path: str) -> bytes:
    """Return a file's bytes; refuses what is no regular file, see `open_regular_file`.

    Raises
    ------
    OSError
        The file cannot be read.
    ImageError
        It is larger than any image that is read, or a FIFO, a socket or a device.
    """
    try:
        descriptor, status = open_regular_file(path)
    except NotRegularError as error:
        raise ImageError("not a regular file", str(error)) from error
    # Not through a file object: it asks the system twice as often, and between threads every question costs a turn.
    try:
        require_readable_size(status.st_size)  # a sparse file may claim terabytes
        data = os.read(descriptor, status.st_size)
        while len(data) < status.st_size and (more := os.read(descriptor, 2**24)):  # one read ends at 2 GiB
            data += more
        return data
    finally:
        os.close(descriptor)


def read_extent(path: str, offset: int, size: int, written: tuple[int, int, int] | None = None) -> bytes:
    """Return a part of a file.

    Parameters
    ----------
    path
        The file.
    offset, size
        In bytes.
    written
        Size and times of the file in which that place was found (`featcache.datasets.file_state.size_and_times`).

    Raises
    ------
    OSError
        The file cannot be read, is another one by now, or ends before.
    """
    descriptor, status = open_regular_file(path)
    cut = f"{path} ends within the image at byte {offset}: it was cut after it was indexed"
    try:
        if status.st_size < offset + size:
            raise OSError(cut)
        if written is not None and size_and_times(status) != written:
            raise OSError(f"{path} was changed after it was indexed")
        data = os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
    if len(data) != size:
        raise OSError(cut)
    return data


def file_behind(read: Callable[[], bytes]) -> str | None:
    """Return the path of the file that a record's `read` reads whole; ``None`` where the image is part of another."""
    return read.args[0] if isinstance(read, partial) and read.func is read_regular_file else None
