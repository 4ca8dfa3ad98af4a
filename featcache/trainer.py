"""Train one head on a cache: choose the rows, fit, measure, keep the result as a classifier."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.backbones import TUNED
from featcache.cache import FeatureCache
from featcache.calibration import Calibration
from featcache.checks import Finding, check_rows, require_finite
from featcache.classifier import Classifier
from featcache.errors import DataError, UsageError, did_you_mean
from featcache.image_statistics import LAYER as STATISTICS
from featcache.metrics import score
from featcache.outputs import CLASS_LOSSES
from featcache.rejection import require_accuracy
from featcache.settings import DESCENT, Settings
from featcache.splits import draw_stratified

MOST_COMPARED = 1000
"""Training rows whose neighbours are looked at for a mistake; of more, that many are drawn."""


@dataclass(frozen=True)
class Selection:
    """Row numbers of the three parts; `held_out` says how validation rows were chosen."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    held_out: str


def select_rows(cache: FeatureCache, *, val_fraction: float, seed: int) -> Selection:
    """Choose training, validation and test rows of a cache.

    The cache's own validation split decides when to stop; without one, a stratified share of the training
    rows does, drawn by content (see `featcache.splits.draw_stratified`).

    Raises
    ------
    DataError
        If there is no training split, or fewer than two classes in it.
    """
    if "train" not in cache.splits:
        raise DataError(f"{cache.path} has no train split; it has {', '.join(cache.splits)}")
    rows = cache.rows_of("train")
    labels = cache.labels[rows]
    if len(np.unique(labels)) < 2:
        raise DataError(f"{cache.path}: the readable training images are of fewer than two classes")
    nothing = np.zeros(0, np.int64)
    test = cache.rows_of("test") if "test" in cache.splits else nothing
    if "val" in cache.splits and len(cache.rows_of("val")):
        return Selection(rows, cache.rows_of("val"), test, "the dataset's own split")
    if not val_fraction:
        return Selection(rows, nothing, test, "none")
    keys = [cache.sha256[row].tobytes() for row in rows]
    held = draw_stratified(keys, labels, fraction=val_fraction, seed=seed)
    return Selection(rows[~held], rows[held], test, f"{val_fraction:g} of train, stratified, seed {seed}")


