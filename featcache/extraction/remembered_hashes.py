"""Hashes of files that were not written since they were read, so that a run with nothing to do reads next to nothing.

They are kept in ``FEATCACHE_HOME/hashes``, in a file for each place that datasets are read from, and serve only what is
read from there again: each with the name of the image, its size, and the state of its file. They are no part of any
cache, and may be deleted at any time.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from featcache.cache.layout import decode_ids, encode_ids
from featcache.core.environment import home
from featcache.core.files import replace_file
from featcache.datasets import Dataset, Record
from featcache.datasets.file_state import STATE_BYTES
from featcache.extraction.row_table import UNREADABLE

_MAGIC = b"featcache hashes 1\n"
_MOST, _TIMES = 200_000, 4
"""Entries that a file may have, and times as many as the dataset has images: those of former names go at some time."""


def recall(data: Dataset) -> dict[int, bytes]:
    """Return the hashes that are known of a dataset's images: number of the record to sha256."""
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
    """Keep the hashes of a dataset's images for the next time, beside those of its other images.

    Parameters
    ----------
    data
        The records.
    hashes
        sha256 of each record's bytes, read after its state was taken.
    alone
        Forget those of other images.
    """
    file = _file_of(data)
    if file is None:
        return
    new = _Entries.of(data.records, hashes)
    held = None if alone else _Entries.read(file)
    if held is not None:
        new = held.without(new, max(_MOST, _TIMES * len(data.records))).and_then(new)
    with contextlib.suppress(
        OSError
    ):  # a home that cannot be written to costs reading again, and nothing else
        new.write(file)


def _file_of(data: Dataset) -> Path | None:
    """Return where the hashes of a dataset are kept; ``None`` where it is read from no place."""
    if not data.location:
        return None
    return home() / "hashes" / hashlib.sha256(os.fsencode(data.location)).hexdigest()


@dataclass(frozen=True)
class _Entries:
    """Name, size and state of images, and their hashes: each name once, the latest last."""

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
        """Return the entries of names that `others` lack, the latest ones up to `most` in all."""
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
        """Return what a file holds; ``None`` if it is not there, or not whole."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + 32
        if content[:start] != _MAGIC + hashlib.sha256(content[start:]).digest():
            return None
        stream = io.BytesIO(content[start:])
        ids, sizes, states, hashes = (np.load(stream, allow_pickle=False) for _ in range(4))
        return cls(decode_ids(ids), sizes.tolist(), _cut(states, STATE_BYTES), _cut(hashes, 32))

    def write(self, path: Path) -> None:
        """Put the entries in the place of a file at once; raises ``OSError``."""
        stream = io.BytesIO()
        for column in (
            encode_ids(self.ids),
            np.array(self.sizes, "<i8"),
            np.frombuffer(b"".join(self.states), np.uint8),
            np.frombuffer(b"".join(self.hashes), np.uint8),
        ):
            np.save(stream, column, allow_pickle=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = stream.getvalue()
        replace_file(path, _MAGIC + hashlib.sha256(content).digest() + content)


def _cut(column: np.ndarray, size: int) -> list[bytes]:
    """Return a column's bytes, `size` for each entry."""
    content = column.tobytes()
    return [content[first : first + size] for first in range(0, len(content), size)]
