"""The bytes that a file is going to have, while HDF5 builds its structure.

HDF5 does not report every write that fails: it may go on and leave a file whose ids are empty and whose labels
are 0, or end the process (measured). So it writes here, into memory, and the disk is written by code that
checks. Memory is needed for what is written only: features that may be larger than it stay a hole.
"""

import io
from collections.abc import Iterable, Iterator

import numpy as np

_PAGE = 4096
_STEP = 1 << 20


class MemoryFile:
    """A file in memory, of which only the pages that were written exist; all other bytes are 0.

    Implements the methods of a file object that h5py calls, and takes whole arrays without copying them.
    """

    def __init__(self) -> None:
        self.size = 0
        self._position = 0
        self._pages: dict[int, np.ndarray] = {}
        self._arrays: list[tuple[int, np.ndarray]] = []

    def place(self, offset: int, values: np.ndarray) -> None:
        """Put an array's bytes at `offset`, over earlier content; the array must not change afterwards."""
        self._arrays.append((offset, _bytes_of(values)))

    def read_into(self, values: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes at `offset`."""
        part = _bytes_of(values)
        part[...] = 0
        for number in range(offset // _PAGE, -(-(offset + len(part)) // _PAGE)):
            if number in self._pages:
                _copy(self._pages[number], number * _PAGE, part, offset)
        for start, array in self._arrays:
            _copy(array, start, part, offset)

    def pieces(self, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (offset, bytes) that together are the (first, last) ranges, none of them long."""
        for first, last in ranges:
            for offset in range(first, last, _STEP):
                content = np.empty(min(_STEP, last - offset), np.uint8)
                self.read_into(content, offset)
                yield offset, content

    # What h5py calls ----------------------------------------------------------------------------------------

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, from the start or from the end."""
        self._position = offset + (self.size if whence == io.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        values = np.empty(size, np.uint8)
        self.readinto(values.data)
        return values.tobytes()

    def readinto(self, view: memoryview) -> int:
        """Fill a buffer with the next bytes."""
        self.read_into(np.frombuffer(view, np.uint8), self._position)
        self._position += len(view)
        return len(view)

    def write(self, view: memoryview) -> int:
        """Write bytes at the position."""
        content = np.frombuffer(view, np.uint8)
        first, last = self._position, self._position + len(content)
        for number in range(first // _PAGE, -(-last // _PAGE)):
            page = self._pages.setdefault(number, np.zeros(_PAGE, np.uint8))
            _copy(content, first, page, number * _PAGE)
        self._position = last
        self.size = max(self.size, last)
        return len(content)

    def truncate(self, size: int) -> int:
        """Set the size; HDF5 makes files longer only."""
        self.size = size
        return size

    def flush(self) -> None:
        """Do nothing."""


def _bytes_of(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1).view(np.uint8)


def _copy(source: np.ndarray, at: int, target: np.ndarray, offset: int) -> None:
    """Copy the bytes that a source lying at `at` and a target lying at `offset` share."""
    first, last = max(at, offset), min(at + len(source), offset + len(target))
    if first < last:
        target[first - offset : last - offset] = source[first - at : last - at]
