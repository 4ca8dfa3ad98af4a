"""What has been written reaches the disk, so that a power cut does not take it away."""

import errno
import os
from pathlib import Path


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
