"""Extraction: plan, reuse, compute, publish. A frozen backbone sees each image once."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.input_size import ImageSize
from featcache.backbones.registry import DEFAULT
from featcache.cache import CacheWriter, FeatureCache, RowTable, WriteLock
from featcache.cache.layout import build_identity, previous_path
from featcache.core.parallel import default_workers
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset
from featcache.datasets.formats.arrays import named_or_given
from featcache.datasets.subset import open_subset
from featcache.errors import DataError, Interrupted, UsageError
from featcache.extraction.cache_filler import CacheFiller
from featcache.extraction.content_hashes import hash_records
from featcache.extraction.network_request import ResolvedExtraction, backbone_label, provenance_of, resolve
from featcache.extraction.output_path import make_writable, output_path
from featcache.extraction.plan import Plan, build_plan, serves
from featcache.extraction.reuse import dropped_images, find_caches, sources_of
from featcache.extraction.row_table import SplitRule, identify_rows, same_rows
from featcache.extraction.runner import FeatureRunner
from featcache.extraction.spec import ExtractionSpec, require_positive
from featcache.extraction.up_to_date import guessed_target, unchanged_cache
from featcache.images.augmentation import Augmentation
from featcache.images.decoding import QUARANTINE_REASONS
from featcache.images.transforms import Transforms
from featcache.images.views import DEFAULT as DEFAULT_AUGMENT
from featcache.images.views import Views

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

__all__ = ["Extraction", "OnProgress", "Progress", "extract", "quarantined_rows"]


@dataclass(frozen=True)
class Extraction:
    """A finished extraction; may be used wherever a cache's path is expected.

    Parameters
    ----------
    path
        The cache file.
    images
        Rows in the cache.
    computed, reused, duplicates, resumed
        Where their features came from: the network, another cache, another row of the same bytes, an earlier
        run of this extraction that was interrupted.
    quarantined
        Id and reason of each image that could not be read.
    skipped
        Files left out by the source: why, and how many.
    dropped
        Images that the cache held before and that the dataset does not have any more.
    seconds
        Wall time of the whole extraction.
    progress
        Where the time went.
    """

    path: Path
    images: int
    computed: int
    reused: int
    duplicates: int
    resumed: int
    quarantined: Mapping[str, str]
    skipped: Mapping[str, int]
    dropped: int
    seconds: float
    progress: Progress = field(repr=False)

    @property
    def cache(self) -> FeatureCache:
        """The cache, opened."""
        return FeatureCache(self.path)

    def __fspath__(self) -> str:
        return str(self.path)


def extract(
    dataset: str | Path | Dataset | None = None,
    *,
    images: Any = None,
    labels: Iterable[Any] | None = None,
    classes: Sequence[str] | None = None,
    splits: str | Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    backbone: "str | LoadedBackbone" = DEFAULT,
    layers: Sequence[str] = ("pool",),
    image_statistics: bool = True,
    output: str | os.PathLike[str] | None = None,
    weights: str | Path | None = None,
    image_size: ImageSize | None = None,
    transforms: Transforms | None = None,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    views: int = 1,
    augment: str | Augmentation = DEFAULT_AUGMENT,
    view_seed: int = 0,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    split: str | None = None,
    shard: str | None = None,
    reuse: Sequence[str | os.PathLike[str]] = (),
    verify: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Extraction:
    """Run a frozen backbone once over a dataset and keep its features in a cache.

    Interrupted at any moment, the same call goes on where it stopped. Called again after images were added,
    removed, renamed or relabelled, it computes only images that it has not seen.

    Parameters
    ----------
    dataset
        A spec (``"photos/"``, ``"folder:photos"``) or an opened dataset.
    images, labels, classes, splits, ids
        Instead of a dataset, pictures that are in memory (arrays, encoded bytes, PIL images) or paths, one label for
        each, and what else is known of them; see `featcache.open_arrays`.
    backbone
        ``arch`` or ``arch.tag``, or a loaded backbone.
    layers
        Which values of the network to keep, such as ``"pool"`` or ``"block_13_expand_relu:avg"``.
    image_statistics
        Keep the colours of the images too, 54 numbers each in the layer ``"image:statistics"``, so that
        `featcache.train_head` can tell whether they alone would do. A cache that was made without them is gone on
        with without them, unless it is to be overwritten.
    output
        The cache file; ``NAME-BACKBONE.h5`` in the working directory by default.
    weights
        A weights file to use instead of the published one.
    image_size
        Input size in pixels instead of the one that belongs to the weights: a number (square), ``(height,
        width)``, or text such as ``"150x200"``. It also replaces that of a loaded backbone, and of `transforms`.
    transforms
        Preprocessing to use instead of the one that belongs to the weights.
    dtype
        Stored dtype: ``"float32"`` or ``"float16"``.
    compute_dtype
        ``"float32"`` or ``"bfloat16"``.
    views
        How many views of each image to keep: the plain one, and others that are drawn as `augment` says. They take
        as many times the space. Everything that reads a cache uses the plain one, unless it asks for others.
    augment
        What may happen to the drawn views, in words that `featcache.images.augmentation.Augmentation.parse`
        reads, such as ``"flip,random-resized-crop,colour"``.
    view_seed
        Another number gives other draws.
    test_fraction, seed
        How a dataset without splits is divided into train and test.
    data_dir
        Where TFDS's datasets are prepared; see `featcache.open_dataset`.
    split
        A split of the dataset, or a slice such as ``"train[:10%]"`` or ``"[:100]"`` (of all), cut over its records in
        their order (see `featcache.splits.slices`): only these are read. What trains and what tests may be
        cut later from the cache just as well, and then costs nothing.
    shard
        ``"i/n"``: only the i-th of n parts of the dataset, into an ordinary cache. Another extraction with
        `reuse` naming the parts puts them together.
    reuse
        Finished caches of the same recipe to copy rows from, by the images' content. Earlier versions of the
        target, and caches in ``FEATCACHE_HOME/caches``, are looked at without being named.
    verify
        Read and hash every image again, even where its file has not changed since it was hashed.
    strict
        Fail on the first unreadable image instead of leaving it out.
    overwrite
        Replace a cache of another recipe or dataset at `output`.
    batch_size, workers
        Images per call and decoding threads; chosen for the platform by default. They do not change what is
        stored.
    on_progress
        Called with a `Progress` as the work proceeds.
    stop
        Asked after every file and chunk whether to stop; what was done is kept.

    Returns
    -------
    Extraction
        Path of the cache and what was done.

    Raises
    ------
    UsageError
        If an argument has a value that cannot work, such as an `image_size` too small for the network.
    DataError
        If the dataset is missing, empty, or nothing in it can be read.
    WeightsError
        If the backbone's weights cannot be had.
    IdentityError
        If `output` or a cache to reuse holds features of another recipe; lists the differences. If `output` holds
        another dataset, some images of which would be lost.
    LockedError
        If another process is writing the same cache.
    Interrupted
        If `stop` said so.
    """
    started = time.monotonic()
    rule = split_rule(test_fraction, seed)
    require_positive(batch_size=batch_size, workers=workers)
    wanted = ExtractionSpec(
        backbone,
        tuple(layers),
        weights,
        transforms,
        dtype,
        compute_dtype,
        image_size,
        image_statistics,
        Views.of(views, augment, view_seed),
    )
    source = named_or_given(dataset, images, labels, classes=classes, splits=splits, ids=ids)
    data, part = open_subset(source, shard, split, data_dir)
    report = _reporter(on_progress, stop)
    threads = workers or default_workers()
    if not (verify or reuse) and (guess := guessed_target(data, wanted, output, part)):
        finished = unchanged_cache(data, wanted, guess, rule, threads, report)
        if finished:
            return _extraction(guess, finished, data, Progress("verify"), started, reused=len(finished))
    report(Progress("load", total=len(data.records)))
    request = resolve(wanted)
    target = output_path(data, backbone_label(request.network), output, part)
    with WriteLock(make_writable(target)):
        request, caches = find_caches(target, request, wanted, reuse=reuse, overwrite=overwrite)
        hashes = hash_records(data, workers=threads, report=report, trust=not verify)
        rows, document = identify_rows(data, hashes, rule, split)
        dropped = dropped_images(caches, target, hashes, document, overwrite=overwrite)
        computation = request.computation(data, hashes, batch_size=batch_size, workers=workers)
        run = _Run(request, computation, target, rows, document, caches, strict, report, dropped)
        return run.run(started)


def split_rule(test_fraction: float, seed: int) -> SplitRule:
    if not 0 <= test_fraction < 1:
        raise UsageError(f"test fraction {test_fraction} is not in 0..1")
    return SplitRule(test_fraction, seed)


def _reporter(on_progress: OnProgress | None, stop: Callable[[], bool] | None) -> OnProgress:
    def report(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(progress)
        if stop is not None and stop() and progress.stage != "verify":
            raise Interrupted(
                f"stopped after {progress.done} of {progress.total} images"
                + (" (being hashed)" if progress.stage == "hash" else ", which are kept")
                + "; run the same command again to go on"
            )

    return report


# One run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """One extraction, once everything about it is known."""

    request: ResolvedExtraction
    computation: FeatureRunner
    target: Path
    rows: RowTable
    document: Mapping[str, Any]
    caches: Sequence[FeatureCache]
    strict: bool
    report: OnProgress
    dropped: int = 0

    def run(self, started: float) -> Extraction:
        count = len(self.rows)
        for cache in self.caches:
            if cache.path == self.target and self._is_this(cache.identity):
                previous_path(self.target).unlink(
                    missing_ok=True
                )  # of a run that was killed in its last step
                return self._done(cache, Progress("verify", count, count), started, reused=count)
        resumed = CacheWriter.resume(self.target)
        if resumed is not None and not (
            self._is_this(resumed.identity) and resumed.layers.keys() == self.request.specs.keys()
        ):
            resumed.close()
            # Images changed since: its rows were opened as a cache to copy from, and stay on disk until this
            # run has published.
            os.replace(resumed.path, previous_path(self.target))
            resumed = None
        done = resumed.done() if resumed else np.zeros(count, bool)
        plan = build_plan(self.computation.hashes, done, sources_of(self.caches))
        probes = self._probes(plan, resumed)
        with resumed or self._create(probes) as writer:
            progress = Progress("compute", done=int(done.sum()), total=count)
            filling = CacheFiller(writer, progress, self.report)
            filling.copy(plan.reuse, self.caches)
            computed = filling.compute(plan, self.computation, strict=self.strict)
            progress.stage = "verify"
            self.report(progress)
            cache = writer.publish()
        self._require_something_readable(cache)
        previous_path(self.target).unlink(missing_ok=True)
        return self._done(
            cache,
            progress,
            started,
            reused=len(plan.reuse),
            resumed=int(done.sum()),
            computed=computed,
            duplicates=plan.duplicates,
        )

    def _is_this(self, identity: Mapping[str, Any]) -> bool:
        return serves(identity, self.request.recipe, self.request.specs) and same_rows(
            identity, self.rows, self.document
        )

    def _probes(self, plan: Plan, resumed: CacheWriter | None) -> Mapping[str, Any]:
        """Compute the probe images' features and compare them with those of every cache that gives rows.

        Where nothing is computed, nothing runs: the probes of the first cache copied from are passed on.
        """
        used = {position for position, _ in plan.reuse.values()}
        givers = [(c.path, c.identity) for position, c in enumerate(self.caches) if position in used]
        if resumed is not None:
            givers.append((resumed.path, resumed.identity))
        known = [(path, identity["provenance"].get("probes") or {}) for path, identity in givers]
        if not plan.compute:
            return known[0][1] if known else {}
        self.report(Progress("compile", total=len(self.rows)))
        ours = self.computation.probe()
        for path, theirs in known:
            self.computation.require_same_probes(ours, theirs, origin=str(path))
        return ours

    def _create(self, probes: Mapping[str, Any]) -> CacheWriter:
        identity = build_identity(
            recipe=self.request.recipe,
            layers=self.request.specs,
            dataset=self.document,
            rows=self.rows,
            provenance=provenance_of(self.request) | {"probes": dict(probes)},
        )
        return CacheWriter.create(self.target, identity=identity, rows=self.rows)

    def _require_something_readable(self, cache: FeatureCache) -> None:
        if len(cache.rows_of()):
            return
        name, reason = next(iter(quarantined_rows(cache).items()))
        cache.close()
        self.target.unlink()
        raise DataError(
            f"none of the {len(self.rows)} images of {self.computation.data.spec} could be read; "
            f"the first, {name}: {reason}"
        )

    def _done(self, cache: FeatureCache, progress: Progress, started: float, **counts: int) -> Extraction:
        counts["dropped"] = self.dropped
        return _extraction(self.target, cache, self.computation.data, progress, started, **counts)


def _extraction(
    target: Path, cache: FeatureCache, data: Dataset, progress: Progress, started: float, **counts: int
) -> Extraction:
    nothing = dict.fromkeys(("computed", "reused", "duplicates", "resumed", "dropped"), 0)
    return Extraction(
        path=target,
        images=len(cache),
        quarantined=quarantined_rows(cache),
        skipped=data.skipped,
        seconds=time.monotonic() - started,
        progress=progress,
        **(nothing | counts),
    )


def quarantined_rows(cache: FeatureCache) -> dict[str, str]:
    """Return id and reason of the images that could not be read."""
    # A newer featcache may know more reasons; its caches of this format are still read.
    reasons = dict(enumerate(QUARANTINE_REASONS, start=1))
    return {cache.ids[row]: reasons.get(int(cache.status[row]), "unreadable") for row in cache.quarantined()}
