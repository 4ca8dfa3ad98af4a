"""Check the arguments of `featcache.extract` and of its dry run, and prepare the extraction."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache, RowTable
from featcache.core.parallel import default_workers
from featcache.core.progress import OnProgress
from featcache.datasets import Dataset, open_dataset
from featcache.datasets.subset import Subset, open_subset
from featcache.errors import ImageError, UsageError
from featcache.extraction.engines import require_known, require_possible
from featcache.extraction.output_path import output_path
from featcache.extraction.planning.content_hashes import hash_records
from featcache.extraction.planning.row_table import SplitRule, identify_rows
from featcache.extraction.planning.source_caches import dropped_images, find_caches, found_caches
from featcache.extraction.resolved import ResolvedExtraction, backbone_label
from featcache.extraction.runner import FeatureRunner, RecordImages, Runner
from featcache.extraction.spec import ExtractionSpec, require_positive

if TYPE_CHECKING:
    from featcache.extraction.cluster.driver import Cluster


@dataclass(frozen=True, kw_only=True)
class ExtractionArguments:
    """The validated arguments of `featcache.extract`.

    Parameters
    ----------
    spec
        The arguments that decide what is computed.
    output, test_fraction, seed, data_dir, unlabelled, allow_empty_classes, split, shard, reuse, verify, overwrite, \
batch_size, workers, engine
        See `featcache.extract`.

    Raises
    ------
    UsageError
        If an argument has an invalid value.
    """

    spec: ExtractionSpec
    output: str | os.PathLike[str] | None
    test_fraction: float
    seed: int
    data_dir: str | os.PathLike[str] | None
    unlabelled: bool
    allow_empty_classes: bool
    split: str | None
    shard: str | None
    reuse: Sequence[str | os.PathLike[str]]
    verify: bool
    overwrite: bool
    batch_size: int | None
    workers: int | None
    engine: str

    def __post_init__(self) -> None:
        if not 0 <= self.test_fraction < 1:
            raise UsageError(
                f"test fraction {self.test_fraction} is not in 0..1: expected a share, such as 0.2"
            )
        require_positive(batch_size=self.batch_size, workers=self.workers)
        require_known(self.engine)
        self.spec.require_layer()

    @property
    def rule(self) -> SplitRule:
        """The rule by which a dataset without splits is divided."""
        return SplitRule(self.test_fraction, self.seed)

    @property
    def threads(self) -> int:
        """Number of threads that read and decode images."""
        return self.workers or default_workers()

    def open(self, source: str | os.PathLike[str] | Dataset) -> tuple[Dataset, Subset]:
        """Open the requested part of a dataset; returns it with the description of that part."""
        data = open_dataset(
            source,
            data_dir=self.data_dir,
            unlabelled=self.unlabelled,
            allow_empty_classes=self.allow_empty_classes,
        )
        return open_subset(data, self.shard, self.split)

    def target(self, data: Dataset, part: Subset, resolved: ResolvedExtraction) -> Path:
        """Return the path of the cache."""
        return output_path(data, backbone_label(resolved.network), self.output, part, self.spec)


@dataclass(frozen=True)
class PreparedExtraction:
    """An extraction that is ready to run: rows identified, images hashed, caches to copy from opened.

    Parameters
    ----------
    arguments
        The arguments of the call.
    resolved
        The network and the layers to extract, including those that the target holds already.
    target
        Path of the cache file.
    data, hashes
        The records, and the sha256 of each one's bytes, uint8 ``[N, 32]``.
    failures
        Number and error of each record whose bytes could not be read.
    rows, document
        The row table, and the dataset's entry in the cache's identity.
    caches
        Caches that rows may be copied from, in order of preference.
    named
        How many of them, the first ones, are the target's own or were named; the others were found.
    dropped
        Images of the finished cache at `target` that the new one will not have.
    cluster
        The actors that compute; ``None`` for this process.
    """

    arguments: ExtractionArguments
    resolved: ResolvedExtraction
    target: Path
    data: Dataset
    hashes: np.ndarray
    failures: Mapping[int, ImageError]
    rows: RowTable
    document: Mapping[str, Any]
    caches: Sequence[FeatureCache]
    named: int
    dropped: int
    cluster: "Cluster | None" = None

    def runner(self, computed: int | None = None) -> Runner:
        """Return what computes features; `computed` is how many images it will run, if that is known."""
        if self.cluster is not None and computed is not None:
            return self.cluster.runner(self.resolved, computed)
        return FeatureRunner(
            extraction=self.resolved,
            images=len(self.data.records),
            batch_size=self.arguments.batch_size,
            workers=self.arguments.workers,
            engine=self.arguments.engine,
            expected=computed,
        )

    @cached_property
    def images(self) -> RecordImages:
        """The prepared images that features are computed from."""
        return RecordImages(self.data, self.hashes, self.resolved.transforms, self.resolved.views)


def prepare_extraction(
    arguments: ExtractionArguments,
    resolved: ResolvedExtraction,
    data: Dataset,
    target: Path,
    *,
    report: OnProgress,
    keep: bool = True,
    cluster: "Cluster | None" = None,
) -> PreparedExtraction:
    """Find caches to copy from, hash the images and identify the rows.

    Parameters
    ----------
    arguments, resolved, data, target
        The arguments, the extraction with its network loaded, the dataset, and the path of the cache.
    report
        Called after every file that was hashed.
    keep
        Whether to store the hashes for later runs.
    cluster
        The actors that compute; ``None`` for this process.

    Raises
    ------
    IdentityError
        If the target or a cache to copy from holds other features, or replacing the target would lose images.
    UsageError, MissingExtraError
        If the engine that was asked for cannot run here.
    """
    if cluster is None:
        require_possible(arguments.engine, resolved.compute_dtype)
    overwrite = arguments.overwrite
    resolved, caches = find_caches(target, resolved, reuse=arguments.reuse, overwrite=overwrite)
    failures: dict[int, ImageError] = {}
    hashes = hash_records(
        data,
        workers=arguments.threads,
        report=report,
        trust=not arguments.verify,
        keep=keep,
        failures=failures,
        digests=cluster and cluster.digests,
    )
    held = next((cache.identity for cache in caches if cache.path == target), None)
    rows, document = identify_rows(data, hashes, arguments.rule, arguments.split, held=held)
    named = len(caches)
    caches += found_caches(target, resolved, hashes, caches)
    return PreparedExtraction(
        arguments=arguments,
        resolved=resolved,
        target=target,
        data=data,
        hashes=hashes,
        failures=failures,
        rows=rows,
        document=document,
        caches=caches,
        named=named,
        dropped=dropped_images(
            caches, target, rows, document, overwrite=overwrite, why_absent=data.why_absent
        ),
        cluster=cluster,
    )
