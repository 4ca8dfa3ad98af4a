"""Records of experiments: the JSON files that the scripts of ``pipelines/`` write, read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.core.display import percent, percents
from featcache.core.documents.document_format import DocumentFormat, read_limited
from featcache.core.documents.kinds import Flag, Items, Maybe, Number, Record, Table, Text, Whole
from featcache.errors import DataError
from featcache.images.given_path import RECORD, what_is

RECORDS = "a folder of records of experiments"

COMPARISON = Record(
    {
        "what": Text(1),
        "published": Maybe(Number()),
        "ours": Maybe(Number()),
        "interval": Maybe(Items(Number(), 2, 2)),
        "unit": Text(0, 20),
        "note": Text(),
    }
)
"""A number of the original beside our own."""

FORMAT = DocumentFormat(
    Record(
        {
            "name": Text(1, 200),
            "title": Text(1),
            "command": Text(),
            "date": Text(0, 40),
            "data": Text(),
            "images": Whole(0),
            "small": Flag(),
            "weights": Table(Text()),
            "fingerprints": Items(Text()),
            "seeds": Items(Whole()),
            "settings": Table(),
            "comparisons": Items(COMPARISON),
            "result": Table(),
            "seconds": Table(Number(0)),
            "differs": Text(),
            "figures": Items(Text(1, 1000)),
            "versions": Table(Text()),
            "hardware": Table(),
        }
    ),
    what=RECORD,
    remedy="run the script that wrote it again",
    name="featcache-record",
    version=1,
    error=DataError,
)


@dataclass(frozen=True)
class ExperimentRecord:
    """One record, and where it is.

    Parameters
    ----------
    path
        Its file.
    content
        What stands in it, as `FORMAT` has it.
    """

    path: Path
    content: Mapping[str, Any]


def files_in(folder: Path) -> list[Path]:
    """Return the records in a folder, by name."""
    return sorted(path for path in folder.glob("*.json") if what_is(path) == RECORD)


def read_record(path: Path) -> ExperimentRecord:
    """Read one record.

    Raises
    ------
    DataError
        If it is none, damaged, or of a later version.
    """
    return ExperimentRecord(path, FORMAT.read(read_limited(path), path))


def shown(value: float | None, unit: str) -> str:
    """Return a number of a comparison as a reader wants it.

    Examples
    --------
    >>> shown(0.8941, "%"), shown(7.31, "x"), shown(None, "s")
    ('89.4 %', '7.31×', '–')
    """
    if value is None:
        return "–"
    if unit == "%":
        return percent(value)
    return f"{value:.3g}{'×' if unit == 'x' else f' {unit}' if unit else ''}"


def shown_interval(ends: Sequence[float] | None, unit: str) -> str:
    """Return an interval of a comparison; an empty text where there is none.

    Examples
    --------
    >>> shown_interval([0.867, 0.92], "%")
    '86.7–92.0 %'
    """
    if ends is None:
        return ""
    low, high = ends
    return percents(low, high) if unit == "%" else f"{shown(low, unit)} to {shown(high, unit)}"
