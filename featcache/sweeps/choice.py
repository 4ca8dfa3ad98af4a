"""Choose a sweep's best configuration on validation rows, compare it with the next best, read the test rows once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from featcache.classifier.classifier import Classifier
from featcache.classifier.finishing import finish_head, image_floor
from featcache.classifier.refitting import RefittedHeads, folds_for
from featcache.classifier.refitting import refit as refit_heads
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.errors import DataError
from featcache.heads.validation_scores import row_losses_and_scores, row_scores
from featcache.metrics.comparison import SeedScores, compare, seed_scores
from featcache.solvers.epoch_progress import OnEpoch
from featcache.solvers.fit import Fit, fit_heads
from featcache.splits.selection import Selection
from featcache.sweeps.data import SweepData
from featcache.sweeps.fit_cache import FitCache
from featcache.sweeps.leaderboard import LeaderboardEntry, leaderboard_entries
from featcache.sweeps.progress import Reporter
from featcache.sweeps.results import Choice, Contender
from featcache.sweeps.simplest import simplest
from featcache.sweeps.trials import Trial

CONTENDERS = 4
"""How many of the next best configurations the chosen one is compared with."""


def fit_trials(
    group: Sequence[Trial], data: SweepData, memory: int, on_epoch: OnEpoch | None = None
) -> list[Fit]:
    """Fit the heads of trials that share a program, on a cache's training and validation rows."""
    train, val = data.parts(group)
    return fit_heads(
        [trial.settings for trial in group],
        train,
        val,
        classes=len(data.cache.classes),
        names=data.cache.classes,
        memory=memory,
        on_epoch=on_epoch,
    )


def choose(
    shots: int | None,
    rows: Iterable[tuple[Trial, Mapping[str, Any]]],
    data: Sequence[SweepData],
    seeds: int,
    memory: int,
    fit_cache: FitCache,
    *,
    refit: bool,
    calibrate: bool,
    reporter: Reporter,
) -> tuple[Choice, Sequence[Fit], RefittedHeads | None]:
    """Choose on validation rows, compare with the next best there, then read the test rows.

    Of configurations that are not told apart the simplest is chosen, see `featcache.sweeps.simplest`. Heads in
    `fit_cache` are not fitted again. Also returns what `final_heads` does.
    """
    ranked = leaderboard_entries([(key, own) for key, own in rows if key.shots == shots])
    if not np.isfinite(ranked[0].accuracy):
        if not any(len(own.val) for own in data):
            raise DataError(
                f"none of the {len(data[0].train)} training rows could be held out to choose by; give more photos, or "
                "--folds 2"
            )
        raise DataError("every head diverged; try learning rates a tenth as large")
    own = data[ranked[0].key.cache]

    @cache
    def judged(key: Trial) -> np.ndarray:
        return _val_losses_and_scores(key, own, seeds, memory, fit_cache)

    bounded = own.cache.task != REGRESSION
    best = simplest(ranked, judged, bounded=bounded)
    # Rows of other caches are in another order: only heads of one cache are compared row by row.
    near = [entry for entry in ranked if entry is not best and entry.key.cache == best.key.cache][:CONTENDERS]
    near = [entry for entry in near if np.isfinite(entry.accuracy)]
    scores = {s.key: judged(s.key)[1] for s in (best, *near)}
    contenders = [Contender(s, compare(scores[best.key], scores[s.key], bounded=bounded)) for s in near]
    told: Any = {
        "refit": refit,
        "calibrate": calibrate,
        "on_epoch": reporter.epochs_of(best.key.settings.head),
    }
    heads, refitted = final_heads(best, own, seeds, memory, fit_cache, **told)
    test = _test_scores(best, refitted.fits if refitted else heads, own)
    first = None if best is ranked[0] else ranked[0]
    choice = Choice(shots, best, tuple(contenders), test, choice_floor(best.key, own), first, own.cache.task)
    return choice, heads, refitted


def _val_losses_and_scores(
    key: Trial, data: SweepData, seeds: int, memory: int, fit_cache: FitCache
) -> np.ndarray:
    """Return each validation row's loss and score, float ``[2, M]``, averaged over seeds.

    The score of a class is the share of seeds that have it right.
    """
    trials = [
        replace(key, settings=replace(key.settings, seed=seed), fold=fold)
        for seed in range(seeds)
        for fold in data.protocol.fold_numbers
    ]
    fits = fit_cache.get(trials, lambda missing: fit_trials(missing, data, memory))
    val = data.val_part(trials)
    classes = len(data.cache.classes)
    found = np.stack(
        [
            row_losses_and_scores(
                trial.settings, fit.parameters, val._replace(weight=weight[None]), classes=classes
            )
            for trial, fit, weight in zip(trials, fits, val.weight, strict=True)
        ],
        axis=1,
    )
    # Each row is scored once for each seed: by the head that did not learn from it.
    return np.where(val.weight > 0, found, 0.0).sum(axis=1) / seeds


