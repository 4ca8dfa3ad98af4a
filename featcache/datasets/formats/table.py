"""Tables of images: ``csv:photos.csv``, a row for each image with its path, its label, and where it belongs.

A spec is ``csv:FILE`` or ``csv:FILE?OPTION=VALUE&OPTION=VALUE``. The options begin behind the last ``?``, so that a
file whose own name holds one is written with another at its end; in values, ``%26`` stands for ``&``, ``%3F`` for ``?``
and ``%25`` for ``%``. ``csv:FOLDER/*/NAME`` reads one table in each folder (`featcache.datasets.formats.split_tables`).
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featcache.core.disk.names import expanded, near_names, require_file
from featcache.core.display import some
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION, TASKS, UNLABELLED
from featcache.core.warning import warn, warn_all
from featcache.datasets.dataset import Dataset, access_errors, features_alone, space_at_end
from featcache.datasets.formats.listed_files import Entry, to_dataset
from featcache.datasets.formats.split_tables import OpenTable, are_several, base_of, open_tables
from featcache.datasets.formats.table_labels import Labels, read_labels
from featcache.datasets.formats.table_rows import READERS, Table, open_table_file
from featcache.datasets.labels.cells import as_text, read_separator
from featcache.datasets.labels.class_names import read_class_names
from featcache.datasets.labels.columns import (
    like_splits,
    other_delimiter,
    stand_in,
    unused_splits,
    yes_or_no_columns,
)
from featcache.datasets.labels.gaps import SKIP, labelled_rows, offering_to_skip
from featcache.datasets.left_out import without_images
from featcache.datasets.names import shown
from featcache.datasets.paths.finding import Finder
from featcache.datasets.paths.options import PathOptions, read_roots
from featcache.datasets.remote.rows import row_id, row_path
from featcache.datasets.spec_options import parse_options, with_options
from featcache.errors import DataError, UsageError, did_you_mean
from featcache.splits.slices import SPLITS

ROLES = ("path", "label", "split", "group")
"""Roles of columns; a column with such a name has that role by default."""

_REQUIRED = ROLES[:2]
_OPTIONS = (*ROLES, "task", "root", "delimiter", "sep", "names", "no_label", "suffix", "map")
_TASK_WORDS = {
    **dict.fromkeys(("regression", "number", "float"), REGRESSION),
    **dict.fromkeys(("multilabel", "multi-label", "multi_label", "answer", "tags"), MULTILABEL),
    **dict.fromkeys(("classification", "multiclass", "multi-class", "class"), MULTICLASS),
}
"""Other names of the tasks."""
_EXPECTED = f"a table ({', '.join(READERS)}) with a column for the path and one for the label"


@dataclass(frozen=True)
class TableSpec:
    """A table and how to read it.

    Parameters
    ----------
    file
        The table.
    columns
        Names of columns by what they mean (`ROLES`); an empty name says that there is none. Several labels have a
        comma between their names.
    root
        Folder that paths are relative to: itself relative to the table's own folder, which it is by default. Several
        have a comma between them, or ``*`` in their name.
    delimiter
        One character between values; ``None`` for the usual one of the format.
    task
        One of `featcache.core.tasks.TASKS`; ``None``: see
        `featcache.datasets.formats.table_labels.read_labels`.
    separator
        The sign between labels of a cell; ``""`` where there is one label in each.
    names
        File with the names of the classes, relative to the table's folder; ``""`` where labels are names themselves.
    skips
        Whether rows without a label are left out: ``no_label=skip``.
    paths
        How given paths become those of this machine: the options ``suffix`` and ``map``.
    given
        What it was read from, for messages.
    """

    file: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    root: str = ""
    delimiter: str | None = None
    task: str | None = None
    separator: str = ""
    names: str = ""
    skips: bool = False
    paths: PathOptions = field(default_factory=PathOptions)
    given: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> "TableSpec":
        """Read ``"photos.csv?path=file&label=species"``.

        Raises
        ------
        UsageError
            If an option is unknown, given twice, or has no value.
        """
        file, mark, query = text.rpartition("?")
        options = parse_options(
            query if mark else "",
            _OPTIONS,
            f"csv:{text}",
            may_be_empty=("split", "group"),
            unknown="a file whose name holds '?' is written with another '?' at its end",
            twice={"label": "; several columns of labels have a comma between them"},
        )
        delimiter = options.pop("delimiter", None)
        if delimiter is not None:
            delimiter = "\t" if delimiter == "tab" else delimiter
            if len(delimiter) != 1 or delimiter in '"\r\n\0':
                raise _refusal(text, f"delimiter {delimiter!r}; expected one character, or tab")
        root, task = options.pop("root", ""), options.pop("task", None)
        if task is not None and task not in TASKS:
            word = _TASK_WORDS.get(task.casefold(), task)
            raise _refusal(text, f"no task {task!r}; {did_you_mean(word, TASKS)}")
        separator, names = read_separator(options.pop("sep", "")), options.pop("names", "")
        if (no_label := options.pop("no_label", None)) not in (None, "skip"):
            raise _refusal(
                text, f"no_label={no_label}: expected no_label=skip, which leaves out rows without a label"
            )
        paths = PathOptions.read(options.pop("suffix", None), options.pop("map", None))
        table = expanded(file if mark else text)
        return cls(table, options, root, delimiter, task, separator, names, no_label == "skip", paths, text)

    @property
    def folder(self) -> Path:
        """The folder that paths, names of classes and roots are relative to."""
        return base_of(self.file)

    def open(self) -> OpenTable:
        """Read the header of the table, or of the several that its path means."""
        if are_several(self.file):
            return open_tables(self.file, self.delimiter)
        with access_errors(self.file):
            require_file(self.file, _EXPECTED, missing=lambda: _missing(self.file))
        return OpenTable(open_table_file(self.file, self.delimiter))

    @property
    def name(self) -> str:
        """Short name for output files: of the table, its format, and the labels that were asked for."""
        label = re.sub(r"[^\w.+-]+", "-", self.columns.get("label", "").replace(",", "+")).strip("-")
        return "-".join(filter(None, [self.file.stem, self.file.suffix[1:], label[:60]]))

    def with_stand_ins(self, table: Table, *, unlabelled: bool = False) -> "TableSpec":
        """Return the spec with the columns named that are plainly meant, such as ``file_name``; a warning says which.

        Raises
        ------
        DataError
            If it can be several.
        """
        needed = _REQUIRED[:1] if unlabelled else _REQUIRED
        missing = [role for role in needed if role not in (*self.columns, *table.columns)]
        columns = dict(self.columns)
        taken = [*_names(columns.get("label", ""), table), *columns.values(), *ROLES]
        for role in missing:
            if name := stand_in(role, table.columns, self.file, taken):
                columns[role] = name
                taken.append(name)
        if found := [role for role in missing if role in columns]:
            said = " and ".join(f"{columns[role]!r} for the {role}" for role in found)
            others = ", ".join(f"{role}=COLUMN" for role in found)
            warn(f"csv:{self.file}: takes the column {said}, as none has that name; {others} names another")
        return replace(self, columns=columns)

    def resolve(self, table: Table, *, unlabelled: bool = False) -> tuple[dict[str, str], list[str]]:
        """Return the name of the column for each meaning that the table has one for, and those of the labels.

        Raises
        ------
        DataError
            If a column is missing, or two have its name.
        """
        found = {}
        for role in ROLES:
            name = self.columns.get(role, role)
            if role != "label" and name and (name in table.columns or role in (*self.columns, *_REQUIRED)):
                self._require(name, role, table)
                found[role] = name
        if unlabelled:
            return found, []
        label = self.columns.get("label", "label")
        labels = [label] if label in table.columns else _names(label, table) or [label]
        for name in labels:
            self._require(name, "label", table)
        if len(set(labels)) < len(labels):
            raise _refusal(f"{self.file}?label={label}", "a column is named twice; name each once")
        return found, labels

    def written(self, options: Mapping[str, str]) -> str:
        """Return the spec with other options in it, as a shell takes it."""
        return shlex.quote(with_options(f"csv:{self.given or self.file}", options))

    def _require(self, name: str, role: str, table: Table) -> None:
        count = table.columns.count(name)
        if count == 1:
            return
        if count:
            raise DataError(
                f"{self.file}, line 1: {count} columns are called {shown(name)}; rename all but one"
            )
        hint = f"name another one with {self.written({role: 'COLUMN'})}"
        if table.delimiter and (sign := other_delimiter(table)):
            hint = (
                f"if its values are separated otherwise than by {table.delimiter!r}, say "
                f"{self.written({'delimiter': sign})}"
            )
        elif role == "label" and (marked := yes_or_no_columns(table, [*self.columns.values(), *ROLES])):
            hint = (
                f"columns {some(marked)} hold 0 or 1 in every row; if these are the labels, say "
                f"{self.written({'label': ','.join(marked)})}"
            )
        elif role == "label" and not {*table.columns} - {*self.columns.values(), *ROLES}:
            hint = "no column is left for it"
        alone = f"; {features_alone(f'csv:{self.given or self.file}')}" if role == "label" else ""
        raise DataError(
            f"{self.file}, line 1: no column {shown(name)} for the {role}; {did_you_mean(name, table.columns)}; {hint}"
            f"{alone}"
        )


def open_table(text: str, *, least_classes: int = 2, unlabelled: bool = False) -> Dataset:
    """Open a table of images; no image is read, and no value is interpreted as code.

    Columns ``path`` and ``label`` are needed, ``split`` and ``group`` are used where they are there; options name
    others. Paths are relative to the table's folder, or to ``root``; ``suffix`` and ``map`` mend those that almost fit,
    and what differs from a file's name in spelling alone is taken, with a warning. Ids are the paths as written.

    Labels are text, or whole numbers: classes are in natural order, as those of folders, or by value. Numbers with
    fractions make a regression, several columns classes, a multilabel dataset or a regression: see
    `featcache.datasets.formats.table_labels.read_labels`. Spaces around labels, splits and groups do not count. Without
    a split column the dataset is divided like a folder without split folders, whole groups on one side.

    A file that does not exist is quarantined by an extraction like every other that cannot be read. A table may name
    files anywhere; a warning says so once where they are outside of the folder.

    Parameters
    ----------
    text
        What follows ``csv:`` in a spec, such as ``"photos.csv?path=file&label=species&root=images"``.
    least_classes
        2 for training; where photos are only scored, 1 is enough.
    unlabelled
        Whether to read paths, splits and groups alone.

    Raises
    ------
    UsageError
        If an option or the file's suffix is unknown.
    MissingFileError
        If the table, its root, or every image is missing.
    DataError
        If the table cannot be read, a value is missing or none that can be used (with line and column), or there are
        fewer classes.
    """
    spec = TableSpec.parse(text)
    opened = spec.open()
    table = opened.table
    columns, labels = spec.with_stand_ins(table, unlabelled=unlabelled).resolve(table, unlabelled=unlabelled)
    roots = read_roots(spec.root, spec.folder, "the table's folder")
    root = roots[0]
    own = [*columns.values(), *labels]
    more = like_splits(table.columns, own) if "split" not in {*columns, *spec.columns} else []
    rows = list(table.rows([*own, *more]))
    if not rows:
        raise DataError(f"{spec.file} has a header and no rows; expected one for each image")
    skipped = dict(opened.skipped)
    if unlabelled:
        known = Labels(UNLABELLED, (), [""] * len(rows), [None] * len(rows))
    else:
        cells = slice(len(columns), len(own))
        if spec.skips:
            rows, unlabelled_rows = labelled_rows(rows, cells, spec.file)
            skipped |= unlabelled_rows
        with offering_to_skip(rows, cells, lambda: spec.written(SKIP)):
            known = read_labels(
                labels,
                [place for place, _ in rows],
                [values[cells] for _, values in rows],
                task=spec.task,
                file=spec.file,
                separator=spec.separator,
                names=read_class_names(spec.folder / expanded(spec.names)) if spec.names else None,
            )
    warn_all(f"csv:{spec.file}: {note}" for note in known.notes)
    warn_all(unused_splits({n: [v[at] for _, v in rows] for at, n in enumerate(more, len(own))}, spec.file))
    entries = [
        _entry(
            place,
            dict(zip(columns, values[: len(columns)], strict=True)),
            columns,
            root,
            label,
            target,
            opened,
        )
        for (place, values), label, target in zip(rows, known.labels, known.targets, strict=True)
    ]
    return to_dataset(
        entries,
        known.classes,
        task=known.task,
        spec=f"csv:{text}",
        name=spec.name,
        lookup="paths are relative to the table's folder, or to another with ?root=FOLDER",
        location=spec.paths.location(f"csv:{spec.file.resolve()}", roots),
        folder=root if len(roots) == 1 else spec.folder,
        least_classes=least_classes,
        skipped={**without_images(known.absent), **skipped},
        finder=Finder([str(root) for root in roots], str(spec.folder), spec.paths),
    )


def _missing(file: Path) -> str:
    return f"no file {file}{space_at_end(file)}; {near_names(file) or f'expected {_EXPECTED}'}"


def _refusal(text: str, why: str) -> UsageError:
    return UsageError(f"dataset {'csv:' + text!r}: {why}")


def _names(text: str, table: Table) -> list[str]:
    """Return the columns between commas, without the spaces around them where no column has those."""
    names = (name if name in table.columns else name.strip() for name in text.split(","))
    return [name for name in names if name]


# Values -----------------------------------------------------------------------------------------------------


def _entry(
    place: str,
    row: Mapping[str, Any],
    columns: Mapping[str, str],
    root: Path,
    label: str,
    target: tuple[float, ...] | None,
    opened: OpenTable,
) -> Entry:
    def text(role: str) -> str:
        return as_text(row[role], role, f"{place}, column {columns[role]}") if role in columns else ""

    name = opened.name_of(place, text("path"))
    return Entry(
        place=place,
        id=row_id(name),
        path=row_path(root, name),
        label=label,
        split=_split(text("split"), f"{place}, column {columns['split']}")
        if "split" in columns
        else opened.split_of(place),
        group=text("group"),
        target=target,
    )


def _split(name: str, where: str) -> str:
    if name.casefold() not in SPLITS:
        raise DataError(
            f"{where}: {shown(name)} is no split; {did_you_mean(name, SPLITS)}; where this column means something "
            "else, leave it out with ?split="
        )
    return SPLITS[name.casefold()]
