"""Work on many rows in blocks that fit a core's cache, on a few threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

BLOCK_BYTES = 1 << 22
"""Larger ones wait less for the interpreter lock; smaller ones are still in the core's cache when checked."""

_FEW = 8
"""Fewer blocks than this are not worth starting threads for."""


def rows_in_block(row_bytes: int) -> int:
    """Return how many rows make a block."""
    return max(1, BLOCK_BYTES // max(1, row_bytes))


def map_ranges(work: Callable[[int, int], None], count: int, step: int) -> None:
    """Call ``work(first, last)`` over ranges of `step` that cover `count` items.

    Reading, and checking a whole block, release the interpreter lock.
    """
    ranges = [(first, min(first + step, count)) for first in range(0, count, step)]
    if len(ranges) < _FEW:
        for first, last in ranges:
            work(first, last)
        return
    with ThreadPoolExecutor(min(4, _cores()), thread_name_prefix="featcache-read") as pool:
        for _ in pool.map(lambda pair: work(*pair), ranges):
            pass


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))  # in a container, fewer than the machine has
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
