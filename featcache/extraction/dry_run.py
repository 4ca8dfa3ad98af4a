"""Dry run of an extraction: rows to compute, space needed and estimated time, without writing anything."""

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.input_size import ImageSize
from featcache.backbones.registry import DEFAULT
from featcache.cache import partial_path
from featcache.cache.layout import build_identity, needed_bytes
from featcache.core.argument_types import checked_types
from featcache.core.display import html_table
from featcache.core.tasks import MULTICLASS
from featcache.datasets import Dataset, folder_spec
from featcache.extraction.arguments import ExtractionArguments, PreparedExtraction, prepare_extraction
from featcache.extraction.engines import AUTO
from featcache.extraction.planning.plan import build_plan
from featcache.extraction.planning.source_caches import sources_of
from featcache.extraction.resolved import resolve
from featcache.extraction.runner import Runner
from featcache.extraction.spec import ExtractionSpec
from featcache.images.augmentation import Augmentation
from featcache.images.transforms import Transforms
from featcache.images.views import DEFAULT as DEFAULT_AUGMENT
from featcache.images.views import Views

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

SAMPLE = 16
"""Images that are decoded and run through the network to estimate the time."""


@dataclass(frozen=True)
class PlanReport:
    """The result of a dry run: what `featcache.extract` would do with the same arguments.

    Parameters
    ----------
    path
        Path of the cache file.
    images
        Rows that it would have.
    computed, reused, duplicates, resumed
        Where their features would come from; see `featcache.Extraction`.
    bytes
        Size of the file.
    views
        Views of each image that it would hold; features take that many times the space.
    seconds
        Estimated time in the network and decoding, measured on a few of the images.
    skipped
        Files left out by the source: why, and how many.
    dropped
        Images that the cache holds now and would lose.
    task, classes
        The task (`featcache.core.tasks.TASKS`), and the number of classes, labels or targets.
    engine
        What would compute features, such as ``"onnxruntime 1.32.0"``; empty where nothing is to be computed.
    """

    path: Path
    images: int
    computed: int
    reused: int
    duplicates: int
    resumed: int
    bytes: int
    seconds: float
    skipped: Mapping[str, int]
    views: int = 1
    dropped: int = 0
    task: str = MULTICLASS
    classes: int = 0
    engine: str = ""

    def _repr_html_(self) -> str:
        counts = ("computed", "reused", "resumed", "duplicates", "dropped")
        rows = [
            ("images", f"{self.images}" + (f" of {self.views} views each" if self.views > 1 else "")),
            (
                "features",
                ", ".join(f"{own} {name}" for name in counts if (own := getattr(self, name))) or "none",
            ),
            ("size", f"{self.bytes / 1e6:.1f} MB"),
            ("time", f"about {self.seconds:.0f} s, and a few seconds to start"),
            *(
                [("left out", ", ".join(f"{n} {why}" for why, n in self.skipped.items()))]
                if self.skipped
                else []
            ),
        ]
        return html_table(f"{self.path}: what would be done", rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


@checked_types(but=("views", "view_seed", "image_size", "splits"))
def plan_extraction(
    dataset: str | Path | Dataset,
    *,
    backbone: "str | LoadedBackbone" = DEFAULT,
    layers: Sequence[str] = ("pool",),
    image_statistics: bool = True,
    output: str | os.PathLike[str] | None = None,
    weights: str | Path | None = None,
    image_size: ImageSize | None = None,
    rgb: str | None = None,
    transforms: Transforms | str | None = None,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    views: int = 1,
    augment: str | Augmentation = DEFAULT_AUGMENT,
    view_seed: int = 0,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    splits: str | Mapping[str, str] | None = None,
    classes_at: int | None = None,
    unlabelled: bool = False,
    allow_empty_classes: bool = False,
    split: str | None = None,
    shard: str | None = None,
    reuse: Sequence[str | os.PathLike[str]] = (),
    verify: bool = False,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: str = AUTO,
) -> PlanReport:
    """Report what `featcache.extract` would do with the same arguments; raises the same errors.

    Parameters
    ----------
    dataset, backbone, layers, image_statistics, output, weights, image_size, rgb, transforms, dtype, compute_dtype, \
views, augment, view_seed, test_fraction, seed, data_dir, label_from, splits, classes_at, unlabelled, \
allow_empty_classes, split, shard, reuse, verify, overwrite, batch_size, workers, engine
        See `featcache.extract`.
    """
    arguments = ExtractionArguments(
        spec=ExtractionSpec(
            backbone=backbone,
            layers=tuple(layers),
            weights=weights,
            transforms=transforms,
            dtype=dtype,
            compute_dtype=compute_dtype,
            image_size=image_size,
            rgb=rgb,
            image_statistics=image_statistics,
            views=Views.of(views, augment, view_seed),
        ),
        output=output,
        test_fraction=test_fraction,
        seed=seed,
        data_dir=data_dir,
        unlabelled=unlabelled,
        allow_empty_classes=allow_empty_classes,
        split=split,
        shard=shard,
        reuse=reuse,
        verify=verify,
        overwrite=overwrite,
        batch_size=batch_size,
        workers=workers,
        engine=engine,
    )
    data, part = arguments.open(
        folder_spec(dataset, label_from=label_from, splits=splits, classes_at=classes_at)
    )
    resolved = resolve(arguments.spec)
    target = arguments.target(data, part, resolved)
    return _report(
        prepare_extraction(arguments, resolved, data, target, report=lambda progress: None, keep=False)
    )


def _report(prepared: PreparedExtraction) -> PlanReport:
    resolved, data, rows = prepared.resolved, prepared.data, prepared.rows
    plan = build_plan(prepared.hashes, np.zeros(len(rows), bool), sources_of(prepared.caches))
    unfinished = {p for p, cache in enumerate(prepared.caches) if cache.path == partial_path(prepared.target)}
    resumed = sum(position in unfinished for position, _ in plan.reuse.values())
    runner = prepared.runner(len(plan.compute))
    seconds = _estimate(prepared, runner, plan.compute)
    identity = build_identity(
        recipe=resolved.recipe, layers=resolved.specs, dataset=prepared.document, rows=rows, provenance={}
    )
    return PlanReport(
        path=prepared.target,
        images=len(rows),
        computed=len(plan.compute),
        reused=len(plan.reuse) - resumed,
        duplicates=plan.duplicates,
        resumed=resumed,
        bytes=needed_bytes(identity, rows.columns()["id"].dtype.itemsize),
        seconds=seconds,
        skipped=data.skipped,
        views=resolved.views.count,
        dropped=prepared.dropped,
        task=data.task,
        classes=len(data.classes),
        engine=str(runner.running) if plan.compute else "",
    )


def _estimate(prepared: PreparedExtraction, runner: Runner, rows: Sequence[int]) -> float:
    """Estimate the seconds for `rows` from an evenly spaced sample, timed after compilation."""
    if not rows:
        return 0.0
    sample = list(itertools.islice(rows, 0, None, max(1, len(rows) // SAMPLE)))[:SAMPLE]
    runner.probe()
    began = time.perf_counter()
    for _ in runner.chunks_of(sample, prepared.images):
        pass
    return (time.perf_counter() - began) / len(sample) * len(rows)
