"""Fill a cache: copy rows from other caches, compute the others, quarantine unreadable ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from featcache.cache import CacheWriter, FeatureCache
from featcache.core.progress import OnProgress, Progress
from featcache.errors import DataError, ImageError
from featcache.extraction.batching import Chunk
from featcache.extraction.planning.plan import Plan, Reuse
from featcache.extraction.runner import RecordImages, Runner
from featcache.images.decoding import QUARANTINE_REASONS, REASONS_OF_READING, TEMPORARY_REASONS

OF_THE_FILE = ("unreadable file", "changed during extraction", "not a regular file", "outside the dataset")
"""Reasons that concern one file and not its bytes: another file with the same bytes may still be good."""

COPY_BLOCK = 256

Copies = dict[int, tuple[int, ...]]
"""Computed row to other rows with the same bytes."""

Failures = Sequence[tuple[int, ImageError]]
"""Row number and error of images that could not be read."""


@dataclass(frozen=True)
class CacheFiller:
    """Writes rows to an unfinished cache and reports progress.

    Parameters
    ----------
    writer, progress, report
        The cache, and what is told.
    details
        Filled with rows whose bytes could not be read, and why.
    """

    writer: CacheWriter
    progress: Progress
    report: OnProgress
    details: dict[int, str] = field(default_factory=dict)

    def copy(self, reuse: Reuse, caches: Sequence[FeatureCache]) -> None:
        """Copy rows from caches and verify each; `reuse` maps a row to (position in `caches`, row there)."""
        block = max(1, COPY_BLOCK // max(spec.views for spec in self.writer.layers.values()))
        for first in range(0, len(reuse), block):
            part = slice(first, first + block)
            rows, positions, places = reuse.rows[part], reuse.positions[part], reuse.places[part]
            for position in np.unique(positions).tolist():
                mine = positions == position
                theirs, cache = places[mine], caches[position]
                features = {name: cache.features(theirs, name, view="all") for name in self.writer.layers}
                self.writer.write(rows[mine], features)
            self.progress.done += len(rows)
            self.report(self.progress)

    def compute(self, plan: Plan, runner: Runner, images: RecordImages, *, strict: bool) -> int:
        """Compute the rows of the plan; returns the number of images that could be read.

        An image that could not be read for a temporary reason is tried once more after all others.

        Raises
        ------
        DataError
            If `strict` and an image cannot be read.
        """
        rows: Sequence[int] = plan.compute
        copies, readable, tried = dict(plan.copies), 0, set[int]()
        while rows:
            again: list[int] = []
            for chunk in runner.chunks_of(rows, images):
                if not len(chunk.rows) and not chunk.failures:  # rows are waited for
                    self.report(self.progress)
                    continue
                lost, postponed = _final_failures(chunk, tried)
                if strict and lost:
                    row, error = lost[0]
                    name = images.data.records[row].id
                    raise DataError(f"{name}: {error}; without --strict it would be left out")
                again += [*postponed, *self._take(chunk, lost, copies)]
                readable += len(chunk.rows)
            rows = tuple(again)
        return readable

    def _take(self, chunk: Chunk, lost: Failures, copies: Copies) -> list[int]:
        """Write a chunk; returns the rows to compute instead of lost ones with the same bytes."""
        began = time.perf_counter()
        self._write(chunk, copies)
        again = [other for row, error in lost for other in self._set_aside(row, error, copies)]
        self.progress.write_s += time.perf_counter() - began
        self.progress.decode_s += chunk.decode_s
        self.progress.device_s += chunk.device_s
        finished = [*chunk.rows.tolist(), *(row for row, _ in lost)]
        self.progress.done += sum(1 + len(copies.get(row, ())) for row in finished)
        self.report(self.progress)
        return again

    def _write(self, chunk: Chunk, copies: Copies) -> None:
        if not len(chunk.rows):
            return
        self.writer.write(chunk.rows, chunk.features)
        for position, row in enumerate(chunk.rows.tolist()):
            for copy in copies.get(row, ()):
                one = {layer: values[position : position + 1] for layer, values in chunk.features.items()}
                self.writer.write(np.array([copy]), one)

    def _set_aside(self, row: int, error: ImageError, copies: Copies) -> list[int]:
        """Quarantine a row and its copies; returns the copy to try instead if the reason concerns one file only."""
        others, again = copies.get(row, ()), []
        if others and error.reason in OF_THE_FILE:
            successor, *rest = others
            copies[row], copies[successor] = (), tuple(rest)
            again = [successor]
        for lost in (row, *copies.get(row, ())):
            self.writer.quarantine(lost, 1 + QUARANTINE_REASONS.index(error.reason))
            if error.reason in REASONS_OF_READING:
                self.details[lost] = error.detail
        return again


def _final_failures(chunk: Chunk, tried: set[int]) -> tuple[Failures, list[int]]:
    """Return a chunk's failures that count, and the rows to try once more, which are added to `tried`."""
    postponed = [
        row for row, error in chunk.failures if error.reason in TEMPORARY_REASONS and row not in tried
    ]
    tried.update(postponed)
    return [(row, error) for row, error in chunk.failures if row not in postponed], postponed
