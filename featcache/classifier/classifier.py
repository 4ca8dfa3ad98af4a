"""A trained classifier: a head with everything needed to use it on photos, stored in one folder.

``classifier.json`` holds backbone, transforms, layer, classes, calibration, training settings and provenance;
``head.safetensors`` holds the head's parameters, and ``backbone.safetensors`` those of a fine-tuned backbone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.classifier.calibration import Calibration, calibrated
from featcache.classifier.description import classifier_html, classifier_text
from featcache.classifier.evaluation import ClassifierEvaluation, ClassifierScoring
from featcache.classifier.history import History
from featcache.classifier.known.knowledge import Knowledge
from featcache.classifier.known.learning import learnt_again
from featcache.classifier.loading import document_of, read_classifier, settings_of, tensors_of
from featcache.classifier.own_backbone import own_backbone
from featcache.classifier.plots.methods import ClassifierPlots
from featcache.core.argument_types import checked_types
from featcache.core.classifier_folder import BACKBONE, DOCUMENT, TENSORS, write_folder
from featcache.core.identity import LayerIdentity
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.errors import UsageError
from featcache.extraction.engines import AUTO
from featcache.heads.fitted_head import FittedHead
from featcache.heads.settings import Settings, loss_of
from featcache.heads.task_types import TASK_TYPES
from featcache.images.given_path import require_classifier
from featcache.metrics.classification import Scores

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.metrics.multilabel import MultilabelScores
    from featcache.metrics.regression import RegressionScores

__all__ = ["BACKBONE", "DOCUMENT", "TENSORS", "Classifier", "ClassifierEvaluation"]


@dataclass(frozen=True, repr=False)
class Classifier(ClassifierPlots, ClassifierScoring):
    """A trained head and the identity of the features that it was trained on.

    Parameters
    ----------
    backbone
        ``arch.tag`` of the backbone.
    weights
        Path of the weights file; ``None`` for published weights.
    recipe
        Everything that determines the features.
    layer, fingerprint
        The layer that it was trained on, and its fingerprint; features with another fingerprint are refused.
    layer_weights_sha256
        Of the weights as far as the layer (`featcache.core.identity.LayerIdentity`); ``None`` in earlier versions.
    head
        Kind of head.
    parameters
        The head's parameters, for raw features.
    classes
        Names of the outputs, in order: classes, multilabel labels or regression targets.
    metrics
        Scores measured after training, split to scores.
    training
        Hyperparameters, epochs and history.
    provenance
        The cache it was trained on, versions, time.
    calibration
        The temperature that its probabilities are computed with, and the rejection threshold.
    known
        How far photos may lie from what was seen, and how sure right classes are.
    task
        Its task type, of `featcache.core.tasks.TASKS`: multiclass, multilabel or regression.
    seen
        The images that trained it or chose its epoch, int32 ``[n, 2]``; see `featcache.classifier.scored.seen`.
    judged
        The parameters that validation rows have judged, where those of `parameters` have learnt from these rows too
        (see `featcache.classifier.refitting`); ``None`` where they are the same.
    network
        A backbone of its own, as after fine-tuning, which is saved with it; by default, the backbone is loaded by
        `backbone` and `weights` when photos are classified.
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
    known: Knowledge = field(default_factory=Knowledge, repr=False, compare=False)
    task: str = MULTICLASS
    seen: np.ndarray | None = field(default=None, repr=False, compare=False)
    judged: Mapping[str, np.ndarray] | None = field(default=None, repr=False, compare=False)
    network: "LoadedBackbone | None" = field(default=None, repr=False, compare=False)
    layer_weights_sha256: str | None = None

    def __repr__(self) -> str:
        return classifier_text(self)

    def _repr_html_(self) -> str:
        return classifier_html(self)

    def __getstate__(self) -> dict[str, Any]:
        # Compiled programs and devices belong to one process; another makes its own when it first predicts.
        return {name: value for name, value in vars(self).items() if name != "_predictor"}

    @property
    def history(self) -> History:
        """Validation loss and score by epoch, float64 ``[epochs]`` each; empty of heads that are solved."""
        return History(self.training.get("history", {}))

    # On features --------------------------------------------------------------------------------------------

    @property
    def _finished(self) -> FittedHead:
        return FittedHead(self.settings, self.parameters, len(self.classes), self.task)

    def values(self, features: np.ndarray, *, tta: bool = False) -> np.ndarray:
        """Return predictions float32 ``[N, C]`` for raw features ``[N, D]`` (or maps ``[N, H, W, C]``).

        Class probabilities (multiclass), the probability of each label (multilabel), or numbers (regression). Class
        probabilities are calibrated if there is a temperature, which never changes the most probable class.

        Parameters
        ----------
        features
            Features of the head's layer; with `tta` all views of each image, ``[N, V, …]``.
        tta
            Average the head's predictions over the views, then calibrate the mean. In this order the temperature does
            not change the most probable class.
        """
        raw, loss = self._finished.raw(features, tta=tta)
        return TASK_TYPES[self.task].values(loss, self.calibration.cooled(raw), len(self.classes))

    def probabilities(self, features: np.ndarray, *, tta: bool = False) -> np.ndarray:
        """Return `values` of a multiclass or multilabel classifier.

        Raises
        ------
        UsageError
            For a regression classifier.
        """
        if self.task == REGRESSION:
            raise UsageError(
                f"this classifier gives numbers ({', '.join(self.classes[:5])}), not probabilities; use values()"
            )
        return self.values(features, tta=tta)

    def unknown(self, probabilities: np.ndarray) -> np.ndarray:
        """Return bool ``[N]``: rows of `probabilities` ``[N, C]`` below the rejection threshold."""
        return probabilities.max(axis=1) < (self.calibration.threshold or -np.inf)

    def calibrated(
        self, features: np.ndarray, labels: np.ndarray, *, reject_accuracy: float = 0.95, tta: bool = False
    ) -> "Classifier":
        """Return a copy that is calibrated on validation rows: temperature, rejection threshold, and what is known.

        Parameters
        ----------
        features
            float ``[N, …]`` of validation rows, ``[N, V, …]`` with `tta`.
        labels
            int ``[N]``, in the order of `classes`.
        reject_accuracy
            Required accuracy of predictions that are not "unknown".
        tta
            Whether to calibrate averages over views; see `values`.
        """
        logits, loss = self._finished.raw(features, tta=tta)
        found = calibrated(
            logits, labels, classes=len(self.classes), loss=loss, accuracy=reject_accuracy, task=self.task
        )
        again = replace(self, calibration=found)
        judged, _ = self.before_refit()._finished.raw(features, tta=tta)
        return replace(again, known=learnt_again(again, features, judged, labels, tta=tta))

    @property
    def settings(self) -> Settings:
        """The training settings; those that an older featcache did not have are at their default."""
        return settings_of({"head": self.head, "training": self.training})

    @property
    def tta(self) -> bool:
        """Whether it was scored and calibrated on averages over the views of an image."""
        return bool(self.training.get("tta", False))

    @property
    def loss(self) -> str:
        """The training loss, which determines how outputs become probabilities."""
        return loss_of(self.settings)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return raw, uncalibrated outputs ``[N, C]`` for features ``[N, …]``."""
        return self._finished.logits(features)

    # On images ----------------------------------------------------------------------------------------------

    @cached_property
    def _predictor(self) -> Any:
        from featcache.classifier.prediction import classifier_predictor

        return classifier_predictor(self)

    def _averaging(self, tta: bool | None) -> Any:
        """Return the predictor; with `tta` the one that averages over views."""
        if not (self.tta if tta is None else tta):
            return self._predictor
        from featcache.classifier.prediction import averaging_predictor

        return averaging_predictor(self._predictor, self)

    @checked_types()
    def predict(
        self,
        images: Any,
        *,
        top: int = 5,
        tta: bool | None = None,
        neighbours: int = 0,
        known_share: float | None = None,
        set_level: float | None = None,
        engine: str = AUTO,
    ) -> "list[Any]":
        """Classify photos.

        Parameters
        ----------
        images
            A path, a folder, a ``file://`` URL, encoded bytes, a file object of bytes (``open(path, "rb")``,
            `io.BytesIO`, an upload; read at once, from its start where it can be rewound), a PIL image, a uint8 array
            ``[H, W, 3]``, or an iterable of these; or a cache of the same recipe, labelled or not, whose features are
            read in place of images.
        top
            Number of classes to return for each.
        tta
            Average over views of each photo, drawn like those of the cache that it was trained on; ``None`` for the
            setting of its training.
        neighbours
            How many of the nearest other training photos to name for each, from the cache that it was trained on.
        known_share
            Share of photos like those it was trained on that are not to be called unlike anything seen; by default
            0.99, where enough photos were held out.
        set_level
            Also give the smallest set of classes that holds the right one in this share of photos, such as 0.95
            (split conformal prediction); see `featcache.classifier.known.conformal`.
        engine
            What runs the network: ``"auto"``, ``"jax"`` or ``"onnxruntime"``; see `featcache.extract`.

        Returns
        -------
        list of featcache.classifier.prediction.Prediction
            In the order of the images; one that cannot be read has its `error` set and no classes.

        Raises
        ------
        UsageError
            If too few photos were held out for what was asked.
        """
        asked = {"neighbours": neighbours, "known_share": known_share, "set_level": set_level}
        return list(self.stream(images, top=top, tta=tta, engine=engine, **asked))

    @checked_types()
    def stream(
        self,
        images: Any,
        *,
        top: int = 5,
        tta: bool | None = None,
        neighbours: int = 0,
        known_share: float | None = None,
        set_level: float | None = None,
        engine: str = AUTO,
    ) -> Iterator[Any]:
        """Return an iterator over what `predict` returns, each batch as soon as it is computed."""
        from featcache.classifier.streaming import stream_predictions

        asked = {"neighbours": neighbours, "known_share": known_share, "set_level": set_level}
        return stream_predictions(self, images, top=top, tta=tta, engine=engine, **asked)

    @checked_types()
    def predict_proba(self, images: Any, *, tta: bool | None = None, engine: str = AUTO) -> np.ndarray:
        """Return what `predict` ranks, float32 ``[N, C]``; raises `ImageError` for a photo that cannot be read."""
        return self._averaging(tta).predict_proba(images, engine=engine)

    # Elsewhere ----------------------------------------------------------------------------------------------

    @checked_types()
    def export(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        layer: str | Sequence[str] | None = None,
        photos: Any = None,
        float16: bool = False,
        int8: bool = False,
        web: str | os.PathLike[str] | None = None,
        runtime: str | os.PathLike[str] | None = None,
    ) -> Any:
        """Write it as one file that runs without featcache and JAX; see `featcache.export`.

        Parameters
        ----------
        output, layer, photos, float16, int8, web, runtime
            As for `featcache.export`.

        Returns
        -------
        featcache.ExportedModel
            What was written, and the largest differences from JAX.
        """
        # The function lies above all of this; by its name, so that this package does not depend on that one.
        export = import_module("featcache.exporting.export").export
        asked = {"layer": layer, "photos": photos, "float16": float16, "int8": int8, "web": web}
        return export(self, output, runtime=runtime, **asked)

    # On disk ------------------------------------------------------------------------------------------------

    @checked_types()
    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write it, with a fine-tuned backbone, to a folder; an existing classifier there is replaced atomically.

        Raises
        ------
        UsageError
            If the folder exists and holds anything else.
        IdentityError
            If `network` is not what the head was trained on.
        WeightsError
            If the weights of a fine-tuned backbone are missing, or hold NaN or infinity.
        StorageError
            If it cannot be written.
        """
        write_folder(Path(folder), document_of(self), tensors_of(self), backbone=own_backbone(self))
        return Path(folder)

    @classmethod
    @checked_types()
    def load(cls, folder: str | os.PathLike[str]) -> "Classifier":
        """Read a classifier from its folder.

        Raises
        ------
        MissingFileError
            If there is none.
        IntegrityError
            If it is damaged or was edited by hand, of a newer version, or holds what no classifier does.
        """
        require_classifier(Path(folder))
        return cls(**read_classifier(Path(folder)))

    @property
    def features_identity(self) -> LayerIdentity:
        """What decides the features that the head was trained on, whatever lies behind their layer."""
        return LayerIdentity(self.recipe, self.layer, self.layer_weights_sha256, self.fingerprint)

    def before_refit(self) -> "Classifier":
        """Return the classifier whose head has not learnt from validation rows, which can still judge it."""
        if self.judged is None:
            return self
        training = {name: value for name, value in self.training.items() if name != "refitted"}
        return replace(self, parameters=self.judged, judged=None, training=training)

    def with_scores(self, scores: "Scores | MultilabelScores | RegressionScores") -> "Classifier":
        """Return a copy that also records these scores."""
        return replace(self, metrics={**self.metrics, scores.split: scores.to_json()})
