"""Rows of a table that have no label: told, and left out where that is asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featcache.errors import DataError

GAPS = {"nan", "<na>"}
"""How data frames write a missing value as text."""
SKIP = {"no_label": "skip"}
"""The option that leaves out rows without a label."""
Row = tuple[str, Sequence[Any]]
"""Its place in the file, and its values."""


def is_gap(value: Any) -> bool:
    """Return whether a cell holds nothing, or what data frames write for nothing."""
    if isinstance(value, str):
        return not value.strip() or value.strip().casefold() in GAPS
    return value is None or value != value


def labelled_rows(rows: Sequence[Row], label: slice, file: object) -> tuple[list[Row], dict[str, int]]:
    """Return the rows with a label in each of their label columns, and why the others are left out, with their number.

    Raises
    ------
    DataError
        If no row has one.
    """
    kept = [row for row in rows if not any(map(is_gap, row[1][label]))]
    if not kept:
        raise DataError(
            f"{file}: no_label=skip leaves no row, as each of {len(rows)} has a cell without a label"
        )
    left = len(rows) - len(kept)
    return kept, {f"row{'s' if left > 1 else ''} without a label": left} if left else {}


@contextmanager
def offering_to_skip(rows: Sequence[Row], label: slice, written: Callable[[], str]) -> Iterator[None]:
    """Add to an error about labels which rows have none, and the spec that leaves these out.

    Parameters
    ----------
    rows
        Of the table.
    label
        Where the labels are in a row's values.
    written
        Returns that spec, as a shell takes it.
    """
    try:
        yield
    except DataError as error:
        gaps = [place for place, values in rows if any(map(is_gap, values[label]))]
        if not 0 < len(gaps) < len(rows):
            raise
        raise DataError(
            f"{error}; {len(gaps)} of {len(rows)} rows {'has' if len(gaps) == 1 else 'have'} no label: to leave "
            f"{'it' if len(gaps) == 1 else 'them'} out, say {written()}"
        ) from None
