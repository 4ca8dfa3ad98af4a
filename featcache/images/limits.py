"""How large an encoded image may be, how much memory its decoding may take, and how much work."""

from collections.abc import Iterator
from contextlib import contextmanager

from featcache.core.byte_budget import ByteBudget
from featcache.errors import ImageError

MAX_FILE_BYTES = 2**29
"""Bytes of a file, a member or a cell above which it is not read: 8-bit RGB of as many pixels as may be decoded."""

MAX_MEMORY = 1_900_000_000
"""Bytes that all threads together decode into. A picture that needs more by itself is refused."""

LARGE_PIXELS = 2**20
"""Pixels up to which a picture is left to Pillow as it is: neither memory nor time matters then."""

DECODING = ByteBudget(MAX_MEMORY)
"""What is held while a picture is decoded, by `featcache.images.decoding`."""

READING = ByteBudget(2**28)
"""What is held while the bytes of a large file are in memory, by `room_for_file`.

A budget of its own: what is waiting to be decoded was read already, and must not wait for what it holds itself. So a
thread takes from this one first and from `DECODING` second, never the other way round.
"""

_LARGE_FILE = 2**22


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


@contextmanager
def room_for_file(nbytes: int) -> Iterator[None]:
    """Read an encoded image in this ``with`` block, and use it; waits while others hold too many bytes of large files.

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
    if nbytes <= _LARGE_FILE:
        yield
    else:
        with READING.hold(nbytes):
            yield
