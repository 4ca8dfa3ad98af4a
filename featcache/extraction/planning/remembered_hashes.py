"""Store the hashes of image files between runs, so that unchanged files need not be read again.

The hashes are in ``FEATCACHE_HOME/hashes``, one file for each location of a dataset. An entry holds the image's name,
its size, the state of its file, and its sha256, which is used while size and state are unchanged. The file also says
which location it is of. The files are no part of any cache, and may be deleted at any time.
"""

import contextlib
import hashlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from featcache.core.columns.digest_array import is_among, is_known, last_places
from featcache.core.disk.files import replace_file
from featcache.core.disk.store_urls import scheme_of
from featcache.core.environment import home
from featcache.datasets import Dataset
from featcache.datasets.file_state import STATE_BYTES

_MAGIC = b"featcache hashes 1\n"
_COLUMNS = ("ids", "sizes", "states", "hashes")
# What numpy writes before an array of one axis. Its own reader evaluates any literal there, and fails in many ways.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(\|S[1-9]\d{0,5}|<i8|\|u1)', "
    rb"'fortran_order': False, 'shape': \((\d{1,12}),\), \} *\n",
    re.DOTALL,
)
_MOST, _TIMES = 200_000, 4
"""Limits of a file's entries, whichever is larger: a number, and a multiple of the dataset's images. The oldest go."""


def recall(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return which images of a dataset are unchanged since their hash was stored, and the hashes.

    Returns
    -------
    tuple of numpy.ndarray
        bool ``[N]``; and uint8 ``[N, 32]``, zeros where there is none.
    """
    count = len(data.records)
    known, hashes = np.zeros(count, bool), np.zeros((count, 32), np.uint8)
    file = _file_of(data)
    held = _Entries.read(file) if file else None
    if held is None or not len(held):
        return known, hashes
    own = data.columns
    places = last_places(held.ids, own.ids.encoded)
    rows = np.flatnonzero((places >= 0) & own.has_state)
    there = places[rows]
    same = (held.sizes[there] == own.sizes[rows]) & (held.states[there] == own.states[rows]).all(axis=1)
    known[rows[same]] = True
    hashes[rows[same]] = held.hashes[there[same]]
    return known, hashes


def remember(data: Dataset, hashes: np.ndarray, *, alone: bool = False) -> None:
    """Store the hashes of a dataset's images, in addition to those stored for the same location.

    Parameters
    ----------
    data
        The records.
    hashes
        uint8 ``[N, 32]``: sha256 of each record's bytes, read after its state was taken.
    alone
        Delete the stored hashes of other images.
    """
    file = _file_of(data)
    if file is None:
        return
    new = _Entries.of(data, hashes)
    held = None if alone else _Entries.read(file)
    if held is not None:
        new = held.without(new, max(_MOST, _TIMES * len(data.records))).and_then(new)
    with contextlib.suppress(OSError):  # without a writable home the next run only reads the files again
        new.write(file, data.location)


@dataclass(frozen=True)
class RememberedHashes:
    """A file of hashes of one location.

    Parameters
    ----------
    path, nbytes
        The file.
    why_useless
        Why nobody will use it again; empty if somebody may.
    """

    path: Path
    nbytes: int
    why_useless: str


def list_remembered() -> list[RememberedHashes]:
    """Describe each file of remembered hashes of this user."""
    try:
        paths = sorted((home() / "hashes").iterdir())
    except OSError:  # no folder, or another user's: nothing of ours to clear
        return []
    ours = [path for path in paths if re.fullmatch("[0-9a-f]{64}", path.name) and path.is_file()]
    found = []
    for path in ours:
        with contextlib.suppress(FileNotFoundError):  # another process has removed it just now
            found.append(RememberedHashes(path, path.stat().st_size, _why_useless(path)))
    return found


def _why_useless(path: Path) -> str:
    columns = _read_columns(path)
    if columns is None:
        return "remembered hashes that are damaged"
    if len(columns) == len(_COLUMNS):
        return "remembered hashes of an earlier featcache, which did not record whose they are"
    location = os.fsdecode(columns[-1].tobytes())
    place = location.partition(":")[2]
    if scheme_of(place):  # it is not asked whether a store still has it
        return ""
    # Behind the path may be options, and a path may hold a question mark.
    if any(os.path.lexists(name) for name in (place, place.rpartition("?")[0])):
        return ""
    return f"remembered hashes of a dataset that is gone, {location}"


def _file_of(data: Dataset) -> Path | None:
    """Return the file for the hashes of a dataset; ``None`` if the dataset has no location."""
    if not data.location:
        return None
    return home() / "hashes" / hashlib.sha256(os.fsencode(data.location)).hexdigest()


@dataclass(frozen=True)
class _Entries:
    """Names ``S[N]``, sizes, file states and hashes of images; names are unique, the latest entry is last."""

    ids: np.ndarray
    sizes: np.ndarray
    states: np.ndarray
    hashes: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: np.ndarray) -> "_Entries":
        return _Entries(self.ids[rows], self.sizes[rows], self.states[rows], self.hashes[rows])

    @classmethod
    def of(cls, data: Dataset, hashes: np.ndarray) -> "_Entries":
        own = data.columns
        rows = np.flatnonzero(own.has_state & is_known(hashes))
        names = own.ids.encoded[rows]
        rows = rows[last_places(names, names) == np.arange(len(rows))]  # of records of one name the last
        return cls(own.ids.encoded, own.sizes, own.states, hashes)[rows]

    def without(self, others: "_Entries", most: int) -> "_Entries":
        """Return the entries whose names `others` lack, the latest ones, so that both have at most `most`."""
        rows = np.flatnonzero(~is_among(self.ids, others.ids))
        return self[rows[max(0, len(rows) + len(others) - most) :]]

    def and_then(self, later: "_Entries") -> "_Entries":
        return _Entries(*(np.concatenate([getattr(self, name), getattr(later, name)]) for name in _COLUMNS))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a file; ``None`` if it is missing or damaged, or holds anything else."""
        columns = _read_columns(path)
        if columns is None:
            return None
        ids, sizes, states, hashes = columns[: len(_COLUMNS)]
        return cls(ids, sizes, states.reshape(-1, STATE_BYTES), hashes.reshape(-1, 32))

    def write(self, path: Path, location: str) -> None:
        """Write the entries of a location to a file atomically; raises ``OSError``."""
        parts = [
            part
            for column in (
                self.ids,
                self.sizes.astype("<i8", copy=False),
                self.states.reshape(-1),
                self.hashes.reshape(-1),
                np.frombuffer(os.fsencode(location), np.uint8),
            )
            for part in (_npy_header(column), np.ascontiguousarray(column).view(np.uint8).data)
        ]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda stream: stream.writelines([_MAGIC, digest.digest(), *parts]))


