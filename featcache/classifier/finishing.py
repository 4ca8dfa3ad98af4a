"""From a fitted head to a classifier: calibrated, measured, checked and saved."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.registry import TUNED
from featcache.cache import FeatureCache
from featcache.checks.rows import Finding, check_rows
from featcache.classifier.cached_features import view_features
from featcache.classifier.calibration import Calibration
from featcache.classifier.classifier import Classifier
from featcache.classifier.seen_images import seen_images
from featcache.core.tasks import MULTICLASS
from featcache.heads.settings import Settings
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.splits.selection import Selection

if TYPE_CHECKING:
    from featcache.heads.feature_table import FeatureRows


MOST_COMPARED = 1000
"""Training rows whose neighbours are looked at for a mistake; of more, that many are drawn."""


def make_classifier(
    cache: FeatureCache,
    layer: str,
    settings: Settings,
    parameters: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
    *,
    seen: np.ndarray,
) -> Classifier:
    """Return a fitted head as something to keep, neither calibrated nor measured yet.

    Parameters
    ----------
    cache, layer
        What it was trained on.
    settings, parameters
        How, and what came out.
    record
        More to remember of the training.
    seen
        Rows of the cache that trained it or chose its epoch.
    """
    return Classifier(
        backbone=cache.backbone,
        weights=_own_weights(cache),
        recipe=cache.recipe,
        layer=layer,
        fingerprint=cache.layers[layer].fingerprint,
        head=settings.head,
        parameters=parameters,
        classes=cache.classes,
        task=cache.task,
        metrics={},
        calibration=Calibration(note="it was not asked for"),
        training={**asdict(settings), "hidden": list(settings.hidden), **_drawn(cache, layer), **record},
        provenance=_provenance(cache),
        seen=seen_images(cache.sha256[seen]),
    )


def _drawn(cache: FeatureCache, layer: str) -> dict[str, Any]:
    """Return how a layer's views were drawn, as averaging over a photo's needs it; nothing where it has one."""
    return {} if cache.layers[layer].views == 1 else {"view_recipe": cache.identity["recipe"]["views"]}


def _checked(
    settings: Settings, cache: FeatureCache, rows: Selection, layer: str, train: "FeatureRows"
) -> tuple[list[Finding], float | None]:
    """Look for mistakes that scores do not show; also return the accuracy of the images' colours alone."""
    from featcache.checks.features import check_features

    parts = {part: getattr(rows, part) for part in ("train", "val", "test")}
    found = check_rows(cache, parts, class_weights=settings.class_weights)
    if cache.task != MULTICLASS:
        return found, None
    plain = train.table.take(np.arange(len(train.labels)) * train.views)
    found += check_features(plain, train.labels, most_rows=MOST_COMPARED)
    return found, _image_floor(cache, rows, layer)


def _noted(classifier: Classifier, found: Sequence[Finding], floor: float | None) -> Classifier:
    """Return the classifier with what was found, and whether it is better than the images' colours alone."""
    from featcache.checks.features import below_floor

    lost = [] if floor is None else below_floor(classifier.metrics["val"]["accuracy"], floor)
    noted = {"image_floor": floor, "warnings": [finding.to_json() for finding in (*found, *lost)]}
    return replace(classifier, training={**classifier.training, **noted})


def _image_floor(cache: FeatureCache, rows: Selection, layer: str) -> float | None:
    """Return the accuracy that the images' statistics alone reach on the validation rows, if the cache has them."""
    from featcache.checks.features import statistics_floor

    if STATISTICS not in cache.layers or layer == STATISTICS or not len(rows.val):
        return None
    (train, labels), (val, val_labels) = (
        (view_features(cache, part, STATISTICS), cache.labels[part]) for part in (rows.train, rows.val)
    )
    return statistics_floor(train, labels, val, val_labels, classes=len(cache.classes))


def _own_weights(cache: FeatureCache) -> str | None:
    """What to load the backbone's weights from where its name alone does not say: a user's own file."""
    if cache.backbone.endswith(".random"):
        return "random"
    own = cache.backbone.endswith((".custom", f".{TUNED}"))
    return cache.identity["provenance"]["weights"] if own else None


def _provenance(cache: FeatureCache) -> dict[str, Any]:
    from featcache.core.version import __version__

    return {
        "cache": str(Path(cache.path).resolve()),
        "base": cache.identity["provenance"].get("base"),
        "rows_sha256": cache.identity["rows"]["sha256"],
        "dataset": cache.identity["dataset"]["spec"],
        "slice": cache.identity["dataset"].get("slice"),
        "split_rule": cache.identity["dataset"]["rule"],
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "featcache": __version__,
    }
