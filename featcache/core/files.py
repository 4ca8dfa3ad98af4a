"""Positioned reads and writes, durable replacement of files, and error messages for failed system calls."""

import errno
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from featcache.errors import IntegrityError, MissingFileError, StorageError

_BINARY = getattr(os, "O_BINARY", 0)


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
        If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY | _BINARY)
        except FileNotFoundError as error:
            raise MissingFileError(f"no file {path}") from error
        except OSError as error:
            raise storage_error(error, path, "read") from error
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


def sync_file(descriptor: int) -> bool:
    """Flush a file to disk with fsync; return false where the file system does not support it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that renames survive a power cut, where the file system supports it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


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


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes of a folder's file system; ``None`` where they are unknown."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


_ELSEWHERE = "write elsewhere with --output"
_ADVICE = {
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}",
    errno.EDQUOT: f"your quota is used up: free some space, or {_ELSEWHERE}",
    errno.EFBIG: f"a limit on the size of files is in the way: raise it (ulimit -f), or {_ELSEWHERE}",
    errno.EROFS: f"the file system is read-only: {_ELSEWHERE}",
    errno.EACCES: "you may not do that with your permissions",
    errno.EPERM: "you may not do that with your permissions",
    errno.EIO: "the disk reports a failure: look at the system's log",
    errno.ESTALE: "the network file system lost the file: mount it again",
}


def storage_error(error: OSError, path: Path, verb: str = "write") -> StorageError:
    """Return a `StorageError` that names the file, the reason, the error number and what to do next."""
    if isinstance(error, StorageError):
        return error
    number = f" [errno {error.errno}, {errno.errorcode.get(error.errno, '?')}]" if error.errno else ""
    advice = _ADVICE.get(error.errno or 0, "look at the disk")
    safe = "; rows already written are safe, the same command goes on from them" if verb == "write" else ""
    reason = error.strerror or str(error)
    answer = StorageError(f"cannot {verb} {path}: {reason}{number}; {advice}{safe}")
    answer.errno = error.errno
    return answer


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file's content atomically: after a kill or a power cut it holds the old content or the new one.

    Raises
    ------
    OSError
        If it cannot be written; the old content is still there.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("wb") as stream:
            stream.write(content)
            stream.flush()
            sync_file(stream.fileno())
        os.replace(fresh, path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
