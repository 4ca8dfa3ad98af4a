"""Pieces of what lies elsewhere (objects, or blocks of shards), fetched ahead of their turn by threads of their own.

The threads that hash and decode are as many as there are cores, and would wait for the network one object at a time.
"""

import math
import queue
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from featcache.core.disk.store_urls import redacted
from featcache.datasets.remote.fetching import Fetcher, Patience, Told
from featcache.datasets.remote.kept import Kept
from featcache.errors import ImageError

THREADS = 16
MOST_AHEAD = 32
"""Pieces that are fetched ahead at most."""
MOST_BYTES = 2**27
"""Bytes that are fetched ahead at most; one piece always may be."""
_UNKNOWN_SIZE = 2**20
_NEAR = 4
_RECENT, _DONE = 64, 4096
"""Reads by which it is seen what follows, and those that are not fetched ahead again: threads overtake each other."""


class Piece:
    """An object, or a part of one.

    Parameters
    ----------
    url
        With what is secret in it: it is fetched, and never shown.
    told
        What the store said of it.
    part
        First byte and the one behind the last; ``None`` for all.
    """

    __slots__ = ("part", "told", "url")

    def __init__(self, url: str, told: Told, part: tuple[int, int] | None = None) -> None:
        self.url = url
        self.told = told
        self.part = part

    @property
    def size(self) -> int:
        """Bytes, or a guess."""
        if self.part is not None:
            return self.part[1] - self.part[0]
        return self.told.size if self.told.size >= 0 else _UNKNOWN_SIZE


class Pieces:
    """Reads pieces by their number, for several threads.

    As long as numbers follow each other (by one, or by the same step, as those of ``--shard``), twice as many are
    fetched ahead each time, up to a number and an amount of bytes. Others are fetched alone.

    Parameters
    ----------
    pieces
        In the order in which they are usually read.
    fetcher, kept
        What fetches, and what keeps what was fetched.
    recent
        How many pieces that were read stay in memory: blocks of a shard are asked for once for each image in them.
    """

    def __init__(self, pieces: Sequence[Piece], fetcher: Fetcher, kept: Kept, *, recent: int = 0) -> None:
        self.pieces = pieces
        self._fetcher, self._kept, self._keep = fetcher, kept, recent
        self._lock = threading.Lock()
        self._futures: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._read: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._last: deque[int] = deque(maxlen=_RECENT)
        self._done: OrderedDict[int, int] = OrderedDict()
        self._reads = 0
        self._width = 1
        self._work: _Threads | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process has connections, threads and a memory of its own.
        return _anew, (self.pieces, self._fetcher.patience, self._keep)

    def read(self, number: int) -> bytes:
        """Return the bytes of a piece; raises as `Fetcher.fetch`, without what is secret."""
        with self._lock:
            future = self._read.get(number) or self._futures.pop(number, None)
            self._fetch_ahead(number, hit=future is not None)
            mine = future is None
            if future is None:
                future = Future()
            if self._keep:
                self._read[number] = future
                self._read.move_to_end(number)
                while len(self._read) > self._keep:
                    self._read.popitem(last=False)
        if mine:
            _settle(future, partial(self._get, number))
        try:
            return future.result()
        except BaseException:
            with self._lock:
                self._read.pop(number, None)
            raise

    def forget(self, number: int) -> None:
        """Let a piece be fetched anew when it is next read."""
        piece = self.pieces[number]
        self._kept.drop(self._kept.key(piece.url, piece.told.state, piece.part))
        with self._lock:
            self._read.pop(number, None)
            self._futures.pop(number, None)
            self._done.pop(number, None)

    def _get(self, number: int) -> bytes:
        piece = self.pieces[number]
        key = self._kept.key(piece.url, piece.told.state, piece.part)
        if (data := self._kept.get(key)) is not None:
            return data
        try:
            data = self._fetcher.fetch(piece.url, piece.told, piece.part)
        except ImageError as error:
            raise ImageError(error.reason, redacted(error.detail)) from None
        self._kept.put(key, data)
        return data

    def _fetch_ahead(self, number: int, *, hit: bool) -> None:
        """Begin to fetch what is probably read next."""
        if self._last and self._last[-1] == number:
            return
        if number in self._done and not hit:
            self._done.clear()  # a second pass
        self._reads += 1
        self._done[number] = self._reads
        step = math.gcd(*(number - other for other in self._last)) or 1
        follows = hit or any(number - near * step in self._last for near in range(1, _NEAR + 1))
        self._last.append(number)
        self._width = min(2 * self._width, MOST_AHEAD) if follows else 1
        if self._width == 1:
            return
        room = MOST_BYTES - sum(self.pieces[each].size for each in self._futures)
        for later in range(number + step, min(number + self._width * step + 1, len(self.pieces)), step):
            if later in self._futures or later in self._read or later in self._done:
                continue
            room -= self.pieces[later].size
            if (room < 0 and self._futures) or not self._may_hold_one_more():
                return
            if self._work is None:
                self._work = _Threads()
            self._done[later] = self._reads
            while len(self._done) > _DONE:
                self._done.popitem(last=False)
            self._futures[later] = self._work.submit(partial(self._get, later))

    def _may_hold_one_more(self) -> bool:
        """Return whether there is room for one more; one that nobody came for in a thousand reads goes."""
        if len(self._futures) < 4 * MOST_AHEAD:
            return True
        oldest = next(iter(self._futures))
        if self._done.get(oldest, 0) > self._reads - _DONE // 4:
            return False
        del self._futures[oldest]
        return True


def _anew(pieces: Sequence[Piece], patience: Patience, recent: int) -> Pieces:
    return Pieces(pieces, Fetcher(patience), Kept(), recent=recent)


def _settle(future: Future[bytes], call: Callable[[], bytes]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


class _Threads:
    """Daemon threads: those of `concurrent.futures` are waited for at exit, however long a server stalls."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[bytes], Callable[[], bytes]] | None] = queue.SimpleQueue()
        for number in range(THREADS):
            threading.Thread(
                target=_work, args=(self._queue,), daemon=True, name=f"featcache-fetch-{number}"
            ).start()
        weakref.finalize(self, _end, self._queue)

    def submit(self, call: Callable[[], bytes]) -> Future[bytes]:
        future: Future[bytes] = Future()
        self._queue.put((future, call))
        return future


def _work(jobs: "queue.SimpleQueue[tuple[Future[bytes], Callable[[], bytes]] | None]") -> None:
    while (job := jobs.get()) is not None:
        _settle(*job)
        del job  # what was fetched is its reader's


def _end(jobs: "queue.SimpleQueue[tuple[Future[bytes], Callable[[], bytes]] | None]") -> None:
    for _ in range(THREADS):
        jobs.put(None)


@dataclass(frozen=True, slots=True)
class RemoteRead:
    """What `featcache.datasets.Record.read` is of an image that is a piece.

    Parameters
    ----------
    pieces, number
        Which one.
    """

    pieces: Pieces
    number: int

    def __call__(self) -> bytes:
        """Return its bytes; raises as `Fetcher.fetch`."""
        return self.pieces.read(self.number)

    def forget(self) -> None:
        """Let it be fetched anew when it is next read."""
        self.pieces.forget(self.number)


@runtime_checkable
class _Forgetful(Protocol):
    def forget(self) -> None: ...


def forget_fetched(records: Iterable[Any]) -> None:
    """Let the images of records that lie elsewhere be fetched anew, whatever was kept of them."""
    for record in records:
        if isinstance(record.read, _Forgetful):
            record.read.forget()
