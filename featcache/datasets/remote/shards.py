"""Tar shards that lie elsewhere: their headers read by blocks, their images from the blocks they are in.

A request for each header, or each image, would take longer than the bytes between them: shards are read in blocks of
4 MiB, several ahead. No shard is ever whole in memory; blocks are kept as other fetched bytes are (`kept`), and one
that was changed since its headers were read is refused, by its state with each block.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from featcache.core.disk.store_urls import WEB, joined, parent_of, redacted, scheme_of
from featcache.datasets.formats.shard_names import EXPECTED, MAX_SHARDS, expand_braces
from featcache.datasets.labels.tar_labels import class_names
from featcache.datasets.names import natural_key
from featcache.datasets.remote.access import file_system
from featcache.datasets.remote.fetching import Fetcher, Told
from featcache.datasets.remote.kept import Kept
from featcache.datasets.remote.pieces import Piece, Pieces
from featcache.datasets.shard_file import OpenShard
from featcache.errors import DataError, ImageError, MissingFileError, UsageError

BLOCK = 2**22
_RECENT = 12
"""Blocks that stay in memory once they were read, of all shards together."""


class RemoteShard:
    """A shard with a URL.

    Parameters
    ----------
    url, told
        Where it is, and what was told of it.
    pieces, first
        The blocks of all shards, and the number of the first one of this shard.
    """

    def __init__(self, url: str, told: Told, pieces: Pieces, first: int) -> None:
        self.url = url
        self.place = PurePosixPath(redacted(url).partition("://")[2].partition("?")[0])
        self.mtime_ns, self.state, self.size = told.mtime_ns, told.state, told.size
        self._pieces, self._first = pieces, first

    def __str__(self) -> str:
        return redacted(self.url)

    @contextmanager
    def opened(self) -> Iterator[OpenShard]:
        """Open it; raises `DataError` if it cannot be read, or was changed meanwhile."""
        try:
            yield OpenShard(_Blocks(self._read, self.size), self.size, self._pread)
        except (OSError, ImageError) as error:
            why = error.detail if isinstance(error, ImageError) else error.strerror or str(error)
            raise DataError(f"cannot read {self}: {why}; run the command again") from error

    def reader(self, offset: int, size: int) -> Callable[[], bytes]:
        """Return what reads an image of it."""
        return ExtentRead(self._pieces, self._first, offset, size)

    def classes(self) -> tuple[str, ...] | None:
        """Return the names in the ``classes.txt`` beside it."""
        try:
            content = Fetcher().fetch(joined(parent_of(self.url), "classes.txt"))
        except (OSError, ImageError):  # a store that allows no look says so of the shards, too
            return None
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "classes.txt"
            place.write_bytes(content)
            return class_names(place)

    def _read(self, offset: int, size: int) -> bytes:
        return self.reader(offset, max(0, min(size, self.size - offset)))()

    def _pread(self, size: int, offset: int) -> bytes:
        return self._read(offset, size)


@dataclass(frozen=True, slots=True)
class ExtentRead:
    """Reads a part of a shard.

    Parameters
    ----------
    pieces, first
        The blocks of all shards, and the number of this one's first.
    offset, size
        In bytes.
    """

    pieces: Pieces
    first: int
    offset: int
    size: int

    def __call__(self) -> bytes:
        """Return its bytes; raises as `featcache.datasets.remote.fetching.Fetcher.fetch`."""
        parts = []
        for number in self._blocks():
            start = self.offset - number * BLOCK
            parts.append(self.pieces.read(self.first + number)[max(0, start) : start + self.size])
        return b"".join(parts)

    def forget(self) -> None:
        """Let it be fetched anew when it is next read."""
        for number in self._blocks():
            self.pieces.forget(self.first + number)

    def _blocks(self) -> range:
        return range(self.offset // BLOCK, -(-(self.offset + self.size) // BLOCK))


class _Blocks:
    """A stream over `read`, which is given an offset and a size."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._place = read, size, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._read(self._place, self._size - self._place if size < 0 else size)
        self._place += len(data)
        return data

    def seek(self, position: int, /) -> int:
        self._place = position
        return position

    def tell(self) -> int:
        return self._place


def find_remote_shards(pattern: str) -> list[RemoteShard]:
    """Return the shards that a URL stands for: braces in the order they are written, wildcards in natural order.

    Raises
    ------
    MissingFileError
        If one does not exist, or none.
    DataError
        If a server does not tell a shard's size.
    UsageError
        If a wildcard or folder is asked of a web server, or the pattern cannot be expanded.
    """
    fetcher = Fetcher()
    named = list(islice(expand_braces(pattern), MAX_SHARDS + 1))
    if len(named) > MAX_SHARDS:
        raise UsageError(f"tar:{redacted(pattern)} stands for more than {MAX_SHARDS} shards; {EXPECTED}")
    urls = list(dict.fromkeys(url for name in named for url in _matches(name, fetcher)))
    if not urls:
        raise MissingFileError(f"no shard matches tar:{redacted(pattern)}; {EXPECTED}")
    told = [_told(url, fetcher) for url in urls]
    blocks = [
        Piece(url, own, (start, min(start + BLOCK, own.size)))
        for url, own in zip(urls, told, strict=True)
        for start in range(0, own.size, BLOCK)
    ]
    pieces, shards, first = Pieces(blocks, fetcher, Kept(), recent=_RECENT), [], 0
    for url, own in zip(urls, told, strict=True):
        shards.append(RemoteShard(url, own, pieces, first))
        first += -(-own.size // BLOCK)
    return shards


def _matches(url: str, fetcher: Fetcher) -> list[str]:
    if url.partition("?")[0].endswith(".tar"):
        if "*" not in url:
            return [url]
    elif "*" not in url:
        url = f"{url.rstrip('/')}/*.tar"
    if scheme_of(url) in WEB:
        raise UsageError(
            f"tar:{redacted(url)}: web servers are not searched for shards; name each, as in "
            "tar:https://HOST/train-{000..009}.tar"
        )
    files = file_system(url)
    scheme = url.partition("://")[0]
    found = fetcher.again(url, partial(files.glob, url))
    return sorted((f"{scheme}://{str(each).lstrip('/')}" for each in found), key=natural_key)


def _told(url: str, fetcher: Fetcher) -> Told:
    try:
        told = fetcher.ask(url)
    except FileNotFoundError as error:
        raise MissingFileError(f"no shard {redacted(url)}; {EXPECTED}") from error
    except OSError as error:
        raise DataError(f"cannot read {redacted(url)}: {error.strerror or error}") from error
    if told.size < 0:
        raise DataError(
            f"{redacted(url)}: the server does not say how large it is, so that its images cannot be read in place; "
            "download it"
        )
    if not told.state:
        raise DataError(
            f"{redacted(url)}: the server does not say by an ETag or a Last-Modified whether it was changed since its "
            "headers were read; if it was written just now, run the command again; else download it"
        )
    return told
