"""From a fitted head to a classifier: calibrated, measured and checked, the same for all that train heads.

`finish_head` is for heads on cached features, one alone (`featcache.train_head`) or the best of many
(`featcache.sweep`); `calibrate_and_score` for what has outputs already, as fine-tuning does.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.registry import TUNED
from featcache.cache import FeatureCache
from featcache.checks.rows import Finding, check_rows
from featcache.classifier.cached_features import view_features
from featcache.classifier.calibration import Calibration, calibrated
from featcache.classifier.classifier import Classifier
from featcache.classifier.seen_images import seen_images
from featcache.core.tasks import MULTICLASS
from featcache.heads.fitted_head import FittedHead
from featcache.heads.settings import Settings
from featcache.heads.target_scaling import TargetScale
from featcache.heads.task_types import TASK_TYPES
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.splits.selection import Selection, SplitSpec

if TYPE_CHECKING:
    from featcache.solvers.fit import Fit

MOST_CHECKED = 10_000
"""Training rows in whose features mistakes are looked for; of more, evenly spread ones, at most twice as many."""

MOST_COMPARED = 1000
"""Rows of these whose neighbours are looked at for a mistake; of more, that many are drawn."""


def finish_head(
    cache: FeatureCache,
    layer: str,
    settings: Settings,
    fit: "Fit",
    *,
    rows: Selection,
    selection: SplitSpec,
    scale: TargetScale | None = None,
    floor: float | None = None,
    accuracy: float | None = None,
    reject_accuracy: float | None = 0.95,
    tta: bool = False,
    seconds: float | None = None,
) -> Classifier:
    """Make a classifier of a fitted head: calibrate it, score it, look for mistakes, and remember all of it.

    Nothing is saved. The features of the validation and test rows are read here, so that the test rows of many heads
    are read for the chosen one alone.

    Parameters
    ----------
    cache, layer
        What it was fitted to.
    settings, fit
        How, and what came out.
    rows
        Which rows trained it, chose its epoch, and are to test it. Without ``val`` rows it is not calibrated.
    selection
        How these rows were asked for; recorded.
    scale
        The units of the numbers that it learnt; ``None`` of classes, answers, and numbers in their own units.
    floor
        `image_floor` on the rows that judged it.
    accuracy
        Its accuracy there; by default that on the validation rows.
    reject_accuracy
        How often a prediction that counts must be right; ``None``: not calibrated.
    tta
        Measure and calibrate the mean over all views of an image.
    seconds
        What fitting took; ``None`` where it was fitted together with others.

    Returns
    -------
    Classifier
        Its ``training`` holds the settings, ``best_epoch``, ``epochs_run``, ``history``, ``seconds``,
        ``validation``, ``tta``, ``selection``, ``image_floor``, ``warnings``, and ``view_recipe`` where the cache
        holds several views of an image.

    Raises
    ------
    DataError
        If a row holds NaN or infinity.
    """
    parameters = fit.parameters if scale is None else scale.fold_into(fit.parameters)
    record = {"best_epoch": fit.best_epoch, "epochs_run": fit.epochs_run, "history": dict(fit.history)}
    record |= {"seconds": seconds, "validation": rows.held_out, "tta": tta, "selection": selection.to_json()}
    seen = np.concatenate([rows.train, rows.val])
    classifier = make_classifier(cache, layer, settings, parameters, record, seen=seen)
    head = FittedHead(settings, parameters, len(cache.classes), cache.task)
    outputs, loss = {}, classifier.loss
    for part in ("val", "test"):
        if len(numbers := getattr(rows, part)):
            raw, loss = head.raw(_measured_features(cache, numbers, layer, tta=tta), tta=tta)
            outputs[part] = raw, cache.known[numbers]
    classifier = calibrate_and_score(classifier, outputs, loss=loss, reject_accuracy=reject_accuracy)
    found = _find_mistakes(cache, layer, settings, rows)
    if floor is not None:
        from featcache.checks.features import below_floor

        found += below_floor(classifier.metrics["val"]["accuracy"] if accuracy is None else accuracy, floor)
    noted = {"image_floor": floor, "warnings": [finding.to_json() for finding in found]}
    return replace(classifier, training={**classifier.training, **noted})


def calibrate_and_score(
    classifier: Classifier,
    outputs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    loss: str,
    reject_accuracy: float | None,
) -> Classifier:
    """Calibrate a classifier on its outputs for validation rows, then score it on these and on test rows.

    Parameters
    ----------
    classifier
        Neither calibrated nor measured yet.
    outputs
        Of ``"val"`` and ``"test"``, as far as there are rows: raw outputs ``[n, C]`` and known labels or targets.
    loss
        How to read the outputs.
    reject_accuracy
        How often a prediction that counts must be right; ``None``: not calibrated.
    """
    task, classes = TASK_TYPES[classifier.task], classifier.classes
    if reject_accuracy is not None:
        nothing = np.zeros((0, len(classes)), np.float32), np.zeros(0, np.int32)
        found = calibrated(
            *outputs.get("val", nothing),
            classes=len(classes),
            loss=loss,
            accuracy=reject_accuracy,
            task=task.task,
        )
        classifier = replace(classifier, calibration=found)
    for part, (raw, known) in outputs.items():
        values = task.values(loss, classifier.calibration.cooled(raw), len(classes))
        classifier = classifier.with_scores(task.score(known, values, classes=classes, split=part))
    return classifier


def image_floor(cache: FeatureCache, layer: str, train: np.ndarray, val: np.ndarray) -> float | None:
    """Return the accuracy that the images' colours alone reach on the rows that judge a head.

    ``None`` where the cache holds no statistics of the images, where a head learns from nothing else, where no row
    judges, and for answers and numbers.

    Parameters
    ----------
    cache, layer
        What the head learns from.
    train, val
        Row numbers.
    """
    if STATISTICS not in cache.layers or layer == STATISTICS or not len(val) or cache.task != MULTICLASS:
        return None
    from featcache.checks.features import statistics_floor

    (x, labels), (x_val, known) = (
        (view_features(cache, rows, STATISTICS), cache.labels[rows]) for rows in (train, val)
    )
    return statistics_floor(x, labels, x_val, known, classes=len(cache.classes))


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
    # How views were drawn, as averaging over those of a photo needs it.
    drawn = {} if cache.layers[layer].views == 1 else {"view_recipe": cache.identity["recipe"]["views"]}
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
        training={**asdict(settings), "hidden": list(settings.hidden), **drawn, **record},
        provenance=_provenance(cache),
        seen=seen_images(cache.sha256[seen]),
    )


def _measured_features(cache: FeatureCache, rows: np.ndarray, layer: str, *, tta: bool) -> np.ndarray:
    """Return features ``[n, D]``, or of all views ``[n, V, D]``."""
    if not tta:
        return view_features(cache, rows, layer)
    views = cache.layers[layer].views
    return view_features(cache, rows, layer, views).reshape(len(rows), views, -1)


def _find_mistakes(cache: FeatureCache, layer: str, settings: Settings, rows: Selection) -> list[Finding]:
    """Look for mistakes that scores do not show, in the rows and in the features of the plain training images."""
    parts = {part: getattr(rows, part) for part in ("train", "val", "test")}
    found = check_rows(cache, parts, class_weights=settings.class_weights)
    if cache.task != MULTICLASS:
        return found
    from featcache.checks.features import check_features

    some = rows.train[:: max(1, len(rows.train) // MOST_CHECKED)]
    x = view_features(cache, some, layer)
    return found + check_features(x, cache.labels[some], most_rows=MOST_COMPARED)


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
