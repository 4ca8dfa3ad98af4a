"""How large an encoded image may be, how much memory its decoding may take, and how much work."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from featcache.core.byte_budget import ByteBudget
from featcache.core.freed_memory import return_freed_memory
from featcache.errors import ImageError

MAX_FILE_BYTES = 2**29
"""Bytes of a file, a member or a cell above which it is not read: 8-bit RGB of as many pixels as may be decoded."""

MAX_MEMORY = 1_900_000_000
"""Bytes that decoding one picture may take: with more, an extraction would exceed 2.5 GB."""

SHARED_MEMORY = 1_400_000_000
"""Bytes that the pictures decoded at the same time take together. One that needs more is decoded alone."""

LARGE_PIXELS = 2**20
"""Pixels up to which a picture is left to Pillow as it is: neither memory nor time matters then."""

DECODING = ByteBudget(SHARED_MEMORY)
"""What is held while a picture is decoded, by `featcache.images.decoding`."""

READING = ByteBudget(2**28)
"""What is held while the bytes of a large file are in memory, by `room_for_file`.

A budget of its own: what is waiting to be decoded was read already, and must not wait for what it holds itself. So a
thread takes from this one first and from `DECODING` second, never the other way round.
"""

_LARGE_FILE = 2**22
_SMALL_PICTURE, _LARGE_PICTURE = 16 * LARGE_PIXELS, 2**26
_AT_ONCE = nullcontext()


def require_readable_size(nbytes: int) -> None:
    """Raise if an encoded image is larger than `MAX_FILE_BYTES`, before it is read.

    Raises
    ------
    ImageError
        With the reason ``too many bytes``.
    """
    if nbytes > MAX_FILE_BYTES:
        raise ImageError(
            "too many bytes",
            f"{nbytes:,} bytes, at most {MAX_FILE_BYTES:,} are read; compress it, or leave it out",
        )


def room_for_file(nbytes: int) -> AbstractContextManager[None]:
    """Read an encoded image in a ``with`` block, and use it; waits while others hold too many bytes of large files.

    Parameters
    ----------
    nbytes
        Its size; 0 if unknown.

    Raises
    ------
    ImageError
        It is larger than is read, with the reason ``too many bytes``.
    """
    require_readable_size(nbytes)
    return READING.hold(nbytes) if nbytes > _LARGE_FILE else _AT_ONCE


def room_to_decode(nbytes: int) -> AbstractContextManager[None]:
    """Decode a picture that takes so many bytes in a ``with`` block; waits while others take too many."""
    return _decoding(nbytes) if nbytes > _SMALL_PICTURE else _AT_ONCE


@contextmanager
def _decoding(nbytes: int) -> Iterator[None]:
    with DECODING.hold(nbytes):
        try:
            yield
        finally:
            if nbytes > _LARGE_PICTURE:
                return_freed_memory()
