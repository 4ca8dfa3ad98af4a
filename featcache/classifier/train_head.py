"""Train one head on a cache: choose the rows, fit, measure, keep the result as a classifier."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.cached_features import require_several, view_features, views_used, with_views
from featcache.classifier.classifier import Classifier
from featcache.classifier.finishing import _checked, _noted, make_classifier
from featcache.classifier.rejection import require_accuracy
from featcache.core.tasks import REGRESSION
from featcache.errors import DataError
from featcache.heads.settings import DESCENT, Settings
from featcache.heads.target_scaling import TargetScale
from featcache.heads.task_types import TASK_TYPES
from featcache.splits.selection import SplitSpec, select_rows

if TYPE_CHECKING:
    from featcache.heads.feature_table import FeatureRows


def train_head(
    cache: str | os.PathLike[str] | FeatureCache,
    *,
    output: str | os.PathLike[str] | None = "classifier",
    layer: str | None = None,
    train: str = "train",
    val: str | None = None,
    test: str | None = None,
    group_by: str | None = None,
    head: str | None = None,
    hidden: Sequence[int] = (256,),
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    loss: str | None = None,
    optimizer: str = "adam",
    learning_rate: float = 3e-4,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    momentum: float = 0.9,
    schedule: str = "constant",
    end: float = 0.0,
    power: float = 1.0,
    warmup: float = 0.0,
    clip: float | None = None,
    mixup: float = 0.0,
    noise: float = 0.0,
    class_weights: str = "none",
    batch_size: int = 128,
    epochs: int = 100,
    monitor: str = "loss",
    patience: int = 10,
    min_delta: float = 0.0,
    val_fraction: float = 0.2,
    standardize: bool = True,
    seed: int = 0,
    c: float = 1.0,
    l2: float = 1.0,
    neighbours: int = 20,
    temperature: float | None = None,
    metric: str = "cosine",
    views: int | None = None,
    tta: bool = False,
    calibrate: bool = True,
    reject_accuracy: float = 0.95,
) -> Classifier:
    """Train a head on cached features.

    Parameters
    ----------
    cache
        A cache, its path, or the result of `featcache.extract`.
    output
        Folder for the classifier; ``None`` to save nothing.
    layer
        Which layer of the cache; its first by default.
    train, val, test, group_by
        Which rows train, validate and test, as splits or slices such as ``"train[:80%]"``; ``"none"`` for none. By
        default those of the cache's own splits, and `val_fraction` of the training rows where it has no val split, of
        whole groups where images have groups; see `featcache.splits.selection.SplitSpec`.
    head, hidden, activation, dropout, batch_norm, loss, optimizer, learning_rate, weight_decay, \
