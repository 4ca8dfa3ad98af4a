"""From a sweep's results to one head: choose on the rows that judge, compare there, read the test rows once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.checks.features import below_floor, check_features, statistics_floor
from featcache.checks.rows import Finding, check_rows
from featcache.classifier.calibration import Calibration
from featcache.classifier.finishing import make_classifier
from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError
from featcache.heads.feature_table import FeatureRows
from featcache.heads.task_types import TASK_TYPES
from featcache.heads.validation_scores import row_scores
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.metrics.comparison import SeedScores, compare, seed_scores
from featcache.solvers.fit import Fit, fit_heads
from featcache.sweeps.data import SweepData
from featcache.sweeps.fit_cache import FitCache
from featcache.sweeps.leaderboard import LeaderboardEntry, leaderboard_entries
from featcache.sweeps.results import Choice, Contender
from featcache.sweeps.trials import Trial

CONTENDERS = 4
"""How many of the next best configurations the chosen one is compared with."""

MOST_CHECKED = 10_000
"""Training rows in which mistakes are looked for; of more, evenly spread ones."""


def fit_trials(group: Sequence[Trial], data: SweepData, memory: int) -> list[Fit]:
    """Fit the heads of one program on a cache's rows."""
    train, val = data.parts(group)
    return fit_heads(
        [trial.settings for trial in group],
        train,
        val,
        classes=len(data.cache.classes),
        memory=memory,
    )


def choose(
    shots: int | None,
    rows: Iterable[tuple[Trial, Mapping[str, Any]]],
    data: Sequence[SweepData],
    seeds: int,
    memory: int,
    kept: FitCache,
) -> tuple[Choice, list[Fit]]:
    """Choose on the rows that judge, compare with the next best there, then read the test rows.

    Heads that were `kept` are not fitted again. Also returns the chosen configuration's heads, one for each seed.
    """
    ranked = leaderboard_entries([(key, own) for key, own in rows if key.shots == shots])
    if not np.isfinite(ranked[0].accuracy):
        raise DataError("every head diverged; try learning rates a tenth as large")
    best = ranked[0]
    # Rows of other caches may be others: only heads of the same cache can be compared row by row.
    near = [standing for standing in ranked[1:] if standing.key.cache == best.key.cache][:CONTENDERS]
    near = [standing for standing in near if np.isfinite(standing.accuracy)]
    own = data[best.key.cache]
    right = {s.key: _judged_right(s.key, own, seeds, memory, kept) for s in (best, *near)}
    contenders = [Contender(s, compare(right[best.key], right[s.key])) for s in near]
    heads = final_heads(best, own, seeds, memory, kept)
    tested = _tested(best, heads, own)
    return Choice(shots, best, tuple(contenders), tested, image_floor(best.key, own)), heads


def _judged_right(key: Trial, data: SweepData, seeds: int, memory: int, kept: FitCache) -> np.ndarray:
    """Return for each row that judges the share of seeds that have it right, or its mean score, float ``[M]``."""
    trials = [
        replace(key, settings=replace(key.settings, seed=seed), fold=fold)
        for seed in range(seeds)
        for fold in data.protocol.fold_numbers
    ]
    fits = kept.get(trials, lambda wanted: fit_trials(wanted, data, memory))
    val = data.judged(trials)
    right = np.stack(
        [
            _right(trial, fit.parameters, val._replace(weight=weight[None]), data)
            for trial, fit, weight in zip(trials, fits, val.weight, strict=True)
        ]
    )
    # Each row is judged once for each seed: by the head that did not learn from it.
    return (right * val.weight).sum(axis=0) / seeds


def final_heads(
    standing: LeaderboardEntry, data: SweepData, seeds: int, memory: int, kept: FitCache
) -> list[Fit]:
    """Return the chosen configuration's heads, one for each seed, fitted on all rows that it may learn from.

    Without rows left to judge (folds) it is trained for as many epochs as the folds' heads needed, by their
    median.
    """
    key: Trial = standing.key
    settings = [replace(key.settings, seed=seed) for seed in range(seeds)]
    if not data.protocol.folds:
        trials = [replace(key, settings=own) for own in settings]
        return kept.get(trials, lambda wanted: fit_trials(wanted, data, memory))
    epochs = max(1, standing.best_epoch)
    trials = [replace(key, settings=replace(own, epochs=epochs)) for own in settings]
    train, val = data.parts(trials)
    nothing = val._replace(weight=np.zeros_like(val.weight))
    return fit_heads(
        [trial.settings for trial in trials],
        train,
        nothing,
        classes=len(data.cache.classes),
        memory=memory,
    )


