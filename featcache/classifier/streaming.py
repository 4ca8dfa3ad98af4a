"""Predictions of what a classifier is given: photos, or a cache that holds their features already."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.evaluation import require_same_features
from featcache.classifier.known.judging import Judge, judge_of, told
from featcache.classifier.prediction import Prediction, known_beside, read_values
from featcache.classifier.view_features import require_several
from featcache.errors import UsageError
from featcache.extraction.engines import AUTO, refuse_for_cache
from featcache.images.decoding import QUARANTINE_REASONS

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

# The images of a cache ------------------------------------------------------------------------------------------

_CACHED_ROWS = 1024


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
    classifier: "Classifier",
    cache: FeatureCache,
    *,
    top: int = 5,
    tta: bool | None = None,
    judge: Judge | None = None,
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
    judge
        Of `featcache.classifier.known.judging.judge_of`.

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
    return _of_rows(classifier, cache, top, averaged, judge)


def _of_rows(
    classifier: "Classifier", cache: FeatureCache, top: int, averaged: bool, judge: Judge | None
) -> Iterator[Prediction]:
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
    for start in range(0, len(cache), _CACHED_ROWS):
        rows = np.arange(start, min(start + _CACHED_ROWS, len(cache)))
        good = rows[usable[rows]]
        found: dict[int, Prediction] = {}
        if len(good):
            features = cache.features(good, classifier.layer, view="all" if averaged else 0)
            values = classifier.values(features, tta=averaged)
            known = known_beside(judge, features, values, partial(_hashes, cache, good))
            each = zip(good.tolist(), values, known, strict=True)
            found = {row: told(read(cache.ids[row], own), beside) for row, own, beside in each}
        for row in rows.tolist():
            if row in found:
                yield found[row]
            else:
                yield Prediction(cache.ids[row], (), (), reasons.get(int(cache.status[row]), "unreadable"))


def _hashes(cache: FeatureCache, rows: np.ndarray) -> list[bytes | None]:
    return [cache.sha256[row].tobytes() for row in rows]


# What a classifier is given -------------------------------------------------------------------------------------


def stream_predictions(
    classifier: "Classifier",
    images: Any,
    *,
    top: int = 5,
    tta: bool | None = None,
    neighbours: int = 0,
    known_share: float | None = None,
    set_level: float | None = None,
    engine: str = AUTO,
) -> Iterator[Prediction]:
    """Yield predictions for photos or for a cache; see `featcache.classifier.classifier.Classifier.stream`."""
    from featcache.classifier.scored.training_neighbours import training_neighbours

    judge = judge_of(classifier, tta=tta, known_share=known_share, set_level=set_level)
    judge = replace(judge, near=training_neighbours(classifier, neighbours), neighbours=neighbours)
    if (cache := cache_among(images)) is not None:
        refuse_for_cache(engine, cache.path)
        return stream_cached(classifier, cache, top=top, tta=tta, judge=judge)
    return classifier._averaging(tta).stream(images, top=top, judge=judge, engine=engine)
