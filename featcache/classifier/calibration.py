"""Calibrate a classifier: a temperature for its logits, and a confidence below which it says "unknown".

Both are fitted to validation rows after training; neither changes a parameter or the order of classes. If
the same rows also chose the epoch or the head, both are slightly optimistic.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from featcache.classifier.rejection import Rejection, reject_threshold
from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError, UsageError
from featcache.heads.probabilities import class_probabilities, targets_for
from featcache.metrics.classification import expected_calibration_error
from featcache.metrics.intervals import least_rows

LIKELIER = 3.84 / 2
"""Gain in total log-likelihood of the rows, in nats, from which a temperature is used: by chance alone, one additional
parameter reaches it in 5 % of all cases (Wilks, 1938).

Measured with five heads on 548 rows of tf_flowers, fitted to 50 of them at random and scored on the others, mean of 100
draws: the loss of a well calibrated head (an mlp) grew by 0.016 nats with a temperature, and by 0.002 with this
condition; that of miscalibrated heads (ridge, knn, an overfitted linear one) fell as much as without it from 100 rows
on.
"""

PRIOR_DEVIATION = 0.3
"""Deviation of log T before any row is seen: two of three heads are within a factor of 1.35 of their right confidence.

What few rows tell is shrunk by it, and many rows outweigh it: of 50 rows that happen to be 96 % right a temperature of
0.45 is likeliest, and would raise the loss of other rows by a quarter.
"""

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a temperature: for usual logits, probabilities near 0 and 1, and nearly equal ones."""

IMPOSSIBLE = -1e30
"""Replaces a logit of −∞ (a class without training rows): its probability is 0, without a NaN in sums."""

LEAST_PROBABILITY = 1e-12
"""As in `featcache.metrics.classification.score`."""


@dataclass(frozen=True)
class Calibration:
    """A temperature, its effect and a rejection threshold; the default is no calibration.

    Parameters
    ----------
    temperature
        Divisor of the logits; 1 if no other is significantly better.
    count
        Number of rows that it was fitted to: those of validation, or of the folds that were held out.
    error_before, error_after
        Expected calibration error on these rows, over 15 bins, without and with it. As only one number was fitted,
        the second is hardly optimistic. ``None`` if nothing was fitted.
    rejection
        The rejection threshold and its accuracy; ``None`` if none was computed.
    note
        Reason why there is no temperature or no threshold.
    """

    temperature: float = 1.0
    count: int = 0
    error_before: float | None = None
    error_after: float | None = None
    rejection: Rejection | None = None
    note: str | None = None

    @property
    def threshold(self) -> float | None:
        """The confidence below which a prediction is "unknown"; ``None`` if every prediction is accepted."""
        return self.rejection.threshold if self.rejection else None

    def cooled(self, outputs: Any) -> Any:
        """Return raw outputs of a head, float32 ``[N, C]`` of numpy or JAX, divided by the temperature."""
        return outputs / np.float32(self.temperature)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> "Calibration":
        """Read the values of `to_json`; ``None`` for a classifier without calibration."""
        if value is None:
            return cls(note="it was made before classifiers were calibrated; train it again")
        rejection = value["rejection"]
        return cls(**{**value, "rejection": Rejection(**rejection) if rejection else None})


def calibrated(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    loss: str = "softmax",
    accuracy: float = 0.95,
    task: str = MULTICLASS,
) -> Calibration:
    """Fit a temperature and choose a rejection threshold; the result's `note` says why one is missing.

    Parameters
    ----------
    logits, labels, classes, loss
        As for `calibrate`.
    accuracy
        Required accuracy of predictions that are not "unknown"; see `featcache.classifier.rejection.reject_threshold`.
    task
        Of `featcache.core.tasks.TASKS`; only multiclass heads are calibrated.

    Raises
    ------
    UsageError
        If the labels are no numbers of classes, one for each row.
    """
    if task != MULTICLASS:
        return Calibration(note=f"a temperature is fitted to classes, and these are {task}")
    if not len(labels):
        return Calibration(note="no rows were held out to calibrate with")
    labels = _class_numbers(labels, len(logits), classes)
    found = calibrate(logits, labels, classes=classes, loss=loss, deviation=PRIOR_DEVIATION)
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


def _class_numbers(labels: np.ndarray, rows: int, classes: int) -> np.ndarray:
    """Return labels int ``[N]``; refuse others, of which -1 would be taken for the last class."""
    given = np.asarray(labels)
    if given.dtype.kind not in "iu" or given.shape != (rows,):
        raise UsageError(
            f"labels are {given.dtype} of shape {given.shape}; expected whole numbers of classes, one for each of the "
            f"{rows} rows"
        )
    if given.min() < 0 or given.max() >= classes:
        raise UsageError(
            f"labels reach from {given.min()} to {given.max()}; expected numbers of the {classes} classes, 0 to "
            f"{classes - 1}; leave out rows of other classes"
        )
    return given


