"""Positioned reads and writes, and files that are replaced durably.

What is being written lies beside its place under a temporary name: see `featcache.core.disk.temporaries`.
"""

import errno
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from featcache.core.disk.names import FOLDER, open_regular_file, require_free, resolved
from featcache.core.disk.storage import ELSEWHERE, storage_error, storage_errors
from featcache.core.disk.syncing import sync_file, sync_name
from featcache.core.disk.temporaries import held_file, remove_leftovers
from featcache.errors import IntegrityError, MissingFileError, StorageError


class PinnedFile:
    """A file open for reading that stays the same file when its path is later replaced.

    Reads are positioned: they share no state, so threads and forked processes may use one object. They go
    through ``pread`` and not through a memory map, because a file that another program shortens would end the
    process with SIGBUS.

    Parameters
    ----------
    path
        A regular file.

    Raises
    ------
    StorageError
        If it cannot be opened, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path, "read"):
            try:
                self.descriptor, _ = open_regular_file(path)
            except FileNotFoundError as error:
                raise MissingFileError(f"no file {path}") from error
        self._close = weakref.finalize(self, os.close, self.descriptor)

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self.descriptor).st_size

    def read_into(self, values: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes at `offset`.

        Raises
        ------
        IntegrityError
            If the file ends before the array is full.
        StorageError
            If the disk fails.
        """
        self._read(values.reshape(-1).view(np.uint8).data, offset)

    def read_runs(self, values: np.ndarray, runs: Sequence[tuple[int, int, int]]) -> None:
        """Fill ``values[first:last]`` with the bytes at `offset`, for each (first, last, offset)."""
        view = values.reshape(-1).view(np.uint8).data
        size = len(view) // max(1, len(values))
        for first, last, offset in runs:
            self._read(view[first * size : last * size], offset)

    def _read(self, view: memoryview, offset: int) -> None:
        while view:
            try:
                count = os.preadv(self.descriptor, [view], offset)
            except OSError as error:
                raise storage_error(error, self.path, "read") from error
            if not count:
                raise IntegrityError(f"{self.path} became shorter while it was open: it was truncated")
            view, offset = view[count:], offset + count

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._close()

    def __enter__(self) -> "PinnedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def write_at(descriptor: int, values: np.ndarray, offset: int) -> None:
    """Write all of an array's bytes at `offset`; short writes are continued."""
    view = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def reserve(descriptor: int, size: int) -> None:
    """Allocate `size` bytes on the disk now, where the file system supports it, so that later writes find space."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # not on macOS and Windows
        os.truncate(descriptor, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.truncate(descriptor, size)


Content = bytes | Callable[[BinaryIO], object]
"""The bytes of a file, or a function that writes them to a stream."""


def write_durably(path: Path, content: Content) -> None:
    """Write a new file that survives a power cut once its folder is synced; raises ``OSError``."""
    with path.open("xb") as stream:
        _write_all(stream, content)


def _write_all(stream: BinaryIO, content: Content) -> None:
    stream.write(content) if isinstance(content, bytes) else content(stream)
    stream.flush()
    sync_file(stream.fileno())


def replace_file(path: Path, content: Content) -> None:
    """Write a file's new content: whoever is killed, or loses power, leaves the old content or the new one.

    What an earlier writer left half written is removed first.

    Parameters
    ----------
    path
        The file; its folder is there.
    content
        Its bytes, or a function that writes them to a stream; what that raises is passed on.

    Raises
    ------
    OSError
        If it cannot be written; the old content is still there, and nothing beside it. See `storage_errors`.
    """
    remove_leftovers(path)
    with held_file(path) as stream:
        try:
            _write_all(stream, content)
            os.replace(stream.name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(stream.name)
            raise
    sync_name(path)


def make_folder(folder: Path, *, elsewhere: str = ELSEWHERE) -> None:
    """Make a folder and its parents, where they are missing, and make their names survive a power cut.

    `elsewhere` is what to do where something else has one of the names.

    Raises
    ------
    StorageError
        If something else has one of the names.
    OSError
        If they cannot be made.
    """
    folder = resolved(folder)  # a link to nothing is one to the place where it is to be
    for place in (folder, *folder.parents):
        require_free(place, FOLDER, elsewhere=elsewhere, error=StorageError)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_name(place)


@contextmanager
def made_folder(folder: Path, *, elsewhere: str = ELSEWHERE) -> Iterator[None]:
    """Make a folder as `make_folder` does; where the work in it fails, those that were made and are empty go again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        make_folder(folder, elsewhere=elsewhere)
        yield
    except BaseException:
        with suppress(OSError):  # from within: a folder that holds something ends it
            for place in missing:
                place.rmdir()
        raise


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two files or folders at one blow; false where the system cannot, and nothing happened.

    Linux can, on most of its file systems (``renameat2``); there is never a moment without either name.

    Raises
    ------
    OSError
        If one of them is not there, or the file system refuses.
    """
    return _renamed(one, other, _EXCHANGE)


def give_name(source: Path, target: Path) -> None:
    """Give a file its name at one blow, unless something has that name.

    Raises
    ------
    FileExistsError
        If something has.
    OSError
        If the file system refuses; both are as they were.
    """
    if _renamed(source, target, _NO_REPLACE):
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # there are no hard links, either: whoever comes between takes the name for taken
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(source, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(target)
            raise
    else:
        with suppress(OSError):  # its own name is a temporary one
            os.unlink(source)


_NO_REPLACE, _EXCHANGE = 1, 2  # RENAME_NOREPLACE, RENAME_EXCHANGE


def _renamed(one: Path, other: Path, flags: int) -> bool:
    """Call ``renameat2``; false where the system has none, or the file system does not know the flags."""
    import ctypes

    here = -100  # AT_FDCWD
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):  # no Linux, or its C library is older than 2018
        return False
    if rename(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(flags)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
