"""The leaderboard of a sweep: which heads are told apart from the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LeaderboardEntry:
    """A configuration and how its trials (seeds, folds) did on validation rows.

    Parameters
    ----------
    key
        What identifies the configuration.
    accuracy, deviation
        Mean over the trials and standard deviation between them (0 for one trial).
    loss
        Mean cross-entropy in nats.
    trials
        How many there are.
    best_epoch
        Median over the trials, which says how long to train when no rows are left to judge.
    """

    key: Any
    accuracy: float
    deviation: float
    loss: float
    trials: int
    best_epoch: int


def leaderboard_entries(results: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[LeaderboardEntry]:
    """Rank configurations by mean validation accuracy; of equal ones the lower loss is first.

    Parameters
    ----------
    results
        Configuration and result (``val_accuracy``, ``val_loss``, ``best_epoch``) of every trial.

    Returns
    -------
    list of Standing
        Best first. One of whose trials any diverged comes last: a mean over the lucky ones would flatter it.
    """
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for key, result in results:
        found.setdefault(key, []).append(result)
    ranked = [_standing(key, rows) for key, rows in found.items()]
    return sorted(ranked, key=lambda s: (not np.isfinite(s.accuracy), -s.accuracy, s.loss))


def _standing(key: Any, rows: Sequence[Mapping[str, Any]]) -> LeaderboardEntry:
    accuracy = np.array([_number(row["val_accuracy"]) for row in rows])
    loss = np.array([_number(row["val_loss"]) for row in rows])
    return LeaderboardEntry(
        key,
        float(accuracy.mean()),
        float(accuracy.std(ddof=1)) if len(rows) > 1 else 0.0,
        float(np.where(np.isfinite(loss), loss, np.inf).mean()),
        len(rows),
        int(np.median([row["best_epoch"] for row in rows])),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
