"""Verification of a cache: the rows whose checksum does not hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache.row_store import StoredRows
from featcache.core.columns.name_column import NameColumn
from featcache.core.progress import OnProgress, Progress


@dataclass(frozen=True)
class Verification:
    """The result of a full check of a cache.

    Parameters
    ----------
    path
        The file.
    images
        Rows in it, ``None`` where not even that can be trusted.
    damaged
        Layer to the ids of its damaged rows; layers without any are left out.
    missing
        Rows that were not written yet; only an unfinished cache has any.
    error
        Why nothing in the file can be trusted, or ``None``.
    """

    path: Path
    images: int | None
    damaged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: int = 0
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every row is present and intact."""
        return not (self.damaged or self.missing or self.error)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        damaged = {layer: list(ids) for layer, ids in self.damaged.items()}
        return {**asdict(self), "path": str(self.path), "damaged": damaged, "ok": self.ok}


def verify_rows(stored: StoredRows, on_progress: OnProgress | None = None) -> Verification:
    """Check every row of an open file; opening it has checked everything else.

    `on_progress` is called with the rows of all layers as images.
    """
    progress = Progress("verify", total=stored.count * len(stored.layout.layers))

    def checked(count: int) -> None:
        progress.done += count
        if on_progress is not None:
            on_progress(progress)

    written = stored.written()
    ids = NameColumn(stored.layout.columns["id"])
    damaged = {}
    for layer in stored.layout.layers:
        rows = np.flatnonzero(~stored.intact_in(layer, checked) & written)
        if len(rows):
            damaged[layer] = tuple(ids[row] for row in rows.tolist())
    return Verification(stored.file.path, stored.count, damaged, int((~written).sum()))
