"""Fit a head again on training and validation rows together, once validation has chosen its settings and epoch.

Validation rows are a fifth of what is labelled, and to choose with them does not use them up. The final head learns
from all of them. What it is worth is then told by heads that have not: its calibration comes from out-of-fold outputs
(each row's by a head of the same settings that learnt from the other folds; Platt, "Probabilistic outputs for support
vector machines", 1999, section 3, and scikit-learn's ``CalibratedClassifierCV``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.errors import DataError
from featcache.heads.settings import STRENGTHS, Settings
from featcache.splits.selection import draw_folds, keys_of

if TYPE_CHECKING:
    from featcache.heads.feature_table import FeatureRows
    from featcache.solvers.fit import Fit

FOLDS = 5
"""Folds of out-of-fold outputs, and by which a strength is chosen."""

CALIBRATING_ROWS = 50_000
"""Rows that are enough to calibrate on: folds beyond are not held out, since each takes another head.

A temperature is one number and a threshold another: 50,000 rows tell an accuracy of 95 % to 0.2 points. Of a million
rows one fold is enough, and the heads of four more would take longer than all else.
"""

FEWEST_ROWS = 2 * FOLDS
"""With fewer rows there are no folds: heads without a class would tell of nothing but its absence."""

DIVISIONS, DIVIDED_ROWS = 3, 200
"""How often up to so many rows are divided into folds to choose the strength of a penalty by.

Of so few rows, which fold a row is in decides as much as the strength does.
"""


@dataclass(frozen=True)
class RefittedHeads:
    """Heads of one configuration on all rows.

    Parameters
    ----------
    fits
        One for each seed, on all rows.
    by_fold
        For each fold, one that learnt from the other folds (of the first seed), or for the first of them that hold
        `CALIBRATING_ROWS`; none if there were too few rows.
    rows
        The cache's row numbers of all rows, int ``[n]``.
    fold_of
        The fold of each, int ``[n]``; ``None`` if there were too few rows, or folds were not asked for.
    """

    fits: "Sequence[Fit]"
    by_fold: "Sequence[Fit]"
    rows: np.ndarray
    fold_of: np.ndarray | None


def folds_for(cache: FeatureCache, rows: np.ndarray, *, group_by: str | None, seed: int) -> np.ndarray | None:
    """Return the fold of each row, int ``[n]``; ``None`` if there are too few for `FOLDS` of them."""
    if len(set(keys_of(cache, rows))) < FEWEST_ROWS:
        return None
    try:
        return draw_folds(cache, rows, folds=FOLDS, group_by=group_by, seed=seed)
    except DataError:  # fewer groups than folds
        return None


def divisions(head: str, rows: int) -> int:
    """Return how often rows are divided into folds to choose the strength of a head's penalty by."""
    return DIVISIONS if head == "logistic" and rows <= DIVIDED_ROWS else 1


def refit(
    settings: "Sequence[Settings]",
    pool: "FeatureRows",
    rows: np.ndarray,
    fold_of: np.ndarray | None,
    *,
    last_epochs: Sequence[float],
    classes: int,
    **options: Any,
) -> RefittedHeads:
    """Fit heads that differ in the seed on all rows, and one without each fold, in one program.

    Of very many rows only the first folds are held out, see `CALIBRATING_ROWS`.

    Parameters
    ----------
    settings
        S of them.
    pool
        All training and validation rows, int ``[n]`` of the cache as `rows`; its weights are not looked at.
    rows, fold_of
        See `RefittedHeads`; ``None`` for no folds.
    last_epochs
        S epochs after which heads by descent stop: those that validation chose.
    classes
        Number of classes, labels or targets.
    **options
        Of `featcache.solvers.fit.fit_heads`.
    """
    from featcache.solvers.fit import fit_heads

    folds = _enough(_held_out(fold_of))
    everything = np.ones(len(rows), bool)
    weight = np.stack([*(everything for _ in settings), *(~held for held in folds)]).astype(np.float32)
    nothing = pool._replace(
        table=_no_rows(pool.table.shape[1]), labels=pool.labels[:0], weight=weight[:, :0], views=1
    )
    fits = fit_heads(
        [*settings, *(settings[0] for _ in folds)],
        pool._replace(weight=weight),
        nothing,
        classes=classes,
        last_epochs=[*last_epochs, *(last_epochs[0] for _ in folds)],
        **options,
    )
    count = len(settings)
    return RefittedHeads(fits[:count], fits[count:], rows, fold_of)


def _held_out(fold_of: np.ndarray | None) -> list[np.ndarray]:
    """Return which rows each fold holds out, bool ``[n]`` each."""
    return [] if fold_of is None else [fold_of == fold for fold in range(int(fold_of.max()) + 1)]


