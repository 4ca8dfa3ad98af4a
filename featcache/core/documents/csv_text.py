"""Rows of CSV files: one spelling of numbers, truth values and names that are no text, for every table written."""

import csv
import io
from collections.abc import Sequence
from typing import Any


def csv_row(values: Sequence[Any]) -> bytes:
    """Return one row, with its line feed, in UTF-8.

    Numbers have six digits, ``None`` is empty, truth values are ``true`` and ``false``. What is no text in a file's
    name is escaped, as everywhere in featcache's output; commas, quotes and line feeds are quoted.
    """
    line = io.StringIO()
    # Python quotes what is in its line end: a lone CR in a cell would break the row for other readers.
    csv.writer(line, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return (line.getvalue().removesuffix("\r\n") + "\n").encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
