"""Read the lists of an audit from what ``featcache audit CACHE --json`` printed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.auditing.ranked import RankedList, Resembled, Suspect
from featcache.core.disk.names import expanded, require_file
from featcache.core.disk.storage import storage_errors
from featcache.core.documents.document_format import DocumentFormat, read_limited
from featcache.core.documents.kinds import ANYTHING, Flag, Items, Maybe, Number, Record, Table, Text, Whole
from featcache.errors import DataError, UsageError

_NAME = Text(0, 10_000)
_ROW = Whole(0)

RESEMBLED = Record(
    {
        "row": _ROW,
        "id": _NAME,
        "label": _NAME,
        "split": _NAME,
        "relation": _NAME,
        "similarity": Maybe(Number()),
    }
)

SUSPECT = Record(
    {
        "row": _ROW,
        "id": _NAME,
        "label": _NAME,
        "split": _NAME,
        "score": Maybe(Number()),
        "why": _NAME,
        "certain": Flag(),
        "suggested": Maybe(_NAME),
        "resembles": Items(RESEMBLED),
        "leave_out": Items(_ROW),
    }
)

LIST = Record(
    {
        "kind": Text(1, 100, pattern="[a-z][a-z0-9-]*", means="a name of small letters and hyphens"),
        "title": _NAME,
        "finding": _NAME,
        "meaning": _NAME,
        "entries": Items(SUSPECT),
        "figures": Table(ANYTHING),
    }
)

AUDIT = DocumentFormat(
    Record(
        {"cache": _NAME, "lists": Items(LIST)},
        {"rows": Whole(0), "skipped": Table(_NAME), "effect": Maybe(Record({}, {"finding": _NAME}))},
    ),
    what="an audit",
    remedy="write it again: featcache audit CACHE --json > FILE",
    error=DataError,
)
"""What stands in the JSON of an audit, as far as it is read here."""


@dataclass(frozen=True)
class WrittenAudit:
    """The lists of an audit, as they were written.

    Parameters
    ----------
    cache
        Path of the cache, as it was given then.
    lists
        What was found.
    skipped
        Kind of a list that was not made, and why.
    effect
        Whether what the lists leave out matters, in a sentence; empty where that was not asked for.
    """

    cache: str
    lists: tuple[RankedList, ...]
    skipped: Mapping[str, str]
    effect: str = ""


def read_audit(path: str | os.PathLike[str]) -> WrittenAudit:
    """Read the file of an audit.

    Raises
    ------
    MissingFileError
        If there is none.
    DataError
        If it is something else, damaged, or larger than a document may be.
    UsageError
        If it is a table of an audit.
    StorageError
        If it cannot be read.
    """
    place = expanded(os.fspath(path))
    expected = "the lists of an audit, as featcache audit CACHE --json writes them"
    require_file(place, expected, missing=f"no file {place}: expected {expected}; check the name")
    with storage_errors(place, "read"):
        text = read_limited(place)
    if any(text.startswith(start) for start in (b"list,rank,", b"# What featcache audit", b"id,reason")):
        raise UsageError(
            f"{place} is a table, of featcache audit --csv or --exclude-list; a page needs the audit's JSON: "
            "featcache audit CACHE --json > FILE, or --audit run to make it now"
        )
    value = AUDIT.parse(text, place)
    return written_audit(value.get("result", value), place)


def written_audit(value: Any, origin: Path | str) -> WrittenAudit:
    """Return the lists in the JSON values of an audit; raises `DataError` naming `origin` where they do not fit."""
    AUDIT.check(value, origin)
    effect = value.get("effect") or {}
    return WrittenAudit(
        cache=value["cache"],
        lists=tuple(_list(each) for each in value["lists"]),
        skipped=dict(value.get("skipped", {})),
        effect=effect.get("finding", ""),
    )


def _list(value: Mapping[str, Any]) -> RankedList:
    told = {name: value[name] for name in ("kind", "title", "finding", "meaning", "figures")}
    return RankedList(**told, entries=tuple(map(_suspect, value["entries"])))


def _suspect(value: Mapping[str, Any]) -> Suspect:
    own = {name: value[name] for name in SUSPECT.required}
    own["score"] = _number(own["score"])
    own["resembles"] = tuple(map(_resembled, own["resembles"]))
    own["leave_out"] = tuple(own["leave_out"])
    return Suspect(**own)


def _resembled(value: Mapping[str, Any]) -> Resembled:
    own = {name: value[name] for name in RESEMBLED.required}
    return Resembled(**{**own, "similarity": _number(own["similarity"])})


def _number(value: float | None) -> float:
    """Return a number; NaN and infinity are null in JSON."""
    return float("nan") if value is None else float(value)
