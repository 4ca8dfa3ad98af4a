"""Columns of tables under the names that other tools give them, taken where it is plain which one is meant."""

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.core.display import some
from featcache.datasets.formats.table_rows import Table
from featcache.errors import DataError
from featcache.splits.slices import SPLITS

STAND_INS = {
    "path": ("path", "file_name", "filename", "file", "image", "image_path", "filepath", "file_path", "img"),
    "label": ("label", "labels", "class", "class_name", "category", "target", "tags"),
}
"""Names of columns that are taken for a path or a label where no column has that very name."""


SPLIT_NAMES = {"set", "subset", "partition", "phase", "data_set", "dataset", "fold", "usage", "mode", "part"}
"""Names of columns that hold splits where their values are such; none is taken for one unasked."""


_LONGEST = 5000
_YES_OR_NO = {"0", "1", "0.0", "1.0", "true", "false"}
_DELIMITERS = (";", "\t", "|", ",")


def like_splits(columns: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return the columns that may hold splits by their names."""
    return [
        name
        for name in columns
        if plain_name(name) in SPLIT_NAMES and name not in taken and columns.count(name) == 1
    ]


def unused_splits(values: Mapping[str, Sequence[Any]], file: object) -> list[str]:
    """Return what is said of columns whose values are all splits, several of them, and which nobody named."""
    held = {name: {str(value).strip() for value in column} for name, column in values.items()}
    return [
        f"csv:{file}: column {name!r} holds splits ({some(sorted(own))}) and is not used: the test images are drawn "
        f"anew; split={name} takes it"
        for name, own in held.items()
        if all(value.casefold() in SPLITS for value in own)
        and len({SPLITS[value.casefold()] for value in own}) > 1
    ]


def stand_in(role: str, columns: Sequence[str], file: object, taken: Sequence[str] = ()) -> str | None:
    """Return the column that is taken for one of a role; ``None`` where none is.

    Parameters
    ----------
    role
        ``"path"`` or ``"label"``, of which no column has the name.
    columns
        Names of the table's columns.
    file
        The table, for messages.
    taken
        Columns that are something else.

    Raises
    ------
    DataError
        If it can be several columns.
    """
    left = [name for name in columns if name not in taken]
    found = [name for name in left if plain_name(name) in STAND_INS[role]]
    if role == "label" and not found and len(left) == 1 and len(columns) == 2:
        found = left
    if len(found) > 1:
        raise DataError(
            f"{file}, line 1: no column {role!r}, and {some([repr(name) for name in found])} can each be it; "
            f"name one with csv:{file}?{role}={found[0]}"
        )
    return found[0] if found else None


def yes_or_no_columns(table: Table, taken: Sequence[str]) -> list[str]:
    """Return the columns of only 0 and 1, which are labels where a column each says one.

    None where it is one alone, or where their names are longer than a command that could be offered.
    """
    names = [name for name in table.columns if name not in taken and table.columns.count(name) == 1]
    left = {name for name in names if "," not in name}
    try:
        for _, values in table.rows(names):
            own = dict(zip(names, values, strict=True))
            left = {name for name in left if str(own[name]).strip().casefold() in _YES_OR_NO}
    except DataError:  # of another column than the one that is missing: told when that is found
        return []
    return (
        [name for name in names if name in left] if len(left) > 1 and sum(map(len, left)) < _LONGEST else []
    )


def other_delimiter(table: Table) -> str:
    """Return what separates values in the header of a table that seems to have one column; empty where it has one."""
    if len(table.columns) != 1:
        return ""
    sign = next((sign for sign in _DELIMITERS if sign in table.columns[0]), "")
    return "tab" if sign == "\t" else sign


def plain_name(name: str) -> str:
    """Return a column's name without what spellings of it differ in: case, blanks and hyphens."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
