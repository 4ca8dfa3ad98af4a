"""Predictions for the images of a cache, whose features are there already, labelled or not."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.evaluation import require_same_features
from featcache.classifier.prediction import Prediction, read_values
from featcache.classifier.view_features import require_several
from featcache.errors import UsageError
from featcache.images.decoding import QUARANTINE_REASONS

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

_ROWS = 1024


def cache_among(images: Any) -> FeatureCache | None:
    """Return the cache that is meant where images may be given: one that is open, or the path of an ``.h5`` file."""
    if isinstance(images, list | tuple) and len(images) == 1:
        return cache_among(images[0])
    if isinstance(images, FeatureCache):
        return images
    if not isinstance(images, str | os.PathLike):
        return None
    path = Path(os.fspath(images))
    return FeatureCache(path) if path.suffix == ".h5" else None


def stream_cached(
    classifier: "Classifier", cache: FeatureCache, *, top: int = 5, tta: bool | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for every image of a cache, in its order; no image is read and no network loaded.

    Parameters
    ----------
    classifier
        The classifier.
    cache
        A cache of the same recipe.
    top, tta
        See `featcache.classifier.classifier.Classifier.predict`.

    Raises
    ------
    IdentityError
        If the cache's features are of another identity; lists the differences.
    UsageError
        If `top` is below 1, or the cache holds one view to average over.
    """
    if top < 1:
        raise UsageError(f"top {top}: ask for at least one class")
    require_same_features(classifier, cache)
    averaged = classifier.tta if tta is None else tta
    if averaged:
        require_several(cache, classifier.layer)
    return _stream(classifier, cache, top, averaged)


def _stream(classifier: "Classifier", cache: FeatureCache, top: int, averaged: bool) -> Iterator[Prediction]:
    read = partial(
        read_values,
        classes=classifier.classes,
        task=classifier.task,
        threshold=classifier.calibration.threshold or 0.0,
        top=top,
    )
    reasons = dict(enumerate(QUARANTINE_REASONS, start=1))
    usable = np.zeros(len(cache), bool)
    usable[cache.rows_of()] = True
    for start in range(0, len(cache), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(cache)))
        good = rows[usable[rows]]
        found: dict[int, np.ndarray] = {}
        if len(good):
            features = cache.features(good, classifier.layer, view="all" if averaged else 0)
            found = dict(zip(good.tolist(), classifier.values(features, tta=averaged), strict=True))
        for row in rows.tolist():
            name = cache.ids[row]
            if row in found:
                yield read(name, found[row])
            else:
                yield Prediction(name, (), (), reasons.get(int(cache.status[row]), "unreadable"))
