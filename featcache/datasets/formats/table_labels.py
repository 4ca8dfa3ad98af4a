"""Labels of a table: decide between multiclass, multilabel and regression, and read the values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.datasets.formats.listed_files import order_classes
from featcache.datasets.names import shown, why_not_kept
from featcache.errors import DataError, UsageError

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LARGEST = float(np.finfo(np.float32).max)
_WORDS = {"true": 1.0, "false": 0.0}
_WHAT = {MULTILABEL: "answer (0 or 1)", REGRESSION: "number"}
_MOST, _FEWEST = 0.9, 11
"""Share of numbers, and number of rows, from which on a value that is no number is refused as a mistake."""


@dataclass(frozen=True)
class Labels:
    """The labels of a table's rows, in order.

    Parameters
    ----------
    task
        One of `featcache.core.tasks.TASKS`.
    classes
        Names of the classes (multiclass), of the labels (multilabel), or of the targets (regression).
    labels
        Name of each row's class; empty text in the other tasks.
    targets
        Labels 0 or 1, or numbers, of each row; ``None`` in a multiclass task.
    """

    task: str
    classes: tuple[str, ...]
    labels: Sequence[str]
    targets: Sequence[tuple[float, ...] | None]


def read_labels(
    columns: Sequence[str],
    places: Sequence[str],
    values: Sequence[Sequence[Any]],
    *,
    task: str | None,
    file: Path,
) -> Labels:
    """Decide the task of the label columns, and read them.

    One column is multiclass, unless its values are numbers, one of them with a fraction: that is a regression. Where at
    least 9 in 10 of more than 10 values are such numbers, a value that is no number is refused: taken for a class, it
    would make every number a class of its own. Lists of names in one column are multilabel: the names that are right
    for the image. Several columns of only 0 and 1 are multilabel too, and several other columns a regression.

    Parameters
    ----------
    columns
        Names of the columns that hold labels, at least one.
    places
        Place of each row in the file, for messages.
    values
        Of each row, in the order of `columns`, as read.
    task
        The task, if the user gave it.
    file
        The table, for messages.

    Raises
    ------
    UsageError
        If several columns are to be one class.
    DataError
        If a value is missing or not of its kind, with its place; if all images have the same labels.
    """
    where = [[f"{place}, column {column}" for column in columns] for place in places]
    if len(columns) == 1 and any(isinstance(row[0], list | tuple) for row in values):
        return _tags([row[0] for row in values], [row[0] for row in where], task, columns[0], file)
    if len(columns) > 1 or task in (MULTILABEL, REGRESSION):
        return _targets(columns, where, values, task, file)
    names = [as_text(row[0], "label", place[0]) for row, place in zip(values, where, strict=True)]
    if task is None and _are_measurements(names, [place[0] for place in where]):
        return _targets(columns, where, values, REGRESSION, file)
    return Labels(MULTICLASS, tuple(order_classes(names, where=file)), names, [None] * len(names))


def as_text(value: Any, role: str, where: str) -> str:
    """Return a value as text; only a group may be empty.

    Raises
    ------
    DataError
        If it is missing, or cannot be text.
    """
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, float):
        value = "" if value != value else repr(value)  # not a number: how data frames write what is missing
    elif isinstance(value, int):
        value = str(value)
    elif value is not None and not isinstance(value, str):
        raise DataError(f"{where}: a value of type {type(value).__name__}; expected text")
    found = value or ""
    found = found if role == "path" else found.strip()
    if not found and role != "group":
        raise DataError(f"{where}: no {role}; expected one in every row")
    if why := why_not_kept(found):
        advice = "; is this a UTF-16 file? save it as UTF-8" if "\0" in found else ""
        raise DataError(f"{where}: {shown(found)} {why}{advice}")
    return found


# Multilabel and regression ----------------------------------------------------------------------------------------


def _are_measurements(names: Sequence[str], where: Sequence[str]) -> bool:
    """Return whether texts are numbers, one of them with a fraction: measurements, not names of classes.

    Raises
    ------
    DataError
        If nearly all of them are; names the first place that is none.
    """
    numbers = [bool(_NUMBER.fullmatch(name)) for name in names]
    count, total = sum(numbers), len(names)
    if not any(number and not _WHOLE.fullmatch(name) for name, number in zip(names, numbers, strict=True)):
        return False
    if _MOST * total <= count < total and total >= _FEWEST:
        row = numbers.index(False)
        raise DataError(
            f"{where[row]}: {names[row]!r} is no number, and {count} of {total - 1} others are; correct it, or say "
            "?task=classes"
        )
    return count == total


def _targets(
    columns: Sequence[str],
    where: Sequence[Sequence[str]],
    values: Sequence[Sequence[Any]],
    task: str | None,
    file: Path,
) -> Labels:
    if task == MULTICLASS:
        raise UsageError(
            f"dataset 'csv:{file}': task=classes takes one column of labels, not {', '.join(columns)}; "
            "one column for each class is task=answers"
        )
    kind = task or REGRESSION
    rows = [
        tuple(_number(value, kind, place) for value, place in zip(row, places, strict=True))
        for row, places in zip(values, where, strict=True)
    ]
    yes_or_no = {number for row in rows for number in row} <= {0.0, 1.0}
    if kind == MULTILABEL and not yes_or_no:
        row, column = next(
            (r, c) for r, own in enumerate(rows) for c, n in enumerate(own) if n not in (0.0, 1.0)
        )
        raise DataError(
            f"{where[row][column]}: {rows[row][column]:g} is no answer; expected 0 or 1, true or false"
        )
    found = MULTILABEL if task is None and yes_or_no else kind
    return _require_variety(Labels(found, tuple(columns), [""] * len(rows), rows), file)


def _number(value: Any, task: str, where: str) -> float:
    text = "" if value is None else str(value).strip()
    number = _WORDS.get(text.casefold())
    if number is None:
        if not text or text.casefold() == "nan":
            raise DataError(f"{where}: no {_WHAT[task]}; expected one in every row")
        if not _NUMBER.fullmatch(text):
            raise DataError(
                f"{where}: {text!r} is no {_WHAT[task]}; expected one in every row, or one column of classes"
            )
        number = float(text)
    if abs(number) > _LARGEST:
        raise DataError(f"{where}: {text} is too large; numbers are kept in single precision, up to 3e38")
    return number


def _tags(values: Sequence[Any], where: Sequence[str], task: str | None, column: str, file: Path) -> Labels:
    """Read lists of names as multilabel targets."""
    if task in (MULTICLASS, REGRESSION):
        raise UsageError(
            f"dataset 'csv:{file}', column {column}: lists of names are multilabel (task=answers), not task={task}"
        )
    rows = []
    for value, place in zip(values, where, strict=True):
        if not isinstance(value, list | tuple):
            raise DataError(
                f"{place}: {value!r} is no list, and others in this column are; expected lists of names"
            )
        if wrong := [name for name in value if not isinstance(name, str)]:
            raise DataError(
                f"{place}: {wrong[0]!r} in a list is no name; expected lists of names, or a column for each answer"
            )
        rows.append({as_text(name, "label", place) for name in value})
    names = order_classes(set().union(*rows), where=file)
    targets = [tuple(float(name in row) for name in names) for row in rows]
    return _require_variety(Labels(MULTILABEL, tuple(names), [""] * len(rows), targets), file)


def _require_variety(found: Labels, file: Path) -> Labels:
    if len(set(found.targets)) < 2:
        raise DataError(
            f"{file}: all images have the same {found.task} ({', '.join(found.classes[:5]) or 'none'}); "
            "there is nothing to learn"
        )
    return found
