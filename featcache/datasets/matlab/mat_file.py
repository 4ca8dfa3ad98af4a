"""Variables of MATLAB files (``.mat``, version 5): numbers, text, cells and structures, and nothing that is executed.

Not by `scipy.io.loadmat`, which believes the file: 960 kB of cells within cells crash it, and of 2 MB it makes 4.1 GB.
Here every length is held against what is there, and size, depth and number of values are limited. The format is that of
MathWorks' "MAT-File Format", chapter 1.
"""

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from featcache.core.disk.names import read_file
from featcache.datasets.dataset import access_errors
from featcache.errors import DataError

_MOST_BYTES, _MOST_UNPACKED = 2**25, 2**26
_MOST_VALUES, _DEEPEST, _MOST_DIMENSIONS = 1_000_000, 8, 32
"""Of arrays in cells and structures; the annotations of 16,185 cars are 130,000."""

_HEADER = 128
_ORDERS = {b"IM": "<", b"MI": ">"}
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15
_CELL, _STRUCTURE, _TEXT = 1, 2, 4
_NUMERIC = range(6, 16)
_OTHER = {3: "an object", 5: "a sparse array", 16: "a function", 17: "an object"}


class _UnreadableError(Exception):
    """Why a file cannot be read."""


def read_mat(path: Path) -> dict[str, Any]:
    """Return the variables of a file by name, those that are no data (objects, functions) left out.

    An array of numbers is one of NumPy of one dimension, column by column as it is stored; text is a `str`; a cell
    array a list; a structure array a list of dictionaries.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    DataError
        If it cannot be read, is no MATLAB file of version 5 (``save -v7``), is damaged, or larger than any list of
        images.
    """
    with access_errors(path):
        data = read_file(path, _MOST_BYTES + 1)
    try:
        return _Reader(data).variables()
    except (_UnreadableError, UnicodeDecodeError, zlib.error, struct.error) as error:
        raise DataError(
            f"{path} is no MATLAB file that can be read: {error}; expected numbers, text, cells and structures of "
            "version 5 (save -v7 in MATLAB, scipy.io.savemat in Python)"
        ) from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        if len(data) > _MOST_BYTES:
            raise _UnreadableError(f"it is larger than {_MOST_BYTES:,} bytes")
        if data.startswith(b"MATLAB 7.3"):
            raise _UnreadableError("it is of version 7.3 (HDF5)")
        if data[126:128] not in _ORDERS or len(data) < _HEADER:
            raise _UnreadableError("it does not begin as one")
        self.data = data
        self.order = _ORDERS[data[126:128]]
        self.values = 0
        self.unpacked = 0

    def variables(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        at, end = _HEADER, len(self.data)
        while at < end:
            kind, start, stop, at = self._element(self.data, at, end)
            data = self.data
            if kind == _COMPRESSED:
                data = self._unpack(data[start:stop])
                kind, start, stop, _ = self._element(data, 0, len(data))
            if kind != _MATRIX:
                raise _UnreadableError("a variable is no array")
            name, value = self._matrix(data, start, stop, 0)
            if name and value is not None:
                found[name] = value
        return found

    def _unpack(self, packed: bytes) -> bytes:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, _MOST_UNPACKED - self.unpacked + 1)
        self.unpacked += len(data)
        if self.unpacked > _MOST_UNPACKED:
            raise _UnreadableError(f"it unpacks to more than {_MOST_UNPACKED:,} bytes")
        return data

    def _element(self, data: bytes, at: int, end: int) -> tuple[int, int, int, int]:
        """Return kind, start and end of a piece of data, and where the next one begins."""
        if at + 8 > end:
            raise _UnreadableError("it ends within a value")
        kind, size = struct.unpack_from(f"{self.order}II", data, at)
        if kind >> 16:  # up to four bytes stand in the place of their own length
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise _UnreadableError("a short value is longer than 4 bytes")
        else:
            start = at + 8
            after = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > end:
            raise _UnreadableError("it ends within a value")
        return kind, start, start + size, min(after, end)

    def _matrix(self, data: bytes, start: int, stop: int, depth: int) -> tuple[str, Any]:
        """Return the name and the value of an array; ``None`` of one that is no data."""
        self.values += 1
        if self.values > _MOST_VALUES:
            raise _UnreadableError(f"it holds more than {_MOST_VALUES:,} values")
        if depth > _DEEPEST:
            raise _UnreadableError(f"its values are nested more than {_DEEPEST} deep")
        if start == stop:
            return "", np.empty(0)
        flags, at = self._numbers(data, start, stop, _UINT32)
        what = int(flags[0]) & 0xFF if len(flags) else 0
        if what in _OTHER:
            if depth:
                raise _UnreadableError(f"it holds {_OTHER[what]}")
            return "", None
        dimensions, at = self._numbers(data, at, stop, _INT32)
        if len(dimensions) > _MOST_DIMENSIONS or (dimensions < 0).any():
            raise _UnreadableError("an array has impossible dimensions")
        count = math.prod(map(int, dimensions))
        kind, first, last, at = self._element(data, at, stop)
        name = data[first:last].decode("latin-1")
        if what == _CELL:
            return name, self._cells(data, at, stop, count, depth)
        if what == _STRUCTURE:
            return name, self._structures(data, at, stop, count, depth)
        if what != _TEXT and what not in _NUMERIC:
            raise _UnreadableError(f"an array is of the unknown class {what}")
        if not count:
            return name, "" if what == _TEXT else np.empty(0)
        kind, first, last, _ = self._element(data, at, stop)
        if what == _TEXT:
            if int(dimensions[0]) != 1:
                raise _UnreadableError("a text has several lines")
            return name, self._text(kind, data[first:last])
        return name, self._array(kind, data[first:last], count)

    def _numbers(self, data: bytes, at: int, stop: int, expected: int) -> tuple[np.ndarray, int]:
        kind, first, last, after = self._element(data, at, stop)
        if kind != expected:
            raise _UnreadableError("an array has no header")
        return self._array(kind, data[first:last], (last - first) // 4), after

    def _array(self, kind: int, raw: bytes, count: int) -> np.ndarray:
        if kind not in _NUMBERS:
            raise _UnreadableError("numbers are of an unknown kind")
        dtype = np.dtype(self.order + _NUMBERS[kind])
        if len(raw) != count * dtype.itemsize:
            raise _UnreadableError("an array has another length than its dimensions")
        return np.frombuffer(raw, dtype)

    def _text(self, kind: int, raw: bytes) -> str:
        if kind not in _TEXTS:
            raise _UnreadableError("a text is of an unknown kind")
        order = {"<": "-le", ">": "-be"}[self.order] if _TEXTS[kind] == "utf-16" else ""
        return raw.decode(_TEXTS[kind] + order)

    def _cells(self, data: bytes, at: int, stop: int, count: int, depth: int) -> list[Any]:
        found = []
        for _ in range(self._require_room(count, stop - at)):
            kind, first, last, at = self._element(data, at, stop)
            if kind != _MATRIX:
                raise _UnreadableError("a cell holds no array")
            found.append(self._matrix(data, first, last, depth + 1)[1])
        return found

    def _structures(self, data: bytes, at: int, stop: int, count: int, depth: int) -> list[dict[str, Any]]:
        width, at = self._numbers(data, at, stop, _INT32)
        _, first, last, at = self._element(data, at, stop)
        size = int(width[0]) if len(width) else 0
        if size < 1:
            raise _UnreadableError("a structure has no names")
        names = [
            data[own : min(own + size, last)].split(b"\0")[0].decode("latin-1")
            for own in range(first, last, size)
        ]
        flat = self._cells(data, at, stop, count * len(names), depth) if names else []
        each = len(names)
        return [
            dict(zip(names, flat[own : own + each], strict=True)) for own in range(0, len(flat), each or 1)
        ]

    def _require_room(self, count: int, nbytes: int) -> int:
        """Return a number of values, each of which takes at least 8 bytes, if there is room for so many."""
        if 8 * count > nbytes:
            raise _UnreadableError("it ends within a value")
        return count