def _log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the total log-likelihood; probabilities are bounded below as in the reported scores."""
    own = np.maximum(probabilities[np.arange(len(labels)), labels], LEAST_PROBABILITY)
    return float(np.sum(np.log(own, dtype=np.float64)))


def _no_threshold(rejection: Rejection, accuracy: float) -> str | None:
    if rejection.threshold is not None:
        return None
    needed, wanted = least_rows(accuracy, rejection.level), f"{100 * accuracy:g} %"
    if rejection.count < needed:
        return (
            f"{rejection.count} rows are too few to show that {wanted} are right; {needed} without a "
            "mistake would do"
        )
    return (
        f"not even the surest of {rejection.count} rows show that {wanted} are right; ask for a lower "
        "accuracy (--reject-accuracy)"
    )


def calibrate(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    loss: str = "softmax",
    deviation: float = np.inf,
) -> Calibration:
    """Fit a temperature and measure the calibration error without and with it.

    Parameters
    ----------
    logits
        A head's outputs on validation rows, float ``[N, outputs]``.
    labels
        int ``[N]``.
    classes
        Number of classes; two for a single sigmoid output.
    loss
        The training loss, of `featcache.heads.settings.CLASS_LOSSES`.
    deviation
        See `fit_temperature`.

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
    temperature = fit_temperature(logits, labels, loss=loss, deviation=deviation)
    before, after = (
        expected_calibration_error(labels, class_probabilities(loss, np.asarray(logits) / divisor, classes))
        for divisor in (1.0, temperature)
    )
    return Calibration(temperature, len(labels), before, after)


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, *, loss: str = "softmax", deviation: float = np.inf
) -> float:
    """Return the likeliest temperature, given the labels, and how near 0 log T is for most heads.

    Guo et al., "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599

    Parameters
    ----------
    logits
        float ``[N, C]``. ``-inf`` for an impossible class.
    labels
        int ``[N]``.
    loss
        ``"softmax"``, or ``"sigmoid"``: C binary outputs for each row (or one, with two classes), which share the
        temperature.
    deviation
        Of log T before any row is seen; by default nothing is known.

    Returns
    -------
    float
        Within `COLDEST` and `HOTTEST`. 1 if there are fewer than two rows (or binary outputs), or if the likelihood
        does not depend on the temperature.

    Raises
    ------
    DataError
        If a logit is NaN or +∞.

    Notes
    -----
    The mean loss of n rows is convex in the inverse temperature β; its derivative is ``mean(E_p[z] − z_label)``, which
    grows with β. With u = log β normal of deviation σ = `deviation` before any row is seen, what is minimised is
    ``n · loss(e^u) + u² / 2σ²``, whose derivative by u is ``n · β · mean(E_p[z] − z_label) + u / σ²``. Brent's method
    finds its zero.

    If a head is right on every row, the derivative has no zero: a lower temperature is always likelier, however few
    rows there are. Such rows count as right with probability (n + 1) / (n + 2) each (Laplace's rule of succession),
    so that the confidence grows with their number.
    """
    from scipy.optimize import brentq

    behind, own = _behind(loss, np.asarray(logits, np.float64), np.asarray(labels))
    counted = own > IMPOSSIBLE  # no temperature makes an impossible label likelier
    behind, own = behind[counted], own[counted]
    rows = len(own)
    if rows < 2:
        return 1.0
    wanted = own.mean() if own.any() else _others(behind).mean() / (rows + 2)

    # Outputs of one row are told by one image, however many there are.
    independent = min(rows, len(labels))

    def excess(log_beta: float) -> float:
        p = np.exp(np.exp(log_beta) * behind)
        slope = np.mean(np.sum(p * behind, axis=1) / p.sum(axis=1)) - wanted
        return float(independent * np.exp(log_beta) * slope + log_beta / deviation**2)

    low, high = -np.log(HOTTEST), -np.log(COLDEST)
    first, last = excess(low), excess(high)
    if first > 0:
        return HOTTEST
    if last < 0:
        return COLDEST
    if first == last:
        return 1.0
    colder: Any = brentq(excess, low, high, xtol=1e-12)  # Any, because the return type depends on full_output
    return float(np.exp(-colder))


def _behind(loss: str, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits minus their row's maximum, ``[n, C]``, and those of the labels, ``[n]``."""
    if np.isnan(logits).any() or np.isposinf(logits).any():
        raise DataError(
            "a logit is NaN or infinite; the head has diverged: train it with a lower learning rate"
        )
    logits = np.maximum(logits, IMPOSSIBLE)
    if loss == "sigmoid":
        # σ(z / T) is the second part of softmax((0, z) / T): every output of every row is a row of two classes.
        count, outputs = logits.shape
        labels = targets_for(loss, labels, max(outputs, 2)).reshape(count * outputs).astype(np.int64)
        logits = logits.reshape(count * outputs, 1) * np.array([0.0, 1.0])
    behind = np.maximum(logits - logits.max(axis=1, keepdims=True, initial=IMPOSSIBLE), IMPOSSIBLE)
    return behind, behind[np.arange(len(labels)), labels]


def _others(behind: np.ndarray) -> np.ndarray:
    """Return the mean of each row's possible logits except the largest, ``[n]``."""
    possible = behind > IMPOSSIBLE
    total = np.sum(np.where(possible, behind, 0.0), axis=1)
    return total / np.maximum(possible.sum(axis=1) - 1, 1)
