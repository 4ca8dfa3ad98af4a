"""Ordered work on threads: how many, how much ahead, and in batches."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


_R = TypeVar("_R")


def default_workers() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def ordered_map(
    function: Callable[[_T], _R], items: Iterable[_T], *, workers: int, ahead: int
) -> Iterator[_R]:
    """Map over threads, in order, with at most `ahead` results waiting: memory does not grow with the items."""
    with ThreadPoolExecutor(workers, thread_name_prefix="featcache") as pool:
        waiting: deque[Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batched(items: Iterable[_T], size: int) -> Iterator[tuple[_T, ...]]:
    """Yield `size` items at a time, the last ones as many as are left."""
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch
