"""Tables beside the images of a folder that name them: found by their first lines, with the spec that reads them."""

import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from featcache.core.display import some
from featcache.datasets.formats.table import ROLES, open_table
from featcache.datasets.formats.table_rows import READERS, Table, open_table_file
from featcache.datasets.labels.columns import STAND_INS, plain_name
from featcache.datasets.layouts.split_words import split_of
from featcache.datasets.spec_options import written
from featcache.errors import FeatcacheError

_FIRST, _MOST = 20, 20_000
"""Rows that tell whether a table names images, and those that are read where it does."""

_LARGEST = 2**24
"""Bytes of a JSON Lines file that is looked at: its columns are known behind its last line alone."""

_NAMES = frozenset({*STAND_INS["path"], "id", "name", "photo", "picture", "fname", "img_name", "uuid"})
_ROOTS = 6


@dataclass(frozen=True)
class TableBeside:
    """A table that names images.

    Parameters
    ----------
    name
        Of its file.
    spec
        By which it can be opened, quoted for a shell.
    others
        Columns that may be the labels as well.
    """

    name: str
    spec: str
    others: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The spec, and which other columns there are."""
        return (
            f"{self.spec} (or label= another of its columns: {some(self.others)})"
            if self.others
            else self.spec
        )


def table_beside(root: Path, place: str, images: Mapping[str, str]) -> TableBeside | None:
    """Return the first table in a folder whose labels are those of images in it; ``None`` where there is none.

    Of each table a few rows are read, and more only where these name images. One whose labels are those that the
    images have already does not count.

    Parameters
    ----------
    root
        The folder.
    place
        Its path as given, for the spec.
    images
        The class of each image, by its path relative to the folder; empty where it has none.
    """
    known = _Images(images)
    found = (_read(root / name, place, known) for name in tables_in(root))
    return next((table for table in found if table), None)


def tables_in(root: Path) -> list[str]:
    """Return the names of the tables in a folder, in order."""
    try:
        names = sorted(os.listdir(root))
    except (OSError, ValueError):
        return []
    tables = (name for name in names if Path(name).suffix.casefold() in READERS and not name.startswith("."))
    return [name for name in tables if os.path.isfile(root / name)]


class _Images:
    """Images, by the names that tables give them."""

    def __init__(self, classes: Mapping[str, str]) -> None:
        self.classes = classes
        self._named: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for path in classes:
            name = path.rpartition("/")[2]
            self._named.setdefault(name, []).append(path)
            self._stems.setdefault(os.path.splitext(name)[0], []).append(path)

    def find(self, value: Any, *, stems: bool) -> tuple[str, str, str] | None:
        """Return the path of the one image that a value names, the folder it is relative to, and the lacking suffix."""
        given = str(value).strip().replace("\\", "/").removeprefix("./")
        name = given.rpartition("/")[2]
        for paths, bare in ((self._named.get(name), False), (self._stems.get(name) if stems else None, True)):
            fits = {path: os.path.splitext(path)[1] if bare else "" for path in paths or ()}
            fits = {p: end for p, end in fits.items() if f"/{p}".endswith(f"/{given}{end}")}
            if len(fits) > 1:  # train/1.png and test/1.png, of which the labels of the first are known
                fits = {p: end for p, end in fits.items() if split_of(p.partition("/")[0]) == "train"}
            if len(fits) == 1:
                path, suffix = next(iter(fits.items()))
                return path, path[: len(path) - len(given + suffix)].rstrip("/"), suffix
        return None


def _read(file: Path, place: str, images: _Images) -> TableBeside | None:
    try:
        if file.suffix.casefold() not in (".csv", ".tsv") and file.stat().st_size > _LARGEST:
            return None
        table = _open(file)
        rows = table.rows(table.columns) if table else iter(())
        first = [values for _, values in islice(rows, _FIRST)]
        at = _path_column(table.columns, first, images) if table else None
        if table is None or at is None:
            return None
        found = _Found(table, at, images, [*first, *(values for _, values in islice(rows, _MOST))])
        spec, others = _spec(os.path.join(place, file.name), found)
        return TableBeside(file.name, shlex.quote(spec), others) if spec and _opens(spec) else None
    except (FeatcacheError, OSError, ValueError):
        return None


def _opens(spec: str) -> bool:
    """Return whether a table can be opened as it would be named to a user; what it has to say is not told now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(open_table(spec.removeprefix("csv:")).records)


