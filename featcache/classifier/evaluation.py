"""Score a classifier on the rows of a cache: check the features' identity, and match labels by name."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.registry import TUNED
from featcache.cache import FeatureCache
from featcache.classifier.rejection import Rejection, rejection_at
from featcache.classifier.seen_images import count_seen
from featcache.classifier.view_features import require_several
from featcache.core.identity import differences
from featcache.core.tasks import MULTICLASS, TASK_NAMES
from featcache.errors import IdentityError, MissingFileError, UsageError
from featcache.heads.task_types import TASK_TYPES
from featcache.metrics.classification import Evaluation
from featcache.splits.selection import NONE, SplitSpec, slice_order

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier


@dataclass(frozen=True)
class ClassifierEvaluation(Evaluation):
    """Scores of a multiclass classifier, and of its predictions that are not "unknown".

    Parameters
    ----------
    rejection
        Coverage and accuracy of its threshold on these rows; ``None`` if it has none.
    views
        Number of views of each image whose mean was scored.
    seen
        Number of rows whose images trained or validated it; ``None`` if an older featcache trained it.
    """

    rejection: Rejection | None = None
    views: int = 1
    seen: int | None = None


def evaluate_classifier(
    classifier: "Classifier",
    cache: str | os.PathLike[str] | FeatureCache | None,
    split: str | None,
    *,
    tta: bool,
) -> ClassifierEvaluation | Any:
    """Score a classifier on a split of a cache; see `featcache.classifier.classifier.Classifier.evaluate`."""
    opened = _open_cache(classifier, cache)
    require_same_features(classifier, opened)
    if tta:
        require_several(opened, classifier.layer)
    asked = split or _test_split(classifier)
    order = slice_order(opened, _selection(classifier))
    features, labels = opened.arrays(asked, classifier.layer, view="all" if tta else 0, order=order)
    values, own = classifier.values(features, tta=tta), _own_labels(classifier, opened, labels)
    scores = TASK_TYPES[classifier.task].evaluate(own, values, classes=classifier.classes, split=asked)
    images = opened.sha256[opened.rows_of(asked, order=order)]
    seen = None if classifier.seen is None else count_seen(classifier.seen, images)
    if classifier.task != MULTICLASS:
        return replace(scores, seen=seen)
    threshold = classifier.calibration.threshold
    kept = None if threshold is None else rejection_at(threshold, values, own)
    views = opened.layers[classifier.layer].views if tta else 1
    return ClassifierEvaluation(**vars(scores), rejection=kept, views=views, seen=seen)


def _test_split(classifier: "Classifier") -> str:
    """Return the split or slice of the test rows when the classifier was trained."""
    asked = _selection(classifier).test
    return "test" if asked in (None, NONE) else asked


def _selection(classifier: "Classifier") -> SplitSpec:
    """Return the request for the rows that trained, validated and tested a classifier."""
    own = classifier.settings
    return SplitSpec.from_training(classifier.training, val_fraction=own.val_fraction, seed=own.seed)


def _open_cache(
    classifier: "Classifier", cache: str | os.PathLike[str] | FeatureCache | None
) -> FeatureCache:
    if isinstance(cache, FeatureCache):
        return cache
    if cache is not None:
        return FeatureCache(cache)
    trained_on = Path(classifier.provenance["cache"])
    if not trained_on.exists():
        raise MissingFileError(f"the cache it was trained on, {trained_on}, is gone; name one with --cache")
    return FeatureCache(trained_on)


def require_same_features(classifier: "Classifier", cache: FeatureCache) -> None:
    """Raise for a cache whose features differ from those that a head was trained on.

    Raises
    ------
    IdentityError
        With the differences, field by field.
    """
    held = cache.layers.get(classifier.layer)
    if held is not None and held.fingerprint == classifier.fingerprint:
        return
    lines = differences(cache.recipe, classifier.recipe)
    if held is None:
        lines.append(f"layers: {', '.join(cache.layers)} in the cache, {classifier.layer} asked for")
    tuned = classifier.backbone.endswith(f".{TUNED}")
    way_out = (
        "\nits backbone was fine-tuned: extract with that (featcache extract DATASET --backbone CLASSIFIER), and name "
        "that cache with --cache"
        if tuned
        else ""
    )
    raise IdentityError(
        f"{cache.path} holds other features than this classifier was trained on:\n  "
        + "\n  ".join(lines)
        + way_out
    )


def _own_labels(classifier: "Classifier", cache: FeatureCache, labels: np.ndarray) -> np.ndarray:
    """Translate a cache's labels or targets to a classifier's, by name."""
    known, asked = cache.classes, classifier.classes
    if cache.task != classifier.task:
        raise UsageError(
            f"{cache.path} has {TASK_NAMES[cache.task]} targets; this classifier's task is "
            f"{TASK_NAMES[classifier.task]}"
        )
    if cache.task != MULTICLASS:
        if missing := [name for name in asked if name not in known]:
            raise UsageError(
                f"{cache.path} has no targets {', '.join(missing[:5])}, which this classifier predicts; it holds "
                f"{', '.join(known[:10])}"
            )
        return labels[:, [known.index(name) for name in asked]]
    if unknown := [name for name in known if name not in asked]:
        raise UsageError(
            f"{cache.path} has classes this classifier does not know: {', '.join(unknown[:5])}; "
            f"it knows {', '.join(asked[:10])}"
        )
    return np.array([asked.index(name) for name in known], np.int32)[labels]
