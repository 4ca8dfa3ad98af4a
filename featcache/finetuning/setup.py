"""A fine-tuning, once everything about it is known: what trains, how, and on what."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.classifier.prediction import classifier_predictor
from featcache.core.identity import sha256_tensors
from featcache.core.progress import OnProgress, Progress
from featcache.core.sharding import DeviceMesh
from featcache.datasets import Dataset, open_dataset
from featcache.errors import DataError, UsageError
from featcache.finetuning.data import FineTuningData, from_cut, from_photos
from featcache.finetuning.inputs import Kept
from featcache.finetuning.loop import Loop
from featcache.finetuning.model import Model
from featcache.finetuning.phases import Division, build_phases, divide, make_model
from featcache.finetuning.settings import HEAD, FineTuningSettings
from featcache.finetuning.train_step import Phase, TrainStep
from featcache.heads.class_weights import balanced_class_weights
from featcache.images.augmentation import Augmentation


@dataclass(frozen=True)
class FineTuningSetup:
    """A fine-tuning, once everything about it is known.

    Parameters
    ----------
    model, division, phases, settings, data
        What trains, how, and on what.
    head
        The head's arrays to start from.
    classifier
        What it starts from.
    workers
        Decoding threads.
    """

    model: Model
    division: Division
    phases: Sequence[Phase]
    settings: FineTuningSettings
    data: FineTuningData
    head: Mapping[str, Any]
    classifier: Classifier = field(repr=False)
    workers: int | None = None

    @property
    def trained_parameters(self) -> int:
        """How many numbers train in the last phase."""
        values = self.model.values(self.head)
        return sum(values[name].size for name in self.phases[-1].rates)

    def identity(self) -> dict[str, Any]:
        """Return all that decides the result, for a run that is resumed to compare."""
        classifier = self.classifier
        return {
            "classifier": {
                "fingerprint": classifier.fingerprint,
                "head_sha256": sha256_tensors(classifier.parameters.items()),
                "classes": list(classifier.classes),
            },
            "rows_sha256": self.data.rows_sha256,
            "rows": {part: len(getattr(self.data.rows, part)) for part in ("train", "val", "test")},
            "cut": self.data.layer,
            "views": None if self.data.cache is None else dict(self.data.cache.identity["recipe"]["views"]),
            "stored_dtype": None if self.data.cache is None else self.data.cache.recipe["stored_dtype"],
            "first_trained": next(iter(self.division.trained), "head"),
            "settings": self.settings.to_json(),
        }

    def loop(self, **more: Any) -> Loop:
        """Return the run, ready to begin."""
        augmentation = Augmentation.parse(self.settings.augment)
        inputs = []
        for phase in self.phases:
            source = self.data.inputs(
                self.model,
                after=phase.after,
                augmentation=augmentation,
                seed=self.settings.training.seed,
                workers=self.workers,
            )
            fixed = augmentation.plain and phase.after == HEAD
            inputs.append(Kept(source) if fixed else source)
        return Loop(
            programs=[TrainStep(self.model, phase) for phase in self.phases],
            inputs=inputs,
            values=self.model.values(self.head),
            labels=self.data.labels,
            train=self.data.rows.train,
            val=self.data.rows.val,
            classes=len(self.classifier.classes),
            row_weights=_row_weights(
                self.settings.training.class_weights, self.data.labels, self.data.rows.train
            ),
            drop_last=self.settings.batch_norm == "update",
            devices=DeviceMesh(),
            **more,
        )


def _row_weights(rule: str, labels: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return float32 ``[N]``: 1, or what makes all classes of the training rows count the same."""
    if rule == "none":
        return np.ones(len(labels), np.float32)
    factors = balanced_class_weights(labels[train], classes=labels.max() + 1)
    return factors[labels].astype(np.float32)


def prepare_task(
    classifier: Classifier,
    dataset: str | Path | Dataset | None,
    settings: FineTuningSettings,
    *,
    cache: str | os.PathLike[str] | FeatureCache | None,
    layer: str | None,
    report: OnProgress,
    workers: int | None,
) -> FineTuningSetup:
    """Load the network, look at the data, and decide what trains; raises what `finetune` raises."""
    if cache is not None and dataset is not None:
        raise UsageError("both photos and a cached cut were given; leave out the dataset, or --cache")
    if layer is not None and cache is None:
        raise UsageError(f"layer {layer} is one of a cached cut; give --cache too")
    report(Progress("load"))
    network = classifier_predictor(classifier).network
    if cache is not None:
        opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
        data = from_cut(classifier, network, opened, layer)
    else:
        given = classifier.provenance["dataset"] if dataset is None else dataset
        found = open_dataset(given)
        data = from_photos(classifier, found, report=report, workers=workers)
    if not len(data.rows.val) and not len(data.rows.test):
        raise DataError(
            f"{data.spec} has no validation and no test images, so nothing could tell whether fine-tuning helps; "
            "train the head with a share held out (--val-fraction 0.2)"
        )
    model = make_model(classifier, network, settings.compute_dtype)
    division = divide(model, settings.train_from, cached=data.cut)
    head = classifier.parameters
    phases = build_phases(model, list(head), division, settings, data)
    return FineTuningSetup(model, division, phases, settings, data, head, classifier, workers)
