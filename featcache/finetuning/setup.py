"""Prepares a fine-tuning: loads the network, splits the data, and builds phases and training loop."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.classifier.prediction import classifier_predictor
from featcache.core.devices.sharding import DeviceMesh
from featcache.core.identity import sha256_tensors
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset, open_dataset
from featcache.datasets.dataset import labels_needed
from featcache.datasets.exclude_list import ExcludeGiven
from featcache.errors import DataError, UsageError
from featcache.finetuning.cut import Division, divide
from featcache.finetuning.data import FineTuningData, from_cut, from_photos
from featcache.finetuning.inputs import InMemoryInputs
from featcache.finetuning.loop import Loop
from featcache.finetuning.model import Model
from featcache.finetuning.phases import build_phases, make_model
from featcache.finetuning.settings import HEAD, FineTuningSettings
from featcache.finetuning.train_step import Phase, TrainStep
from featcache.heads.class_weights import class_factors
from featcache.images.augmentation import Augmentation
from featcache.splits.left_out import left_out_record


@dataclass(frozen=True)
class FineTuningSetup:
    """A prepared fine-tuning: model, phases and data.

    Parameters
    ----------
    model, division, phases, settings, data
        The model, its frozen and trained stages, the phases, the settings and the data.
    head
        The head's arrays to start from.
    classifier
        The classifier that it starts from.
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
        """Number of parameters that train in the last phase."""
        values = self.model.values(self.head)
        return sum(values[name].size for name in self.phases[-1].rates)

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the result; a run is resumed only if it is the same."""
        classifier = self.classifier
        left_out = self.data.selection.exclude
        return {
            "classifier": {
                "fingerprint": classifier.fingerprint,
                "head_sha256": sha256_tensors(classifier.parameters.items()),
                "classes": list(classifier.classes),
            },
            "rows_sha256": self.data.rows_sha256,
            "rows": {part: len(getattr(self.data.rows, part)) for part in ("train", "val", "test")},
            **({"left_out": left_out_record(left_out)} if left_out else {}),
            "cut": self.data.layer,
            "views": None if self.data.cache is None else dict(self.data.cache.identity["recipe"]["views"]),
            "stored_dtype": None if self.data.cache is None else self.data.cache.recipe["stored_dtype"],
            "first_trained": next(iter(self.division.trained), "head"),
            "settings": self.settings.to_json(),
        }

    def loop(self, **more: Any) -> Loop:
        """Return the training loop; `more` are further arguments of `Loop`."""
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
            inputs.append(InMemoryInputs(source) if fixed else source)
        return Loop(
            programs=[TrainStep(self.model, phase) for phase in self.phases],
            inputs=inputs,
            values=self.model.values(self.head),
            labels=self.data.labels,
            train=self.data.rows.train,
            val=self.data.rows.val,
            classes=len(self.classifier.classes),
            row_weights=_row_weights(
                self.settings.training.class_weights,
                self.data.labels,
                self.data.rows.train,
                self.classifier.classes,
            ),
            drop_last=self.settings.batch_norm == "update",
            devices=DeviceMesh(),
            **more,
        )


def _row_weights(rule: str, labels: np.ndarray, train: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return weights float32 ``[N]``: 1, balanced over the classes of the training rows, or those of the classes."""
    factors = class_factors(rule, labels[train], classes=len(names), names=names)
    if factors is None:
        return np.ones(len(labels), np.float32)
    return factors[labels].astype(np.float32)


def prepare_setup(
    classifier: Classifier,
    dataset: str | os.PathLike[str] | Dataset | None,
    settings: FineTuningSettings,
    *,
    cache: str | os.PathLike[str] | FeatureCache | None,
    layer: str | None,
    exclude: ExcludeGiven = None,
    allow_empty_classes: bool = False,
    report: OnProgress,
    workers: int | None,
) -> FineTuningSetup:
    """Load the network, split the data, and build the phases; raises what `finetune` raises."""
    if cache is not None and dataset is not None:
        raise UsageError("both photos and a cached cut were given; leave out the dataset, or --cache")
    if layer is not None and cache is None:
        raise UsageError(f"layer {layer} names a layer of a cached cut; give --cache too")
    report(Progress("load"))
    network = classifier_predictor(classifier).network
    if cache is not None:
        opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
        data = from_cut(classifier, network, opened, layer, exclude=exclude)
    else:
        # What may be left out of the photos that it was trained on, the extraction was told.
        given, allowed = (
            (classifier.provenance["dataset"], True) if dataset is None else (dataset, allow_empty_classes)
        )
        with labels_needed(lambda spec: "fine-tuning learns from labels: name photos that have them"):
            found = open_dataset(given, allow_empty_classes=allowed)
        data = from_photos(classifier, found, exclude=exclude, report=report, workers=workers)
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
