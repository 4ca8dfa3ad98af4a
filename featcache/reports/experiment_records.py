"""Records of experiments: the JSON files that the scripts of ``pipelines/`` write, read and checked."""

import re
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
    """Return the records in a folder, by name, ``e2`` before ``e10``."""
    found = [path for path in folder.glob("*.json") if what_is(path) == RECORD]
    return sorted(found, key=lambda path: [part.zfill(20) for part in re.split(r"(\d+)", path.stem)])


def read_record(path: Path) -> ExperimentRecord:
    """Read one record.

    Raises
    ------
    DataError
        If it is none, damaged, or of a later version.
    """
    return ExperimentRecord(path, FORMAT.read(read_limited(path), path))


def read_records(places: Sequence[Path]) -> tuple[ExperimentRecord, ...]:
    """Read some records, and those in folders of them; raises as `read_record`."""
    files = [file for place in places for file in (files_in(place) if place.is_dir() else [place])]
    return tuple(map(read_record, files))


def shown(value: float | None, unit: str) -> str:
    """Return a number of a comparison as a reader wants it.

    Examples
    --------
    >>> shown(0.8941, "%"), shown(0.007, "points"), shown(7.31, "x"), shown(None, "s")
    ('89.4 %', '+0.7 points', '7.31×', '–')
    """
    if value is None:
        return "–"
    if unit == "%":
        return percent(value)
    if unit == "points":
        return f"{round(100 * value, 1) + 0.0:+.1f} points"  # without a -0.0
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number}{'×' if unit == 'x' else f' {unit}' if unit else ''}"


def shown_interval(ends: Sequence[float] | None, unit: str) -> str:
    """Return an interval of a comparison; an empty text where there is none.

    Examples
    --------
    >>> shown_interval([0.867, 0.92], "%")
    '86.7–92.0 %'
    >>> shown_interval([-0.007, 0.007], "points")
    '-0.7 to +0.7 points'
    """
    if ends is None:
        return ""
    low, high = ends
    if unit == "%":
        return percents(low, high)
    return f"{shown(low, unit).removesuffix(' points')} to {shown(high, unit)}"
