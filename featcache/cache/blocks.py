"""Work on many rows in blocks that fit a core's cache, on a few threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

BLOCK_BYTES = 1 << 20
"""Checksums of a block are computed while it is still in the core's cache."""

_MANY = 8
"""Fewer blocks than this are not worth starting threads for."""


def map_blocks(work: Callable[[int, int], None], count: int, item_bytes: int) -> None:
    """Call ``work(first, last)`` over ranges that cover `count` items of `item_bytes` each.

    Reading releases the interpreter lock, so one thread reads while another computes checksums.
    """
    step = max(1, BLOCK_BYTES // max(item_bytes, 1))
    ranges = [(first, min(first + step, count)) for first in range(0, count, step)]
    if len(ranges) < _MANY:
        for first, last in ranges:
            work(first, last)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="featcache-read") as pool:
        for _ in pool.map(lambda pair: work(*pair), ranges):
            pass
