"""Turn a fitted head into a classifier: calibrate it, score it and check its data.

`finish_head` is for heads on cached features, of `featcache.train_head` and `featcache.sweep`; `calibrate_and_score`
is for outputs that are already computed, as in fine-tuning.
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
from featcache.checks.scores import below_chance, unfinished
from featcache.classifier.calibration import Calibration, calibrated
from featcache.classifier.classifier import Classifier
from featcache.classifier.known.learning import NO_ROWS, drawn_rows, learn_familiarity, with_sets
from featcache.classifier.scored.seen import seen_images
from featcache.classifier.view_features import view_features
from featcache.core.tasks import MULTICLASS
from featcache.heads.feature_table import blocks
from featcache.heads.fitted_head import FittedHead
from featcache.heads.settings import DESCENT, FITTED, STEPPING, Settings
from featcache.heads.target_scaling import TargetScale
from featcache.heads.task_types import TASK_TYPES
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.splits.left_out import left_out_record
from featcache.splits.selection import Selection, SplitSpec

if TYPE_CHECKING:
    from featcache.classifier.refitting import RefittedHeads
    from featcache.solvers.fit import Fit

MOST_CHECKED = 10_000
"""Training rows whose features are checked for mistakes; of more rows, every n-th, at most twice as many."""

MEASURED_BYTES = 2**26
"""Features that are measured at a time."""

MOST_COMPARED = 1000
"""Checked rows whose nearest neighbours are compared; of more rows, a sample of this size."""

FLOOR_ROWS, FLOOR_JUDGES = 50_000, 10_000
"""Training rows whose colours `image_floor` learns from, and validation rows that judge it; of more, draws."""


def finish_head(
    cache: FeatureCache,
    layer: str,
    settings: Settings,
    fit: "Fit",
    *,
    rows: Selection,
    refitted: "RefittedHeads | None" = None,
    selection: SplitSpec,
    scale: TargetScale | None = None,
    floor: float | None = None,
    accuracy: float | None = None,
    reject_accuracy: float | None = 0.95,
    tta: bool = False,
    seconds: float | None = None,
) -> Classifier:
    """Make a classifier from a fitted head: calibrate it, score it, check for data mistakes, and record the results.

    Nothing is saved. The features of validation and test rows are read here, so that a sweep reads the test rows for
    the chosen head only.

    Parameters
    ----------
    cache, layer
        The features that it was fitted to.
    settings, fit
        Its settings, and the result of fitting.
    rows
        Training, validation and test rows.
    refitted
        The heads on training and validation rows together, of which the first becomes the classifier's: `fit` then
        only tells its score on validation rows. The heads of its folds calibrate it; without them the validation rows
        do, and without these it is not calibrated.
    selection
        The request for these rows, which is recorded.
    scale
        The scaling of regression targets in the fit; ``None`` if they were not scaled, and for other tasks.
    floor
        `image_floor` on the rows that chose it.
    accuracy
        Its accuracy on these rows; by default that on the validation rows.
    reject_accuracy
        Required accuracy of predictions that are not "unknown"; ``None`` for no calibration.
    tta
        Score and calibrate the mean over all views of an image.
    seconds
        Duration of the fit; ``None`` if it was fitted together with others.

    Returns
    -------
    Classifier
        Its ``training`` holds the settings, ``best_epoch``, ``epochs_run``, ``history``, ``seconds``,
        ``validation``, ``tta``, ``selection``, ``image_floor``, ``warnings``, ``view_recipe`` if the cache
        holds several views of an image, and ``left_out`` if a list left rows out.

    Raises
    ------
    DataError
        If a row holds NaN or infinity.
    """
    judged, parameters = (
        own.parameters if scale is None else scale.fold_into(own.parameters)
        for own in (fit, refitted.fits[0] if refitted else fit)
    )
    record = {"best_epoch": fit.best_epoch, "epochs_run": fit.epochs_run, "history": dict(fit.history)}
    record |= {"seconds": seconds, "validation": rows.held_out, "tta": tta, "selection": selection.to_json()}
    if selection.exclude:
        record["left_out"] = {**left_out_record(selection.exclude), "rows": dict(rows.left_out)}
    if refitted:
        record["refitted"] = {"images": len(refitted.rows), "folds": len(refitted.by_fold)}
    seen = np.concatenate([rows.train, rows.val])
    classifier = make_classifier(cache, layer, settings, parameters, record, seen=seen)
    if refitted and len(rows.val) and settings.head in FITTED:
        classifier = replace(classifier, judged=judged)

    def outputs_of(parameters: Mapping[str, np.ndarray], numbers: np.ndarray) -> np.ndarray:
        head = FittedHead(settings, parameters, len(cache.classes), cache.task)
        return _raw(head, cache, numbers, layer, tta=tta)

    outputs = {
        part: (outputs_of(own, numbers), cache.known[numbers])
        for part, own, numbers in (("val", judged, rows.val), ("test", parameters, rows.test))
        if len(numbers)
    }
    unseen = None
    if refitted and refitted.fold_of is not None and reject_accuracy is not None and cache.task == MULTICLASS:
        held = [refitted.rows[refitted.fold_of == fold] for fold in range(len(refitted.by_fold))]
        parts = [outputs_of(own.parameters, rows) for own, rows in zip(refitted.by_fold, held, strict=True)]
        unseen = np.concatenate(parts), cache.known[np.concatenate(held)]
    classifier = calibrate_and_score(
        classifier, outputs, loss=classifier.loss, reject_accuracy=reject_accuracy, unseen=unseen
    )
    if reject_accuracy is not None:
        classifier = _with_familiarity(classifier, cache, rows, refitted)
    found = _find_mistakes(cache, layer, settings, rows)
    if settings.head in DESCENT and settings.optimizer in STEPPING:
        found += unfinished(fit.best_epoch, settings.epochs, fit.history.get("val_loss", ()))
    if cache.task == MULTICLASS:
        for part, scores in classifier.metrics.items():
            found += below_chance(scores["accuracy"], len(cache.classes), f"the {part} rows")
        if accuracy is not None and "val" not in classifier.metrics:  # folds have judged it
            found += below_chance(accuracy, len(cache.classes), "the held-out rows")
    if floor is not None:
        from featcache.checks.features import below_floor

        measured = classifier.metrics["val"]["accuracy"] if accuracy is None else accuracy
        found += below_floor(measured, floor, count=len(rows.val) or len(rows.train))
    noted = {"image_floor": floor, "warnings": [finding.to_json() for finding in found]}
    return replace(classifier, training={**classifier.training, **noted})


def calibrate_and_score(
    classifier: Classifier,
    outputs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    loss: str,
    reject_accuracy: float | None,
    unseen: tuple[np.ndarray, np.ndarray] | None = None,
) -> Classifier:
    """Calibrate a classifier on outputs for rows that it has not learnt from, then score it.

    Parameters
    ----------
    classifier
        A classifier without calibration and scores.
    outputs
        For ``"val"`` and ``"test"``, if there are such rows: raw outputs ``[n, C]``, and labels or targets.
    loss
        The training loss, which determines how outputs become probabilities.
    reject_accuracy
        Required accuracy of predictions that are not "unknown"; ``None`` for no calibration.
    unseen
        Raw outputs ``[n, C]`` and labels to calibrate with; by default those of the validation rows.
    """
    task, classes = TASK_TYPES[classifier.task], classifier.classes
    if reject_accuracy is not None:
        nothing = np.zeros((0, len(classes)), np.float32), np.zeros(0, np.int32)
        found = calibrated(
            *(unseen or outputs.get("val", nothing)),
            classes=len(classes),
            loss=loss,
            accuracy=reject_accuracy,
            task=task.task,
        )
        classifier = replace(classifier, calibration=found)
        raw, known = outputs.get("val", nothing)
        classifier = replace(
            classifier,
            known=with_sets(classifier, classifier.known, raw, known, not_so=_remembers_all(classifier)),
        )
    for part, (raw, known) in outputs.items():
        values = task.values(loss, classifier.calibration.cooled(raw), len(classes))
        classifier = classifier.with_scores(task.score(known, values, classes=classes, split=part))
    return classifier


def _remembers_all(classifier: Classifier) -> str:
    """Return why validation rows do not judge a classifier's own head, nor one that it keeps; ``""`` if they do."""
    if classifier.head in FITTED or "refitted" not in classifier.training:
        return ""
    return (
        f"its {classifier.head} head remembers the validation rows, too, and they cannot judge it any more; train it "
        "with --no-refit"
    )


