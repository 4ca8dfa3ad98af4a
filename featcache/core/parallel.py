"""Map over items in threads, in order, and group items into batches."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def ordered_map(
    function: Callable[[_T], _R], items: Iterable[_T], *, workers: int, ahead: int
) -> Iterator[_R]:
    """Map in threads and yield results in order; at most `ahead` are pending, so that memory stays bounded."""
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
    """Yield tuples of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch
