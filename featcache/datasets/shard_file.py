"""A shard of this disk: opened for a scan of its headers, and read at offsets later."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Protocol

from featcache.core.disk.names import open_regular_file, require_file
from featcache.datasets.dataset import access_errors
from featcache.datasets.file_bytes import read_extent
from featcache.datasets.file_state import file_state, size_and_times
from featcache.datasets.labels.tar_labels import class_names
from featcache.errors import DataError


class Stream(Protocol):
    """What a scan reads from: forwards and back, as a binary file."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes."""
        ...

    def seek(self, position: int, /) -> int:
        """Go to a byte."""
        ...

    def tell(self) -> int:
        """Return the byte that is read next."""
        ...


@dataclass(frozen=True)
class OpenShard:
    """A shard while its headers are read.

    Parameters
    ----------
    stream, size
        Its bytes, and how many there are.
    pread
        Returns so many bytes at an offset.
    """

    stream: Stream
    size: int
    pread: Callable[[int, int], bytes]


class Shard(Protocol):
    """A shard, wherever it lies; as text it is its name for messages.

    Attributes
    ----------
    mtime_ns, state
        As of `featcache.datasets.Record`; known once it was opened.
    """

    mtime_ns: int
    state: bytes

    @property
    def place(self) -> PurePath:
        """Its path; of a URL what follows the scheme."""
        ...

    def opened(self) -> AbstractContextManager[OpenShard]:
        """Open it; raises `DataError` if it was changed meanwhile, when the context ends."""
        ...

    def reader(self, offset: int, size: int) -> Callable[[], bytes]:
        """Return what reads an image, as `featcache.datasets.Record.read`."""
        ...

    def classes(self) -> tuple[str, ...] | None:
        """Return the names in a ``classes.txt`` beside it; ``None`` where there is none."""
        ...


class ShardFile:
    """A shard that is a file.

    Parameters
    ----------
    path
        The file.
    expected
        What should be there, for messages.
    """

    def __init__(self, path: Path, expected: str) -> None:
        self.place, self._expected = path, expected
        self.mtime_ns, self.state = 0, b""
        self._written: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        return str(self.place)

    @contextmanager
    def opened(self) -> Iterator[OpenShard]:
        """Open it; raises `DataError` if it cannot be read, or was changed meanwhile."""
        with access_errors(self.place):
            require_file(self.place, f"a shard; {self._expected}")
            descriptor, status = open_regular_file(self.place)
            with os.fdopen(descriptor, "rb") as stream:
                yield OpenShard(stream, status.st_size, partial(os.pread, descriptor))
                self._written = size_and_times(status)
                if size_and_times(os.fstat(descriptor)) != self._written:
                    raise DataError(
                        f"{self.place} was changed while its headers were read; run the command again"
                    )
        self.mtime_ns, self.state = status.st_mtime_ns, file_state(status)

    def reader(self, offset: int, size: int) -> Callable[[], bytes]:
        """Return what reads an image of it."""
        return partial(read_extent, str(self.place), offset, size, self._written)

    def classes(self) -> tuple[str, ...] | None:
        """Return the names in the ``classes.txt`` beside it."""
        return class_names(self.place.parent / "classes.txt")
