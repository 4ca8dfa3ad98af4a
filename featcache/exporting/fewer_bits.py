"""A model in half precision or eight bits, made of one that has passed parity, and judged on photos of its own."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.evaluation import own_labels, split_of
from featcache.classifier.photos import photos_of
from featcache.core.tasks import MULTICLASS
from featcache.datasets.found_photos import find_photos
from featcache.errors import ExportError, FeatcacheError, ImageError, UsageError
from featcache.exporting.check_photos import CheckPhotos, spread
from featcache.exporting.float16 import to_float16
from featcache.exporting.quantisation_cost import (
    QuantisationCost,
    calibration_and_test,
    quantisation_cost,
    require_agreement,
)
from featcache.exporting.quantised import FEWEST_PHOTOS, MOST_PHOTOS, to_int8
from featcache.graphs.convert import require_onnx
from featcache.images.resizing import prepare
from featcache.images.transforms import Transforms
from featcache.images.views import PLAIN
from featcache.splits.selection import select_rows

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"

MOST_JUDGING = 1000
"""Photos that eight bits are judged on, if there are so many."""


def asked_for(*, float16: bool, int8: bool, ending: str) -> str:
    """Return the numbers that a model is to compute in.

    Raises
    ------
    UsageError
        If both are asked for, or of a format that has neither.
    """
    if float16 and int8:
        raise UsageError("float16 and int8 exclude each other; ask for one")
    if (float16 or int8) and ending != ".onnx":
        raise UsageError(f"{FLOAT16 if float16 else INT8} is for .onnx models; name the output so")
    return FLOAT16 if float16 else INT8 if int8 else FLOAT32


@dataclass(frozen=True)
class PhotosApart:
    """Photos that measure ranges, and others that judge; with the class of these, where it is known.

    Parameters
    ----------
    calibration, judging
        Pictures uint8 ``[H, W, 3]``.
    labels
        Class of each that judges, −1 where it is not known; ``None`` if none is, or the head has learnt from them.
    """

    calibration: Sequence[np.ndarray]
    judging: Sequence[np.ndarray]
    labels: np.ndarray | None = None


def half(content: bytes, compared_on: CheckPhotos) -> tuple[bytes, QuantisationCost]:
    """Return a model in half precision, and what that costs on the photos that the model was compared on.

    Raises
    ------
    ExportError
        If a value on these photos is beyond the range of halves, or the model says something else.
    """
    before = require_onnx().load_from_string(content)
    after = to_float16(before, list(compared_on.images))
    cost = quantisation_cost(before, after, list(compared_on.images))
    require_agreement(cost, FLOAT16)
    return after.SerializeToString(), cost


def eight_bits(content: bytes, photos: PhotosApart) -> tuple[bytes, QuantisationCost]:
    """Return a model in eight bits, and what that costs.

    Raises
    ------
    ExportError
        If there are too few photos, or the model says something else than before.
    """
    before = require_onnx().load_from_string(content)
    after = to_int8(before, photos.calibration)
    cost = quantisation_cost(
        before, after, photos.judging, labels=photos.labels, calibration=photos.calibration
    )
    require_agreement(cost, INT8)
    return after.SerializeToString(), cost


def photos_apart(
    transforms: Transforms, *, given: Any = None, classifier: "Classifier | None" = None
) -> PhotosApart:
    """Return photos for eight bits: the user's, shared out; else the classifier's training photos and its test photos.

    Raises
    ------
    ExportError
        If there are too few.
    """
    if given is not None:
        return _shared_out(list(_readable(spread(photos_of(given), MOST_PHOTOS + MOST_JUDGING), transforms)))
    if classifier is not None:
        try:
            return _of_classifier(classifier, transforms)
        except ExportError:
            raise
        except (OSError, KeyError, FeatcacheError):
            pass
    raise ExportError(
        "eight bits need photos such as the model is for, to measure the ranges of values on, and "
        + ("the training photos are not there any more" if classifier else "a backbone has none of its own")
        + "; give some hundred with --photos"
    )


def _shared_out(images: list[np.ndarray]) -> PhotosApart:
    if len(images) < 2 * FEWEST_PHOTOS:
        raise ExportError(
            f"eight bits need at least {2 * FEWEST_PHOTOS} photos, half of them to measure ranges and half to judge, "
            f"and {len(images)} could be read; give some hundred with --photos"
        )
    measure, judge = calibration_and_test(len(images))
    return PhotosApart([images[row] for row in measure], [images[row] for row in judge])


def _of_classifier(classifier: "Classifier", transforms: Transforms) -> PhotosApart:
    cache = FeatureCache(Path(classifier.provenance["cache"]))
    hashes = {name: digest.tobytes() for name, digest in zip(cache.ids, cache.sha256, strict=True)}
    photos = find_photos(
        cache.identity["dataset"]["spec"], given=None, ids=cache.ids, sha256=hashes, task=cache.task
    )
    read = photos.read
    if read is None:
        raise KeyError("photos")
    parts = select_rows(cache, split_of(classifier))

    def images(rows: Any) -> list[tuple[int, np.ndarray]]:
        found = []
        for row in rows:
            with suppress(ImageError, OSError):
                found.append((row, prepare(read(cache.ids[row]), transforms)))
        return found

    if len(parts.test) < FEWEST_PHOTOS:
        # The head has learnt from all of them: they tell how far both models agree, not how often they are right.
        learnt = np.concatenate([parts.train, parts.val])
        return _shared_out([image for _, image in images(spread(learnt, MOST_PHOTOS + MOST_JUDGING))])
    measuring = [image for _, image in images(spread(parts.train, MOST_PHOTOS))]
    judging = images(spread(parts.test, MOST_JUDGING))
    rows = np.array([row for row, _ in judging])
    labels = own_labels(classifier, cache, cache.known[rows]) if classifier.task == MULTICLASS else None
    return _without_copies(PhotosApart(measuring, [image for _, image in judging], labels))


def _without_copies(photos: PhotosApart) -> PhotosApart:
    """Leave out of those that judge what measures ranges, too: a dataset may have a photo in both splits."""
    seen = {image.tobytes() for image in photos.calibration}
    kept = [number for number, image in enumerate(photos.judging) if image.tobytes() not in seen]
    return PhotosApart(
        photos.calibration,
        [photos.judging[number] for number in kept],
        None if photos.labels is None else photos.labels[kept],
    )


def _readable(photos: Sequence[Any], transforms: Transforms) -> Iterator[np.ndarray]:
    for photo in photos:
        with suppress(ImageError, OSError):
            yield photo.prepare(transforms, PLAIN)
