"""A table of photos with a column for their labels, to be filled in by hand and read as a dataset (``csv:FILE``).

It grows: where it is there, further photos are written below, and nothing that was filled in is lost.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import FILE, read_file, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.documents.csv_text import csv_row
from featcache.datasets.formats.table_rows import open_table_file
from featcache.errors import DataError, FeatcacheError, UsageError

COLUMNS = ("path", "label", "guess", "why")
"""What is written; ``csv:FILE`` reads the first two."""

ANOTHER = "name another file"


@dataclass(frozen=True)
class AskedPhoto:
    """A photo that stands in the table.

    Parameters
    ----------
    path
        Of its file; its name in the dataset where it is no file of its own.
    guess, why
        What the classifier takes it for, and why it was suggested.
    """

    path: str
    guess: str
    why: str


def require_table(path: str | os.PathLike[str]) -> None:
    """Refuse what no table of labels can be, or what is there and is none.

    Raises
    ------
    UsageError
        If it does not end in ``.csv``, or is another table or no file.
    """
    place = Path(path)
    require_free(place, FILE, elsewhere=ANOTHER)
    if place.suffix.casefold() != ".csv":
        raise UsageError(f"{place}: expected a file that ends in .csv, a table to fill in; {ANOTHER}")
    if place.exists():
        _rows(place)


def labelled_in(path: str | os.PathLike[str]) -> list[str]:
    """Return the absolute paths of the photos that have a label in a table; none where there is no table yet.

    Raises
    ------
    UsageError
        If it is no table of labels.
    """
    place = Path(path)
    if not place.exists():
        return []
    return [_absolute(name, place) for name, label in _rows(place)[1] if label.strip()]


def add_to_table(path: str | os.PathLike[str], photos: Sequence[AskedPhoto]) -> int:
    """Write photos to a table, below what is there; returns how many are new in it.

    Parameters
    ----------
    path
        The table; its folder is what paths are relative to, where photos lie in it.
    photos
        In their order.

    Raises
    ------
    UsageError
        If something else is there.
    StorageError
        If it cannot be written.
    """
    place = Path(path)
    require_table(place)
    if place.exists():
        columns, rows = _rows(place)
        there = {_absolute(name, place) for name, _ in rows}
        content = read_file(place)
        content += b"" if content.endswith(b"\n") else b"\n"
    else:
        columns, there, content = COLUMNS, set(), csv_row(COLUMNS)
    new = [photo for photo in photos if _absolute(photo.path, place) not in there]
    for photo in new:
        known = {"path": _relative(photo.path, place), "guess": photo.guess, "why": photo.why}
        content += csv_row([known.get(column, "") for column in columns])
    with storage_errors(place, elsewhere=ANOTHER, needs=len(content)):
        replace_file(place, content)
    return len(new)


def _rows(place: Path) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Return the columns of a table, and the path and the label of each row."""
    try:
        table = open_table_file(place)
        if not {"path", "label"} <= set(table.columns):
            raise DataError(f"its columns are {', '.join(map(repr, table.columns[:8]))}")
        rows = [(str(name), str(label)) for _, (name, label) in table.rows(["path", "label"])]
    except FeatcacheError as error:
        raise UsageError(
            f"{place} is there and is no table with the columns path and label between commas, to which photos could "
            f"be added ({error}); correct it, or {ANOTHER}"
        ) from error
    return table.columns, rows


def _absolute(name: str, table: Path) -> str:
    return os.path.normpath(os.path.join(os.path.abspath(table.parent), name))


def _relative(name: str, table: Path) -> str:
    """Return a photo's path as the table writes it: relative where it lies below the table's folder."""
    if not os.path.isabs(name):
        return name
    folder = os.path.abspath(table.parent)
    inside = name.startswith(os.path.join(folder, ""))
    return os.path.relpath(name, folder) if inside else name
