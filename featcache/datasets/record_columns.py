"""What is known of all records of a dataset, as arrays: what an extraction plans from, without an object of each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from featcache.core.columns.name_column import NameColumn, encode_ids
from featcache.datasets.file_state import STATE_BYTES, recorded_time

if TYPE_CHECKING:
    from featcache.datasets.dataset import Record


_NO_STATE = bytes(STATE_BYTES)


@dataclass(frozen=True)
class RecordColumns:
    """Columns of N records; see `featcache.datasets.Record` for what each says.

    Parameters
    ----------
    ids
        Names.
    labels
        int32 ``[N]``.
    split_names, split_of
        The names of all splits in the order in which they come first, and int32 ``[N]``: each record's, as an index.
    sizes, mtimes_ns
        int64 ``[N]``; times as a cache can record them.
    states
        uint8 ``[N, 16]``; zeros where there is none.
    has_state
        bool ``[N]``.
    groups
        Names of the groups; ``None`` where no record has one.
    """

    ids: NameColumn
    labels: np.ndarray
    split_names: tuple[str, ...]
    split_of: np.ndarray
    sizes: np.ndarray
    mtimes_ns: np.ndarray
    states: np.ndarray
    has_state: np.ndarray
    groups: tuple[str, ...] | None = None


@runtime_checkable
class HasColumns(Protocol):
    """Records that are columns already."""

    def columns(self) -> RecordColumns:
        """Return them."""
        ...

    def ids(self) -> Iterator[str]:
        """Yield the ids, whatever they hold."""
        ...


def ids_of(records: "Sequence[Record]") -> Iterator[str]:
    """Yield the ids of records."""
    return records.ids() if isinstance(records, HasColumns) else (record.id for record in records)


def columns_of(records: "Sequence[Record]") -> RecordColumns:
    """Return the columns of records."""
    if isinstance(records, HasColumns):
        return records.columns()
    count = len(records)
    numbers: dict[str, int] = {}
    # A state of another length than files have is none that can be stored.
    stated = [record.state if len(record.state) == STATE_BYTES else b"" for record in records]

    def column(values: "Iterable[int]", dtype: str) -> np.ndarray:
        return np.fromiter(values, dtype, count)

    return RecordColumns(
        ids=NameColumn(encode_ids([record.id for record in records])),
        labels=column((record.label for record in records), "i4"),
        split_of=column((numbers.setdefault(record.split, len(numbers)) for record in records), "i4"),
        split_names=tuple(numbers),
        sizes=column((record.size for record in records), "i8"),
        mtimes_ns=column((recorded_time(record.mtime_ns) for record in records), "i8"),
        states=np.frombuffer(b"".join(state or _NO_STATE for state in stated), np.uint8).reshape(
            -1, STATE_BYTES
        ),
        has_state=column(map(bool, stated), "?"),
        groups=tuple(record.group for record in records) if any(record.group for record in records) else None,
    )
