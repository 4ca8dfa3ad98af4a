"""Give memory that was freed back to the system."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any


def return_freed_memory() -> None:
    """Return the free pages of the C library's heaps to the system, where it can (glibc).

    It keeps what was freed for the thread that had it: eight threads that each decode one picture of 700 MB, one after
    the other, would hold all eight for the rest of the process.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], Any] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; Windows has no handle None
        return None
