"""Read the files of a finished sweep, without its lock: they are left as they are."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.core.disk.jsonl import read_lines
from featcache.core.disk.names import require_file
from featcache.core.disk.storage import storage_errors
from featcache.core.documents.document_format import DocumentFormat, read_limited
from featcache.core.documents.kinds import Flag, Items, Kind, Maybe, Number, Record, Table, Text, Whole
from featcache.core.tasks import TASKS
from featcache.sweeps.lines import EARLIER_LINE, FORMAT, LINE
from featcache.sweeps.results import RESULTS, SUMMARY

GO_ON = "run the same featcache sweep command again to go on"

_SCORE = Maybe(Number())

_ENTRY: dict[str, Kind] = {
    "cache": Text(),
    "layer": Text(),
    "head": Text(),
    "settings": Table(),
    "shots": Maybe(Whole(1)),
    "val_accuracy": _SCORE,
    "deviation": _SCORE,
    "val_loss": _SCORE,
    "trials": Whole(1),
}

_TEST = Record({"mean": _SCORE, "interval": Items(_SCORE, 2, 2), "count": Whole(0)})

_CONTENDER = Record(
    {
        **_ENTRY,
        "behind_by": _SCORE,
        "interval": Items(_SCORE, 2, 2),
        "p_value": _SCORE,
        "told_apart": Flag(),
    }
)

_CHOICE = Record(
    {**_ENTRY, "test": Maybe(_TEST), "contenders": Items(_CONTENDER)},
    {"image_floor": _SCORE, "instead_of": Maybe(Record(_ENTRY))},
)

SUMMARY_DOCUMENT = DocumentFormat(
    Record(
        {
            "heads": Whole(0),
            "chosen": _CHOICE,
            "shots": Items(_CHOICE, least=1),
            "leaderboard": Items(Record(_ENTRY)),
        },
        {
            "format": Whole(1, FORMAT),
            "task": Text(choices=TASKS),
            "fitted": Whole(0),
            "seconds": _SCORE,
            "warnings": Items(Text()),
            "classifier": Maybe(Text()),
        },
    ),
    what="the summary of a sweep",
    remedy="run the same featcache sweep command again, which fits nothing anew and writes it",
)


@dataclass(frozen=True)
class FinishedSweep:
    """What a sweep left in its folder.

    Parameters
    ----------
    folder
        Of the sweep.
    summary
        What `featcache.sweeps.results.SweepResult.to_json` gave.
    lines
        The results of all heads, in the order in which they were fitted.
    damaged
        Numbers of the lines that are damaged, and are not among `lines`.
    """

    folder: Path
    summary: dict[str, Any]
    lines: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...]

    @property
    def classifier(self) -> Path | None:
        """Folder of the chosen head, if it was saved: the one in this folder, wherever that has been moved to."""
        own = self.folder / "classifier"
        return own if self.summary.get("classifier") and own.is_dir() else None


def read_sweep(folder: str | os.PathLike[str]) -> FinishedSweep:
    """Read a finished sweep.

    Raises
    ------
    MissingFileError
        If it has no summary: it is not finished.
    IntegrityError
        If the summary is damaged, or a newer featcache wrote a line.
    StorageError
        If it cannot be read.
    """
    place = Path(folder)
    path = place / SUMMARY
    require_file(
        path,
        SUMMARY_DOCUMENT.what,
        missing=f"the sweep in {place} is not finished (no {SUMMARY}); {GO_ON}",
    )
    with storage_errors(path, "read"):
        summary = SUMMARY_DOCUMENT.read(read_limited(path), path)
    with storage_errors(place / RESULTS, "read"):
        lines = read_lines(place / RESULTS, content=LINE, earlier=EARLIER_LINE, newest=FORMAT)
    return FinishedSweep(
        place,
        summary,
        tuple(line.record for line in lines if line.record is not None),
        tuple(line.number for line in lines if line.record is None),
    )
