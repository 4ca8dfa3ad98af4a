"""What a row's label should be, told by heads that have not learnt from it: probabilities by cross-validation.

Each row is judged by a logistic regression on the other folds; all heads are solved in one program. Copies of a
picture and photos of a group are in one fold, so that none tells the label of its twin. Of very many rows heads learn
from a draw (`featcache.auditing.learning_rows`), and judge all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featcache.auditing.learning_rows import MOST_LEARNT, draw_undone, drawn_evenly
from featcache.auditing.material import Audited, TooFewPhotosError
from featcache.core.tasks import MULTILABEL
from featcache.heads.feature_table import blocks
from featcache.heads.probabilities import softmax
from featcache.heads.scaling import unit_length
from featcache.heads.settings import STRENGTHS
from featcache.metrics.comparison import within_one_error
from featcache.solvers.logistic import bytes_of_one
from featcache.splits.selection import draw_folds, strata_of

FOLDS = 5

CHOSEN_BY = 2_500
"""Rows by which the strength of the penalty is chosen; of more rows, a draw of so many."""

TRIED, WEAKER = (
    tuple(c for c in STRENGTHS["logistic"][1] if low < c < high) for low, high in ((0, 0.2), (0.2, 20))
)
"""Strengths that are tried, and those that are where the weakest of the first wins, as on few features.

Weaker penalties follow wrong labels and take long.
"""

TOLERANCE = 1e-4
"""Where a head is solved well enough to judge labels by; a hundredth of it takes twice as long."""

_BYTES, _BLOCK_BYTES = 1 << 29, 1 << 26
"""Memory of the heads' arrays, and of features that are judged at a time."""


@dataclass(frozen=True)
class HeldOut:
    """Probabilities of every row by heads that have not seen it.

    Parameters
    ----------
    probabilities
        float32 ``[M, C]``: of the classes, which exclude each other, or of each label on its own.
    judged
        bool ``[M]``, multilabel ``[M, C]``: whether the row's own label could be learnt from other rows. A class of
        fewer than `FOLDS` different pictures is not judged.
    fold_of
        int ``[M]``.
    strength
        The inverse strength c of the heads' penalty.
    learnt
        How many rows the heads learnt from; fewer than there are where a draw was taken.
    """

    probabilities: np.ndarray
    judged: np.ndarray
    fold_of: np.ndarray
    strength: float
    learnt: int


def held_out(rows: Audited) -> HeldOut:
    """Return the probabilities of every row by heads that have not seen it; computed once for all parts of an audit.

    Of the penalties whose cross-entropy on held-out rows is within one standard error of the least, the strongest is
    taken, which follows fewest wrong labels: of photos of five classes with 3 % of the labels flipped, .94 of these
    were in the first 6 % of the list with c = .003, and .86 with c = 1.

    Parameters
    ----------
    rows
        Of a multiclass or multilabel cache.

    Raises
    ------
    TooFewPhotosError
        If there are fewer than two classes with `FOLDS` different pictures each.
    DataError
        If a row holds NaN or infinity.
    """
    if "held out" not in rows.shared:
        rows.shared["held out"] = _computed(rows)
    return rows.shared["held out"]


def _computed(rows: Audited) -> HeldOut:
    rows.tell("labels", 0, "folds")
    judged = _judged(rows)
    fold_of = draw_folds(rows.cache, rows.rows, folds=FOLDS, group_by=None, seed=rows.seed)
    problems = _problems(rows)
    strata = strata_of(rows.cache, rows.rows)
    drawn = drawn_evenly(strata, MOST_LEARNT, rows.seed)
    x = unit_length(rows.vectors(drawn))
    rows.tell("labels", 0, "heads learn")
    some = np.random.default_rng(rows.seed).permutation(len(x))[:CHOSEN_BY]
    strength = _strength(x[some], [y[drawn][some] for y in problems], fold_of[drawn][some])
    if len(drawn) == len(rows):
        found = [_probabilities(x, y, fold_of, [strength])[0] for y in problems]
    else:
        found = _judged_by_few(rows, x, drawn, problems, fold_of, strength)
    probabilities = found[0] if rows.task != MULTILABEL else np.stack([each[:, 1] for each in found], axis=1)
    return HeldOut(probabilities, judged, fold_of, strength, len(drawn))


