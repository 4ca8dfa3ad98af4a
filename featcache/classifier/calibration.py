"""How sure a classifier may be: a temperature for its logits, and a confidence below which it says "unknown".

Both are learnt on validation rows, after the head: neither changes a parameter or an order of classes. Where
the same rows have also chosen the head's epoch, or the head, they flatter both a little.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from featcache.classifier.rejection import Rejection, reject_threshold
from featcache.errors import DataError
from featcache.heads.probabilities import class_probabilities, targets_for
from featcache.metrics.classification import expected_calibration_error
from featcache.metrics.intervals import least_rows

LEAST_ROWS = 50
"""Validation rows below which `calibrated` leaves the logits alone.

Measured with five heads on 548 rows of tf_flowers, fitted to n of them at random and scored on the others, mean of
100 draws: with 50 rows the loss changed by −0.29 to +0.014 nats, with 20 by −0.22 to +0.026.
"""

LIKELIER = 3.84 / 2
"""Nats by which all validation rows together must be likelier with a temperature than without: by chance alone
one number more is worth as much in 5 % of all cases (Wilks, 1938).

In the same measurement a head that was calibrated already (an mlp) lost 0.016 nats to a temperature fitted to 50
rows, and 0.002 with this condition; heads that were not (ridge, knn, an overfitted linear one) gained the same from
100 rows on.
"""

COLDEST, HOTTEST = 0.05, 20.0
"""What a temperature may be: probabilities next to 0 and 1, and next to equal, for logits of the usual size."""

IMPOSSIBLE = -1e30
"""In the place of a logit of −∞ (a class without training rows): no probability, but no NaN in a sum either."""

LEAST_PROBABILITY = 1e-12
"""As in `featcache.metrics.classification.score`."""

MOST_STEPS = 100
FLAT = 1e-100
"""Least slope that Newton's steps reckon with; they leave the interval long before."""


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it is good for; without arguments: nothing was calibrated.

    Parameters
    ----------
    temperature
        What to divide the logits by; 1 where no other is better by more than chance.
    count
        Validation rows that it was fitted to.
    error_before, error_after
        Expected calibration error on these rows, over 15 bins, without and with it. One number was fitted, so
        the second is hardly better than on other rows of the same kind. ``None`` where nothing was fitted.
    rejection
        From which confidence on a prediction counts; ``None`` where none was looked for.
    note
        Why there is no temperature or no threshold, in words.
    """

    temperature: float = 1.0
    count: int = 0
    error_before: float | None = None
    error_after: float | None = None
    rejection: Rejection | None = None
    note: str | None = None

    @property
    def threshold(self) -> float | None:
        """The largest probability that a prediction must have not to be "unknown"; ``None``: any."""
        return self.rejection.threshold if self.rejection else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> "Calibration":
        """Read `to_json`'s values; ``None`` is what a classifier without any holds."""
        if value is None:
            return cls(note="it was made before classifiers were calibrated; train it again")
        rejection = value["rejection"]
        return cls(**{**value, "rejection": Rejection(**rejection) if rejection else None})


def calibrated(
    logits: np.ndarray, labels: np.ndarray, *, classes: int, loss: str = "softmax", accuracy: float = 0.95
) -> Calibration:
    """Fit a temperature and choose a threshold, or say why there is none.

    Parameters
    ----------
    logits, labels, classes, loss
        As for `calibrate`. Fewer than `LEAST_ROWS` rows are left alone.
    accuracy
        Of predictions that are not "unknown"; see `featcache.classifier.rejection.reject_threshold`.
    """
    if len(labels) < LEAST_ROWS:
        have = f"{len(labels)} validation rows" if len(labels) else "no validation rows"
        return Calibration(note=f"{have}, {LEAST_ROWS} are needed to calibrate with")
    found = calibrate(logits, labels, classes=classes, loss=loss)
    before, probable = (
        class_probabilities(loss, np.asarray(logits) / divisor, classes) for divisor in (1, found.temperature)
    )
    # Likelihood-ratio test of T = 1 against a free T: without an effect 2·(log L(T) − log L(1)) is χ² distributed with
    # one degree of freedom, whose 95 % quantile is 3.84.
    if _log_likelihood(probable, labels) - _log_likelihood(before, labels) < LIKELIER:
        found = replace(found, temperature=1.0, error_after=found.error_before)
        probable = before
    rejection = reject_threshold(probable, labels, accuracy=accuracy)
    return replace(found, rejection=rejection, note=_no_threshold(rejection, accuracy))


def _log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Of all rows; no row is less likely than the scores of a classifier have it."""
    own = np.maximum(probabilities[np.arange(len(labels)), labels], LEAST_PROBABILITY)
    return float(np.sum(np.log(own, dtype=np.float64)))


def _no_threshold(rejection: Rejection, accuracy: float) -> str | None:
    if rejection.threshold is not None:
        return None
    needed, wanted = least_rows(accuracy, rejection.level), f"{100 * accuracy:g} %"
    if rejection.count < needed:
        return (
            f"{rejection.count} validation rows are too few to show that {wanted} are right; {needed} without a "
            "mistake would do"
        )
    return (
        f"not even the surest of {rejection.count} validation rows show that {wanted} are right; ask for a lower "
        "accuracy (--reject-accuracy)"
    )


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
        What the head was trained with, a word of `featcache.heads.probabilities.CLASS_LOSSES`.

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
    # With logits z and β = 1 / T a row's loss is −β·z_label + log Σ_c exp(β·z_c). Over p = softmax(β·z), its derivative
    # by β is E_p[z] − z_label and the second Var_p[z] ≥ 0: it is convex in β (not in T), and the zero is its minimum.
    # `behind` is z minus the row's largest, which cancels.
    p = np.exp(beta[:, None, None] * behind)
    p /= p.sum(axis=2, keepdims=True)
    first = np.einsum("knc,knc->kn", p, behind)
    second = np.einsum("knc,knc,knc->kn", p, behind, behind)
    return np.sum(share * first, axis=1), np.sum(share * (second - first**2), axis=1)
