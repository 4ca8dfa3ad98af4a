"""Scores of K heads on held-out rows."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from featcache.heads.feature_table import DEFAULT_MEMORY, FeatureRows, blocks
from featcache.heads.inference import outputs
from featcache.heads.probabilities import class_probabilities
from featcache.heads.settings import DESCENT, Settings, loss_of


def scores(
    settings: Settings,
    parameters: Mapping[str, np.ndarray],
    val: FeatureRows,
    *,
    classes: int,
    memory: int = DEFAULT_MEMORY,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean loss and score of K heads on validation rows, each ``[K]``; NaN for a head without rows.

    Returns
    -------
    loss, score
        Multiclass: mean cross-entropy in nats, and accuracy. Multilabel: mean binary cross-entropy in nats, and share
        of right labels. Regression: mean squared error, and R², both averaged over the T targets.
    """
    heads = len(val.weight)
    loss, score, weight = np.zeros(heads), np.zeros(heads), np.zeros(heads)
    judge = _row_scorer(settings, val, classes)
    width = val.table.shape[1] + heads * classes * 4
    for part in blocks(val.table.shape[0], width, memory // 4):
        numbers = np.arange(part.start, part.stop)
        counts = val.weight[:, numbers]
        raw = outputs(settings, parameters, val.table.take(numbers), classes=classes)
        for total, own in zip((loss, score), judge(raw, val.labels[numbers]), strict=True):
            # A row that does not count may be infinite.
            total += np.sum(np.where(counts > 0, counts * own, 0.0), axis=1)
        weight += counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return loss / weight, score / weight


def row_scores(
    settings: Settings, parameters: Mapping[str, np.ndarray], val: FeatureRows, *, classes: int
) -> np.ndarray:
    """Return the score of one head (parameters without an axis of heads) on each row, float64 ``[N]``.

    Multiclass: 1 if right, else 0. Multilabel: the share of right labels. Regression: the row's term of R². The mean
    over rows is the score that `scores` gives with equal weights.
    """
    return row_losses_and_scores(settings, parameters, val, classes=classes)[1]


def row_losses_and_scores(
    settings: Settings, parameters: Mapping[str, np.ndarray], val: FeatureRows, *, classes: int
) -> np.ndarray:
    """Return the loss and the score of one head on each row, float64 ``[2, N]``; see `scores` and `row_scores`.

    The loss is what the head minimises: of ``ridge`` on classes the squared error of outputs whose targets are ±1. They
    are no logits, and a cross-entropy of them grows with every penalty.
    """
    judge = _row_scorer(settings, val, classes)
    single = {name: np.asarray(value)[None] for name, value in parameters.items()}
    found = []
    for start in range(0, val.table.shape[0], 4096):
        numbers = np.arange(start, min(start + 4096, val.table.shape[0]))
        raw = outputs(settings, single, val.table.take(numbers), classes=classes)
        losses, right = (own[0] for own in judge(raw, val.labels[numbers]))
        if settings.head == "ridge" and val.labels.ndim == 1:
            losses = _squared_errors(raw[0], val.labels[numbers], classes)
        found.append(np.stack([losses, right]).astype(np.float64))
    return np.concatenate(found, axis=1)


def _squared_errors(raw: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    targets = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    return np.square(raw - targets, dtype=np.float64).mean(axis=1)


RowScorer = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Outputs ``[K, n, C]`` and labels ``[n, …]`` to the loss and the score of each row, both ``[K, n]``."""


def _row_scorer(settings: Settings, val: FeatureRows, classes: int) -> RowScorer:
    if val.labels.ndim == 1:
        return partial(_multiclass_scores, loss_of(settings), classes)
    if settings.head in DESCENT and settings.loss == "sigmoid":
        return _multilabel_scores
    return partial(_regression_scores, _variances(val))


def _multiclass_scores(
    loss: str, classes: int, raw: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    probable = np.stack([class_probabilities(loss, own, classes) for own in raw])
    rows = np.broadcast_to(labels, raw.shape[:2])
    own = np.take_along_axis(probable, rows[..., None], axis=2)[..., 0]
    return -np.log(np.maximum(own, np.finfo(np.float32).tiny)), probable.argmax(axis=2) == labels


def _multilabel_scores(raw: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    losses = np.logaddexp(0.0, raw) - raw * labels
    return losses.mean(axis=2), np.mean((raw > 0) == (labels > 0.5), axis=2)


def _regression_scores(
    variances: np.ndarray, raw: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # R² = 1 − Σ error² / Σ (label − mean)² is the mean of 1 − error² / variance over the rows. Of a constant label
    # it is, as in scikit-learn, 1 where it is met and 0 where not.
    squares = np.square(raw - labels, dtype=np.float64)
    spread = variances[:, None] > 0
    shares = 1 - squares / np.where(spread, variances[:, None], 1.0)
    return squares.mean(axis=2), np.where(spread, shares, squares == 0).mean(axis=2)


def _variances(val: FeatureRows) -> np.ndarray:
    """Return each target's variance over a head's validation rows, float64 ``[K, T]``; exactly 0 for a constant."""
    found = np.zeros((len(val.weight), val.labels.shape[1]))
    for variance, weight in zip(found, val.weight, strict=True):
        labels = val.labels[weight > 0].astype(np.float64)
        if len(labels):
            # Around one of them: where all are the same, no rounding is left to divide by.
            centred = labels - labels[0]
            share = weight[weight > 0] / weight.sum(dtype=np.float64)
            variance[:] = share @ np.square(centred - share @ centred)
    return found
