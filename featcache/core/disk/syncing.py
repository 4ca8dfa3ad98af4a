"""What has been written reaches the disk, so that a power cut does not take it away."""

import errno
import os
from pathlib import Path

from featcache.core.warning import warn

_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def sync_file(descriptor: int) -> bool:
    """Flush a file to disk with fsync; return false where the file system does not support it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the file system can.

    Raises
    ------
    OSError
        If the disk fails.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows cannot open folders, and nobody one that may not be listed
        return
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def sync_name(path: Path) -> None:
    """Make the new name of a file or folder survive a power cut, where the file system can.

    There is no way back after a rename, so that a disk that fails is told by a `FeatcacheWarning`.
    """
    try:
        sync_folder(path.parent)
    except OSError as error:
        number = errno.errorcode.get(error.errno or 0, "?")
        warn(
            f"{path} is in place, but a power cut may undo that: its folder could not be synced "
            f"({error.strerror} [errno {error.errno}, {number}]); look at the system's log, and run the command sync"
        )
