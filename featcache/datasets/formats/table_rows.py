"""Rows of ``.csv``, ``.tsv``, ``.jsonl`` and ``.parquet`` files, one after the other: places and values, as written."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from featcache.datasets.formats.arrow_files import parquet_batches
from featcache.datasets.formats.text_lines import text_lines
from featcache.errors import DataError, UsageError, did_you_mean

_HINTS = {
    ".json": "; annotations in COCO's form are coco:{path}",
    ".mat": (
        "; the splits of Oxford's flowers and Stanford's cars and dogs are read by lists:{folder}, and other MATLAB "
        "files made a table in Python: from scipy.io import loadmat; m = loadmat('{path}', simplify_cells=True); then "
        "write path,label,split of its variables"
    ),
}
"""What else may be meant by a file that is no table."""

TableRows = Iterator[tuple[str, Sequence[Any]]]


@dataclass(frozen=True)
class Table:
    """A table whose header was read.

    Parameters
    ----------
    columns
        Names, in order, without the spaces around them.
    rows
        Given some of the names, yields each row's place (``"photos.csv, line 3"``) and values in that order.
    delimiter
        What separates values, where that can be chosen.
    """

    columns: tuple[str, ...]
    rows: Callable[[Sequence[str]], TableRows]
    delimiter: str | None = None


def open_table_file(path: Path, delimiter: str | None = None) -> Table:
    """Read a table's header; the suffix decides the kind of file.

    Parameters
    ----------
    path
        An existing file.
    delimiter
        One character instead of the comma of ``.csv`` or the tab of ``.tsv``.

    Raises
    ------
    UsageError
        If the suffix is none of a table, or a delimiter was given for a format that has none.
    DataError
        If the file is empty or no table of its kind.
    """
    suffix = path.suffix.casefold()
    if suffix not in READERS:
        hint = _HINTS.get(suffix, "").format(path=path, folder=path.parent)
        raise UsageError(
            f"{path} is no table by its suffix {suffix!r}; {did_you_mean(suffix, READERS)}{hint}"
        )
    if delimiter is not None and suffix not in _SEPARATED:
        raise UsageError(f"{path}: a delimiter was given, which {suffix} files do not have; leave it out")
    return READERS[suffix](path) if delimiter is None else _open_csv(path, delimiter)


# Separated values -------------------------------------------------------------------------------------------


def _open_csv(path: Path, delimiter: str) -> Table:
    reader = separated_records(path, delimiter)
    header = next(reader, None)
    if header is None:
        raise DataError(f"{path} is empty; expected a header line such as path{delimiter}label")
    columns = tuple(name.strip() for name in header[1])

    def rows(chosen: Sequence[str]) -> TableRows:
        numbers = [columns.index(name) for name in chosen]
        for line, values in reader:
            if len(values) != len(columns):
                raise DataError(
                    f"{path}, line {line}: {len(values)} values where the header names {len(columns)}; "
                    f"a value that holds {delimiter!r} has to be in double quotes"
                )
            yield f"{path}, line {line}", [values[number] for number in numbers]

    return Table(columns, rows, delimiter)


def separated_records(
    path: Path, delimiter: str, *, comments: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a file of separated values that are not blank, each with the number of its first line.

    Parameters
    ----------
    path, delimiter
        The file, in UTF-8, and the character between two values.
    comments
        Whether a record whose line begins with ``#`` is none.

    Raises
    ------
    DataError
        If the file is no such text.
    """
    begins = False

    def lines() -> Iterator[str]:
        nonlocal begins
        for _, text in text_lines(path):
            if comments and begins and text.lstrip().startswith("#"):
                yield "\n"  # so that lines are counted
                continue
            begins = False
            yield text

    # strict: an open quote at the end, or text after a closing one, is an error and not a guess.
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        line, begins = reader.line_num + 1, True
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Python's own words there are about how a program opens a file.
            why = "a CR inside a line" if "new-line character" in str(error) else error
            raise DataError(
                f"{path}, line {line} is not {_name(delimiter)}-separated text: {why}; expected lines that end in "
                "LF or CRLF, and double quotes around (and doubled inside) a value that holds quotes"
            ) from None
        if values:
            yield line, values


def _name(delimiter: str) -> str:
    return {",": "comma", "\t": "tab", ";": "semicolon"}.get(delimiter, repr(delimiter))


# JSON lines -------------------------------------------------------------------------------------------------


def _open_jsonl(path: Path) -> Table:
    # Keys may be left out where there is no value, in the first line too: only all lines tell which there are.
    columns = dict.fromkeys(name for _, values in _objects(path) for name in values)
    if not columns:
        raise DataError(f'{path} is empty; expected lines such as {{"path": "a.jpg", "label": "cat"}}')

    def rows(chosen: Sequence[str]) -> TableRows:
        for place, values in _objects(path):
            yield place, [values.get(name) for name in chosen]

    return Table(tuple(columns), rows)


def _objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line, text in text_lines(path):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError: also numbers too long to be converted
            raise DataError(f"{path}, line {line} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise DataError(f'{path}, line {line} is no object; expected {{"path": "a.jpg", "label": "cat"}}')
        yield f"{path}, line {line}", values


# Parquet ----------------------------------------------------------------------------------------------------


def _open_parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        from featcache.errors import MissingExtraError

        raise MissingExtraError(
            f"reading {path} needs pyarrow, which is not installed: pip install 'featcache[parquet]' (or pyarrow), "
            "or save the table as CSV"
        ) from error

    def rows(chosen: Sequence[str]) -> TableRows:
        row = 0
        for batch in parquet_batches(path, list(dict.fromkeys(chosen))):
            for values in zip(*(batch.column(name).to_pylist() for name in chosen), strict=True):
                row += 1
                yield f"{path}, row {row}", values

    try:
        return Table(tuple(pq.read_schema(path).names), rows)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a column's name is no UTF-8
        raise DataError(f"{path} is no Parquet file that can be read: {error}") from error


_SEPARATED = {".csv": ",", ".tsv": "\t"}

READERS: Mapping[str, Callable[[Path], Table]] = {
    **{suffix: partial(_open_csv, delimiter=usual) for suffix, usual in _SEPARATED.items()},
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
    ".parquet": _open_parquet,
}
"""Suffix to the function that opens such a table."""
