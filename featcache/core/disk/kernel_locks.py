"""Locks that the kernel holds for a process and drops when the process ends, however it ends: none is left behind.

They are those of ``flock``: all processes of a machine see each other's, those of containers too, whatever their
numbers are. A file system may have none, or (over a network) keep those of each machine apart. So nothing relies on
them alone: what they guard is safe by atomic renames, and a lock only makes waiting or cleaning possible.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PAUSE = 0.002
"""Seconds between two attempts to get a lock."""


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder until it is closed, without waiting.

    Returns
    -------
    bool or None
        Whether it is locked now, or somebody else has it; ``None`` where there are no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system has no locks, or none for what is open for reading only
        return None
    return True


def is_named(path: Path, descriptor: int) -> bool:
    """Return whether a path still names the file or folder that is open."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


@contextmanager
def folder_lock(folder: Path, *, seconds: float = 10) -> Iterator[bool]:
    """Have a folder's names to oneself for a moment, after whoever has them now.

    The folder itself is locked, so that no file of a lock is made, and nobody needs the right to make one.

    Parameters
    ----------
    folder
        Whose names are about to be changed.
    seconds
        How long to wait: a process that was stopped with the lock, or another program's lock on that folder, must
        not be in the way for ever.

    Yields
    ------
    bool
        Whether the lock is held; if not, somebody else may change names at the same time.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # it is not there, not ours to read, or Windows cannot open folders
        yield False
        return
    try:
        yield _wait_for_lock(descriptor, time.monotonic() + seconds)
    finally:
        _unlock(descriptor)
        os.close(descriptor)


def _wait_for_lock(descriptor: int, deadline: float) -> bool:
    while (held := try_lock(descriptor)) is False and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return bool(held)


def _unlock(descriptor: int) -> None:
    """Release a lock although a process that was forked meanwhile has the same file open."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
