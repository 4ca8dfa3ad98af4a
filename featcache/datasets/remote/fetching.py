"""Fetch objects, whole or in parts, and ask for their states: again after what may pass, and never another length."""

import asyncio
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from featcache.core.disk.store_urls import WEB, redacted, scheme_of, unsigned
from featcache.datasets.file_state import STATE_BYTES
from featcache.datasets.remote.access import ForbiddenAddressError, file_system
from featcache.datasets.remote.web import RefusedError, ask
from featcache.errors import FeatcacheError, ImageError
from featcache.images.limits import MAX_FILE_BYTES, require_readable_size

_T = TypeVar("_T")
_VALIDATORS = (
    "ETag",
    "etag",
    "VersionId",
    "generation",
    "md5Hash",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "created",
)
"""Keys under which the file systems of fsspec tell what changes with an object."""
_MAY_GROW = 2**24
_LASTING = {
    "NoCredentialsError",
    "InvalidURL",
    "InvalidUrlClientError",
    "InvalidUrlRedirectClientError",
    "NonHttpUrlRedirectClientError",
    "TooManyRedirects",
}
"""Errors of botocore and aiohttp that would come again."""


@dataclass(frozen=True)
class Patience:
    """How often, and after how long, what failed is asked for again.

    Waits grow twofold, each drawn between half and the whole of it, so that many who were refused at once do not come
    back at once (AWS Architecture Blog 2015, "Exponential backoff and jitter").

    Parameters
    ----------
    attempts
        In all.
    first, longest
        Seconds of the first wait, and of any; what a server asks for (``Retry-After``) is granted up to `longest`.
    stall
        Seconds without a byte after which a connection counts as lost.
    """

    attempts: int = 6
    first: float = 0.25
    longest: float = 30.0
    stall: float = 30.0

    @classmethod
    def of_environment(cls) -> "Patience":
        """Return the usual one, with the seconds of ``FEATCACHE_FETCH_TIMEOUT`` if they are given."""
        try:
            return cls(stall=max(0.05, float(os.environ["FEATCACHE_FETCH_TIMEOUT"])))
        except (KeyError, ValueError):
            return cls()

    def wait(self, attempt: int, asked: float | None) -> float:
        """Return the seconds to wait after a failed attempt, the first being 0."""
        backoff = min(self.longest, self.first * 2**attempt) * random.uniform(0.5, 1.0)
        return max(backoff, min(asked or 0.0, self.longest))


@dataclass(frozen=True, slots=True)
class Told:
    """What a store tells of an object.

    Parameters
    ----------
    size
        Bytes; -1 if it does not say.
    state
        16 bytes that change when the object does; empty where nothing reliable is told.
    mtime_ns
        When it was changed last; 0 if unknown.
    """

    size: int = -1
    state: bytes = b""
    mtime_ns: int = 0


