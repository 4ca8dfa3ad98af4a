"""How sure a classifier may be: a temperature for its logits, and a confidence below which it says "unknown".

Both are learnt on validation rows, after the head: neither changes a parameter or an order of classes.
"""

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from featcache.errors import DataError, UsageError
from featcache.metrics import expected_calibration_error
from featcache.outputs import class_probabilities, targets_for

COLDEST, HOTTEST = 0.05, 20.0
"""What a temperature may be: probabilities next to 0 and 1, and next to equal, for logits of the usual size."""

IMPOSSIBLE = -1e30
"""In the place of a logit of −∞ (a class without training rows): no probability, but no NaN in a sum either."""

MOST_STEPS = 100
FLAT = 1e-100
"""Least slope that Newton's steps reckon with; they leave the interval long before."""


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it is good for.

    Parameters
    ----------
    temperature
        What to divide the logits by.
    count
        Validation rows that it was fitted to.
    error_before, error_after
        Expected calibration error on these rows, over 15 bins, without and with it. One number was fitted, so
        the second is hardly better than on other rows of the same kind.
    """

    temperature: float
    count: int
    error_before: float
    error_after: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def calibrate(logits: np.ndarray, labels: np.ndarray, *, classes: int, loss: str = "softmax") -> Calibration:
    """Fit a temperature and measure what it changes.

    Parameters
    ----------
    logits
        A head's outputs on validation rows, float ``[N, outputs]``.
    labels
        int ``[N]``.
    classes
        Number of classes; two where one sigmoid tells them apart.
    loss
        What the head was trained with, a word of `featcache.outputs.CLASS_LOSSES`.

    Returns
    -------
    Calibration
        Apply it with ``class_probabilities(loss, logits / temperature, classes)``.

    Raises
    ------
    DataError
        If there are no rows, or a logit is NaN or +∞.
    """
    if not len(labels):
        raise DataError(
            "no validation rows to calibrate with; train with a validation split or --val-fraction"
        )
    temperature = fit_temperature(logits, labels, loss=loss)
    before, after = (
        expected_calibration_error(labels, class_probabilities(loss, np.asarray(logits) / divisor, classes))
        for divisor in (1.0, temperature)
    )
    return Calibration(temperature, len(labels), before, after)


def fit_temperature(logits: np.ndarray, labels: np.ndarray, *, loss: str = "softmax") -> float:
    """Return the temperature of one head, ``[N, C]``; see `fit_temperatures`."""
    return float(fit_temperatures(np.asarray(logits)[None], labels, loss=loss)[0])


def fit_temperatures(logits: np.ndarray, labels: np.ndarray, *, loss: str = "softmax") -> np.ndarray:
    """Return the temperatures that make validation labels most likely, for K heads at once.

    Guo et al., "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599

    Parameters
    ----------
    logits
        float ``[K, N, C]``. ``-inf`` says that a class is impossible.
    labels
        int ``[N]``.
    loss
        ``"softmax"``, or ``"sigmoid"``: C questions for each row (or one, with two classes), which share the
        temperature.

    Returns
    -------
    numpy.ndarray
        float64 ``[K]`` within `COLDEST` and `HOTTEST`. 1 where there are fewer than two rows (or questions), or
        nothing depends on the temperature.

    Raises
    ------
    DataError
        If a logit is NaN or +∞.

    Notes
    -----
    The mean loss is convex in the inverse temperature β; its derivative is ``mean(E_p[z] − z_label)``. Newton's
    steps find its zero, and bisection where they would leave the interval that must hold it.

    Where a head is right on every row the derivative has no zero: the sharper the likelier, however few rows
    there are. Such rows count as right with probability (n + 1) / (n + 2) each, Laplace's rule of succession:
    the more of them, the surer the head may be.
    """
    behind, own = _behind(loss, np.asarray(logits, np.float64), np.asarray(labels))
    counted = own > IMPOSSIBLE  # no temperature makes an impossible label likelier
    rows = counted.sum(axis=1)
    share = counted / np.maximum(rows, 1)[:, None]
    right = np.all(~counted | (own == 0), axis=1)
    smoothed = np.sum(share * _others(behind), axis=1) / (rows + 2)
    wanted = np.where(right, smoothed, np.sum(share * own, axis=1))
    return np.where(rows < 2, 1.0, 1 / _likeliest(behind, share, wanted))


def _behind(loss: str, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far logits are behind their row's largest, ``[K, n, C]``, and those of the labels, ``[K, n]``."""
    if np.isnan(logits).any() or np.isposinf(logits).any():
        raise DataError(
            "a logit is NaN or infinite; the head has diverged: train it with a lower learning rate"
        )
    logits = np.maximum(logits, IMPOSSIBLE)
    if loss == "sigmoid":
        # σ(z / T) is the second part of softmax((0, z) / T): every output of every row is a row of two classes.
        heads, count, outputs = logits.shape
        labels = targets_for(loss, labels, max(outputs, 2)).reshape(count * outputs).astype(np.int64)
        logits = logits.reshape(heads, count * outputs, 1) * np.array([0.0, 1.0])
    behind = np.maximum(logits - logits.max(axis=2, keepdims=True, initial=IMPOSSIBLE), IMPOSSIBLE)
    return behind, behind[:, np.arange(len(labels)), labels]


def _others(behind: np.ndarray) -> np.ndarray:
    """Return the mean of the possible logits but the largest, ``[K, n]``."""
    possible = behind > IMPOSSIBLE
    total = np.sum(np.where(possible, behind, 0.0), axis=2)
    return total / np.maximum(possible.sum(axis=2) - 1, 1)