def _with_familiarity(
    classifier: Classifier, cache: FeatureCache, rows: Selection, refitted: "RefittedHeads | None"
) -> Classifier:
    """Return a classifier that knows how far photos may lie from its training rows."""
    seed = classifier.settings.seed
    found = learn_familiarity(cache, classifier.layer, rows, refitted, seed=seed)
    return replace(
        classifier,
        known=replace(classifier.known, familiarity=found, no_familiarity="" if found else NO_ROWS),
    )


def image_floor(cache: FeatureCache, layer: str, train: np.ndarray, val: np.ndarray) -> float | None:
    """Return the accuracy that a head on the images' colour statistics alone reaches on the validation rows.

    ``None`` if the cache holds no statistics, if they are the head's own layer, if there are no validation rows, and
    for multilabel and regression.

    Parameters
    ----------
    cache, layer
        The cache and the layer of the head.
    train, val
        Row numbers.
    """
    if STATISTICS not in cache.layers or layer == STATISTICS or not len(val) or cache.task != MULTICLASS:
        return None
    from featcache.checks.features import statistics_floor

    # Neighbours are looked for of each in all: of very many rows, that takes longer than the head.
    random = np.random.default_rng(0)
    train, val = drawn_rows(train, FLOOR_ROWS, random), drawn_rows(val, FLOOR_JUDGES, random)
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
    """Return a classifier of a fitted head, without calibration and scores.

    Parameters
    ----------
    cache, layer
        The features that it was trained on.
    settings, parameters
        Its settings, and the fitted parameters.
    record
        Additional entries of ``training``.
    seen
        Rows of the cache that trained it or chose its epoch.
    """
    # Needed to draw views of a photo in the same way for test-time augmentation.
    drawn = {} if cache.layers[layer].views == 1 else {"view_recipe": cache.identity["recipe"]["views"]}
    return Classifier(
        backbone=cache.backbone,
        weights=recorded_weights(cache),
        recipe=cache.recipe,
        layer=layer,
        fingerprint=cache.layers[layer].fingerprint,
        layer_weights_sha256=cache.layers[layer].weights_sha256,
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


def _raw(head: FittedHead, cache: FeatureCache, rows: np.ndarray, layer: str, *, tta: bool) -> np.ndarray:
    """Return the head's raw outputs ``[n, C]`` for rows of a cache, of which `MEASURED_BYTES` are read at a time."""
    width = head.width * (cache.layers[layer].views if tta else 1)
    parts = blocks(len(rows), width, MEASURED_BYTES)
    return np.concatenate(
        [head.raw(_measured_features(cache, rows[part], layer, tta=tta), tta=tta)[0] for part in parts]
    )


def _measured_features(cache: FeatureCache, rows: np.ndarray, layer: str, *, tta: bool) -> np.ndarray:
    """Return features ``[n, D]``, or of all views ``[n, V, D]``."""
    if not tta:
        return view_features(cache, rows, layer)
    views = cache.layers[layer].views
    return view_features(cache, rows, layer, views).reshape(len(rows), views, -1)


def _find_mistakes(cache: FeatureCache, layer: str, settings: Settings, rows: Selection) -> list[Finding]:
    """Check the rows and the plain training features for mistakes that scores do not show."""
    parts = {part: getattr(rows, part) for part in ("train", "val", "test")}
    found = check_rows(cache, parts, class_weights=settings.class_weights)
    if cache.task != MULTICLASS:
        return found
    from featcache.checks.features import check_features

    some = rows.train[:: max(1, len(rows.train) // MOST_CHECKED)]
    x = view_features(cache, some, layer)
    return found + check_features(x, cache.labels[some], most_rows=MOST_COMPARED)


def recorded_weights(cache: FeatureCache) -> str | None:
    """Return the path of a cache's own weights, or ``"random"``; ``None`` for published ones, which its name says."""
    if cache.backbone.endswith(".random"):
        return "random"
    own = cache.backbone.endswith((".custom", f".{TUNED}"))
    return cache.identity["provenance"].get("weights") if own else None


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