def _enough(folds: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Return the first folds that together hold enough rows to calibrate on; all of them if they do not."""
    held = np.cumsum([own.sum() for own in folds])
    return folds[: int(np.searchsorted(held, CALIBRATING_ROWS)) + 1]


def _no_rows(width: int) -> Any:
    from featcache.heads.feature_table import ArrayTable

    return ArrayTable(np.zeros((0, width), np.float32))


def _strength(
    candidates: Sequence[Settings],
    by_fold: "Sequence[Sequence[Fit]]",
    folds: Sequence[np.ndarray],
    plain: "FeatureRows",
    classes: int,
) -> int:
    """Return which of the candidates, strongest penalty first, to take, from their fits without each fold.

    Of ``ridge`` the one whose mean loss over the folds is the least: its outputs are no logits, and lose with every
    penalty. Of ``logistic`` the one halfway between two answers, as strengths differ by factors: the strongest within
    one standard error of the least loss (as in `featcache.sweeps.simplest`), and the strongest that has the most rows
    right. Each errs where the other does not. The least loss goes to weights that follow wrong labels, because a
    softer answer to these rows is worth more than a sharper one to all others; the most right rows are one of many on
    few rows, by chance. Test accuracy beside scikit-learn's grid search, mean of 30 cells of 100 to 1,000 rows in
    `benchmarks/accuracy.py` (the worst cell): the least loss +.36 (−.85), within one error +.44 (−.68), most rows right
    +.28 (−.43), halfway +.45 (−.21), and +.48 (−.21) where few rows are divided `DIVISIONS` times.
    """
    if candidates[0].head != "logistic":
        return int(np.argmin(np.nanmean([[fit.val_loss for fit in fits] for fits in by_fold], axis=1)))
    from featcache.metrics.comparison import within_one_error

    rows = _held_out_rows(candidates, by_fold, folds, plain, classes)
    losses, right = rows[:, 0], rows[:, 1].sum(axis=1)
    best = int(losses.mean(axis=1).argmin())
    near = next((own for own in range(best) if within_one_error(-losses[best], -losses[own])), best)
    # Shares of rows that were counted several times are no whole numbers, and equal ones may differ in a last bit.
    return (near + int(np.argmax(right > right.max() - 1e-3))) // 2


def _held_out_rows(
    candidates: Sequence[Settings],
    by_fold: "Sequence[Sequence[Fit]]",
    folds: Sequence[np.ndarray],
    plain: "FeatureRows",
    classes: int,
) -> np.ndarray:
    """Return the loss and score of every candidate on each row, float ``[S, 2, n]``, by heads that have not seen it."""
    from featcache.heads.feature_table import ArrayTable, FeatureRows
    from featcache.heads.validation_scores import row_losses_and_scores

    found = np.zeros((len(candidates), 2, len(plain.labels)))
    for number, held in enumerate(folds):
        rows = np.flatnonzero(held)
        ones = np.ones((1, len(rows)), np.float32)
        part = FeatureRows(ArrayTable(plain.table.take(rows)), plain.labels[rows], ones)
        for own, fits, settings in zip(found, by_fold, candidates, strict=True):
            own[:, rows] += row_losses_and_scores(settings, fits[number].parameters, part, classes=classes)
    return found / np.sum(folds, axis=0)


def fit_at_once(
    settings: Settings,
    pool: "FeatureRows",
    plain: "FeatureRows",
    rows: np.ndarray,
    trained: np.ndarray,
    divisions: Sequence[np.ndarray],
    *,
    strength: float | None,
    classes: int,
    names: Sequence[str] = (),
) -> "tuple[Settings, Fit, RefittedHeads]":
    """Fit a head that knows no epochs on training rows, on all rows, and without each fold, in one program.

    Parameters
    ----------
    settings
        Of a head that is solved, or remembers its rows.
    pool, plain
        The rows to learn from, and the same of one view to judge by.
    rows
        See `RefittedHeads`.
    divisions
        The fold of each row, int ``[n]`` each: the first of `RefittedHeads`, and others to choose a strength by; none
        for no folds.
    trained
        bool ``[n]``: the training rows among them.
    strength
        Of the penalty; ``None`` chooses it by the folds, for which heads of all `featcache.heads.settings.STRENGTHS`
        are fitted.
    classes, names
        Number of classes or targets, and what they are called.

    Returns
    -------
    Settings
        With the strength that the folds choose, see `_strength`.
    Fit, RefittedHeads
        The head on the training rows, and those on all and without each fold.
    """
    from featcache.solvers.fit import fit_heads

    fold_of = divisions[0] if divisions else None
    folds = _held_out(fold_of)
    candidates = [settings]
    if strength is None and folds and settings.head in STRENGTHS:
        name, strengths = STRENGTHS[settings.head]
        candidates = [replace(settings, **{name: value}) for value in strengths]
        folds = [held for own in divisions for held in _held_out(own)]
    weight = np.stack([trained, np.ones_like(trained), *(~held for held in folds)]).astype(np.float32)
    judged = np.stack([~trained, np.zeros_like(trained), *folds]).astype(np.float32)
    heads, count = len(weight), len(candidates)
    fits = fit_heads(
        [own for own in candidates for _ in range(heads)],
        pool._replace(weight=np.tile(weight, (count, 1))),
        plain._replace(weight=np.tile(judged, (count, 1))),
        classes=classes,
        names=names,
    )
    best = 0
    if count > 1:
        by_fold = [fits[start + 2 : start + heads] for start in range(0, len(fits), heads)]
        best = _strength(candidates, by_fold, folds, plain, classes)
    one, everything, *without = fits[best * heads : (best + 1) * heads]
    first = without[: len(_held_out(fold_of))]
    return candidates[best], one, RefittedHeads([everything], first, rows, fold_of)
