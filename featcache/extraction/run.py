"""One prepared extraction is run: rows copied or computed, and the cache published."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.cache import CacheWriter, ExtractionCost, FeatureCache
from featcache.cache.layout import build_identity, fresh_path, partial_path, previous_path
from featcache.cache.set_aside import remove_set_aside, set_aside
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset
from featcache.errors import DataError, ImageError
from featcache.extraction.arguments import PreparedExtraction
from featcache.extraction.cache_filler import CacheFiller
from featcache.extraction.planning.checked_plan import checked_plan
from featcache.extraction.planning.plan import Plan, serves
from featcache.extraction.planning.row_table import same_rows
from featcache.extraction.planning.source_caches import sources_of
from featcache.extraction.planning.up_to_date import leaves_work
from featcache.extraction.resolved import provenance_of
from featcache.extraction.result import Extraction, finished_extraction, quarantined_rows, temporary_rows
from featcache.extraction.runner import Runner
from featcache.images.decoding import REASONS_OF_READING


@dataclass(frozen=True)
class Run:
    """Runs one prepared extraction.

    Parameters
    ----------
    prepared
        The extraction, under the target's lock.
    strict
        Whether the first unreadable image ends it.
    report
        Told of the progress.
    """

    prepared: PreparedExtraction
    strict: bool
    report: OnProgress

    def run(self, started: float) -> Extraction:
        """Plan, copy, compute and publish; `started` is when the call began, by `time.monotonic`."""
        prepared, target = self.prepared, self.prepared.target
        count = len(prepared.rows)
        held = prepared.caches[0] if prepared.caches and prepared.caches[0].path == target else None
        own = sources_of(prepared.caches[:1])
        if held and self._is_this(held.identity) and not leaves_work(held, own[0], prepared):
            require_complete(held, strict=self.strict)
            # Left by runs that were killed in their first step, and in their last.
            with suppress(OSError):
                fresh_path(target).unlink(missing_ok=True)
            remove_set_aside(target)
            return as_before(held, prepared.data, started, prepared.failures)
        resumed = CacheWriter.resume(target)
        changed = resumed is not None and not (
            self._is_this(resumed.identity) and resumed.layers.keys() == prepared.resolved.specs.keys()
        )
        if resumed is not None and changed:
            resumed.close()
            # Its rows are still open to be copied, so the file stays on disk until this run has published.
            set_aside(target, prepared.document["spec"])
            resumed = None
        done = resumed.done() if resumed else np.zeros(count, bool)
        sources = [*own, *sources_of(prepared.caches[1:])]
        plan, probes, runner = checked_plan(prepared, done, sources, resumed, self.report)
        with resumed or self._create(probes, runner if plan.compute else None) as writer:
            progress = Progress("compute", done=int(done.sum()), total=count)
            filling = CacheFiller(writer, progress, self.report)
            filling.copy(plan.reuse, prepared.caches)
            began = time.monotonic()
            computed = filling.compute(plan, runner, prepared.images, strict=self.strict)
            ended = time.monotonic()
            kept = len(plan.reuse) + int(done.sum())
            self._require_something_readable(writer, kept + computed)
            progress.stage = "verify"
            self.report(progress)
            cache = writer.publish(ExtractionCost(computed, kept, ended - started, ended - began))
        remove_set_aside(target, known=changed)
        return finished_extraction(
            cache,
            prepared.data,
            progress,
            started,
            filling.details,
            reused=len(plan.reuse),
            resumed=int(done.sum()),
            computed=computed,
            duplicates=plan.duplicates,
            dropped=prepared.dropped,
            retried=_retried(held, prepared.rows.ids) if held else (),
            damaged=own[0].damaged if held else 0,
            reused_from=_origins(plan, prepared),
            engine=str(runner.running) if computed else "",
            actors=prepared.cluster.rates.per_second() if prepared.cluster else {},
        )

    def _is_this(self, identity: Mapping[str, Any]) -> bool:
        wanted = self.prepared.resolved
        return serves(identity, wanted.recipe, wanted.specs) and same_rows(
            identity, self.prepared.rows, self.prepared.document
        )

    def _create(self, probes: Mapping[str, Any], runner: Runner | None) -> CacheWriter:
        resolved, rows = self.prepared.resolved, self.prepared.rows
        identity = build_identity(
            recipe=resolved.recipe,
            layers=resolved.specs,
            dataset=self.prepared.document,
            rows=rows,
            provenance=provenance_of(resolved, None if runner is None else runner.running)
            | ({} if runner is None else runner.provenance)
            | {"probes": dict(probes)},
        )
        return CacheWriter.create(self.prepared.target, identity=identity, rows=rows)

    def _require_something_readable(self, writer: CacheWriter, readable: int) -> None:
        """Raise if no row has features, before anything at the target is replaced."""
        if readable:
            return
        writer.close()
        with FeatureCache(writer.path) as cache:
            name, reason = next(iter(quarantined_rows(cache).items()))
        with suppress(OSError):
            writer.path.unlink()
        raise DataError(
            f"none of the {len(self.prepared.rows)} images of {self.prepared.data.spec} could be read; "
            f"the first, {name}: {reason}"
        )


# A finished cache --------------------------------------------------------------------------------------------


def as_before(
    cache: FeatureCache, data: Dataset, started: float, failures: Mapping[int, ImageError]
) -> Extraction:
    """Return the result for a cache that left nothing to do."""
    progress = Progress("verify", len(cache), len(cache))
    reused = len(cache.rows_of())
    details = {row: error.detail for row, error in failures.items() if error.reason in REASONS_OF_READING}
    return finished_extraction(
        cache, data, progress, started, details, reused=reused, retried=_retried(cache, cache.ids)
    )


def _origins(plan: Plan, prepared: PreparedExtraction) -> dict[str, int]:
    """Return how many rows come from each cache other than the target's own."""
    target = prepared.target
    own = (target, partial_path(target), previous_path(target))
    counts = plan.reuse.counts()
    paths = {position: prepared.caches[position].path for position in sorted(counts)}
    return {str(path): counts[position] for position, path in paths.items() if path not in own}


def _retried(cache: FeatureCache, present: Sequence[str]) -> tuple[str, ...]:
    """Return the images that a cache left out for a reason that may pass, and that the dataset still has."""
    rows = temporary_rows(cache)
    if not len(rows):
        return ()
    names = {*present}
    return tuple(cache.ids[row] for row in rows if cache.ids[row] in names)


def require_complete(cache: FeatureCache, *, strict: bool) -> None:
    """Raise `DataError` if `strict` and an image of a finished cache could not be read."""
    for name, reason in quarantined_rows(cache).items():
        if strict:
            raise DataError(f"{name}: {reason}; without --strict it would be left out")