class Fetcher:
    """Fetches from any store, for many threads.

    Parameters
    ----------
    patience
        How often and how long to try.
    sleep
        What waits; given seconds.

    Attributes
    ----------
    asked, fetched, retried
        Requests and bytes so far, and how often one was repeated.
    """

    def __init__(
        self, patience: Patience | None = None, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.patience = patience or Patience.of_environment()
        self._sleep = sleep
        self._lock = threading.Lock()
        self.asked = self.fetched = self.retried = 0

    def fetch(self, url: str, told: Told | None = None, part: tuple[int, int] | None = None) -> bytes:
        """Return the bytes of an object, or of a part of it.

        Parameters
        ----------
        url
            The object.
        told
            What was told of it before: a whole object of another size is asked for again, and refused in the end; so
            is a part of an object that has another state by now.
        part
            First byte and the one behind the last.

        Raises
        ------
        OSError
            For what may pass: it is missing, forbidden, or could not be had in several attempts.
        ImageError
            If it is larger than any image that is read, or may not be read.
        """
        told = told or Told()
        if part is None:
            require_readable_size(told.size)
        size = told.size if part is None else part[1] - part[0]
        data = self.again(url, partial(self._fetch_once, url, told, part, size))
        with self._lock:
            self.fetched += len(data)
        return data

    def _fetch_once(self, url: str, told: Told, part: tuple[int, int] | None, size: int) -> bytes:
        files = file_system(url)
        if size < 0 and scheme_of(url) not in WEB:  # what comes is not bounded otherwise
            size = self._ask_once(url).size
            require_readable_size(size)
        most = size if size >= 0 else MAX_FILE_BYTES
        if scheme_of(url) in WEB:
            # An object may have grown since it was listed. What announces little and sends much is cut off.
            most = min(most + (_MAY_GROW if part is None else 0), MAX_FILE_BYTES)
            answer = _waited(files, ask, files, "GET", url, part=part, most=most, stall=self.patience.stall)
            data = answer.data
            state = _state(url, answer.size, answer.validators)
        else:
            data, state = self._cat(files, url, part, most), b""
        if size >= 0 and len(data) != size and not (part is None and self._has_size(url, told, len(data))):
            raise RefusedError(f"{len(data):,} bytes came where {size:,} were expected", passes=True)
        if part is not None and told.state:
            state = state or self._ask_once(url).state
            if state != told.state:
                raise RefusedError("it was changed after it was indexed", passes=False)
        return data

    def _has_size(self, url: str, told: Told, size: int) -> bool:
        """Return whether the store says by now that an object has this size: it was changed since it was listed."""
        now = self._ask_once(url).size
        return now == size and now != told.size

    def _cat(self, files: Any, url: str, part: tuple[int, int] | None, most: int) -> bytes:
        start, end = part or (None, None)
        if not files.async_impl:
            return files.cat_file(url, start=start, end=end)
        # What is stalled is not told from what is long, so the whole has its time: 50 kB/s, and the stall.
        seconds = self.patience.stall + min(most, 2**26) / 50_000
        return _waited(files, _within, files._cat_file, files._strip_protocol(url), start, end, seconds)

    def ask(self, url: str) -> Told:
        """Return what the store tells of an object; raises as `fetch`."""
        return self.again(url, partial(self._ask_once, url))

    def _ask_once(self, url: str) -> Told:
        files = file_system(url)
        if scheme_of(url) not in WEB:
            found = files.info(url)
            if found.get("type") == "directory":
                raise FileNotFoundError(2, "it is a folder, not an object")
            return told_by(url, found)
        answer = _waited(files, ask, files, "HEAD", url, part=None, most=0, stall=self.patience.stall)
        size = -1 if answer.size is None else answer.size
        return Told(size, _state(url, answer.size, answer.validators), answer.mtime_ns)

    def again(self, url: str, once: Callable[[], _T]) -> _T:
        """Call until it succeeds, as far as what fails may pass; raises as `fetch`."""
        last = self.patience.attempts - 1
        for attempt in range(last + 1):
            with self._lock:
                self.asked += 1
                self.retried += attempt > 0
            try:
                return once()
            except FeatcacheError:
                raise
            except Exception as error:  # each file system of fsspec has kinds of errors of its own
                final = _final(error)
                if final is not None:
                    raise final from None
                if attempt == last:
                    raise OSError(f"{_in_words(error)} ({last + 1} attempts)") from None
                self._sleep(self.patience.wait(attempt, getattr(error, "wait", None)))
        raise AssertionError(url)


def told_by(url: str, found: Mapping[str, Any]) -> Told:
    """Return what an entry of a listing of fsspec tells of an object."""
    said = [f"{key}={_text(found[key])}" for key in _VALIDATORS if found.get(key)]
    size = found.get("size")
    size = size if isinstance(size, int) and size >= 0 else None
    when = next(
        (found[key] for key in ("LastModified", "last_modified", "mtime", "created") if key in found), 0
    )
    seconds = when.timestamp() if isinstance(when, datetime) else when if isinstance(when, int | float) else 0
    state = _state(url, size, " ".join(said) or None)
    return Told(-1 if size is None else size, state, int(seconds * 1e9))


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _state(url: str, size: int | None, validators: str | None) -> bytes:
    if validators is None:
        return b""
    # Without signatures, which are others each time; with keys, which may be what tells one object from another.
    text = f"{unsigned(url)}\0{size}\0{validators}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=STATE_BYTES).digest()


def _waited(files: Any, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Run a coroutine on the loop of a file system, and wait for it."""
    from fsspec.asyn import sync

    return sync(files.loop, function, *given, **named)


async def _within(call: Any, path: str, start: int | None, end: int | None, seconds: float) -> bytes:
    return await asyncio.wait_for(call(path, start=start, end=end), seconds)


def _final(error: BaseException) -> Exception | None:
    """Return what is raised at once where asking again would not help; ``None`` where it may."""
    chain: list[BaseException] = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None and below not in chain:
        chain.append(below)
    inner = [getattr(each, "os_error", None) for each in chain]
    for each in [*chain, *inner]:
        if isinstance(each, ForbiddenAddressError):
            return ImageError("outside the dataset", f"{each}; it is not read")
    status = getattr(error, "status", 0)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return FileNotFoundError(2, "there is no such object (404)")
    if isinstance(error, PermissionError):
        return PermissionError(13, f"the store does not allow it (403): {_in_words(error)}")
    lasts = isinstance(error, RefusedError) and not error.passes
    return OSError(_in_words(error)) if lasts or type(error).__name__ in _LASTING else None


def _in_words(error: BaseException) -> str:
    """Return an error in one line without what is secret."""
    if isinstance(error, TimeoutError):
        return "nothing came for too long"
    if type(error).__name__ == "ClientPayloadError":
        return "the answer ended before the length that it announces"
    text = " ".join(str(error).split()) or type(error).__name__
    named = text if isinstance(error, RefusedError) else f"{type(error).__name__}: {text}"
    return redacted(named)[:300]
