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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from featcache.cache.layout import decode_ids, encode_ids
from featcache.core.disk.files import replace_file
from featcache.core.disk.store_urls import scheme_of
from featcache.core.environment import home
from featcache.datasets import Dataset, Record
from featcache.datasets.file_state import STATE_BYTES
from featcache.extraction.planning.row_table import UNREADABLE

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


def recall(data: Dataset) -> dict[int, bytes]:
    """Return the stored hashes of a dataset's unchanged images, record number to sha256."""
    file = _file_of(data)
    held = _Entries.read(file) if file else None
    if held is None:
        return {}
    known = dict(zip(held.ids, zip(held.sizes, held.states, held.hashes, strict=True), strict=True))
    found = {}
    for row, record in enumerate(data.records):
        size, state, digest = known.get(record.id, (0, b"", b""))
        if record.state and (size, state) == (record.size, record.state):
            found[row] = digest
    return found


def remember(data: Dataset, hashes: Sequence[bytes], *, alone: bool = False) -> None:
    """Store the hashes of a dataset's images, in addition to those stored for the same location.

    Parameters
    ----------
    data
        The records.
    hashes
        sha256 of each record's bytes, read after its state was taken.
    alone
        Delete the stored hashes of other images.
    """
    file = _file_of(data)
    if file is None:
        return
    new = _Entries.of(data.records, hashes)
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
    """Names, sizes, file states and hashes of images; names are unique, the latest entry is last."""

    ids: Sequence[str]
    sizes: Sequence[int]
    states: Sequence[bytes]
    hashes: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, records: Sequence[Record], hashes: Sequence[bytes]) -> Self:
        pairs = enumerate(zip(records, hashes, strict=True))
        rows = {r.id: row for row, (r, digest) in pairs if r.state and digest != UNREADABLE}.values()
        return cls(
            [records[row].id for row in rows],
            [records[row].size for row in rows],
            [records[row].state for row in rows],
            [hashes[row] for row in rows],
        )

    def without(self, others: "_Entries", most: int) -> "_Entries":
        """Return the entries whose names `others` lack, the latest ones, so that both have at most `most`."""
        taken = set(others.ids)
        rows = [row for row, name in enumerate(self.ids) if name not in taken]
        rows = rows[max(0, len(rows) + len(others) - most) :]
        return _Entries(
            [self.ids[row] for row in rows],
            [self.sizes[row] for row in rows],
            [self.states[row] for row in rows],
            [self.hashes[row] for row in rows],
        )

    def and_then(self, later: "_Entries") -> "_Entries":
        return _Entries(
            [*self.ids, *later.ids],
            [*self.sizes, *later.sizes],
            [*self.states, *later.states],
            [*self.hashes, *later.hashes],
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a file; ``None`` if it is missing or damaged, or holds anything else."""
        columns = _read_columns(path)
        if columns is None:
            return None
        ids, sizes, states, hashes = columns[: len(_COLUMNS)]
        return cls(decode_ids(ids), sizes.tolist(), _cut(states, STATE_BYTES), _cut(hashes, 32))

    def write(self, path: Path, location: str) -> None:
        """Write the entries of a location to a file atomically; raises ``OSError``."""
        stream = io.BytesIO()
        for column in (
            encode_ids(self.ids),
            np.array(self.sizes, "<i8"),
            np.frombuffer(b"".join(self.states), np.uint8),
            np.frombuffer(b"".join(self.hashes), np.uint8),
            np.frombuffer(os.fsencode(location), np.uint8),
        ):
            np.save(stream, column, allow_pickle=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = stream.getvalue()
        replace_file(path, _MAGIC + hashlib.sha256(content).digest() + content)


def _read_columns(path: Path) -> list[np.ndarray] | None:
    """Return the arrays of a file, the location's bytes last; ``None`` if it is damaged or missing."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    if content[:start] != _MAGIC + hashlib.sha256(content[start:]).digest():
        return None
    try:
        return _columns(content[start:])
    except ValueError:
        return None


def _columns(content: bytes) -> list[np.ndarray]:
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


def _cut(column: np.ndarray, size: int) -> list[bytes]:
    """Split a column's bytes into entries of `size` bytes."""
    content = column.tobytes()
    return [content[first : first + size] for first in range(0, len(content), size)]
