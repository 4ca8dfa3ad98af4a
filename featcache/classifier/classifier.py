"""The thing a user keeps: a head with everything needed to use it on a photo, in one folder.

``classifier.json`` says which backbone, transforms, layer and classes, how sure it may be, and how it was made;
``head.safetensors`` holds the numbers, and ``backbone.safetensors`` those of a backbone that was fine-tuned.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.registry import TUNED
from featcache.cache import FeatureCache
from featcache.classifier.calibration import Calibration, calibrated
from featcache.classifier.evaluation import ClassifierEvaluation, evaluate_classifier
from featcache.classifier.seen_images import NAME as SEEN
from featcache.core.classifier_folder import (
    BACKBONE,
    DOCUMENT,
    TENSORS,
    own_weights,
    read_folder,
    write_folder,
)
from featcache.core.identity import differences
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.errors import IdentityError, UsageError
from featcache.heads.fitted_head import FittedHead
from featcache.heads.settings import Settings, loss_of
from featcache.heads.task_types import TASK_TYPES
from featcache.metrics.classification import Scores

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.metrics.multilabel import MultilabelScores
    from featcache.metrics.regression import RegressionScores

__all__ = ["BACKBONE", "DOCUMENT", "TENSORS", "Classifier", "ClassifierEvaluation"]


@dataclass(frozen=True)
class Classifier:
    """A trained head and what its features must be.

    Parameters
    ----------
    backbone
        ``arch.tag`` of the backbone.
    weights
        Path of the weights file where it is not a published one.
    recipe
        All that decides the features.
    layer, fingerprint
        Which features of that recipe, and their fingerprint: features of another are refused.
    head
        Kind of head.
    parameters
        The head's numbers, on raw features.
    classes
        Class names in the order of the outputs; of answers and numbers, their names.
    metrics
        What was measured when it was trained: split to scores.
    training
        Hyperparameters, epochs and history.
    provenance
        The cache it was trained on, versions, time.
    calibration
        A temperature, which its probabilities hold already, and from which confidence on they count.
    task
        What it gives, of `featcache.core.tasks.TASKS`: the probability of each class, answers, or numbers.
    seen
        Which images trained it or chose its epoch, int32 ``[n, 2]``; see `featcache.classifier.seen_images`.
    network
        A backbone of its own, such as fine-tuning gives, which is saved with it; where it is not given, it is
        loaded by `backbone` and `weights` when photos are to be classified.
    """

    backbone: str
    weights: str | None
    recipe: Mapping[str, Any]
    layer: str
    fingerprint: str
    head: str
    parameters: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    provenance: Mapping[str, Any]
    calibration: Calibration = field(default_factory=Calibration)
    task: str = MULTICLASS
    seen: np.ndarray | None = field(default=None, repr=False, compare=False)
    network: "LoadedBackbone | None" = field(default=None, repr=False, compare=False)

    # On features --------------------------------------------------------------------------------------------

    @property
    def _finished(self) -> FittedHead:
        return FittedHead(self.settings, self.parameters, len(self.classes), self.task)

    def values(self, features: np.ndarray, *, tta: bool = False) -> np.ndarray:
        """Return what the head says of raw features ``[N, D]`` (or maps ``[N, H, W, C]``), float32 ``[N, C]``.

        Probabilities of the classes; of answers, of yes to each; or numbers. Those of classes are calibrated, where
        validation rows said how: divided by a temperature before they became probabilities. The most probable class is
        the same with any temperature.

        Parameters
        ----------
        features
            What the head was trained on; with `tta` all views of each image, ``[N, V, …]``.
        tta
            Average over the views: the mean of what the head makes of each, which is then calibrated. In this order
            the temperature still does not change which class is the most probable.
        """
        raw, loss = self._finished.raw(features, tta=tta)
        return TASK_TYPES[self.task].values(loss, self.calibration.cooled(raw), len(self.classes))

    def probabilities(self, features: np.ndarray, *, tta: bool = False) -> np.ndarray:
        """Return `values`, refusing those that are no probabilities.

        Raises
        ------
        UsageError
            If the head gives numbers.
        """
        if self.task == REGRESSION:
            raise UsageError(
                f"this classifier gives numbers ({', '.join(self.classes[:5])}), not probabilities; use values()"
            )
        return self.values(features, tta=tta)

    def unknown(self, probabilities: np.ndarray) -> np.ndarray:
        """Return bool ``[N]``: rows of `probabilities` ``[N, C]`` that are not sure enough to count."""
        return probabilities.max(axis=1) < (self.calibration.threshold or -np.inf)

    def calibrated(
        self, features: np.ndarray, labels: np.ndarray, *, reject_accuracy: float = 0.95, tta: bool = False
    ) -> "Classifier":
        """Return a copy with the temperature and the threshold that rows it was not trained on ask for.

        Parameters
        ----------
        features
            float ``[N, …]`` of validation rows, ``[N, V, …]`` with `tta`.
        labels
            int ``[N]``, in the order of `classes`.
        reject_accuracy
            The accuracy of predictions that are not "unknown".
        tta
            Whether averages over views are calibrated; see `probabilities`.
        """
        logits, loss = self._finished.raw(features, tta=tta)
        found = calibrated(
            logits,
            labels,
            classes=len(self.classes),
            loss=loss,
            accuracy=reject_accuracy,
            task=self.task,
        )
        return replace(self, calibration=found)

    @property
    def settings(self) -> Settings:
        """How it was trained; what an older featcache did not know has its default."""
        known = {field.name for field in fields(Settings)}
        told = {name: value for name, value in self.training.items() if name in known}
        return Settings(**{**told, "hidden": tuple(told.get("hidden", (256,))), "head": self.head})

    @property
    def tta(self) -> bool:
        """Whether it was measured, and calibrated, on averages over the views of an image."""
        return bool(self.training.get("tta", False))

    @property
    def loss(self) -> str:
        """The loss it was trained with, which says how to read its outputs."""
        return loss_of(self.settings)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return raw outputs ``[N, C]`` of features ``[N, …]``, not calibrated."""
        return self._finished.logits(features)

    def evaluate(
        self,
        cache: str | os.PathLike[str] | FeatureCache | None = None,
        split: str | None = None,
        *,
        tta: bool | None = None,
    ) -> ClassifierEvaluation | Any:
        """Score the classifier on a split of a cache.

        Parameters
        ----------
        cache
            A cache of the same recipe; by default the one it was trained on.
        split
            Name of the split, a slice of it (see `featcache.splits.slices`), or ``"all"``; by default what
            tested it when it was trained, which mostly is ``"test"``.
        tta
            Average over all views of each image that the cache holds; ``None``: as it was measured when it was
            trained.

        Returns
        -------
        ClassifierEvaluation, MultilabelEvaluation or RegressionEvaluation
            By what the classifier gives: classes, answers or numbers.

        Raises
        ------
        IdentityError
            If the cache's features are of another identity; lists the differences.
        UsageError
            If there is one view to average over, or the cache's images are labelled with other things.
        """
        return evaluate_classifier(self, cache, split, tta=self.tta if tta is None else tta)

    # On images ----------------------------------------------------------------------------------------------

    @cached_property
    def _predictor(self) -> Any:
        from featcache.classifier.prediction import classifier_predictor

        return classifier_predictor(self)

    def _averaging(self, tta: bool | None) -> Any:
        """Return the predictor, or that which averages over views."""
        if not (self.tta if tta is None else tta):
            return self._predictor
        from featcache.classifier.prediction import averaging_predictor

        return averaging_predictor(self._predictor, self)

    def predict(self, images: Any, *, top: int = 5, tta: bool | None = None) -> "list[Any]":
        """Classify photos.

        Parameters
        ----------
        images
            A path, a folder, a uint8 array ``[H, W, 3]``, or a sequence of these.
        top
            How many classes to give for each.
        tta
            Average over views of each photo, drawn as those of the cache that it was trained on; ``None``: as it was
            measured when it was trained.

        Returns
        -------
        list of featcache.classifier.prediction.Prediction
            In the order of the images; one that cannot be read has its `error` set and no classes.
        """
        return self._averaging(tta).predict(images, top=top)

    def predict_proba(self, images: Any, *, tta: bool | None = None) -> np.ndarray:
        """Return class probabilities ``[N, C]`` of photos; raises `ImageError` for one that cannot be read.

        With `tta` they are averages over views; see `predict`.
        """
        return self._averaging(tta).predict_proba(images)

    # On disk ------------------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the classifier to a folder; an earlier classifier there is replaced at once, or not at all.

        A backbone that was fine-tuned goes with it.

        Raises
        ------
        UsageError
            If the folder exists and holds anything else.
        IdentityError
            If `network` is not what the head was trained on.
        WeightsError
            If the weights of a fine-tuned backbone are gone, or no numbers.
        StorageError
            If it cannot be written.
        """
        tensors = self.parameters if self.seen is None else {**self.parameters, SEEN: self.seen}
        write_folder(Path(folder), self._document(), tensors, backbone=self._own_backbone())
        return Path(folder)

    def _own_backbone(self) -> Iterable[bytes | memoryview] | None:
        """The file of the backbone that belongs to this classifier alone; ``None`` for one that has a name."""
        if self.network is None:
            return self._kept_backbone()
        from featcache.backbones.finetuned import pack

        lines = differences(self.recipe["backbone"], self.network.recipe().to_json()["backbone"])
        if lines:
            text = (
                "\n  ".join(lines)
                .replace("in the cache", "in the recipe")
                .replace("asked for", "in the network")
            )
            raise IdentityError(f"the classifier's network is not what its head was trained on:\n  {text}")
        return pack(self.network)

    def _kept_backbone(self) -> Iterable[bytes | memoryview] | None:
        if self.weights is None or self.backbone != f"{self._arch}.{TUNED}":
            return None
        from featcache.backbones.finetuned import checked_bytes

        return [checked_bytes(Path(self.weights), self.recipe["backbone"]["weights_sha256"])]

    @property
    def _arch(self) -> str:
        return self.recipe["backbone"]["arch"]

    def _document(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone if self.network is None else f"{self._arch}.{TUNED}",
            "weights": self.weights,
            "recipe": dict(self.recipe),
            "layer": self.layer,
            "fingerprint": self.fingerprint,
            "head": self.head,
            "task": self.task,
            "classes": list(self.classes),
            "calibration": self.calibration.to_json(),
            "metrics": dict(self.metrics),
            "training": dict(self.training),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Classifier":
        """Read a classifier from its folder.

        Raises
        ------
        MissingFileError
            If there is none.
        IntegrityError
            If it is damaged or was edited by hand, or of a newer version.
        """
        document, parameters = read_folder(Path(folder))
        plain = ("backbone", "recipe", "layer", "fingerprint", "head", "metrics", "training", "provenance")
        return cls(
            **{name: document[name] for name in plain},
            weights=own_weights(Path(folder), document),
            classes=tuple(document["classes"]),
            task=document.get("task", MULTICLASS),
            calibration=Calibration.from_json(document.get("calibration")),
            seen=parameters.pop(SEEN, None),
            parameters=parameters,
        )

    def with_scores(self, scores: "Scores | MultilabelScores | RegressionScores") -> "Classifier":
        """Return a copy that also records these scores."""
        return replace(self, metrics={**self.metrics, scores.split: scores.to_json()})
