"""A folder takes the place of another at one blow, or gets its name back: there is always the old one or the new one.

The new one swaps names with the one that was there. Where the system cannot swap, the one that was there is moved aside
first; if the process is killed between the two renames, whoever looks for the folder next gives it its name back. Names
are given under a lock on the folder that holds them, for which everybody waits.
"""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from featcache.core.disk.files import exchange
from featcache.core.disk.kernel_locks import folder_lock
from featcache.core.disk.names import resolved
from featcache.core.disk.syncing import sync_name
from featcache.core.disk.temporaries import find_temporaries, remove_leftovers, temporary_path

_ATTEMPTS = 100
"""How often a name is given again because another process took it meanwhile, where nothing can be locked."""


def put_in_place(
    fresh: Path, target: Path, document: str, *, check: Callable[[Path], None] = lambda target: None
) -> None:
    """Put a folder in the place of another, durably; what was there is removed.

    Parameters
    ----------
    fresh
        A temporary folder beside `target`, all of it on the disk. Afterwards something else may have its name, which
        is for the caller to remove.
    target
        The final path, no link.
    document
        The file that makes it what it is; it is removed first.
    check
        Called with `target` when no other process may rename it any more; may raise.

    Raises
    ------
    OSError
        If it cannot be renamed; what was there is still there.
    """
    with folder_lock(target.parent) as alone:
        check(target)
        superseded = _renamed(fresh, target)
        sync_name(target)
        for old in superseded:
            remove_folder(old, document)
        if alone:  # then nobody is between two renames
            remove_leftovers(target, "old")


def _renamed(fresh: Path, target: Path) -> list[Path]:
    """Rename `fresh` to `target`, by swapping or otherwise; returns the folders that have been moved aside."""
    aside = []
    for _ in range(_ATTEMPTS):
        try:
            if not target.exists():
                moved = _move_in(fresh, target)
            elif not (moved := exchange(fresh, target)):
                aside.append(temporary_path(target, "old"))
                moved = _move_in(fresh, target, aside=aside[-1])
        except FileNotFoundError:
            if not fresh.exists():
                raise
            continue  # another process took the one that was there meanwhile
        if moved:
            return aside
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _move_in(fresh: Path, target: Path, *, aside: Path | None = None) -> bool:
    """Rename to a name, from which another folder is moved `aside` first; false if another process took it."""
    if aside is not None:
        os.replace(target, aside)
    try:
        os.replace(fresh, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        if aside is not None:
            os.replace(aside, target)
        raise
    return True


def remove_folder(folder: Path, document: str) -> None:
    """Remove a folder; its document goes first, so that what is left of it is nothing that would be read."""
    with suppress(OSError):
        (folder / document).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def is_there(folder: Path, document: str) -> bool:
    """Return whether there is something under that name, once nobody is between two renames.

    What a killed process moved aside gets its name back.

    Parameters
    ----------
    folder
        The final path, or a link to it.
    document
        The file that makes it what it is: what was moved aside is whole if it has one.
    """
    if folder.exists():
        return True
    target = resolved(folder)
    with folder_lock(target.parent):
        if not target.exists():
            aside = [old for old in find_temporaries(target, "old") if (old / document).is_file()]
            with suppress(OSError):  # we may not write here
                if aside:
                    os.rename(max(aside, key=lambda old: (old / document).stat().st_mtime_ns), target)
        return target.exists()
