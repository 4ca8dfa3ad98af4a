"""Positioned reads and writes, and files that are replaced durably.

What is being written lies beside its place under a name of one scheme, ``.NAME.new-PID-RANDOM``: hidden, with the
process that writes it, and never the name of another writer's file, be it of a thread or of another machine. Where
an earlier folder has to be moved aside, ``old`` stands for ``new``. RANDOM ends in what stands for the machine, so that
whoever writes there next can remove what a killed process left. See `temporary_path` and `find_temporaries`.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from featcache.core.storage import storage_error, storage_errors
from featcache.errors import IntegrityError, MissingFileError

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
        with storage_errors(path, "read"):
            try:
                self.descriptor = os.open(path, os.O_RDONLY | _BINARY)
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


def sync_file(descriptor: int) -> bool:
    """Flush a file to disk with fsync; return false where the file system does not support it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return False
    return True


def sync_folder(folder: Path, *, strict: bool = False) -> None:
    """Make the names in a folder survive a power cut, where the file system can.

    Parameters
    ----------
    folder
        What holds them.
    strict
        Raise ``OSError`` if the disk fails: for what has not been published yet. After a rename there is no way
        back, and the failure is left for the next write to find.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        sync_file(descriptor)
    except OSError:
        if strict:
            raise
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


Content = bytes | Callable[[BinaryIO], object]
"""The bytes of a file, or a function that writes them to a stream."""


def temporary_path(path: Path, what: str = "new") -> Path:
    """Return an unused name beside a file or folder: of its successor, or of its predecessor (``"old"``)."""
    return path.with_name(f".{path.name}.{what}-{os.getpid()}-{secrets.token_hex(4)}{_machine()}")


@cache
def _machine() -> str:
    """Return eight hexadecimal digits for what numbers this process: the machine since it started, or a container."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # not Linux
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def find_temporaries(path: Path, what: str = "new") -> list[Path]:
    """Return what lies beside a file or folder under names of `temporary_path`: in use, or left by killed processes."""
    name = re.compile(rf"\.{re.escape(path.name)}\.{what}-[0-9]+-([0-9a-f]{{8}}){{1,2}}")
    try:
        return sorted(found for found in path.parent.iterdir() if name.fullmatch(found.name))
    except OSError:
        return []


@dataclass(frozen=True)
class Temporary:
    """What lies under a name of `temporary_path`.

    Parameters
    ----------
    path
        Where it is.
    target
        What it is to become, or was.
    what
        ``"new"`` or ``"old"``.
    pid
        The process that made it, on whatever machine.
    here
        Whether it is known to be of this machine.
    """

    path: Path
    target: Path
    what: str
    pid: int
    here: bool

    @property
    def left(self) -> bool:
        """Whether its process, if it was of this machine, is gone."""
        return not is_running(self.pid)


def list_temporaries(folder: Path) -> list[Temporary]:
    """Return everything in a folder under names of `temporary_path`, whatever it belongs to; raises ``OSError``."""
    scheme = re.compile(r"\.(.+)\.(new|old)-([0-9]{1,18})-[0-9a-f]{8}([0-9a-f]{8})?", re.DOTALL)
    return [
        Temporary(path, path.with_name(match[1]), match[2], int(match[3]), match[4] == _machine())
        for path in sorted(folder.iterdir())
        if (match := scheme.fullmatch(path.name))
    ]


def is_running(pid: int) -> bool:
    """Return whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the latter of a number that no process has
        return False
    except OSError:
        pass
    return True


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left of successors of a file or folder.

    Errors are ignored: leftovers only take space, and ``featcache cache gc`` lists them.
    """
    with suppress(OSError):
        for each in list_temporaries(path.parent):
            if each.target.name == path.name and each.what == "new" and each.here and each.left:
                with suppress(OSError):
                    shutil.rmtree(each.path) if each.path.is_dir() else each.path.unlink()


def write_durably(path: Path, content: Content) -> None:
    """Write a new file that survives a power cut once its folder is synced; raises ``OSError``."""
    with path.open("xb") as stream:
        stream.write(content) if isinstance(content, bytes) else content(stream)
        stream.flush()
        sync_file(stream.fileno())


def replace_file(path: Path, content: Content) -> None:
    """Write a file's new content: whoever is killed, or loses power, leaves the old content or the new one.

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
    fresh = temporary_path(path)
    try:
        write_durably(fresh, content)
        os.replace(fresh, path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, where they are missing, and make their names survive a power cut."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two files or folders at one blow; false where the system cannot, and nothing happened.

    Linux can, on most of its file systems (``renameat2``); there is never a moment without either name.

    Raises
    ------
    OSError
        If one of them is not there, or the file system refuses.
    """
    import ctypes

    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):  # no Linux, or its C library is older than 2018
        return False
    if rename(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(swap)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
