"""What is asked of web servers, through the session of fsspec's HTTP file system: bounded, and nothing taken on trust.

fsspec's own reading takes whatever comes, however long, and drops the validators of the answer; both matter here.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

MOST_REDIRECTS = 5
_SLOWEST = 5_000
"""Bytes a second that a server has to send on the whole."""
_HEADERS = 4
"""Times the seconds of a stall, for connecting, redirects and headers together."""
_FRESH_SECONDS = 2
"""A file may be written twice within the second that ``Last-Modified`` has."""


class RefusedError(OSError):
    """An answer that is none: a status, or a length that is not the announced one.

    Attributes
    ----------
    passes
        Whether to ask again.
    wait
        Seconds that the server wants to be left alone, if it says so.
    status
        Of HTTP; 0 where that was one of success.
    """

    def __init__(self, text: str, *, passes: bool, wait: float | None = None, status: int = 0) -> None:
        super().__init__(text)
        self.passes = passes
        self.wait = wait
        self.status = status


@dataclass(frozen=True)
class Answer:
    """Bytes, if any were asked for, and what the server says of them.

    Parameters
    ----------
    data
        The body.
    validators
        What changes when the object does; ``None`` where the server tells nothing reliable.
    size
        Of the whole object; ``None`` if unknown.
    mtime_ns
        When it was changed last; 0 if unknown.
    """

    data: bytes
    validators: str | None
    size: int | None
    mtime_ns: int


async def ask(
    files: Any, method: str, url: str, *, part: tuple[int, int] | None, most: int, stall: float
) -> Answer:
    """Send a GET or HEAD and return the answer.

    Parameters
    ----------
    files
        fsspec's HTTP file system.
    method, url
        ``"GET"`` or ``"HEAD"``, and of what.
    part
        First byte and the one behind the last; ``None`` for all.
    most
        Bytes that are read at most.
    stall
        Seconds without a byte, or to connect, after which the server counts as gone.

    Raises
    ------
    RefusedError
        If the status is not one of success, or the length another than announced, or larger than `most`.
    """
    import aiohttp

    session = await files.set_session()
    # Encoded bodies have lengths of their own, and may unpack to any size.
    headers = {"Accept-Encoding": "identity"}
    if part is not None:
        headers["Range"] = f"bytes={part[0]}-{part[1] - 1}"
    limit = aiohttp.ClientTimeout(total=None, sock_connect=stall, sock_read=stall)
    asking = session.request(
        method,
        files.encode_url(url),
        headers=headers,
        timeout=limit,
        max_redirects=MOST_REDIRECTS,
        allow_redirects=True,
    )
    # Headers that come byte by byte would hold a thread for ever.
    async with await asyncio.wait_for(asking, _HEADERS * stall) as answer:
        _require_success(answer, part)
        data = b"" if method == "HEAD" else await _body(answer, most, stall)
        validators, changed = validators_of(answer.headers)
        return Answer(data, validators, _whole_size(answer, part), changed)


def _require_success(answer: Any, part: tuple[int, int] | None) -> None:
    status = answer.status
    if status in (200, 203) and part is not None and part[0] > 0:
        raise RefusedError("the server sends no parts of files (HTTP Range); download it", passes=False)
    if status not in (200, 203, 206):
        raise RefusedError(
            f"HTTP {status} {answer.reason or ''}".strip(),
            passes=status >= 500 or status in (408, 425, 429),
            wait=_wait(answer.headers.get("Retry-After", "")),
            status=status,
        )
    if part is not None and status == 206:
        begins = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if begins.strip() != str(part[0]):
            raise RefusedError("the server sent another part of the file than was asked for", passes=True)
    if answer.headers.get("Content-Encoding", "identity").casefold() not in ("", "identity"):
        raise RefusedError("the server sends it compressed though it was asked not to", passes=False)


async def _body(answer: Any, most: int, stall: float) -> bytes:
    clock = asyncio.get_running_loop().time
    began = clock()
    announced = answer.content_length
    if announced is not None and announced > most:
        raise RefusedError(f"it has {announced:,} bytes, expected at most {most:,}", passes=False)
    parts, held = [], 0
    async for part in answer.content.iter_chunked(2**18):
        parts.append(part)
        held += len(part)
        if held > most:
            raise RefusedError(f"it has more than {most:,} bytes, which was expected at most", passes=False)
        # A server that sends a byte now and then would hold a thread for ever.
        if clock() - began > _HEADERS * stall + held / _SLOWEST:
            raise RefusedError(
                f"{held:,} bytes came in {clock() - began:.0f} s, which is too slow", passes=True
            )
    if announced is not None and held != announced:
        raise RefusedError(f"{held:,} of {announced:,} bytes came", passes=True)
    return b"".join(parts)


def _whole_size(answer: Any, part: tuple[int, int] | None) -> int | None:
    if part is not None and answer.status == 206:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2].strip()
        return int(total) if total.isdecimal() and len(total) < 19 else None
    return answer.content_length


def validators_of(headers: Mapping[str, str]) -> tuple[str | None, int]:
    """Return what changes when an object does, ``None`` if nothing reliable does, and its time in nanoseconds.

    A strong ETag is one for these very bytes. ``Last-Modified`` has whole seconds: that of a file that was written
    just before it was asked for may be the one of its next content, too.
    """
    etag, changed = headers.get("ETag", ""), headers.get("Last-Modified", "")
    when, now = _seconds(changed), _seconds(headers.get("Date", ""))
    nanoseconds = int(when * 1e9) if when else 0
    if etag and not etag.startswith("W/"):
        return f"{etag} {changed}", nanoseconds
    if when and now and now - when > _FRESH_SECONDS:
        return f"{etag} {changed}", nanoseconds
    return None, nanoseconds


def _seconds(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def _wait(text: str) -> float | None:
    return float(text) if text.isdecimal() and len(text) < 6 else None
