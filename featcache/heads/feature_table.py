"""Tables of features, in memory or read in blocks, and records of fitted heads; numpy only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from featcache.heads.scaling import unit_length
from featcache.heads.streamed_nearest import widened

DEFAULT_MEMORY = 2 << 30
"""Default limit of the memory that training takes, in bytes."""

_STRIP = 256
"""Rows that are widened, or brought to length 1, at a time."""


class FeatureTable(Protocol):
    """Features of numbered rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows N and width D."""
        ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the features float32 ``[n, D]`` of row numbers int ``[n]``."""
        ...


class ArrayTable:
    """Features in memory, float32 ``[N, D]``."""

    def __init__(self, features: np.ndarray) -> None:
        self.array = np.asarray(features, np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows N and width D."""
        return self.array.shape[0], self.array.shape[1]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the features float32 ``[n, D]`` of row numbers int ``[n]``."""
        return self.array[rows]


class StreamedTable:
    """Features that are read on demand.

    Parameters
    ----------
    read
        ``row numbers int [n] -> features [n, …]``.
    rows
        Number of rows N.
    width
        Width D of one row, flattened.
    unit
        Whether rows are brought to length 1.
    """

    def __init__(
        self, read: Callable[[np.ndarray], np.ndarray], rows: int, width: int, *, unit: bool = False
    ) -> None:
        self.read = read
        self.shape = (rows, width)
        self.unit = unit

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the features float32 ``[n, D]`` of row numbers int ``[n]``."""
        # In ascending order and each once: files are read forwards, and batches hold -1 twice.
        wanted, places = np.unique(rows, return_inverse=True)
        found = as_float32(self.read(wanted).reshape(len(wanted), self.shape[1]), unit=self.unit)
        # Mostly they were in order, and a copy would double a block.
        return found if np.array_equal(rows, wanted) else found[places]


def as_float32(values: np.ndarray, *, unit: bool = False) -> np.ndarray:
    """Return rows ``[n, D]`` as float32, and if asked for at length 1; NaN for float16's infinities.

    Strip by strip, which a core's cache holds: what either takes beside the result is not written to memory.
    """
    if values.dtype != np.float16 and not unit:
        return np.asarray(values, np.float32)
    found = np.empty(values.shape, np.float32)
    with np.errstate(invalid="ignore"):  # a row that counts for no head may be infinite
        for start in range(0, len(values), _STRIP):
            strip = widened(values[start : start + _STRIP])
            found[start : start + _STRIP] = unit_length(strip) if unit else strip
    return found


def unit_rows(table: FeatureTable) -> FeatureTable:
    """Return a table of the same rows at length 1: computed now where they are in memory, else when they are read."""
    if isinstance(table, ArrayTable):
        return ArrayTable(as_float32(table.array, unit=True))
    if isinstance(table, StreamedTable):
        return StreamedTable(table.read, *table.shape, unit=True)
    return StreamedTable(table.take, *table.shape, unit=True)


class RowsOf:
    """Some rows of a table, which are read when they are sliced like an array.

    Parameters
    ----------
    table
        The table.
    numbers
        Row numbers, int ``[n]``; all rows by default.
    """

    def __init__(self, table: FeatureTable, numbers: np.ndarray | None = None) -> None:
        self.table = table
        self.numbers = np.arange(table.shape[0]) if numbers is None else numbers

    @property
    def shape(self) -> tuple[int, int]:
        """Rows n and width D."""
        return len(self.numbers), self.table.shape[1]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, which: Any) -> Any:
        """Return one row ``[D]``, the rows of a slice ``[n, D]``, or, for a mask, a smaller `RowsOf`, not read yet."""
        if isinstance(which, slice):
            return self.table.take(self.numbers[which])
        if isinstance(which, np.ndarray):
            return RowsOf(self.table, self.numbers[which])
        return self.table.take(self.numbers[[which]])[0]


class FeatureRows(NamedTuple):
    """Labelled features: `table` of N images, their `labels`, and `weight` float ``[K, N]`` for each head.

    Labels are int ``[N]`` (multiclass), 0 and 1 in ``[N, C]`` (multilabel), or float ``[N, T]`` (regression). The
    table has `views` V rows for each image, ``[N · V, D]``: view v of image r is row ``r · V + v``.
    """

    table: FeatureTable
    labels: np.ndarray
    weight: np.ndarray
    views: int = 1

    def by_row(self) -> "FeatureRows":
        """Return the same with a label and a weight for every row: an image's views share its weight evenly."""
        if self.views == 1:
            return self
        weight = np.repeat(self.weight / np.float32(self.views), self.views, axis=1)
        return FeatureRows(self.table, np.repeat(self.labels, self.views, axis=0), weight)


@dataclass(frozen=True)
class Solved:
    """K fitted heads: parameters with a leading axis K; epochs (or iterations) and convergence of each, ``[K]``."""

    parameters: Mapping[str, np.ndarray]
    epochs: np.ndarray
    run: int
    converged: np.ndarray
    histories: Sequence[Mapping[str, list[float | None]]]


def blocks(rows: int, width: int, nbytes: int) -> list[slice]:
    """Cut N rows of float32 ``[D]`` into slices of at most `nbytes`, one row at least."""
    size = max(1, nbytes // (4 * max(width, 1)))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
