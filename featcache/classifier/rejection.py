"""Choose the confidence below which a classifier says "unknown", and measure its coverage and accuracy.

It is chosen on validation rows, after the head and its temperature (`featcache.classifier.calibration`).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.core.argument_types import spelled
from featcache.errors import DataError, UsageError
from featcache.metrics.intervals import wilson_lower


@dataclass(frozen=True)
class Rejection:
    """A confidence threshold below which a classifier says "unknown", with its coverage and accuracy.

    Parameters
    ----------
    threshold
        Smallest accepted value of a row's largest probability; ``None`` if no threshold reaches the accuracy.
    accepted, count
        Number of accepted rows, and of all rows.
    coverage
        Share of accepted rows.
    accuracy
        Accuracy of the accepted rows; ``None`` if none is accepted.
    lower
        Wilson's lower bound of that accuracy at confidence `level`.
    level
        Confidence level of the one-sided bound.
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
    accuracy: float = 0.95,
    level: float = 0.95,
) -> Rejection:
    """Choose the confidence below which a prediction is "unknown".

    Parameters
    ----------
    probabilities
        float ``[N, C]`` of validation rows, calibrated if there is a temperature.
    labels
        int ``[N]``.
    accuracy
        The smallest confidence is chosen at which Wilson's lower bound of the accuracy of the accepted rows
        reaches this.
    level
        Confidence level of the one-sided bound; 0.5 compares the observed accuracy.

    Returns
    -------
    Rejection
        With ``threshold=None`` if no confidence reaches the accuracy, as with few rows: an accuracy of 0.99 at
        level 0.95 needs at least 268 rows, all of them right (`least_rows`).

    Raises
    ------
    UsageError
        If the accuracy or the level is not within 0 and 1.
    DataError
        If there are no rows.

    Notes
    -----
    Wilson's score interval (1927) holds for a threshold chosen beforehand; choosing the smallest of many that reach the
    accuracy is optimistic, but only slightly: of 400 simulated validation sets each, of 100 to 5000 rows, 4 to 7 %
    led to a threshold whose true accuracy was below 0.95, instead of the nominal 5 %.
    """
    if not 0 < accuracy < 1 or not 0 < level < 1:
        raise UsageError(f"accuracy {accuracy} at level {level}: expected both above 0 and below 1")
    if not len(labels):
        raise DataError("no validation rows to choose a confidence by; train with a validation split")
    confidence, right, accepted = by_confidence(probabilities, labels)
    enough = np.flatnonzero(wilson_lower(right, accepted, level) >= accuracy)
    if not len(enough):
        return _rejection(None, 0, 0, len(labels), level)
    place = enough[-1]
    return _rejection(float(confidence[place]), int(right[place]), int(accepted[place]), len(labels), level)


def rejection_at(
    threshold: float, probabilities: np.ndarray, labels: np.ndarray, *, level: float = 0.95
) -> Rejection:
    """Return coverage and accuracy on these rows of a threshold that was chosen on other rows.

    Parameters
    ----------
    threshold
        The threshold of `reject_threshold`.
    probabilities, labels, level
        As for `reject_threshold`; at least one row.
    """
    accepted = probabilities.max(axis=1) >= threshold
    right = (probabilities.argmax(axis=1) == labels) & accepted
    return _rejection(threshold, int(right.sum()), int(accepted.sum()), len(labels), level)


def _rejection(threshold: float | None, right: int, accepted: int, count: int, level: float) -> Rejection:
    return Rejection(
        threshold=threshold,
        accepted=accepted,
        count=count,
        coverage=accepted / count,
        accuracy=right / accepted if accepted else None,
        lower=float(wilson_lower(np.array(right), np.array(accepted), level)) if accepted else 0.0,
        level=level,
    )


def require_accuracy(accuracy: float) -> None:
    """Raise `UsageError` for a required accuracy outside 0 and 1, both excluded."""
    if not 0 < accuracy < 1:
        raise UsageError(
            f"{spelled('reject_accuracy')} {accuracy}: expected above 0 and below 1, such as 0.99"
        )


def by_confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct confidences in descending order, and how many rows are right and are accepted at each.

    Parameters
    ----------
    probabilities, labels
        As for `reject_threshold`.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    # Rows of the same confidence are accepted together.
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return confidence[last], right[last], last + 1
