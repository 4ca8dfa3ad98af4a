"""A digest of files' inodes, sizes and times, which shows that they have not been written since."""

import hashlib
import os
import struct
import time

STATE_BYTES = 16

_MASK = 2**64 - 1  # Windows has inodes of 128 bits, and some file systems times after 2262
_NUMBERS = struct.Struct("<QQQQQ")
_LONGEST_NS = 2**63 - 1
_TICK_NS, _COARSE_TICK_NS = 20_000_000, 2_000_000_000
"""Longer than the resolution of file times: a tick of the kernel (10 ms), or whole seconds (two on FAT)."""


def file_state(*files: os.stat_result) -> bytes:
    """Return 16 bytes that change when one of the files is replaced or written to.

    Size and modification time are not enough: programs that unpack or copy files may set both. The time of the last
    change of an inode (ctime) cannot be set, and a file that replaces another has an inode of its own.

    Parameters
    ----------
    files
        The file, or all those that an image may be in.

    Returns
    -------
    bytes
        Empty without files, and if one was changed so recently that another write might not change its time.
    """
    if not files or _is_fresh(max([file.st_ctime_ns for file in files])):
        return b""
    return state_digest(*files)


def state_digest(*files: os.stat_result) -> bytes:
    """Return 16 bytes for device, inode, size and times of files, however recent."""
    numbers = b"".join(
        _NUMBERS.pack(
            *(
                number & _MASK
                for number in (file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns)
            )
        )
        for file in files
    )
    return hashlib.blake2b(numbers, digest_size=STATE_BYTES).digest()


def recorded_time(nanoseconds: int) -> int:
    """Return a file's time as a cache can record it: the nearest one between the years 1677 and 2262."""
    return max(-_LONGEST_NS, min(nanoseconds, _LONGEST_NS))


def _is_fresh(changed_ns: int) -> bool:
    tick = _TICK_NS if changed_ns % 1_000_000_000 else _COARSE_TICK_NS
    return time.time_ns() - changed_ns < tick