def _tested(standing: LeaderboardEntry, heads: Sequence[Fit], data: SweepData) -> SeedScores | None:
    """Read the test rows: once, for the configuration that has been chosen."""
    if not len(data.test):
        return None
    test = data.test_part(standing.key.layer, len(heads))
    return seed_scores(np.stack([_right(standing.key, head.parameters, test, data) for head in heads]))


def image_floor(key: Trial, data: SweepData) -> float | None:
    """Return the accuracy that the images' statistics alone reach on the rows that judge, from the same rows.

    With folds the mean over them, as the accuracy of a configuration is. ``None`` where the cache has no
    statistics, for a few shots, whose heads learn from other rows with each seed, and for answers and numbers.
    """
    if STATISTICS not in data.cache.layers or key.layer == STATISTICS or key.shots is not None:
        return None
    if data.cache.task != MULTICLASS:
        return None
    plain = replace(key.settings, views=None)  # statistics are of the plain images
    found = []
    for fold in data.protocol.fold_numbers:
        rows = [
            (part.table.take(numbers), part.labels[numbers])
            for part in data.parts([replace(key, layer=STATISTICS, settings=plain, fold=fold)])
            for numbers in (np.flatnonzero(part.weight[0]),)
        ]
        (train, labels), (val, val_labels) = rows
        found.append(statistics_floor(train, labels, val, val_labels, classes=len(data.cache.classes)))
    return float(np.mean(found))


def check_winner(choice: Choice, data: Sequence[SweepData]) -> list[Finding]:
    """Look for mistakes in the rows and features that the chosen head was made from."""
    standing = choice.standing
    own = data[standing.key.cache]
    # With folds the same rows are learnt from and judge; only the test rows are others.
    parts = {"train": own.train} | ({} if own.protocol.folds else {"val": own.val}) | {"test": own.test}
    found = check_rows(own.cache, parts, class_weights=standing.key.settings.class_weights)
    if own.cache.task != MULTICLASS:
        return found
    some = own.train[:: max(1, len(own.train) // MOST_CHECKED)]
    x = own.table(some, standing.key.layer).take(np.arange(len(some)))
    found += check_features(x, own.cache.labels[some])
    floor = choice.image_floor
    return found if floor is None else [*found, *below_floor(standing.accuracy, floor)]


def save_winner(
    choice: Choice,
    heads: Sequence[Fit],
    data: Sequence[SweepData],
    folder: Path,
    *,
    reject_accuracy: float | None,
) -> Path:
    """Save the first seed's head as a classifier, calibrated on the rows that judge, scored there and on test rows.

    The rows that judge have chosen it among all, so that its calibration is a little too sure. Without a
    `reject_accuracy` it is not calibrated.
    """
    key: Trial = choice.standing.key
    own, head = data[key.cache], heads[0]
    parameters = head.parameters if own.scale is None else own.scale.fold_into(head.parameters)
    record = {"best_epoch": head.best_epoch, "epochs_run": head.epochs_run, "history": dict(head.history)}
    record |= {"validation": own.how, "sweep": str(folder.resolve()), "selection": own.protocol.to_json()}
    seen = np.concatenate([own.train, own.val])
    classifier = make_classifier(own.cache, key.layer, key.settings, parameters, record, seen=seen)
    # With folds it has learnt from the rows that judged.
    judging = {} if own.protocol.folds else {"val": own.val}
    if own.protocol.folds:
        classifier = replace(
            classifier, calibration=Calibration(note="with folds it has learnt from every row")
        )
    for split, rows in (judging | {"test": own.test}).items():
        if not len(rows):
            continue
        x, labels = own.table(rows, key.layer).take(np.arange(len(rows))), own.cache.known[rows]
        if split == "val" and reject_accuracy is not None:
            classifier = classifier.calibrated(x, labels, reject_accuracy=reject_accuracy)
        score, values = TASK_TYPES[own.cache.task].score, classifier.values(x)
        classifier = classifier.with_scores(score(labels, values, classes=own.cache.classes, split=split))
    return classifier.save(folder / "classifier")


def _right(
    trial: Trial, parameters: Mapping[str, np.ndarray], part: FeatureRows, data: SweepData
) -> np.ndarray:
    """Return which rows a head has right, or the scores of rows, float ``[N]``; see `row_scores`."""
    return row_scores(trial.settings, parameters, part, classes=len(data.cache.classes))