def final_heads(
    entry: LeaderboardEntry,
    data: SweepData,
    seeds: int,
    memory: int,
    fit_cache: FitCache,
    *,
    refit: bool,
    calibrate: bool,
    on_epoch: OnEpoch | None = None,
) -> tuple[Sequence[Fit], RefittedHeads | None]:
    """Return the chosen configuration's heads, one for each seed: those that validation judged, and those of all rows.

    The second are trained for as many epochs as the first; with folds, which leave no validation rows, for the median
    of the folds' best epochs, and both are the same. Heads of a few shots stay what they are.

    Parameters
    ----------
    entry, data, seeds, memory, fit_cache
        The configuration, and what it was chosen from.
    refit
        Whether to fit heads on training and validation rows together.
    calibrate
        Whether to fit heads without each fold too, whose outputs calibrate; see `featcache.classifier.refitting`.
    on_epoch
        See `featcache.solvers.fit.fit_heads`.
    """
    key: Trial = entry.key
    settings = [replace(key.settings, seed=seed) for seed in range(seeds)]
    own, classes = data.protocol, data.cache.classes
    options: Any = {"classes": len(classes), "names": classes, "memory": memory, "on_epoch": on_epoch}
    by_fold = calibrate and data.cache.task == MULTICLASS
    trials = [replace(key, settings=one) for one in settings]
    if own.folds:
        epochs = [max(1, entry.best_epoch)] * seeds
        if key.shots is not None:
            train, val = data.parts(trials)
            no_val = val._replace(weight=np.zeros_like(val.weight))
            return fit_heads(settings, train, no_val, last_epochs=epochs, **options), None
        fold_of = data.fold_of if by_fold else None
        rows = data.rows_to_learn(data.train, key)
        refitted = refit_heads(settings, rows, data.train, fold_of, last_epochs=epochs, **options)
        return refitted.fits, refitted
    heads = fit_cache.get(trials, lambda missing: fit_trials(missing, data, memory))
    if not refit or key.shots is not None:
        return heads, None
    fold_of = folds_for(data.cache, data.pool, group_by=own.group_by, seed=own.seed) if by_fold else None
    epochs = [fit.best_epoch for fit in heads]
    rows = data.rows_to_learn(data.pool, key)
    return heads, refit_heads(settings, rows, data.pool, fold_of, last_epochs=epochs, **options)


def _test_scores(entry: LeaderboardEntry, heads: Sequence[Fit], data: SweepData) -> SeedScores | None:
    """Score the test rows, once, by the chosen configuration's heads."""
    if not len(data.test):
        return None
    test = data.test_part(entry.key.layer, len(heads))
    settings, classes = entry.key.settings, len(data.cache.classes)
    return seed_scores(
        np.stack([row_scores(settings, own.parameters, test, classes=classes) for own in heads]),
        bounded=data.cache.task != REGRESSION,
    )


def choice_floor(key: Trial, data: SweepData) -> float | None:
    """Return the validation accuracy that image statistics alone reach, learnt from the same training rows.

    With folds it is the mean over them, as the accuracy of a configuration is. ``None`` for a few shots, whose heads
    learn from other rows with each seed, and where `featcache.classifier.finishing.image_floor` has none.
    """
    if key.shots is not None:
        return None
    parts = [(data.train, data.val)]
    if data.protocol.folds:
        parts = [
            (data.train[data.fold_of != fold], data.train[data.fold_of == fold])
            for fold in data.protocol.fold_numbers
        ]
    floors = [image_floor(data.cache, key.layer, train, val) for train, val in parts]
    known = [floor for floor in floors if floor is not None]
    return float(np.mean(known)) if len(known) == len(floors) else None


def finish_winner(
    choice: Choice,
    heads: Sequence[Fit],
    refitted: RefittedHeads | None,
    data: Sequence[SweepData],
    folder: Path,
    *,
    reject_accuracy: float | None,
) -> Classifier:
    """Make a classifier of the first seed's head, calibrated and scored.

    Where its heads were fitted again, outputs for folds that they have not learnt from calibrate it; else the
    validation rows, which have chosen it among all, so that its calibration is a little too sure. Without a
    `reject_accuracy` it is not calibrated. With folds there are no validation rows to score. Its warnings are about
    the configuration, whose accuracy is the mean over all seeds and folds.
    """
    key: Trial = choice.entry.key
    own, folds = data[key.cache], data[key.cache].protocol.folds
    classifier = finish_head(
        own.cache,
        key.layer,
        key.settings,
        heads[0],
        rows=Selection(own.train, own.val[:0] if folds else own.val, own.test, own.how, own.left_out),
        selection=own.protocol,
        refitted=refitted,
        scale=own.scale,
        floor=choice.image_floor,
        accuracy=choice.entry.accuracy,
        reject_accuracy=reject_accuracy,
    )
    return replace(classifier, training={**classifier.training, "sweep": str(folder.resolve())})
