"""Train one head on a cache: choose the rows, fit, measure, keep the result as a classifier."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier import Classifier
from featcache.errors import DataError, UsageError, did_you_mean
from featcache.metrics import score
from featcache.splits import draw_stratified


@dataclass(frozen=True)
class Settings:
    """How a head is trained.

    Parameters
    ----------
    head
        Kind of head.
    optimizer
        ``"adam"``, ``"adamw"`` or ``"sgd"`` (momentum 0.9).
    learning_rate, weight_decay, label_smoothing
        As usual; decay does not touch biases.
    batch_size, epochs
        Rows per step, and the most epochs to run.
    patience, min_delta
        Stop when the validation loss has not fallen by `min_delta` for `patience` epochs.
    val_fraction
        Share of the training rows held out for validation where the cache has no validation split.
    standardize
        Bring features to mean 0 and deviation 1 (folded into the saved weights).
    seed
        Of the initialisation, the order of the rows and the held-out share.
    """

    head: str = "linear"
    optimizer: str = "adam"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    batch_size: int = 128
    epochs: int = 100
    patience: int = 10
    min_delta: float = 0.0
    val_fraction: float = 0.2
    standardize: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        from featcache.heads import HEADS
        from featcache.training import OPTIMIZERS

        for word, name, known in (("head", self.head, HEADS), ("optimizer", self.optimizer, OPTIMIZERS)):
            if name not in known:
                raise UsageError(f"no {word} {name!r}; {did_you_mean(name, known)}")
        limits = {
            "learning_rate": (0 < self.learning_rate < float("inf"), "above 0"),
            "weight_decay": (0 <= self.weight_decay < float("inf"), "0 or above"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in 0..1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "patience": (self.patience >= 1, "at least 1"),
            "val_fraction": (0 <= self.val_fraction < 1, "in 0..1"),
            "seed": (0 <= self.seed < 2**32, "in 0..2^32"),
        }
        for field, (good, expected) in limits.items():
            if not good:
                raise UsageError(f"{field.replace('_', '-')} {getattr(self, field)}: expected {expected}")


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
    optimizer: str = "adam",
    learning_rate: float = 3e-4,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    batch_size: int = 128,
    epochs: int = 100,
    patience: int = 10,
    min_delta: float = 0.0,
    val_fraction: float = 0.2,
    standardize: bool = True,
    seed: int = 0,
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
    head, optimizer, learning_rate, weight_decay, label_smoothing, batch_size, epochs, patience, min_delta, \
val_fraction, standardize, seed
        See `Settings`.

    Returns
    -------
    Classifier
        With its metrics: ``val`` (which chose the epoch) and, where the cache has one, ``test`` (read once).

    Raises
    ------
    DataError
        If the cache has no usable training rows.
    IntegrityError
        If the cache is damaged.
    """
    settings = Settings(
        head=head,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        min_delta=min_delta,
        val_fraction=val_fraction,
        standardize=standardize,
        seed=seed,
    )
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    name = opened.layer(layer)
    rows = select_rows(opened, val_fraction=val_fraction, seed=seed)
    parts = {part: _flat(opened, getattr(rows, part), name) for part in ("train", "val", "test")}
    started = time.monotonic()
    parameters, record = _fit(settings, len(opened.classes), parts)
    record |= {"seconds": round(time.monotonic() - started, 3), "validation": rows.held_out}
    classifier = Classifier(
        backbone=opened.backbone,
        weights=_own_weights(opened),
        recipe=opened.recipe,
        layer=name,
        fingerprint=opened.layers[name].fingerprint,
        head=head,
        parameters=parameters,
        classes=opened.classes,
        metrics={},
        training={**asdict(settings), **record},
        provenance=_provenance(opened),
    )
    for part in ("val", "test"):
        features, labels = parts[part]
        if len(labels):
            scores = score(labels, classifier.probabilities(features), split=part)
            classifier = classifier.with_scores(scores)
    if output is not None:
        classifier.save(output)
    return classifier


def _flat(cache: FeatureCache, rows: np.ndarray, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features float32 ``[n, D]``, maps flattened, and labels."""
    width = int(np.prod(cache.layers[layer].shape))
    features = cache.features(rows, layer).reshape(len(rows), width)
    return np.asarray(features, np.float32), cache.labels[rows]


def _fit(
    settings: Settings, classes: int, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from featcache.training import Hyperparameters, Program, Rows, fit

    program = Program(
        settings.head,
        classes,
        settings.optimizer,
        settings.batch_size,
        settings.epochs,
        settings.standardize,
    )
    # numpy arrays: making them with jax.numpy would compile a small program for each.
    hyper = Hyperparameters(
        learning_rate=np.array([settings.learning_rate], np.float32),
        weight_decay=np.array([settings.weight_decay], np.float32),
        label_smoothing=np.array([settings.label_smoothing], np.float32),
        patience=np.array([settings.patience], np.float32),
        min_delta=np.array([settings.min_delta], np.float32),
        seed=np.array([settings.seed], np.uint32),
    )
    train, val = (
        Rows(x, np.asarray(y), np.ones((1, len(y)), np.float32)) for x, y in (parts["train"], parts["val"])
    )
    fitted = fit(program, hyper, train, val)
    if not int(fitted.best_epoch[0]):
        raise DataError(
            f"training diverged at once (learning rate {settings.learning_rate:g}); try a tenth of it"
        )
    run = int(fitted.epochs_run)
    record = {
        "best_epoch": int(fitted.best_epoch[0]),
        "epochs_run": run,
        "history": {
            name: [_number(value) for value in np.asarray(values)[:run, 0]]
            for name, values in fitted.history._asdict().items()
        },
    }
    return {name: np.asarray(value[0]) for name, value in fitted.parameters.items()}, record


def _number(value: np.floating) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _own_weights(cache: FeatureCache) -> str | None:
    """What to load the backbone's weights from where its name alone does not say: a user's own file."""
    if cache.backbone.endswith(".random"):
        return "random"
    return cache.identity["provenance"]["weights"] if cache.backbone.endswith(".custom") else None


def _provenance(cache: FeatureCache) -> dict[str, Any]:
    from featcache import __version__

    return {
        "cache": str(Path(cache.path).resolve()),
        "rows_sha256": cache.identity["rows"]["sha256"],
        "dataset": cache.identity["dataset"]["spec"],
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "featcache": __version__,
    }
