"""Comparison of heads on the same rows, and of one head's accuracy over several seeds: pure functions of scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.metrics.intervals import difference_interval, mean_interval, share_interval


@dataclass(frozen=True)
class Comparison:
    """The difference between two heads on the same validation rows.

    Parameters
    ----------
    difference
        Accuracy of the first minus that of the second.
    interval
        95 % interval of the difference, from the differences on each row.
    p_value
        Exact two-sided McNemar test: how likely at least so uneven a disagreement is if neither is better.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval excludes 0, equal accuracy."""
        return not self.interval[0] <= 0 <= self.interval[1]


def compare(first: np.ndarray, second: np.ndarray, *, bounded: bool = True) -> Comparison:
    """Compare which rows two heads classify correctly.

    Parameters
    ----------
    first, second
        float ``[N]`` in 0..1: right or wrong, or the share of seeds that are right.
    bounded
        Whether they are in 0..1, as all scores but those of regression are.

    References
    ----------
    McNemar, Psychometrika 12 (1947), in its exact binomial form.
    """
    from scipy.stats import binomtest

    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    low, high = (difference_interval if bounded else mean_interval)(difference)
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    p_value = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return Comparison(float(difference.mean()), (low, high), p_value)


def within_one_error(best: np.ndarray, other: np.ndarray) -> bool:
    """Return whether scores ``[N]`` are on average at most a standard error of the differences below the best's."""
    difference = np.asarray(best, np.float64) - np.asarray(other, np.float64)
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return bool(difference.mean() <= error * (1 + 1e-9))  # equal but for rounding is within


@dataclass(frozen=True)
class SeedScores:
    """An accuracy over several seeds.

    Parameters
    ----------
    mean, deviation
        Over the seeds; no deviation (0) for one.
    interval
        95 % interval over the rows, of the mean over the seeds.
    values
        One accuracy for each seed.
    count
        Number of rows.
    """

    mean: float
    deviation: float
    interval: tuple[float, float]
    values: tuple[float, ...]
    count: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "interval": list(self.interval),
            "seeds": list(self.values),
            "count": self.count,
        }


def seed_scores(right: np.ndarray, *, bounded: bool = True) -> SeedScores:
    """Return the mean and deviation over S seeds of row scores ``[S, N]``, such as 1 where a prediction is right.

    `bounded` says that they are in 0..1, as all but those of regression are.
    """
    values = right.mean(axis=1)
    return SeedScores(
        float(values.mean()),
        float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        (share_interval if bounded else mean_interval)(right.mean(axis=0)),
        tuple(map(float, values)),
        right.shape[1],
    )