def _open(file: Path) -> Table | None:
    """Return a table of several columns, each with a name of its own, whatever sign parts them."""
    table = open_table_file(file)
    for sign in ";\t,":
        if len(table.columns) == 1 and table.delimiter and sign in table.columns[0]:
            table = open_table_file(file, sign)
    several = 1 < len({*table.columns}) == len(table.columns)
    return table if several and all(table.columns) else None


def _path_column(columns: Sequence[str], rows: Sequence[Sequence[Any]], images: _Images) -> int | None:
    """Return the place of the column of which at least half of the values name images."""
    for at, column in enumerate(columns):
        hits = sum(images.find(row[at], stems=_may_name(column)) is not None for row in rows)
        if hits and 2 * hits >= len(rows):
            return at
    return None


def _may_name(column: str) -> bool:
    """Return whether a column may hold names of files without their suffix."""
    plain = plain_name(column)
    return plain in _NAMES or plain.endswith(("_id", "_name", "_path", "_file")) or plain.startswith("image")


class _Found:
    """What the rows that name images hold, by the column that does."""

    def __init__(self, table: Table, at: int, images: _Images, rows: Sequence[Sequence[Any]]) -> None:
        self.table, self.path = table, table.columns[at]
        self.classes: list[str] = []
        self.roots: dict[str, None] = {}
        self.suffixes: dict[str, None] = {}
        self.values: dict[str, list[str]] = {n: [] for n in table.columns if n not in (self.path, *ROLES[2:])}
        places = {name: table.columns.index(name) for name in self.values}
        for row in rows:
            if found := images.find(row[at], stems=_may_name(self.path)):
                self.classes.append(images.classes[found[0]])
                self.roots[found[1]] = None
                self.suffixes[found[2]] = None
                for name, own in self.values.items():
                    value = row[places[name]]
                    own.append("" if value is None else str(value).strip())

    def says_the_same(self) -> bool:
        """Return whether a column tells the classes that the images have already, in whatever words."""
        classes = len({*self.classes})
        pairs = ({*zip(own, self.classes, strict=True)} for own in self.values.values())
        distinct = (len({*own}) for own in self.values.values())
        return classes > 1 and any(
            len(pair) == classes == count for pair, count in zip(pairs, distinct, strict=True)
        )

    def labels(self) -> tuple[str, tuple[str, ...]]:
        """Return the column of the labels, or several with commas between them, and others that may be it."""
        usable = [name for name, own in self.values.items() if len({*own} - {""}) > 1 and "" not in own]
        flags = [name for name in usable if {*self.values[name]} <= {"0", "1", "0.0", "1.0"}]
        if len(flags) > 1 and len(flags) == len(usable) and not any("," in name for name in flags):
            return ",".join(flags), ()
        usable = [name for name in usable if "," not in name]
        ranked = sorted(usable, key=self._unlike_labels)
        return (ranked[0], tuple(name for name in ranked[1:] if not _is_id(name))) if ranked else ("", ())

    def _unlike_labels(self, name: str) -> tuple[bool, ...]:
        own = self.values[name]
        repeated = 2 * len({*own}) <= len(own)
        return (
            name.casefold() not in STAND_INS["label"],
            _is_id(name),
            not repeated,
            all(_is_number(value) for value in own),
        )


def _is_id(name: str) -> bool:
    return name.casefold() == "id" or name.casefold().endswith(("_id", " id"))


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).removeprefix("-").isdecimal()


def _spec(file: str, found: _Found) -> tuple[str, tuple[str, ...]]:
    """Return the spec of a table and the columns that may be labels as well; empty where none is."""
    label, others = found.labels()
    if not label or found.says_the_same():
        return "", ()
    roots = [root or "." for root in found.roots]
    if len(roots) > _ROOTS and not any("/" in root or root == "." for root in roots):
        roots = ["*"]
    delimiter = {"\t": "tab"}.get(found.table.delimiter or "", found.table.delimiter)
    usual = {".csv": ",", ".tsv": "tab"}.get(os.path.splitext(file)[1].casefold(), delimiter)
    options = {
        "path": "" if found.path == "path" else found.path,
        "label": "" if label == "label" else label,
        "root": "" if roots == ["."] else ",".join(roots),
        "suffix": ",".join(suffix for suffix in found.suffixes if suffix),
        "delimiter": delimiter if delimiter != usual and delimiter else "",
    }
    query = written({key: value for key, value in options.items() if value})
    return f"csv:{file}{'?' if query or '?' in file else ''}{query}", others
