"""What it means to a user that a disk is full, read-only or failing: the file, the reason, and what to do next."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featcache.errors import FeatcacheError, StorageError

ELSEWHERE = "write elsewhere with --output"
"""What else helps where whoever runs a command, or calls its function, chooses the place."""
OTHER_HOME = "set FEATCACHE_HOME to another folder"
"""What else helps with what featcache keeps for itself."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TAKEN = "something else has that name: move it away"
_FORBIDDEN = "your permissions do not allow that: have them changed"
_UNSUPPORTED = "the file system there cannot do that, as some of network, cloud and FAT disks cannot"
_DAMAGED = "the file system is damaged: have it checked (fsck)"
_ON_LINUX = {
    "EUCLEAN": _DAMAGED,
    "ENOMEDIUM": "there is no disk in the drive",
    "EREMOTEIO": "the network file system reports a failure: look at the system's log",
}
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "your quota is used up: free some space",
    errno.EFBIG: "a limit on the size of files is in the way: raise it (ulimit -f)",
    errno.EROFS: "the file system is read-only: mount it for writing",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EIO: "the disk reports a failure: look at the system's log",
    errno.ESTALE: "the network file system lost the file: mount it again",
    errno.ENOENT: "a part of that path is missing: check it, or make the folder",
    errno.ENOTDIR: _TAKEN,
    errno.EISDIR: _TAKEN,
    errno.EEXIST: _TAKEN,
    errno.ENOTEMPTY: _TAKEN,
    errno.ELOOP: "a link leads back to itself: remove it",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTCONN: "the server or program behind that file system is gone: mount it again",
    errno.ENODEV: "the device behind that is gone: look whether it is plugged in and mounted",
    errno.ENXIO: "the device behind that is gone: look whether it is plugged in and mounted",
    errno.EBUSY: "another program is using it: wait for it, or end it",
    errno.ETXTBSY: "another program is using it: wait for it, or end it",
    errno.EINVAL: _UNSUPPORTED,
    errno.ENOSYS: _UNSUPPORTED,
    errno.EOPNOTSUPP: _UNSUPPORTED,
    errno.ENOLCK: _UNSUPPORTED,
    errno.EMLINK: "there are too many links to it, or folders in it: remove some",
    errno.EBADMSG: _DAMAGED,
    errno.EILSEQ: "the file system takes no such characters: choose another name",
}
_ADVICE.update({getattr(errno, name): text for name, text in _ON_LINUX.items() if hasattr(errno, name)})
_ADVICE_ABOUT_THE_PROCESS = {
    errno.EMFILE: "too many files are open: close some, or raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open: close some programs",
    errno.ENOMEM: "memory has run out: close other programs",
    errno.EINTR: "a signal came in between: run the same command again",
}
"""Of failures that another place would not help against."""


def is_full(error: OSError) -> bool:
    """Return whether the disk, or the user's share of it, has no room left."""
    return error.errno in _FULL


def is_of_storage(error: OSError) -> bool:
    """Return whether an error is of a file or its disk, and not of a network connection, say."""
    return error.errno in _ADVICE or error.errno in _ADVICE_ABOUT_THE_PROCESS


def storage_error(
    error: OSError,
    path: Path,
    verb: str = "write",
    *,
    elsewhere: str = "",
    needs: int | None = None,
    kept: str = "",
) -> StorageError:
    """Return a `StorageError` that names the file, the reason, the error number and what to do next.

    Parameters
    ----------
    error
        What the operating system said; a `StorageError` is returned as it is.
    path, verb
        The file, and what could not be done to it.
    elsewhere
        What else helps than to mend this place, such as `ELSEWHERE`; nothing where the place is not chosen.
    needs
        Bytes that were to be written, where they are known: said where the disk is full.
    kept
        What is not lost by the failure.
    """
    if isinstance(error, StorageError):
        return error
    number = f" [errno {error.errno}, {errno.errorcode.get(error.errno, '?')}]" if error.errno else ""
    advice = _ADVICE_ABOUT_THE_PROCESS.get(error.errno or 0)
    if advice is None:
        room = _room(path, needs) if error.errno == errno.ENOSPC else ""
        other = f", or {elsewhere}" if elsewhere else ""
        advice = f"{_ADVICE.get(error.errno or 0, 'look at the disk')}{room}{other}"
    reason = error.strerror or str(error) or type(error).__name__
    rest = f"; {kept}" if kept else ""
    answer = StorageError(f"cannot {verb} {path}: {reason}{number}; {advice}{rest}")
    answer.errno = error.errno
    return answer


@contextmanager
def advising(instead: str) -> Iterator[None]:
    """Let errors advise something else than `ELSEWHERE`, where the place is not chosen by that option."""
    try:
        yield
    except FeatcacheError as error:
        error.args = (str(error).replace(ELSEWHERE, instead),)
        raise


@contextmanager
def storage_errors(
    path: Path, verb: str = "write", *, elsewhere: str = "", needs: int | None = None
) -> Iterator[None]:
    """Raise what the operating system refuses as a `storage_error` of `path`; errors of featcache pass."""
    try:
        yield
    except FeatcacheError:
        raise
    except OSError as error:
        raise storage_error(error, path, verb, elsewhere=elsewhere, needs=needs) from error


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes of a folder's file system; ``None`` where they are unknown."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


def require_space(path: Path, needed: int, verb: str = "write", *, elsewhere: str = "") -> None:
    """Refuse to begin a file that its disk has no room for.

    Parameters
    ----------
    path, verb, elsewhere
        As for `storage_error`; the file's folder is there.
    needed
        Bytes.

    Raises
    ------
    StorageError
        Saying how many bytes are needed, and how many there are.
    """
    available = free_bytes(path.parent)
    if available is not None and needed > available:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise storage_error(error, path, verb, elsewhere=elsewhere, needs=needed)


def _room(path: Path, needs: int | None) -> str:
    """Return how much room is needed and how much there is, as far as either is known, for a full disk."""
    above = next((place for place in path.absolute().parents if place.is_dir()), path.parent)
    if _has_no_inodes(above):
        return " (its inodes are used up, as where there are very many files)"
    available = free_bytes(above)
    parts = [
        f"{word} {amount(count)}"
        for word, count in (("needs", needs), ("has", available))
        if count is not None
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _has_no_inodes(folder: Path) -> bool:
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    return status.f_files > 0 and status.f_favail == 0


def amount(count: int) -> str:
    """Return a number of bytes in words, such as ``"3.4 MB"``."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size / 10:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
