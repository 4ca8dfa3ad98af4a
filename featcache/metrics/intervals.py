"""Confidence intervals: bootstrap, of a mean, and of a proportion (Wilson)."""

import math
from statistics import NormalDist

import numpy as np


def bootstrap_interval(
    correct: np.ndarray, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a share.

    Parameters
    ----------
    correct
        bool ``[N]``.
    level
        Coverage.
    draws, seed
        Resamples and their seed.

    Notes
    -----
    A resample of N independent binary values is a binomial draw, so nothing needs to be resampled row by row
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993). Where all are right or all wrong, resampling
    would claim certainty; Wilson's score interval (1927) is given instead.
    """
    count, right = len(correct), int(np.sum(correct))
    if right in (0, count):
        low = float(wilson_lower(np.array(count), np.array(count), (1 + level) / 2))
        return (low, 1.0) if right else (0.0, 1.0 - low)
    shares = np.random.default_rng(seed).binomial(count, np.mean(correct), draws) / count
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of values ``[N]`` that are not binary."""
    from scipy.stats import bootstrap

    if len(values) < 2 or np.ptp(values) == 0:
        return float(np.mean(values)), float(np.mean(values))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=2000,
        batch=max(1, 10_000_000 // len(values)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def wilson_lower(right: np.ndarray, count: np.ndarray, level: float) -> np.ndarray:
    """Return Wilson's one-sided lower bound of a share, `right` of `count` (1 or more).

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    z = NormalDist().inv_cdf(level)
    share = right / count
    slack = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (share + z**2 / (2 * count) - slack) / (1 + z**2 / count)


def wilson_interval(right: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's two-sided interval of a share, `right` of `count` (1 or more); it holds for few rows, too."""
    side = (1 + level) / 2
    low, missed = (
        float(wilson_lower(np.array(part), np.array(count), side)) for part in (right, count - right)
    )
    return max(low, 0.0), 1.0 - max(missed, 0.0)


def least_rows(accuracy: float, level: float = 0.95) -> int:
    """Return the least number of rows that, all being right, bring Wilson's lower bound to an accuracy."""
    # With all of n right the bound is n / (n + z²); it is at least a from n = z²·a / (1 − a) on.
    return max(1, math.ceil(accuracy / (1 - accuracy) * NormalDist().inv_cdf(level) ** 2))
