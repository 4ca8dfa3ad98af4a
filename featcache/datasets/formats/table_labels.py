"""Labels of a table: decide between multiclass, multilabel and regression, and read the values."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.core.display import some
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.datasets.formats.listed_files import order_classes
from featcache.datasets.labels.answers import (
    Asked,
    Labels,
    one_of,
    read_separated,
    read_tags,
    require_variety,
    sign_between,
)
from featcache.datasets.labels.cells import as_text, combined, lists_in_text
from featcache.datasets.labels.class_names import ClassNames
from featcache.datasets.labels.gaps import GAPS
from featcache.datasets.names import shown
from featcache.errors import DataError, UsageError

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_EXACT = 2.0**53
"""Below it, a number in double precision is one whole number and no other."""
_LARGEST = float(np.finfo(np.float32).max)
_WORDS = {"true": 1.0, "false": 0.0}
_WHAT = {MULTILABEL: "answer (0 or 1)", REGRESSION: "number"}
_SEVERAL = "; where cells hold several labels, say what is between them: sep=SIGN"
_MOST, _FEWEST = 0.9, 11
"""Share of numbers, and number of rows, from which on a value that is no number is refused as a mistake."""


def read_labels(
    columns: Sequence[str],
    places: Sequence[str],
    values: Sequence[Sequence[Any]],
    *,
    task: str | None,
    file: Path,
    separator: str = "",
    names: ClassNames | None = None,
) -> Labels:
    """Decide the task of the label columns, and read them.

    One column is multiclass, unless its values are numbers, one of them with a fraction: that is a regression. Numbers
    without any (``0.0``, ``1.0``: a data frame had a gap once) are whole numbers, and classes. Where at least 9 in 10
    of more than 10 values are numbers, some not written as whole ones, a value that is no number is refused: taken for
    a class, it would make every number a class of its own. Lists of names in one column, also as the text of a cell,
    are multilabel: the names that are right for the image. So are cells with a sign between labels, where `separator`
    or the task says so. Several columns of only 0 and 1 are multiclass where exactly one in each row is 1, otherwise
    multilabel, and several other columns a regression.

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
    separator
        The sign between the labels of a cell; ``""`` where there is one label in each.
    names
        Names of classes, where labels are their numbers.

    Raises
    ------
    UsageError
        If several columns are to be one class and a row is not 1 in exactly one; if an option does not fit the labels.
    DataError
        If a value is missing or not of its kind, with its place; if all images have the same labels.
    """
    where = [[f"{place}, column {column}" for column in columns] for place in places]
    if len(columns) > 1:
        _refuse_option(len(columns) > 1, columns, file, separator, names)
        return _targets(columns, where, values, task, file)
    column, first = [row[0] for row in values], [row[0] for row in where]
    asked = Asked(task, columns[0], file, names)
    if separator:
        return read_separated(column, first, asked, separator)
    if task != MULTICLASS and (lists := lists_in_text(column)) is not None:
        wrong = next((row for row, value in enumerate(lists) if not isinstance(value, list | tuple)), None)
        if wrong is not None:
            raise DataError(
                f"{first[wrong]}: {lists[wrong]!r} is no list, and others in this column are; correct it, or say "
                "?task=classes, which takes each text for a class"
            )
        column = lists
    if any(isinstance(value, list | tuple) for value in column):
        return read_tags(column, first, asked)
    if task == MULTILABEL and (sign := sign_between(column)):
        note = f"{sign.example}: cells of column {columns[0]} hold several labels, taken apart as {sign.option} says"
        return read_separated(column, first, asked, sign.separator, (note,))
    if task in (MULTILABEL, REGRESSION):
        _refuse_option(task == REGRESSION, columns, file, separator, names)
        return _targets(columns, where, values, task, file)
    texts = [as_text(value, "label", place) for value, place in zip(column, first, strict=True)]
    return _classes(texts, first, asked)


def _refuse_option(
    wrong: bool, columns: Sequence[str], file: Path, separator: str, names: ClassNames | None
) -> None:
    given = [option for option, value in (("sep", separator), ("names", names)) if value]
    if wrong and given:
        raise UsageError(
            f"dataset 'csv:{file}': {given[0]}= is for one column of classes or answers, not for "
            f"{', '.join(columns)} as {'a number' if len(columns) == 1 else 'one each'}; leave it out"
        )


# Multiclass -------------------------------------------------------------------------------------------------


def _classes(texts: list[str], where: Sequence[str], asked: Asked) -> Labels:
    """Read a column with one label in each cell, which may turn out to hold numbers."""
    if asked.names is not None:
        texts = [row[0] for row in asked.names.name([[text] for text in texts], where)]
        classes, absent = asked.names.order(texts)
        return Labels(MULTICLASS, tuple(classes), texts, [None] * len(texts), absent=tuple(absent))
    notes = []
    if asked.task is None and _are_measurements(texts, where):
        numbers = [float(text) for text in texts]
        if not all(abs(number) < _EXACT and number.is_integer() for number in numbers):
            rows = [[text] for text in texts]
            return _targets([asked.column], [[place] for place in where], rows, REGRESSION, asked.file)
        before, texts = texts, [str(int(number)) for number in numbers]
        odd = next(text for text in before if not _WHOLE.fullmatch(text))
        classes = order_classes(texts, where=asked.file)
        notes.append(
            f"column {asked.column} holds whole numbers ({odd} is {int(float(odd))}): {len(classes)} classes, "
            f"{some(classes)}; task=numbers takes them as numbers"
        )
    elif asked.task is None and (sign := combined(texts)):
        several, different = sign.cells
        notes.append(
            f"{several} of {different} labels in column {asked.column} look like several of {sign.labels} labels "
            f"({sign.example}), and each is a class of its own; {sign.option} takes them apart, task=classes leaves "
            "them as they are"
        )
    if asked.task is None and (gap := next((text for text in texts if text.casefold() in GAPS), None)):
        notes.append(
            f"the label {gap!r} of {texts.count(gap)} rows in column {asked.column} is taken as a class, and is how "
            "data frames write what is missing; if it is, no_label=skip leaves these rows out, else task=classes "
            "takes it in silence"
        )
    return Labels(
        MULTICLASS, tuple(order_classes(texts, where=asked.file)), texts, [None] * len(texts), tuple(notes)
    )


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
    gaps = sum(name.casefold() in GAPS for name in names)
    if not any(number and not _WHOLE.fullmatch(name) for name, number in zip(names, numbers, strict=True)):
        return False
    if _MOST * total <= count < total and total >= _FEWEST:
        row = numbers.index(False)
        raise DataError(
            f"{where[row]}: {names[row]!r} is no number, and {count} of {total - 1} others are; correct it, or say "
            f"?task=classes, which makes {names[row]!r} and each number a class"
        )
    if count and gaps == total - count > 0:
        row = numbers.index(False)
        raise DataError(
            f"{where[row]}: {names[row]!r} is no number, and all {count} others but such are; it is how data frames "
            f"write what is missing: leave these rows out, or say ?task=classes, which makes {names[row]!r} a class"
        )
    return count == total


def _targets(
    columns: Sequence[str],
    where: Sequence[Sequence[str]],
    values: Sequence[Sequence[Any]],
    task: str | None,
    file: Path,
) -> Labels:
    kind = MULTILABEL if task == MULTICLASS else task or REGRESSION
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
    if len(columns) > 1 and (task == MULTICLASS or (task is None and yes_or_no)):
        wrong = next((row for row, own in enumerate(rows) if sum(own) != 1), None)
        if wrong is None and (task == MULTICLASS or len(set(rows)) > 1):
            return one_of(columns, rows, said=task is None)
        if task == MULTICLASS and wrong is not None:
            raise UsageError(
                f"dataset 'csv:{file}': task=classes takes one column of labels, or one for each class with exactly "
                f"one 1 in every row; {where[wrong][0].rpartition(', ')[0]} has {sum(rows[wrong]):g}; several labels "
                "for an image, or none, are task=answers"
            )
    found = MULTILABEL if task is None and yes_or_no else kind
    return require_variety(Labels(found, tuple(columns), [""] * len(rows), rows), file)


def _number(value: Any, task: str, where: str) -> float:
    text = "" if value is None else str(value).strip()
    number = _WORDS.get(text.casefold())
    if number is None:
        if not text or text.casefold() == "nan":
            raise DataError(f"{where}: no {_WHAT[task]}; expected one in every row")
        if not _NUMBER.fullmatch(text):
            raise DataError(
                f"{where}: {shown(text)} is no {_WHAT[task]}; expected one in every row, or one column of classes"
                f"{_SEVERAL if task == MULTILABEL else ''}"
            )
        number = float(text)
    if abs(number) > _LARGEST:
        raise DataError(f"{where}: {text} is too large; numbers are kept in single precision, up to 3e38")
    return number
