"""Plans a fine-tuning: what would train, and the time a cached cut would save, measured on a few images."""

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.core.argument_types import checked_types
from featcache.core.display import html_table
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset, photos_spec
from featcache.datasets.exclude_list import ExcludeGiven
from featcache.finetuning.data import extracted_slice
from featcache.finetuning.inputs import Batch, PhotoInputs, batches
from featcache.finetuning.loop import Loop
from featcache.finetuning.settings import tune_settings
from featcache.finetuning.setup import FineTuningSetup, prepare_setup
from featcache.heads.settings import loss_of

SAMPLE = 32
"""Images that are decoded and run through the frozen part to estimate the time."""


@dataclass(frozen=True)
class FineTuningPlan:
    """What `featcache.finetune` would do with the same arguments, and what a cached cut would save.

    Parameters
    ----------
    trained, frozen
        Names of the trained and the frozen stages.
    trained_parameters, parameters
        Number of trained parameters, and of all.
    train, val, test
        Numbers of images.
    epoch_from_photos, epoch_from_cut
        Estimated seconds of an epoch; ``None`` where that input is not possible.
    cut
        The layer to cache; ``None`` where nothing is frozen.
    extract_seconds, cut_bytes
        Seconds that extracting the cut takes, once, and its size on disk in float16; ``None`` where it is cached
        already.
    command
        The command that extracts the cut.
    """

    trained: tuple[str, ...]
    frozen: tuple[str, ...]
    trained_parameters: int
    parameters: int
    train: int
    val: int
    test: int
    epoch_from_photos: float | None
    epoch_from_cut: float | None
    cut: str | None
    extract_seconds: float | None
    cut_bytes: int | None
    command: str

    def _repr_html_(self) -> str:
        seconds = {"epoch from photos": self.epoch_from_photos, "epoch from a cut": self.epoch_from_cut}
        span = f"{self.trained[0]} to {self.trained[-1]}, and the head" if self.trained else "the head"
        rows = [
            ("would train", f"{span}: {self.trained_parameters:,} of {self.parameters:,} parameters"),
            ("frozen", ", ".join(self.frozen) or "nothing"),
            ("images", f"{self.train} train, {self.val} validation, {self.test} test"),
            *((name, f"about {own:.0f} s") for name, own in seconds.items() if own is not None),
        ]
        if self.cut is not None and self.extract_seconds is not None:
            rows.append(("the cut", f"{self.cut}: about {self.extract_seconds:.0f} s once; {self.command}"))
        return html_table("What a fine-tuning would do", rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


@checked_types(but=("splits",))
def plan_finetuning(
    classifier: str | os.PathLike[str] | Classifier,
    dataset: str | Path | Dataset | None = None,
    *,
    cache: str | os.PathLike[str] | FeatureCache | None = None,
    layer: str | None = None,
    label_from: str | None = None,
    splits: str | Mapping[str, str] | None = None,
    classes_at: int | None = None,
    allow_empty_classes: bool = False,
    exclude: ExcludeGiven = None,
    augment: str | None = None,
    compute_dtype: str | None = None,
    rates: Mapping[str, float] | Sequence[str] = (),
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    **arguments: Any,
) -> FineTuningPlan:
    """Plan what `featcache.finetune` would do with the same arguments; raises the same errors.

    Parameters
    ----------
    classifier, dataset, cache, layer, label_from, splits, classes_at, allow_empty_classes, exclude, augment, \
    compute_dtype, rates, workers, on_progress, **arguments
        See `featcache.finetune`.
    """
    photos = photos_spec(
        dataset,
        label_from=label_from,
        splits=splits,
        classes_at=classes_at,
        allow_empty_classes=allow_empty_classes,
    )
    start = classifier if isinstance(classifier, Classifier) else Classifier.load(classifier)
    report = on_progress or (lambda progress: None)
    settings = tune_settings(
        start,
        cached=cache is not None,
        augment=augment,
        compute_dtype=compute_dtype,
        rates=rates,
        **arguments,
    )
    setup = prepare_setup(
        start,
        photos,
        settings,
        cache=cache,
        layer=layer,
        exclude=exclude,
        allow_empty_classes=allow_empty_classes,
        report=report,
        workers=workers,
    )
    report(Progress("measure"))
    return _make_plan(setup, start)


def _make_plan(setup: FineTuningSetup, classifier: Classifier) -> FineTuningPlan:
    loop: Loop = setup.loop()
    rows, division = setup.data.rows, setup.division
    step, size = _seconds_per_step(loop)
    epoch = step * -(-len(rows.train) // size)
    source = loop.inputs[-1]
    photo = _seconds_per_photo(source, rows.train) if isinstance(source, PhotoInputs) else None
    cut = f"{division.frozen[-1]}:map" if division.frozen and division.trained else None
    images = len(setup.data.labels)
    return FineTuningPlan(
        trained=division.trained,
        frozen=division.frozen,
        trained_parameters=setup.trained_parameters,
        parameters=sum(value.size for value in loop.values.values()),
        train=len(rows.train),
        val=len(rows.val),
        test=len(rows.test),
        epoch_from_photos=None if photo is None else epoch + photo * len(rows.train),
        epoch_from_cut=epoch if cut is not None or photo is None else None,
        cut=cut,
        extract_seconds=None if photo is None or cut is None else photo * images,
        cut_bytes=None if photo is None or cut is None else _cut_bytes(setup, images),
        command="" if cut is None else _command(setup, classifier, cut),
    )


def _seconds_per_step(loop: Loop) -> tuple[float, int]:
    """Return the median time of a step on one batch, without compilation, and the batch size."""
    import jax

    program = loop.programs[-1]
    size = program.phase.settings.batch_size
    source = loop.inputs[-1]
    batch = next(iter(batches(source, loop.train[: min(size, len(loop.train))], size, epoch=None)))
    fixed = loop.devices.replicate(program.fixed(loop.values))
    state = loop.devices.replicate(program.start(loop.values))
    x, targets, weight = loop.arguments(Batch(*batch), loss_of(program.phase.settings))
    times = []
    for _ in range(4):
        began = time.perf_counter()
        state, measured = program.step(state, fixed, x, targets, weight)
        jax.block_until_ready((state, measured))
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:])), size


