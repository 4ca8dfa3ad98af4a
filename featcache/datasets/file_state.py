"""What the file system says of a file, by which it is seen that it has not been written since."""

import hashlib
import os
import struct
import time

STATE_BYTES = 16

_MASK = 2**64 - 1  # Windows has file systems with inodes of 128 bits
_NUMBERS = struct.Struct("<QQqqq")
_TICK_NS, _COARSE_TICK_NS = 20_000_000, 2_000_000_000
"""Above how finely file systems tell times: a tick of the kernel (10 ms), or whole seconds (two on FAT)."""


def file_state(*files: os.stat_result) -> bytes:
    """Return 16 bytes that are others as soon as one of the files is another, or was written to.

    Size and time of writing say too little: whoever unpacks or copies files may set both. The time of the last change
    of an inode (ctime) nobody can set, and a file that takes the place of another has an inode of its own.

    Parameters
    ----------
    files
        The file, or all those that an image may be in.

    Returns
    -------
    bytes
        Empty where nothing can be said: without files, and where one was changed so recently that being written again
        might not change its time.
    """
    if not files or _is_fresh(max([file.st_ctime_ns for file in files])):
        return b""
    return state_digest(*files)


def state_digest(*files: os.stat_result) -> bytes:
    """Return 16 bytes for device, inode, size and times of files, however recent."""
    numbers = b"".join(
        _NUMBERS.pack(
            file.st_dev & _MASK, file.st_ino & _MASK, file.st_size, file.st_mtime_ns, file.st_ctime_ns
        )
        for file in files
    )
    return hashlib.blake2b(numbers, digest_size=STATE_BYTES).digest()


def _is_fresh(changed_ns: int) -> bool:
    tick = _TICK_NS if changed_ns % 1_000_000_000 else _COARSE_TICK_NS
    return time.time_ns() - changed_ns < tick