def _judged_by_few(
    rows: Audited,
    x: np.ndarray,
    drawn: np.ndarray,
    problems: list[np.ndarray],
    fold_of: np.ndarray,
    strength: float,
) -> list[np.ndarray]:
    """Return held-out probabilities float32 ``[M, C]`` of each problem for all rows, by heads that learnt from some.

    Features are read once, a block at a time, for the heads of all problems.
    """
    heads = []
    for y in problems:
        classes = max(2, int(y.max()) + 1)
        kernel, bias = _heads(x, y[drawn], fold_of[drawn], [strength], classes=classes)
        heads.append((kernel, bias + draw_undone(y, drawn, classes)))
    found = [np.empty((len(rows), bias.shape[1]), np.float32) for _, bias in heads]
    for part in blocks(len(rows), x.shape[1], _BLOCK_BYTES):
        rows.tell("labels", part.start)
        own = unit_length(rows.vectors(part))
        for fold in range(FOLDS):
            held = np.flatnonzero(fold_of[part] == fold)
            for each, (kernel, bias) in zip(found, heads, strict=True):
                each[part][held] = softmax(own[held] @ kernel[fold] + bias[fold])
    return found


def _problems(rows: Audited) -> list[np.ndarray]:
    """Return the labels int ``[M]`` of each problem: one of all classes, or one of two classes for each label."""
    if rows.task != MULTILABEL:
        return [rows.labels]
    return [rows.labels[:, label].astype(np.int64) for label in range(rows.labels.shape[1])]


def _judged(rows: Audited) -> np.ndarray:
    """Return `HeldOut.judged`; raise if there is nothing to tell apart."""
    keys = np.unique(rows.sha256, axis=0, return_inverse=True)[1].ravel()
    if rows.task == MULTILABEL:
        labels = np.arange(rows.labels.shape[1])
        both = [_learnable(keys, rows.labels[:, label].astype(int), 2).all() for label in labels]
        judged, enough = np.broadcast_to(both, rows.labels.shape), any(both)
    else:
        learnable = _learnable(keys, rows.labels, len(rows.classes))
        judged, enough = learnable[rows.labels], learnable.sum() >= 2
    if not enough:
        raise TooFewPhotosError(
            f"{rows.path}: wrong labels are found by heads that learn from other photos, for which two classes of "
            f"{FOLDS} different photos or more are needed; leave this list out, or add photos"
        )
    return judged


def _learnable(keys: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return bool ``[C]``: classes with different pictures for every fold."""
    pairs = np.unique(np.stack([keys, labels]), axis=1)
    return np.bincount(pairs[1], minlength=classes) >= FOLDS


def _strength(x: np.ndarray, problems: list[np.ndarray], fold_of: np.ndarray) -> float:
    """Return the strongest penalty whose cross-entropy on held-out rows is within one standard error of the least."""
    losses = _losses(x, problems, fold_of, TRIED)
    if losses.mean(axis=1).argmin() == len(TRIED) - 1:
        losses = np.concatenate([losses, _losses(x, problems, fold_of, WEAKER)])
    best = losses[losses.mean(axis=1).argmin()]
    near = next(place for place, own in enumerate(losses) if within_one_error(-best, -own))
    return (*TRIED, *WEAKER)[near]


def _losses(
    x: np.ndarray, problems: list[np.ndarray], fold_of: np.ndarray, strengths: Sequence[float]
) -> np.ndarray:
    """Return the cross-entropy of each strength on each held-out row, ``[S, n]``, summed over all problems."""
    losses = np.zeros((len(strengths), len(x)))
    for y in problems:
        right = [found[np.arange(len(y)), y] for found in _probabilities(x, y, fold_of, strengths)]
        losses += [-np.log(np.maximum(own, 1e-7)) for own in right]
    return losses


def _probabilities(
    x: np.ndarray, y: np.ndarray, fold_of: np.ndarray, strengths: Sequence[float]
) -> list[np.ndarray]:
    """Return held-out probabilities float32 ``[n, C]`` for each strength; all heads are solved in one program."""
    classes = max(2, int(y.max()) + 1)
    kernel, bias = _heads(x, y, fold_of, strengths, classes=classes)
    found = [np.zeros((len(y), classes), np.float32) for _ in strengths]
    for fold in range(FOLDS):
        held = np.flatnonzero(fold_of == fold)
        for part in blocks(len(held), x.shape[1], _BLOCK_BYTES):
            own = x[held[part]]
            for number, each in enumerate(found):
                head = number * FOLDS + fold
                each[held[part]] = softmax(own @ kernel[head] + bias[head])
    return found


def _heads(
    x: np.ndarray, y: np.ndarray, fold_of: np.ndarray, strengths: Sequence[float], *, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernels ``[S · FOLDS, D, C]`` and biases of a head without each fold, for each strength."""
    from featcache.solvers.logistic import fit_logistic

    weight = np.stack([fold_of != fold for fold in range(FOLDS)]).astype(np.float32)
    solution = fit_logistic(
        x,
        y,
        np.tile(weight, (len(strengths), 1)),
        np.repeat(np.asarray(strengths, np.float32), FOLDS),
        classes=classes,
        tolerance=TOLERANCE,
        scaling="unit",
        memory=max(_BYTES, bytes_of_one(len(x), x.shape[1], classes)),
    )
    kernel, bias = (np.asarray(solution.parameters[name]) for name in ("kernel", "bias"))
    return kernel, bias
