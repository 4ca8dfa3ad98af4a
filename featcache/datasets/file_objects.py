"""File objects in the place of photos: what ``open(path, "rb")``, `io.BytesIO` or an upload gives, read once."""

import io
from typing import Any

from featcache.datasets.dataset import why_unread
from featcache.errors import ImageError, UsageError
from featcache.images.limits import MAX_FILE_BYTES, require_readable_size

_ADVICE = "give a file opened for reading bytes, open(path, 'rb'), or the path itself"


def is_file_object(given: Any) -> bool:
    """Whether something is read as an open file is: an instance with ``read`` and ``close``."""
    methods = (getattr(given, name, None) for name in ("read", "close"))
    return all(map(callable, methods)) and not isinstance(given, type)


def read_file_object(stream: Any) -> bytes | ImageError:
    """Return the bytes of an open file, from its start where it can be rewound; why not, if they cannot be read.

    Parameters
    ----------
    stream
        See `is_file_object`. It is left open, at its end.

    Raises
    ------
    UsageError
        If it is closed, or gives no bytes: opened in text mode or for writing, or waiting for an event loop.
    """
    if getattr(stream, "closed", False) is True:
        raise UsageError(
            f"the file object {_named(stream)} is closed; predict within its with block, or {_ADVICE}"
        )
    if isinstance(stream, io.TextIOBase):
        raise _gives_text(stream)
    try:
        return _bytes(stream)
    except ImageError as error:
        return error
    except io.UnsupportedOperation:
        raise UsageError(f"the file object {_named(stream)} was not opened for reading; {_ADVICE}") from None
    except OSError as error:
        return why_unread(error)


def _bytes(stream: Any) -> bytes:
    if _can_rewind(stream):
        require_readable_size(stream.seek(0, io.SEEK_END) or 0)  # a sparse file may claim terabytes
        stream.seek(0)
    parts, left = [], MAX_FILE_BYTES + 1
    while left > 0 and (part := _checked(stream, left)):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise ImageError(
            "too many bytes",
            f"more than {MAX_FILE_BYTES:,} bytes, which are read at most; compress it, or leave it out",
        )
    return b"".join(parts)


def _can_rewind(stream: Any) -> bool:
    seekable = getattr(stream, "seekable", None)
    return callable(seekable) and seekable() is True


def _checked(stream: Any, most: int) -> bytes:
    """Read a part of at most so many bytes; an unbuffered file may give fewer."""
    part = stream.read(most)
    if isinstance(part, str):
        raise _gives_text(stream)
    if not isinstance(part, bytes | bytearray | memoryview):
        close = getattr(part, "close", None)  # a coroutine that nobody awaits
        if callable(close):
            close()
        raise UsageError(
            f"read() of the file object {_named(stream)} gives {type(part).__name__}, expected bytes; "
            "give the bytes themselves (of an asynchronous upload: await its read())"
        )
    return bytes(part)


def _gives_text(stream: Any) -> UsageError:
    return UsageError(f"the file object {_named(stream)} is open in text mode and gives text; {_ADVICE}")


def _named(stream: Any) -> str:
    name, kind = getattr(stream, "name", None), type(stream).__name__
    return f"{kind} {name!r}" if isinstance(name, str) else kind
