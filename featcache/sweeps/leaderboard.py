"""The leaderboard of a sweep: configurations ranked by mean validation accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LeaderboardEntry:
    """A configuration and the validation scores of its trials (seeds, folds).

    Parameters
    ----------
    key
        The configuration, such as a `Trial` without seed and fold.
    accuracy, deviation
        Mean over the trials and standard deviation between them (0 for one trial).
    loss
        Mean cross-entropy in nats.
    trials
        Number of trials.
    best_epoch
        Median over the trials: how long to train where no validation rows are left.
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
    list of LeaderboardEntry
        Best first. A configuration with a diverged trial comes last: a mean over the others would flatter it.
    """
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for key, result in results:
        found.setdefault(key, []).append(result)
    ranked = [_entry(key, rows) for key, rows in found.items()]
    return sorted(ranked, key=lambda s: (not np.isfinite(s.accuracy), -s.accuracy, s.loss))


def _entry(key: Any, rows: Sequence[Mapping[str, Any]]) -> LeaderboardEntry:
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