def _likeliest(behind: np.ndarray, share: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return β ``[K]`` where the mean of ``E_p[behind]`` over rows is what is wanted, or the nearest bound."""
    low, high = np.full(len(wanted), 1 / HOTTEST), np.full(len(wanted), 1 / COLDEST)
    starts = [_slope(behind, share, bound)[0] - wanted for bound in (low, high)]
    beta = np.ones(len(wanted))
    for _ in range(MOST_STEPS):
        mean, slope = _slope(behind, share, beta)
        low, high = np.where(mean < wanted, beta, low), np.where(mean > wanted, beta, high)
        newton = beta - (mean - wanted) / np.maximum(slope, FLAT)
        # The interval spans factors, so its middle is the geometric one.
        step = np.where((newton > low) & (newton < high), newton, np.sqrt(low * high))
        done = np.abs(step - beta) <= 1e-12 * beta
        beta = step
        if done.all():
            break
    return np.where(starts[0] > 0, 1 / HOTTEST, np.where(starts[1] < 0, 1 / COLDEST, beta))


def _slope(behind: np.ndarray, share: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over rows of ``E_p[behind]``, and its derivative by β, the mean variance, ``[K]``."""
    p = np.exp(beta[:, None, None] * behind)
    p /= p.sum(axis=2, keepdims=True)
    first = np.einsum("knc,knc->kn", p, behind)
    second = np.einsum("knc,knc,knc->kn", p, behind, behind)
    return np.sum(share * first, axis=1), np.sum(share * (second - first**2), axis=1)


@dataclass(frozen=True)
class Rejection:
    """Below which confidence a classifier says "unknown", and what that costs.

    Parameters
    ----------
    threshold
        The largest probability of a row must be this or more; ``None`` where no confidence is enough.
    accepted, count
        Validation rows that are sure enough, of how many.
    coverage
        Share of the accepted.
    accuracy
        Share of the accepted that is right; ``None`` where none is accepted.
    lower
        Wilson's lower bound of that accuracy: how good it is at least, with confidence `level`.
    level
        Of the bound, one-sided.
    """

    threshold: float | None
    accepted: int
    count: int
    coverage: float
    accuracy: float | None
    lower: float
    level: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def reject_threshold(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    accuracy: float | None = None,
    coverage: float | None = None,
    level: float = 0.95,
) -> Rejection:
    """Choose below which confidence a prediction is "unknown".

    Parameters
    ----------
    probabilities
        float ``[N, C]`` of validation rows, calibrated ones where there is a temperature.
    labels
        int ``[N]``.
    accuracy
        The smallest confidence is chosen at which Wilson's lower bound of the accuracy of the accepted rows
        reaches this; 0.99 where nothing else is asked for.
    coverage
        Instead: the largest confidence is chosen that accepts this share of the rows.
    level
        Confidence of the bound, one-sided. 0.5 takes the accuracy as it is counted.

    Returns
    -------
    Rejection
        With ``threshold=None`` where no confidence reaches the accuracy. Few rows never do: at 0.99 and a level
        of 0.95, 268 rows would have to be right without exception (`least_rows`).

    Raises
    ------
    UsageError
        If a share is not within 0 and 1, or both are asked for.
    DataError
        If there are no rows.

    Notes
    -----
    Wilson's score interval (1927) holds for a threshold chosen beforehand; the smallest of many that reach the
    accuracy is a lucky one. It costs little: of 400 simulated validation sets each, of 100 to 5000 rows, 4 to 7 %
    led to a threshold whose true accuracy was below 0.95, where 5 % are promised.
    """
    wanted, by = (coverage, "coverage") if coverage is not None else (accuracy, "accuracy")
    wanted = 0.99 if wanted is None else wanted
    if accuracy is not None and coverage is not None:
        raise UsageError(
            f"accuracy {accuracy} and coverage {coverage}: expected one of them; leave out the other"
        )
    if not (0 < wanted < 1 or wanted == 1 == coverage) or not 0 < level < 1:
        raise UsageError(f"{by} {wanted} at level {level}: expected both above 0 and below 1")
    if not len(labels):
        raise DataError("no validation rows to choose a confidence by; train with a validation split")
    confidence, right, accepted = _accepted(probabilities, labels)
    bound = wilson_lower(right, accepted, level)
    enough = np.flatnonzero(bound >= wanted if by == "accuracy" else accepted >= wanted * len(labels))
    if not len(enough):
        return Rejection(None, 0, len(labels), 0.0, None, 0.0, level)
    place = enough[-1] if by == "accuracy" else enough[0]
    return Rejection(
        threshold=float(confidence[place]),
        accepted=int(accepted[place]),
        count=len(labels),
        coverage=float(accepted[place] / len(labels)),
        accuracy=float(right[place] / accepted[place]),
        lower=float(bound[place]),
        level=level,
    )


def _accepted(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the confidences that occur, from the largest, and how many rows are right and accepted at each."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    # Rows of the same confidence are accepted together.
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return confidence[last], right[last], last + 1


def wilson_lower(right: np.ndarray, count: np.ndarray, level: float) -> np.ndarray:
    """Return Wilson's one-sided lower bound of a share, `right` of `count` (1 or more).

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    z = NormalDist().inv_cdf(level)
    share = right / count
    slack = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (share + z**2 / (2 * count) - slack) / (1 + z**2 / count)


def least_rows(accuracy: float, level: float = 0.95) -> int:
    """Return how many rows, all right, bring Wilson's lower bound to an accuracy."""
    # n / (n + z²) ≥ a
    return max(1, math.ceil(accuracy / (1 - accuracy) * NormalDist().inv_cdf(level) ** 2))
