"""Scores of multiclass predictions: pure functions of labels and probabilities."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.core.display import html_table, percent, percents
from featcache.metrics.intervals import share_interval, wilson_interval


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 (0..1) of one class, how many examples it has, and its recall's 95 % interval.

    The interval is Wilson's; ``None`` without examples.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    recall_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Scores:
    """Scores of a multiclass classifier on one split.

    Parameters
    ----------
    split
        Name of the rows.
    count
        Number of examples.
    accuracy
        Share of right predictions.
    interval
        95 % interval of the accuracy, see `featcache.metrics.intervals.share_interval`.
    top5
        Share with the right class among the five most probable; ``None`` with five classes or fewer.
    loss
        Mean cross-entropy in nats.
    calibration_error
        Expected calibration error over 15 bins.
    """

    split: str
    count: int
    accuracy: float
    interval: tuple[float, float]
    top5: float | None
    loss: float
    calibration_error: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True, repr=False)
class Evaluation(Scores):
    """Scores of a multiclass classifier, with those of each class and the confusion matrix.

    Parameters
    ----------
    classes
        Scores of each class.
    confusion
        int ``[C, C]``: rows are true classes, columns predicted ones.
    balanced_accuracy
        Mean recall of the classes that have examples.
    f1_macro
        Mean F1 of the classes that have examples or were predicted.
    """

    classes: tuple[ClassScore, ...]
    confusion: np.ndarray
    balanced_accuracy: float
    f1_macro: float

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._in_words()})"

    def _in_words(self) -> str:
        return f"{self.split}: {percent(self.accuracy)} of {self.count} right, 95 % interval {percents(*self.interval)}"

    def _repr_html_(self) -> str:
        rows = [
            (own.name, percent(own.precision), percent(own.recall), percent(own.f1), own.support)
            for own in self.classes
        ]
        columns = ("class", "precision", "recall", "F1", "images")
        return html_table(self._in_words(), rows, columns, right=columns[1:])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**super().to_json(), "confusion": self.confusion.tolist()}


@dataclass(frozen=True)
class ReliabilityBin:
    """The rows whose confidence, their largest probability, is within `low` and `high`.

    Parameters
    ----------
    low, high
        Ends of the bin.
    count
        Number of rows.
    confidence, accuracy
        Mean confidence, and share of right predictions.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> list[ReliabilityBin]:
    """Return the bins of equal width that hold rows, in ascending order.

    Labels are int ``[N]``, probabilities float ``[N, C]``.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    found = []
    for b in np.unique(bin_of):
        held = bin_of == b
        means = float(np.mean(confidence[held])), float(np.mean(correct[held]))
        found.append(ReliabilityBin(b / bins, (b + 1) / bins, int(held.sum()), *means))
    return found


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins of confidence.

    Labels are int ``[N]``, probabilities float ``[N, C]``.

    Guo et al., "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599
    """
    # ECE = Σ_b (n_b / N) · |accuracy_b − mean confidence_b| over the bins that hold rows.
    found = reliability(labels, probabilities, bins)
    gaps = [abs(each.accuracy - each.confidence) * (each.count / len(labels)) for each in found]
    return float(sum(gaps))


def score(labels: np.ndarray, probabilities: np.ndarray, *, split: str) -> Scores:
    """Score probabilities float ``[N, C]`` against labels int ``[N]``; `split` names the rows.

    Without scikit-learn, whose import takes longer than training a head does.
    """
    right = probabilities[np.arange(len(labels)), labels]
    ranks = np.sum(probabilities > right[:, None], axis=1)
    correct = probabilities.argmax(axis=1) == labels
    return Scores(
        split=split,
        count=len(labels),
        accuracy=float(np.mean(correct)),
        interval=share_interval(correct),
        top5=float(np.mean(ranks < 5)) if probabilities.shape[1] > 5 else None,
        loss=float(-np.mean(np.log(np.maximum(right, 1e-12)))),
        calibration_error=expected_calibration_error(labels, probabilities),
    )


def evaluate(
    labels: np.ndarray, probabilities: np.ndarray, *, classes: Sequence[str], split: str
) -> Evaluation:
    """Score probabilities against labels, overall and by class.

    Parameters
    ----------
    labels
        int ``[N]``, indices into `classes`.
    probabilities
        float ``[N, C]``, rows summing to 1.
    classes
        Names of the classes.
    split
        Name of the rows.
    """
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    # Of each class: rows that have it, rows that were said to have it, and both.
    support, said, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    precision, recall, f1 = (
        _share(right, said),
        _share(right, support),
        _share(2 * right, support + said),
    )
    return Evaluation(
        **vars(score(labels, probabilities, split=split)),
        classes=tuple(
            ClassScore(name, float(p), float(r), float(f), int(n), _interval(int(hits), int(n)))
            for name, p, r, f, n, hits in zip(classes, precision, recall, f1, support, right, strict=True)
        ),
        confusion=confusion,
        # As in scikit-learn, classes that neither labels nor predictions hold do not count.
        balanced_accuracy=float(np.mean(recall[support > 0])),
        f1_macro=float(np.mean(f1[support + said > 0])),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, and 0 where there is nothing."""
    return part / np.maximum(whole, 1)


def _interval(right: int, count: int) -> tuple[float, float] | None:
    return wilson_interval(right, count) if count else None