def _npy_header(column: np.ndarray) -> bytes:
    """Return what ``np.save`` writes before a column's bytes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(column))
    return stream.getvalue()


def _read_columns(path: Path) -> list[np.ndarray] | None:
    """Return the arrays of a file, the location's bytes last; ``None`` if it is damaged or missing."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    body = memoryview(content)[start:]
    if content[:start] != _MAGIC + hashlib.sha256(body).digest():
        return None
    try:
        return _columns(body)
    except ValueError:
        return None


def _columns(content: memoryview) -> list[np.ndarray]:
    """Return ids ``S[N]``, sizes int64 ``[N]``, and the bytes of states, hashes and location; raises ``ValueError``.

    Their checksum says that they are as written, not by whom. Files of older versions have no location.
    """
    columns: list[np.ndarray] = []
    place = 0
    for kind in ("S", "i", "u", "u", "u"):
        if place == len(content) and len(columns) == len(_COLUMNS):
            break
        header = _NPY_HEADER.match(content, place)
        dtype = np.dtype(header[1].decode()) if header else np.dtype("V")
        if header is None or dtype.kind != kind:
            raise ValueError("no array of this type")
        columns.append(np.frombuffer(content, dtype, int(header[2]), header.end()))
        place = header.end() + columns[-1].nbytes
    count = len(columns[0])
    lengths = [len(column) for column in columns[: len(_COLUMNS)]]
    if lengths != [count, count, count * STATE_BYTES, count * 32]:
        raise ValueError("columns of several lengths")
    return columns
