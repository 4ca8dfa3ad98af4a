"""Records of experiments: all comparisons as one table, and what each record was made of."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from featcache.core.display import counted
from featcache.reports.experiment_records import ExperimentRecord, shown, shown_interval
from featcache.reports.material import Material
from featcache.reports.section import Section

MOST_FIGURE_BYTES = 1 << 20
"""A figure that is larger is named, not shown."""

_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".webp": "image/webp", ".jpg": "image/jpeg"}

COLUMNS = (
    "experiment",
    "what",
    {"label": "published", "kind": "number"},
    {"label": "ours", "kind": "number"},
    {"label": "95 % interval", "kind": "number"},
    "what differs",
)


def sections(material: Material) -> tuple[Section, ...] | None:
    """Return a table of all records and a section about each; ``None`` of anything else."""
    if not material.records:
        return None
    return (_table(material.records), *map(_about, range(len(material.records)), material.records))


def headline(records: Sequence[ExperimentRecord]) -> str:
    """Return how many records there are, and how many of them say nothing of accuracy."""
    small = sum(own.content["small"] for own in records)
    said = counted(len(records), "record")
    return f"{said}, {small} of them of a stand-in, which only show that the script runs" if small else said


def _table(records: Sequence[ExperimentRecord]) -> Section:
    rows = [_row(own.content, each) for own in records for each in own.content["comparisons"]]
    return Section(
        key="records",
        title="Numbers",
        headline=f"{counted(len(rows), 'number')} of {counted(len(records), 'record')}",
        template="records.html",
        content={"columns": COLUMNS, "cells": rows},
        data={"records": [dict(own.content) for own in records]},
    )


def _row(record: Mapping[str, Any], each: Mapping[str, Any]) -> list[Any]:
    unit, known = each["unit"], not record["small"]
    own, interval = (each["ours"], each["interval"]) if known else (None, None)
    numbers = [{"text": shown(value, unit), "value": value or 0} for value in (each["published"], own)]
    ends = {"text": shown_interval(interval, unit), "value": (interval or [0])[0]}
    notes = ["" if known else "a stand-in: its numbers mean nothing", each["note"]]
    return [record["name"], each["what"], *numbers, ends, "; ".join(filter(None, notes))]


def _about(number: int, own: ExperimentRecord) -> Section:
    record = own.content
    parts = {
        "data": f"{record['data']} ({counted(record['images'], 'image')})",
        "weights": ", ".join(f"{name}: {source}" for name, source in record["weights"].items()),
        "what differs": record["differs"],
        "seeds": ", ".join(map(str, record["seeds"])),
        "seconds": ", ".join(f"{stage} {value:g}" for stage, value in record["seconds"].items()),
        "command": record["command"],
        "date": record["date"],
        "hardware": _listed(record["hardware"]),
        "versions": _listed(record["versions"]),
        "file": str(own.path),
    }
    return Section(
        key=f"record-{number + 1}",
        title=f"{number + 1}. {record['name']}",
        headline=f"{record['title']}{' (a stand-in)' if record['small'] else ''}",
        template="record.html",
        content={
            "facts": [(name, value) for name, value in parts.items() if value],
            "figures": [_figure(own.path.parent, name) for name in record["figures"]],
            "texts": [
                ("Settings", _lines(record["settings"])),
                ("Fingerprints of the caches", record["fingerprints"]),
                ("All results", _lines(record["result"])),
            ],
        },
    )


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=1, ensure_ascii=False).split("\n")


def _figure(folder: Path, name: str) -> dict[str, Any]:
    """Return a figure as a picture in the page itself, or why there is none."""
    place = PurePosixPath(name)
    file = folder / place
    kind = _TYPES.get(place.suffix.casefold())
    # A record from elsewhere must not make the page show any file of this machine.
    if place.is_absolute() or ".." in place.parts or "\\" in name or kind is None:
        return {"name": name, "url": "", "why": "it is no picture below the folder of the record"}
    try:
        if folder.resolve() not in file.resolve().parents or not file.is_file():
            return {"name": name, "url": "", "why": "it is not there"}
        if file.stat().st_size > MOST_FIGURE_BYTES:
            return {"name": name, "url": "", "why": "it is larger than a megabyte"}
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        return {"name": name, "url": "", "why": f"it cannot be read ({type(error).__name__})"}
    return {"name": name, "url": f"data:{kind};base64,{base64.b64encode(content).decode()}", "why": ""}
