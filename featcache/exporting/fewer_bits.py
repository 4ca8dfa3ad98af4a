"""A model that has passed its comparison with JAX in half precision or in eight bits, and what that costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.classifier.photos import photos_of
from featcache.classifier.scored.seen import which_seen
from featcache.errors import ExportError, ImageError, UsageError
from featcache.exporting.check_photos import CheckPhotos, TrainingPhotos, spread
from featcache.exporting.float16 import to_float16
from featcache.exporting.quantisation_cost import (
    QuantisationCost,
    calibration_and_test,
    quantisation_cost,
    require_agreement,
)
from featcache.exporting.quantised import FEWEST_PHOTOS, MOST_PHOTOS, to_int8
from featcache.images.transforms import Transforms
from featcache.images.views import PLAIN

if TYPE_CHECKING:
    import onnx

    from featcache.classifier.classifier import Classifier

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"

MOST_JUDGED = 512
"""Photos on which a model in eight bits is judged, if there are so many."""

_GIVE = "give some hundred photos such as the model is for with --photos, or export with --float16, or without either"


def precision_of(*, float16: bool, int8: bool) -> str:
    """Return in what a model is to compute; raises `UsageError` if two are asked for."""
    if float16 and int8:
        raise UsageError("--float16 and --int8 are two models; export one after the other, to two files")
    return FLOAT16 if float16 else INT8 if int8 else FLOAT32


def in_fewer_bits(
    model: "onnx.ModelProto",
    precision: str,
    compared_on: CheckPhotos,
    transforms: Transforms,
    *,
    given: Any,
    classifier: "Classifier | None",
) -> "tuple[onnx.ModelProto, QuantisationCost | None]":
    """Return a model in half precision; or one in eight bits, and what that costs.

    Parameters
    ----------
    model
        The model in float32.
    precision
        ``"float16"`` or ``"int8"``.
    compared_on
        Photos on which no value may leave the range of halves.
    transforms
        Its preprocessing.
    given, classifier
        The user's photos, and the classifier, whose photos are taken where none are given.

    Raises
    ------
    ExportError
        If there are too few photos, or what the model says changes too much.
    """
    if precision == FLOAT16:
        return to_float16(model, list(compared_on.images)), None
    photos = _photos(transforms, given, classifier)
    found = to_int8(model, photos.calibration)
    cost = quantisation_cost(
        model, found, photos.judged, labels=photos.labels, calibration=photos.calibration
    )
    require_agreement(cost)
    return found, cost


@dataclass(frozen=True)
class _Photos:
    """Photos uint8 ``[H, W, 3]`` on which ranges are measured; others that judge, and their classes or ``None``."""

    calibration: list[np.ndarray]
    judged: list[np.ndarray]
    labels: np.ndarray | None


def _photos(transforms: Transforms, given: Any, classifier: "Classifier | None") -> _Photos:
    if given is not None:
        return _halves(_given(transforms, given), "given")
    opened = None if classifier is None else TrainingPhotos.of(classifier)
    if classifier is None or opened is None:
        raise ExportError(
            f"eight bits need photos to measure the ranges of values on, and there are none; {_GIVE}"
        )
    rows = opened.cache.rows_of()
    learnt = np.ones(len(rows), bool)
    if classifier.seen is not None:
        learnt = which_seen(classifier.seen, opened.cache.sha256[rows])
    if (~learnt).sum() < FEWEST_PHOTOS:  # then what is right says nothing
        found = [image for _, image in opened.prepared(spread(rows, MOST_PHOTOS + MOST_JUDGED), transforms)]
        return _halves(found, "of its training that can be read")
    measured = [image for _, image in opened.prepared(spread(rows[learnt], MOST_PHOTOS), transforms)]
    judged = list(opened.prepared(spread(rows[~learnt], MOST_JUDGED), transforms))
    return _Photos(
        measured, [image for _, image in judged], _labels(opened, classifier, [row for row, _ in judged])
    )


def _halves(images: list[np.ndarray], what: str) -> _Photos:
    unlike = list({image.tobytes(): image for image in images}.values())
    if len(unlike) < 2 * FEWEST_PHOTOS:
        raise ExportError(
            f"eight bits need at least {2 * FEWEST_PHOTOS} different photos, half of them to measure the ranges of "
            f"values on and half to judge the result; different photos {what}: {len(unlike)}; {_GIVE}"
        )
    measure, judge = calibration_and_test(len(unlike))
    return _Photos([unlike[row] for row in measure], [unlike[row] for row in judge], None)


def _given(transforms: Transforms, given: Any) -> list[np.ndarray]:
    def read() -> Iterator[np.ndarray]:
        for photo in spread(photos_of(given), MOST_PHOTOS + MOST_JUDGED):
            try:
                yield photo.prepare(transforms, PLAIN)
            except ImageError:
                continue  # the comparison before has told of those that cannot be read

    return list(read())


def _labels(opened: TrainingPhotos, classifier: "Classifier", rows: list[int]) -> np.ndarray | None:
    """Return the classifier's numbers of rows' classes, int ``[n]``; −1 for one that it does not know."""
    cache = opened.cache
    if cache.targets is not None:
        return None
    numbers = {name: number for number, name in enumerate(classifier.classes)}
    return np.array([numbers.get(cache.label_of(row), -1) for row in rows])