def train_head(
    cache: str | os.PathLike[str] | FeatureCache,
    *,
    output: str | os.PathLike[str] | None = "classifier",
    layer: str | None = None,
    head: str = "linear",
    hidden: Sequence[int] = (256,),
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    loss: str = "softmax",
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
    head, hidden, activation, dropout, batch_norm, loss, optimizer, learning_rate, weight_decay, \
label_smoothing, momentum, schedule, end, power, warmup, clip, mixup, noise, class_weights, batch_size, epochs, \
monitor, patience, min_delta, val_fraction, standardize, seed, c, l2, neighbours, temperature, metric
        See `Settings`.
    calibrate
        Fit a temperature to the validation rows, and choose from which confidence on a prediction counts: see
        `featcache.calibration.calibrated`. These rows have chosen the epoch too, so both are a little too sure.
    reject_accuracy
        How often a prediction that counts must be right; the others are "unknown".

    Returns
    -------
    Classifier
        With its metrics, of calibrated probabilities: ``val`` (which chose the epoch) and, where the cache has
        one, ``test`` (read once); with what is probably a mistake in ``training["warnings"]``, and in
        ``training["image_floor"]`` the accuracy that the images' colours alone reach on the validation rows, where
        the cache holds them.

    Raises
    ------
    UsageError
        If a setting has a value that cannot work.
    DataError
        If the cache has no usable training rows, or a row holds NaN or infinity.
    IntegrityError
        If the cache is damaged.
    """
    require_accuracy(reject_accuracy)
    if loss not in CLASS_LOSSES:
        raise UsageError(f"no loss {loss!r} for classes; {did_you_mean(loss, CLASS_LOSSES)}")
    settings = Settings(
        head=head,
        hidden=tuple(hidden),
        activation=activation,
        dropout=dropout,
        batch_norm=batch_norm,
        loss=loss,
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
    )
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    name = opened.layer(layer)
    rows = select_rows(opened, val_fraction=val_fraction, seed=seed)
    parts = {part: _flat(opened, getattr(rows, part), name) for part in ("train", "val", "test")}
    started = time.monotonic()
    parameters, record = _fit(settings, len(opened.classes), parts)
    record |= {"seconds": round(time.monotonic() - started, 3), "validation": rows.held_out}
    classifier = make_classifier(opened, name, settings, parameters, record)
    if calibrate:
        classifier = classifier.calibrated(*parts["val"], reject_accuracy=reject_accuracy)
    for part in ("val", "test"):
        features, labels = parts[part]
        if len(labels):
            scores = score(labels, classifier.probabilities(features), split=part)
            classifier = classifier.with_scores(scores)
    found, floor = _checked(settings, opened, rows, name, parts["train"])
    classifier = _noted(classifier, found, floor)
    if output is not None:
        classifier.save(output)
    return classifier


def make_classifier(
    cache: FeatureCache,
    layer: str,
    settings: Settings,
    parameters: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
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
        metrics={},
        calibration=Calibration(note="it was not asked for"),
        training={**asdict(settings), "hidden": list(settings.hidden), **record},
        provenance=_provenance(cache),
    )


def _flat(cache: FeatureCache, rows: np.ndarray, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features float32 ``[n, D]``, maps flattened, and labels."""
    width = int(np.prod(cache.layers[layer].shape))
    features = cache.features(rows, layer).reshape(len(rows), width)
    require_finite(features, rows, cache, layer)
    return np.asarray(features, np.float32), cache.labels[rows]


def _checked(
    settings: Settings, cache: FeatureCache, rows: Selection, layer: str, train: tuple[np.ndarray, np.ndarray]
) -> tuple[list[Finding], float | None]:
    """Look for mistakes that scores do not show; also return the accuracy of the images' colours alone."""
    from featcache.feature_checks import check_features

    parts = {part: getattr(rows, part) for part in ("train", "val", "test")}
    found = check_rows(cache, parts, class_weights=settings.class_weights)
    found += check_features(*train, most_rows=MOST_COMPARED)
    return found, _image_floor(cache, rows, layer)


def _noted(classifier: Classifier, found: Sequence[Finding], floor: float | None) -> Classifier:
    """Return the classifier with what was found, and whether it is better than the images' colours alone."""
    from featcache.feature_checks import below_floor

    lost = [] if floor is None else below_floor(classifier.metrics["val"]["accuracy"], floor)
    noted = {"image_floor": floor, "warnings": [finding.to_json() for finding in (*found, *lost)]}
    return replace(classifier, training={**classifier.training, **noted})


def _image_floor(cache: FeatureCache, rows: Selection, layer: str) -> float | None:
    """Return the accuracy that the images' statistics alone reach on the validation rows, if the cache has them."""
    from featcache.feature_checks import statistics_floor

    if STATISTICS not in cache.layers or layer == STATISTICS or not len(rows.val):
        return None
    train, val = (_flat(cache, part, STATISTICS) for part in (rows.train, rows.val))
    return statistics_floor(*train, *val, classes=len(cache.classes))


def _fit(
    settings: Settings, classes: int, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    from featcache.fitting import fit_heads
    from featcache.tables import ArrayTable, Part

    train, val = (
        Part(ArrayTable(x), y, np.ones((1, len(y)), np.float32)) for x, y in (parts["train"], parts["val"])
    )
    (fit,) = fit_heads([settings], train, val, classes=classes)
    if not fit.best_epoch and settings.head in DESCENT:
        raise DataError(
            f"training diverged at once (learning rate {settings.learning_rate:g}); try a tenth of it"
        )
    record = {"best_epoch": fit.best_epoch, "epochs_run": fit.epochs_run, "history": dict(fit.history)}
    return fit.parameters, record


def _own_weights(cache: FeatureCache) -> str | None:
    """What to load the backbone's weights from where its name alone does not say: a user's own file."""
    if cache.backbone.endswith(".random"):
        return "random"
    own = cache.backbone.endswith((".custom", f".{TUNED}"))
    return cache.identity["provenance"]["weights"] if own else None


def _provenance(cache: FeatureCache) -> dict[str, Any]:
    from featcache import __version__

    return {
        "cache": str(Path(cache.path).resolve()),
        "base": cache.identity["provenance"].get("base"),
        "rows_sha256": cache.identity["rows"]["sha256"],
        "dataset": cache.identity["dataset"]["spec"],
        "split_rule": cache.identity["dataset"]["rule"],
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "featcache": __version__,
    }