def _seconds_per_photo(source: PhotoInputs, train: np.ndarray) -> float:
    """Return the seconds that reading, decoding and the frozen part take for a photo; they are compiled already."""
    sample = train[: min(SAMPLE, len(train))]
    began = time.perf_counter()
    for _ in source.stream(sample, epoch=1, size=len(sample)):
        pass
    return (time.perf_counter() - began) / len(sample)


def _cut_bytes(setup: FineTuningSetup, images: int) -> int:
    stage = setup.division.frozen[-1]
    shape = setup.model.network.shapes([stage], setup.model.transforms)[stage]
    return 2 * images * int(np.prod(shape))


def _command(setup: FineTuningSetup, classifier: Classifier, cut: str) -> str:
    weights = f" --weights {shlex.quote(classifier.weights)}" if classifier.weights else ""
    height, width = setup.model.transforms.input_size
    own = setup.model.network.transforms.input_size
    size = "" if (height, width) == tuple(own) else f" --image-size {height}x{width}"
    name = setup.model.network.pretrained.name if classifier.weights else classifier.backbone
    part = extracted_slice(classifier, setup.data.data) if setup.data.data is not None else None
    split = f" --split {shlex.quote(part)}" if part else ""
    return (
        f"featcache extract {shlex.quote(setup.data.spec)}{split} --backbone {name}{weights}{size} --layer {cut} "
        "--dtype float16 --output cut.h5, then featcache finetune … --cache cut.h5"
    )
