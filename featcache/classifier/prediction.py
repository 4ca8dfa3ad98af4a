"""Predict on photos, with a classifier or with a backbone's own classes."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from featcache.backbones.input_size import ImageSize, with_size
from featcache.core.identity import differences
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.datasets.dataset import why_unread
from featcache.datasets.formats.folder import image_files, read_regular_file
from featcache.errors import IdentityError, ImageError, MissingFileError, UsageError
from featcache.extraction.resolved import ResolvedExtraction, resolve
from featcache.extraction.runner import FeatureRunner
from featcache.extraction.spec import ExtractionSpec
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.limits import room_for_file
from featcache.images.resizing import pixels
from featcache.images.transforms import Transforms
from featcache.images.views import Views

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.classifier.classifier import Classifier


@dataclass(frozen=True)
class Prediction:
    """The prediction for one photo.

    Parameters
    ----------
    id
        Its path, or its position among the given arrays.
    classes, probabilities
        The most probable classes, in descending order.
    error
        Reason why it could not be read; there are no classes then.
    unknown
        Whether the largest probability is below the classifier's rejection threshold.
    answers
        Multilabel: the labels with a probability above 0.5, in descending order; `classes` and `probabilities` hold
        the most probable labels. ``None`` for multiclass and regression.
    numbers
        Regression: the predicted numbers, named by `classes`; there are no probabilities.
    """

    id: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None = None
    unknown: bool = False
    answers: tuple[str, ...] | None = None
    numbers: tuple[float, ...] | None = None


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

    def predict(self, images: Any, *, top: int = 5) -> list[Prediction]:
        """Classify images; see `featcache.classifier.classifier.Classifier.predict`."""
        if top < 1:
            raise UsageError(f"top {top}: ask for at least one class")
        items = list(_items(images, self.transforms, self.extraction.views))
        results: dict[int, Prediction] = {}
        for rows, probabilities, failures in self._run([load for _, load in items]):
            for row, values in zip(rows, probabilities, strict=True):
                results[row] = read_values(
                    items[row][0],
                    values,
                    classes=self.classes,
                    task=self.task,
                    threshold=self.threshold,
                    top=top,
                )
            for row, error in failures:
                results[row] = Prediction(items[row][0], (), (), str(error))
        return [results[row] for row in range(len(items))]

    def predict_proba(self, images: Any) -> np.ndarray:
        """Return probabilities, or numbers, ``[N, C]``; raises `ImageError` for an image that cannot be read."""
        items = list(_items(images, self.transforms, self.extraction.views))
        parts = []
        for _, probabilities, failures in self._run([load for _, load in items]):
            for row, error in failures:
                raise ImageError(error.reason, f"{items[row][0]}: {error.detail}")
            parts.append(probabilities)
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes)), np.float32)

    def _run(
        self, loads: Sequence[Callable[[], np.ndarray]]
    ) -> Iterator[tuple[list[int], np.ndarray, list[tuple[int, ImageError]]]]:
        # On platforms with large batches, only batch sizes that are powers of two are compiled.
        size = min(self._runner.rows, 1 << (len(loads) - 1).bit_length())
        chunks = self._runner.chunks(range(len(loads)), lambda row: loads[row](), images_per_call=size)
        for chunk in chunks:
            values = (
                self.values(next(iter(chunk.features.values())))
                if chunk.features
                else np.zeros((0, len(self.classes)), np.float32)
            )
            yield chunk.rows.tolist(), values, chunk.failures

    @cached_property
    def _runner(self) -> FeatureRunner:
        return FeatureRunner(extraction=self.extraction)


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
    transforms = Transforms.from_json(dict(classifier.recipe["transforms"]))
    recipe = network.recipe(
        transforms=transforms,
        compute_dtype=classifier.recipe["compute_dtype"],
        stored_dtype=classifier.recipe["stored_dtype"],
    )
    if recipe.fingerprint(classifier.layer) != classifier.fingerprint:
        lines = differences(classifier.recipe, recipe.to_json())
        raise IdentityError(
            "the backbone on this machine gives other features than the classifier was trained on:\n  "
            + "\n  ".join(lines).replace("in the cache", "in the classifier").replace("asked for", "here")
        )
    statistics = classifier.layer == STATISTICS
    spec = ExtractionSpec(
        backbone=network,
        layers=() if statistics else (classifier.layer,),
        transforms=transforms,
        dtype=classifier.recipe["stored_dtype"],
        compute_dtype=classifier.recipe["compute_dtype"],
        image_statistics=statistics,
    )
    return Predictor(
        extraction=resolve(spec),
        values=classifier.values,
        classes=classifier.classes,
        threshold=classifier.calibration.threshold or 0.0,
        task=classifier.task,
    )


def backbone_predictor(
    backbone: "str | LoadedBackbone",
    *,
    weights: str | Path | None = None,
    image_size: ImageSize | None = None,
) -> Predictor:
    """Return a predictor of a backbone's own classes (ImageNet).

    Parameters
    ----------
    backbone, weights, image_size
        See `featcache.extract`.

    Raises
    ------
    UsageError
        If `image_size` is invalid or impossible for the network, or the network has no classes of its own.
    """
    from featcache.backbones import load
    from featcache.backbones.imagenet_classes import class_names
    from featcache.heads.probabilities import softmax

    network = load(backbone, weights=weights) if isinstance(backbone, str) else backbone
    network = with_size(network, image_size)
    if "logits" not in network.network.order:
        raise UsageError(
            f"{network.name} has no classes of its own, only features: train a head on them (featcache train-head), "
            "or name the folder of a classifier (featcache predict FOLDER PHOTO)"
        )
    return Predictor(
        extraction=resolve(ExtractionSpec(backbone=network, layers=("logits",), image_statistics=False)),
        values=softmax,
        classes=class_names(network.pretrained.config.classes),
    )


def _items(
    images: Any, transforms: Transforms, views: Views
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Yield a name and a loader for each given image, file or file in a folder."""
    if isinstance(images, str | os.PathLike):
        yield from _path_items(Path(images), transforms, views)
    elif isinstance(images, np.ndarray) and images.ndim in (2, 3):
        yield "0", partial(_of_array, images, transforms, views)
    elif isinstance(images, Iterable):
        for number, image in enumerate(images):
            if isinstance(image, np.ndarray):
                yield str(number), partial(_of_array, image, transforms, views)
            elif isinstance(image, str | os.PathLike):
                yield from _path_items(Path(image), transforms, views)
            else:
                raise _not_images(image)
    else:
        raise _not_images(images)