label_smoothing, momentum, schedule, end, power, warmup, clip, mixup, noise, class_weights, batch_size, epochs, \
monitor, patience, min_delta, val_fraction, standardize, seed, c, l2, neighbours, temperature, metric, views
        See `Settings`. Where nothing is said, classes are learnt by a ``"linear"`` head with a ``"softmax"``, answers
        with a ``"sigmoid"`` for each, and numbers by ``"ridge"``.
    tta
        Measure and calibrate on the mean of the probabilities of all views of an image that the cache holds
        (test-time augmentation), not on the plain image alone; recorded, so that `Classifier.evaluate` and
        `Classifier.predict` do the same. The epoch is chosen on the plain validation images either way.
    calibrate
        Fit a temperature to the validation rows, and choose from which confidence on a prediction counts: see
        `featcache.classifier.calibration.calibrated`. These rows have chosen the epoch too, so both are a
        little too sure.
    reject_accuracy
        How often a prediction that counts must be right; the others are "unknown".

    Returns
    -------
    Classifier
        With its metrics, of calibrated probabilities: ``val`` (which chose the epoch) and, where the cache has
        one, ``test`` (read once); for answers and numbers see `featcache.metrics.multilabel`. With what is probably a
        mistake in ``training["warnings"]``, and in ``training["image_floor"]`` the accuracy that the images' colours
        alone reach on the validation rows, where the cache holds them.

    Raises
    ------
    UsageError
        If a setting has a value that cannot work, or a head cannot learn what the cache knows of its images.
    DataError
        If the cache has no usable training rows, or a row holds NaN or infinity.
    IntegrityError
        If the cache is damaged.
    """
    require_accuracy(reject_accuracy)
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    reading = TASK_TYPES[opened.task]
    settings = Settings(
        head=reading.head(head),
        hidden=tuple(hidden),
        activation=activation,
        dropout=dropout,
        batch_norm=batch_norm,
        loss=reading.loss(loss),
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        momentum=momentum,
        schedule=schedule,
        end=end,
        power=power,
        warmup=warmup,
        clip=clip,
        mixup=mixup,
        noise=noise,
        class_weights=class_weights,
        batch_size=batch_size,
        epochs=epochs,
        monitor=monitor,
        patience=patience,
        min_delta=min_delta,
        val_fraction=val_fraction,
        standardize=standardize,
        seed=seed,
        c=c,
        l2=l2,
        neighbours=neighbours,
        temperature=temperature,
        metric=metric,
        views=views,
    )
    name = opened.layer(layer)
    asked = SplitSpec(train, val, test, val_fraction, group_by, seed)
    rows = select_rows(opened, asked)
    if tta:
        require_several(opened, name)
    settings = with_views(opened, name, settings)
    used = views_used(opened, name, settings)
    learnt, judging = _labelled(opened, rows.train, name, used), _labelled(opened, rows.val, name)
    measured = {part: _measured(opened, getattr(rows, part), name, tta=tta) for part in ("val", "test")}
    started = time.monotonic()
    fit = _fit_numbers if opened.task == REGRESSION else _fit
    parameters, record = fit(settings, len(opened.classes), learnt, judging)
    record |= {"seconds": round(time.monotonic() - started, 3), "validation": rows.held_out, "tta": tta}
    record["selection"] = asked.to_json()
    seen = np.concatenate([rows.train, rows.val])
    classifier = make_classifier(opened, name, settings, parameters, record, seen=seen)
    if calibrate:
        classifier = classifier.calibrated(*measured["val"], reject_accuracy=reject_accuracy, tta=tta)
    for part, (features, labels) in measured.items():
        if len(labels):
            values = classifier.values(features, tta=tta)
            classifier = classifier.with_scores(
                reading.score(labels, values, classes=opened.classes, split=part)
            )
    found, floor = _checked(settings, opened, rows, name, learnt)
    classifier = _noted(classifier, found, floor)
    if output is not None:
        classifier.save(output)
    return classifier


def _labelled(cache: FeatureCache, rows: np.ndarray, layer: str, views: int = 1) -> "FeatureRows":
    """Return the first views of some rows, for one head that all count the same for."""
    from featcache.heads.feature_table import ArrayTable, FeatureRows

    table = ArrayTable(view_features(cache, rows, layer, views))
    return FeatureRows(table, cache.known[rows], np.ones((1, len(rows)), np.float32), views)


def _measured(
    cache: FeatureCache, rows: np.ndarray, layer: str, *, tta: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a head is measured on: features ``[n, D]``, or of all views ``[n, V, D]``, and labels."""
    views = cache.layers[layer].views if tta else 1
    features = view_features(cache, rows, layer, views)
    width = features.shape[1]
    return features.reshape(len(rows), *([views] if tta else []), width), cache.known[rows]


def _fit(
    settings: Settings, classes: int, train: "FeatureRows", val: "FeatureRows"
) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    """Fit one head; also return what to remember of it."""
    from featcache.solvers.fit import fit_heads

    (fit,) = fit_heads([settings], train, val, classes=classes)
    if not fit.best_epoch and settings.head in DESCENT:
        raise DataError(
            f"training diverged at once (learning rate {settings.learning_rate:g}); try a tenth of it"
        )
    record = {"best_epoch": fit.best_epoch, "epochs_run": fit.epochs_run, "history": dict(fit.history)}
    return fit.parameters, record


def _fit_numbers(
    settings: Settings, numbers: int, train: "FeatureRows", val: "FeatureRows"
) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    """Fit one head to numbers in units of their deviation; what it learnt gives them in their own."""
    scale = TargetScale.of(train.labels.astype(np.float64), train.weight[0])
    train, val = (part._replace(labels=scale.scale(part.labels).astype(np.float32)) for part in (train, val))
    parameters, record = _fit(settings, numbers, train, val)
    return scale.fold_into(parameters), record
