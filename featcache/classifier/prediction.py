"""Predict on photos, with a classifier or with a backbone's own classes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.input_size import ImageSize, with_size
from featcache.classifier.known.judging import Judge, told
from featcache.classifier.photos import Photo, content_hash, photos_of
from featcache.core.argument_types import checked_types
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.errors import ImageError, UsageError
from featcache.extraction.engines import AUTO, require_known, require_possible
from featcache.extraction.recorded import recorded_extraction
from featcache.extraction.resolved import ResolvedExtraction, resolve
from featcache.extraction.runner import FeatureRunner
from featcache.extraction.spec import ExtractionSpec
from featcache.images.transforms import Transforms
from featcache.images.views import Views

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.scored.training_neighbours import TrainingNeighbour


@dataclass(frozen=True)
class Prediction:
    """The prediction for one photo.

    Parameters
    ----------
    id
        Its path, or its position among the given images.
    classes, probabilities
        The most probable classes, in descending order.
    error
        Reason why it could not be read; there are no classes then.
    unknown
        Whether the answer is "unknown": the largest probability is below the classifier's rejection threshold, or the
        photo is `unlike` anything seen.
    answers
        Multilabel: the labels with a probability above 0.5, in descending order; `classes` and `probabilities` hold
        the most probable labels. ``None`` for multiclass and regression.
    numbers
        Regression: the predicted numbers, named by `classes`; there are no probabilities.
    neighbours
        The training photos nearest to it, where they were asked for.
    unlike
        Whether it lies farther from what the classifier has seen than photos like those do.
    distance
        How far it lies: one minus a cosine, see `featcache.classifier.known.familiarity`; ``None`` if not known.
    set
        The smallest set of classes that holds the right one as often as was asked for, the most probable first;
        ``None`` if it was not asked for.
    """

    id: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None = None
    unknown: bool = False
    answers: tuple[str, ...] | None = None
    numbers: tuple[float, ...] | None = None
    neighbours: "tuple[TrainingNeighbour, ...] | None" = None
    unlike: bool = False
    distance: float | None = None
    set: tuple[str, ...] | None = None


def read_values(
    name: str, values: np.ndarray, *, classes: tuple[str, ...], task: str, threshold: float, top: int
) -> Prediction:
    """Turn the outputs ``[C]`` of one image into a prediction.

    Parameters
    ----------
    name
        Name of the image.
    values
        Probabilities or numbers.
    classes, task, threshold
        See `Predictor`.
    top
        Number of classes or labels to return.
    """
    if task == REGRESSION:
        return Prediction(name, classes, (), numbers=tuple(map(float, values)))
    order = np.argsort(-values, kind="stable")
    best = order[:top]
    return Prediction(
        name,
        tuple(classes[i] for i in best),
        tuple(float(values[i]) for i in best),
        unknown=bool(values[best[0]] < threshold),
        answers=tuple(classes[i] for i in order if values[i] > 0.5) if task == MULTILABEL else None,
    )


def known_beside(
    judge: Judge | None,
    features: np.ndarray | None,
    values: np.ndarray,
    hashes: Callable[[], Sequence[bytes | None]],
) -> list[dict[str, Any]]:
    """Return what is known of each image beside its values; nothing without a judge."""
    if judge is None or features is None:
        return [{} for _ in values]
    return judge(features, values, hashes)


def _hashes(photos: Sequence[Photo], rows: np.ndarray) -> list[bytes | None]:
    return [content_hash(photos[row].id) for row in rows]


@dataclass(frozen=True)
class Predictor:
    """Runs images through a backbone's layer and a head.

    Parameters
    ----------
    extraction
        The backbone, its single layer, the preprocessing, and the views of each image.
    values
        Function from features ``[N, …]``, or ``[N, V, …]`` of several views, to probabilities or numbers ``[N, C]``.
    classes
        Names of the outputs.
    threshold
        A prediction is unknown if its largest probability is below this.
    task
        See `featcache.core.tasks.TASKS`.
    """

    extraction: ResolvedExtraction
    values: Callable[[np.ndarray], np.ndarray]
    classes: tuple[str, ...]
    threshold: float = 0.0
    task: str = MULTICLASS

    @property
    def network(self) -> "LoadedBackbone":
        """The backbone."""
        return self.extraction.network

    @property
    def transforms(self) -> Transforms:
        """The preprocessing of images."""
        return self.extraction.transforms

    def predict(self, images: Any, *, top: int = 5, engine: str = AUTO) -> list[Prediction]:
        """Classify images; see `featcache.classifier.classifier.Classifier.predict`."""
        return list(self.stream(images, top=top, engine=engine))

    def stream(
        self, images: Any, *, top: int = 5, judge: Judge | None = None, engine: str = AUTO
    ) -> Iterator[Prediction]:
        """Yield predictions batch by batch; see `featcache.classifier.classifier.Classifier.stream`.

        With a `judge` they say, too, what is known of the photos beside their values.
        """
        if top < 1:
            raise UsageError(f"top {top}: ask for at least one class")
        require_known(engine)
        require_possible(engine, self.extraction.compute_dtype)
        return self._stream(photos_of(images), top, judge, engine)

    def _stream(
        self, photos: Sequence[Photo], top: int, judge: Judge | None, engine: str
    ) -> Iterator[Prediction]:
        read = partial(read_values, classes=self.classes, task=self.task, threshold=self.threshold, top=top)
        for rows, probabilities, failures, judged in self._run(photos, engine, judge):
            found = {row: Prediction(photos[row].id, (), (), str(error)) for row, error in failures}
            for row, values, known in zip(rows, probabilities, judged, strict=True):
                found[row] = told(read(photos[row].id, values), known)
            yield from (found[row] for row in sorted(found))

    def predict_proba(self, images: Any, *, engine: str = AUTO) -> np.ndarray:
        """Return probabilities, or numbers, ``[N, C]``; raises `ImageError` for an image that cannot be read."""
        require_known(engine)
        photos = photos_of(images)
        parts = []
        for _, probabilities, failures, _ in self._run(photos, engine):
            for row, error in failures:
                raise ImageError(error.reason, f"{photos[row].id}: {error.detail}")
            parts.append(probabilities)
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes)), np.float32)

    def _run(
        self, photos: Sequence[Photo], engine: str, judge: Judge | None = None
    ) -> Iterator[tuple[list[int], np.ndarray, list[tuple[int, ImageError]], list[dict[str, Any]]]]:
        """Yield row numbers with their values, those that cannot be read, and what is known of the former.

        Batches are in the photos' order.
        """
        if not photos:
            return
        runner = FeatureRunner(extraction=self.extraction, engine=engine, expected=len(photos))
        # On platforms with large batches, only batch sizes that are powers of two are compiled.
        size = min(runner.rows, 1 << (len(photos) - 1).bit_length())
        transforms, views = self.transforms, self.extraction.views
        chunks = runner.chunks(
            range(len(photos)), lambda row: photos[row].prepare(transforms, views), images_per_call=size
        )
        for chunk in chunks:
            features = next(iter(chunk.features.values()), None)
            values = np.zeros((0, len(self.classes))) if features is None else self.values(features)
            known = known_beside(judge, features, values, partial(_hashes, photos, chunk.rows))
            yield chunk.rows.tolist(), values, chunk.failures, known


def averaging_predictor(predictor: Predictor, classifier: "Classifier") -> Predictor:
    """Return a predictor that averages over views of each photo, drawn like those in the classifier's cache.

    Raises
    ------
    UsageError
        If that cache held one view of each image, so that the classifier has no recipe for others.
    """
    recipe = classifier.training.get("view_recipe")
    if recipe is None:
        raise UsageError(
            "tta averages over several views of a photo, drawn as those in the cache that the head was trained on, "
            "which held one of each image; train it on several (featcache extract DATASET --views 8), or leave tta out"
        )
    spec = replace(predictor.extraction.spec, views=Views.from_json(recipe))
    return replace(
        predictor,
        extraction=replace(predictor.extraction, spec=spec),
        values=partial(classifier.values, tta=True),
    )


def classifier_predictor(classifier: "Classifier") -> Predictor:
    """Load a classifier's backbone and verify that it gives the features that the head was trained on.

    Raises
    ------
    WeightsError
        If the weights cannot be loaded.
    IdentityError
        If the loaded backbone is not the one that the head was trained on.
    """
    from featcache.backbones.load_from_classifier import load_recorded

    base = classifier.provenance.get("base")
    network = classifier.network or load_recorded(classifier.backbone, classifier.weights, base=base)
    return Predictor(
        extraction=recorded_extraction(network, classifier.features_identity, origin="the classifier"),
        values=classifier.values,
        classes=classifier.classes,
        threshold=classifier.calibration.threshold or 0.0,
        task=classifier.task,
    )


@checked_types()
def backbone_predictor(
    backbone: "str | LoadedBackbone",
    *,
    weights: str | Path | None = None,
    image_size: ImageSize | None = None,
    transforms: str | None = None,
) -> Predictor:
    """Return a predictor of a backbone's own classes (ImageNet).

    Parameters
    ----------
    backbone, weights, image_size, transforms
        See `featcache.extract`; transforms are named.

    Raises
    ------
    UsageError
        If `transforms` or `image_size` is invalid or impossible for the network, or the network has no classes of
        its own.

    Examples
    --------
    >>> import featcache
    >>> predictor = featcache.backbone_predictor("efficientnet_lite0")
    >>> found = predictor.predict("photos/", top=5)
    """
    from featcache.backbones import load
    from featcache.backbones.imagenet_classes import class_names
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.backbones.protocols import with_transforms
    from featcache.heads.probabilities import softmax

    network = load(backbone, weights=weights) if isinstance(backbone, str) else backbone
    if not isinstance(network, LoadedBackbone):
        raise UsageError(
            f"backbone {network!r}: expected the name of one, or what featcache.load_backbone returns"
        )
    network = with_size(with_transforms(network, transforms), image_size)
    if "logits" not in network.network.order:
        why = f" ({network.ends_because})" if network.ends_because else ""
        raise UsageError(
            f"{network.name} has no classes of its own, only features{why}: train a head on them (featcache "
            "train-head), or name the folder of a classifier (featcache predict FOLDER PHOTO)"
        )
    return Predictor(
        extraction=resolve(ExtractionSpec(backbone=network, layers=("logits",), image_statistics=False)),
        values=softmax,
        classes=class_names(network.pretrained.config.classes),
    )