def _not_images(given: Any) -> UsageError:
    return UsageError(f"images of type {type(given).__name__}; give paths, folders or uint8 arrays")


def _path_items(
    path: Path, transforms: Transforms, views: Views
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    if path.is_dir():
        files, _ = image_files(path)
        if not files:
            raise MissingFileError(f"no images in {path}")
        for file in files:
            yield str(file), partial(_load, file, transforms, views)
    elif not path.exists():
        raise MissingFileError(f"no image {path}")
    else:
        yield str(path), partial(_load, path, transforms, views)


def _of_array(array: np.ndarray, transforms: Transforms, views: Views) -> np.ndarray:
    plain = pixels(array, transforms)
    if views.count == 1:
        return plain
    # Views are drawn from encoded bytes, seeded by a hash; that of the array does not depend on the PNG encoder.
    data = io.BytesIO()
    Image.fromarray(array).save(data, "png")
    return views.prepare(data.getvalue(), transforms, hashlib.sha256(array.tobytes()).digest())


def _load(path: Path, transforms: Transforms, views: Views) -> np.ndarray:
    try:
        with room_for_file(path.stat().st_size):
            data = read_regular_file(str(path))
            return views.prepare(data, transforms, hashlib.sha256(data).digest())
    except OSError as error:
        raise why_unread(error) from error
