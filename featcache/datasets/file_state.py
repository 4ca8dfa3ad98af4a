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
_SETTABLE_NS = 10_000_000
"""Resolution of times where ctime repeats the modification time: seconds on squashfs, FAT and SFTP, 10 ms on exFAT."""


def file_state(*files: os.stat_result) -> bytes:
    """Return 16 bytes that change when one of the files is replaced or written to.

    Size and modification time are not enough: programs that unpack or copy files may set both. The time of the last
    change of an inode (ctime) cannot be set, and a file that replaces another has an inode of its own. Some file
    systems keep no such time and repeat the modification time instead.

    Parameters
    ----------
    files
        The file, or all those that an image may be in.

    Returns
    -------
    bytes
        Empty without files, if one was changed so recently that another write might not change its time, and if one
        may be on a file system whose ctime can be set.
    """
    if not files or _is_fresh(max([file.st_ctime_ns for file in files])) or any(map(_may_be_set, files)):
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


def size_and_times(file: os.stat_result) -> tuple[int, int, int]:
    """Return what tells a file from another that took its name, on every file system: some give inodes anew.

    Size and modification time may be those of the other file, as in archives that are built reproducibly.
    """
    return file.st_size, file.st_mtime_ns, file.st_ctime_ns


def recorded_time(nanoseconds: int) -> int:
    """Return a file's time as a cache can record it: the nearest one between the years 1677 and 2262."""
    return max(-_LONGEST_NS, min(nanoseconds, _LONGEST_NS))


def _is_fresh(changed_ns: int) -> bool:
    tick = _TICK_NS if changed_ns % 1_000_000_000 else _COARSE_TICK_NS
    return time.time_ns() - changed_ns < tick


def _may_be_set(file: os.stat_result) -> bool:
    """Return whether the ctime may be a copy of the modification time, which images of reproducible builds share.

    Where ctime is kept, both are the same in a file written once, but end in a whole 10 ms once in 100,000 files.
    """
    return file.st_ctime_ns == file.st_mtime_ns and file.st_ctime_ns % _SETTABLE_NS == 0
