"""What the labels of a table turn out to be, and the forms in which an image has several: lists, and one cell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featcache.core.display import some
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.datasets.formats.listed_files import order_classes
from featcache.datasets.labels.cells import SEPARATORS, Combined, as_text, combined, split_cell
from featcache.datasets.labels.class_names import ClassNames
from featcache.datasets.names import shortened, shown
from featcache.errors import DataError, UsageError


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
    notes
        What was decided that can be meant otherwise, with the option that says so.
    absent
        Classes that are named and that no row has, which are left out.
    """

    task: str
    classes: tuple[str, ...]
    labels: Sequence[str]
    targets: Sequence[tuple[float, ...] | None]
    notes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What the user asked of a column.

    Parameters
    ----------
    task
        The task, if one was given.
    column, file
        Their names, for messages.
    names
        Names of classes, where labels are their numbers.
    """

    task: str | None
    column: str
    file: Path
    names: ClassNames | None = None


def one_of(columns: Sequence[str], rows: Sequence[tuple[float, ...]], *, said: bool) -> Labels:
    """Return the classes that columns stand for of which exactly one is 1 in every row."""
    labels = [columns[row.index(1.0)] for row in rows]
    used = set(labels)
    note = (
        f"exactly one of the columns {some(columns)} is 1 in every row: they are taken for classes, one for each "
        "image; task=answers takes them for answers, any number for an image"
    )
    return Labels(
        MULTICLASS,
        tuple(name for name in columns if name in used),
        labels,
        [None] * len(rows),
        (note,) if said else (),
        tuple(name for name in columns if name not in used),
    )


def sign_between(column: Sequence[Any]) -> Combined | None:
    """Return the sign between the labels of cells that are to be answers; ``None`` where none is plain."""
    texts = [value.strip() for value in column if isinstance(value, str) and value.strip()]
    if len(texts) < len(column):
        return None
    if found := combined(texts):
        return found
    for separator in SEPARATORS:
        several = [text for text in texts if separator != " " and len(split_cell(text, separator)) > 1]
        if several:
            labels = {part for text in texts for part in split_cell(text, separator)}
            parts = " and ".join(map(shown, split_cell(several[0], separator)[:4]))
            example = f"{shown(several[0])} is {parts}"
            return Combined(separator, (len(set(several)), len(set(texts))), len(labels), example)
    return None


def read_separated(
    column: Sequence[Any], where: Sequence[str], asked: Asked, separator: str, notes: tuple[str, ...] = ()
) -> Labels:
    """Read cells with several labels as multilabel targets.

    Raises
    ------
    UsageError
        If another task was asked for.
    DataError
        If no cell has the sign, a value is missing, or all images have the same labels.
    """
    if asked.task in (MULTICLASS, REGRESSION):
        raise UsageError(
            f"dataset 'csv:{asked.file}', column {asked.column}: labels with sep= between them are multilabel "
            f"(task=answers), not task={asked.task}; leave one of the two out"
        )
    texts = [as_text(value, "label", place) for value, place in zip(column, where, strict=True)]
    rows = [split_cell(text, separator) for text in texts]
    if not any(len(row) > 1 for row in rows):
        others = [sign for sign in SEPARATORS if any(sign in text for text in texts)]
        found = f"; there is {' and '.join(map(repr, others))}" if others else ""
        raise DataError(
            f"{asked.file}: no cell of column {asked.column} has {separator!r} between labels{found}; say "
            f"sep={SEPARATORS[others[0]] if others else 'SIGN'}, or leave it out"
        )
    found = read_tags(rows, where, asked)
    return replace(found, notes=notes)


def read_tags(values: Sequence[Any], where: Sequence[str], asked: Asked) -> Labels:
    """Read lists of names, or of numbers of names, as multilabel targets.

    Raises
    ------
    UsageError
        If another task was asked for.
    DataError
        If a value is no list or not of names, with its place; if all images have the same labels.
    """
    if asked.task in (MULTICLASS, REGRESSION):
        raise UsageError(
            f"dataset 'csv:{asked.file}', column {asked.column}: lists of names are multilabel (task=answers), not "
            f"task={asked.task}"
        )
    rows = []
    for value, place in zip(values, where, strict=True):
        if not isinstance(value, list | tuple):
            raise DataError(
                f"{place}: {shortened(repr(value))} is no list, and others in this column are; expected lists of names"
            )
        numbers = asked.names is not None
        kinds = (str, int, float) if numbers else (str,)
        if wrong := [name for name in value if not isinstance(name, kinds) or isinstance(name, bool)]:
            raise DataError(
                f"{place}: {shortened(repr(wrong[0]))} in a list is no name; expected lists of names, or a column for "
                f"each answer{'' if numbers else '; names=FILE names what numbers stand for'}"
            )
        rows.append([as_text(name, "label", place) for name in value])
    absent: Sequence[str] = ()
    if asked.names is not None:
        rows = asked.names.name(rows, where)
        names, absent = asked.names.order(name for row in rows for name in row)
    else:
        names = order_classes({name for row in rows for name in row}, where=asked.file)
    held = [set(row) for row in rows]
    targets = [tuple(float(name in row) for name in names) for row in held]
    found = Labels(MULTILABEL, tuple(names), [""] * len(rows), targets, absent=tuple(absent))
    return require_variety(found, asked.file)


def require_variety(found: Labels, file: Path) -> Labels:
    """Return labels that differ between images; raises `DataError` of others."""
    if len(set(found.targets)) < 2:
        raise DataError(
            f"{file}: all images have the same {found.task} ({', '.join(found.classes[:5]) or 'none'}); "
            "there is nothing to learn"
        )
    return found
