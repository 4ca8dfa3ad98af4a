"""Save a classifier where another one may be: a clearly better one is kept under another name, and never silently."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.core.display import SPLIT_WORDS, percent
from featcache.core.tasks import REGRESSION
from featcache.core.warning import warn
from featcache.errors import FeatcacheError, IntegrityError
from featcache.splits.selection import SplitSpec, select_rows


def save_keeping_better(classifier: Classifier, place: Path, cache: FeatureCache) -> Path:
    """Save a classifier and return its folder; if the one that was there is clearly better, keep that beside it.

    Clearly better means that the new accuracy on the same validation rows (or test rows, where no rows validated) is
    below the 95 % interval of the old one; of regression, that its mean absolute error is above.

    Parameters
    ----------
    classifier
        The new classifier.
    place
        Its folder. The better one is kept as ``PLACE.better``, or ``PLACE.better-2`` and so on.
    cache
        The cache that the new one was trained on.

    Warns
    -----
    FeatcacheWarning
        If a better or a damaged classifier was there.
    """
    try:
        old = Classifier.load(place)
    except IntegrityError as error:
        warn(f"replaced the damaged classifier of before: {error}")
        return classifier.save(place)
    except FeatcacheError:  # there is none, or it cannot be read: saving says what is wrong
        return classifier.save(place)
    if (part := _clearly_worse_on(classifier, old, cache)) is None:
        return classifier.save(place)
    kept = old.save(_free_name(place))
    saved = classifier.save(place)
    new, was = classifier.metrics[part], old.metrics[part]
    warn(
        f"on the same {was['count']} {SPLIT_WORDS[part]} rows the new classifier in {place} is clearly worse "
        f"({_score(new)}) than the one that was there ({_score(was)}), which is kept as {kept}"
    )
    return saved


def _score(scores: Mapping[str, Any]) -> str:
    return f"mae {scores['mae']:.4g}" if "mae" in scores else f"accuracy {percent(scores['accuracy'])}"


def _clearly_worse_on(new: Classifier, old: Classifier, cache: FeatureCache) -> str | None:
    """Return the part, ``"val"`` or ``"test"``, whose same rows show that the new one is worse; ``None`` otherwise."""
    rows = cache.identity["rows"]["sha256"]
    if (old.task, set(old.classes)) != (new.task, set(new.classes)) or old.provenance.get(
        "rows_sha256"
    ) != rows:
        return None
    part = next((name for name in SPLIT_WORDS if name in new.metrics and name in old.metrics), None)
    if part is None:
        return None
    rows_of_new, rows_of_old = (_rows(own, cache, part) for own in (new, old))
    if rows_of_new is None or rows_of_old is None or not np.array_equal(rows_of_new, rows_of_old):
        return None
    return part if _is_clearly_worse(new.task, new.metrics[part], old.metrics[part]) else None


def _rows(classifier: Classifier, cache: FeatureCache, part: str) -> np.ndarray | None:
    """Return the row numbers that validated or tested a classifier; ``None`` where they cannot be told any more."""
    own = classifier.settings
    asked = SplitSpec.from_training(classifier.training, val_fraction=own.val_fraction, seed=own.seed)
    try:
        return np.sort(getattr(select_rows(cache, asked), part))
    except FeatcacheError:
        return None


def _is_clearly_worse(task: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    low, high = old["interval"]
    return new["mae"] > high if task == REGRESSION else new["accuracy"] < low


def _free_name(place: Path) -> Path:
    path, number = place.with_name(f"{place.name}.better"), 2
    while path.exists():
        path, number = place.with_name(f"{place.name}.better-{number}"), number + 1
    return path
