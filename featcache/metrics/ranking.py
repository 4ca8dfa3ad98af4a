"""How well scores rank the rows of a class before all others: precision-recall and ROC curves, and their areas."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from featcache.metrics.intervals import wilson_interval


@dataclass(frozen=True)
class Ranking:
    """The rows in descending order of a score; rows of the same score stand together, at one of the K thresholds.

    Parameters
    ----------
    thresholds
        float ``[K]``: the distinct scores, in descending order.
    found, taken
        int ``[K]``: rows of the class, and rows in all, whose score is at least the threshold.
    """

    thresholds: np.ndarray
    found: np.ndarray
    taken: np.ndarray

    @property
    def positives(self) -> int:
        """Number of rows of the class."""
        return int(self.found[-1])

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.taken[-1])

    @cached_property
    def precision(self) -> np.ndarray:
        """Share of the rows at or above each threshold that are of the class, float64 ``[K]``."""
        return self.found / self.taken

    @cached_property
    def recall(self) -> np.ndarray:
        """Share of the rows of the class that are at or above each threshold, float64 ``[K]``; 0 if there are none."""
        return self.found / max(self.positives, 1)

    @cached_property
    def false_positive_rate(self) -> np.ndarray:
        """Share of the other rows that are at or above each threshold, float64 ``[K]``; 0 if there are none."""
        return (self.taken - self.found) / max(self.count - self.positives, 1)

    @property
    def average_precision(self) -> float | None:
        """Mean of the precision over the rows of the class, each at its own threshold; ``None`` if there are none."""
        if not self.positives:
            return None
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    @property
    def average_precision_interval(self) -> tuple[float, float] | None:
        """A 95 % interval of it; ``None`` if there are no rows of the class.

        The binomial interval of Boyd, Eng and Page, "Area under the precision-recall curve: point estimates and
        confidence intervals" (ECML 2013), as if it were a share of the rows of the class; Wilson's form, which holds
        for few rows and at 1.
        """
        value = self.average_precision
        return None if value is None else wilson_interval(value * self.positives, self.positives)

    @property
    def roc_area(self) -> float | None:
        """How often a row of the class has a larger score than another one, ties counting half.

        ``None`` if either are missing.
        """
        if not 0 < self.positives < self.count:
            return None
        x, y = (np.concatenate([[0.0], values]) for values in (self.false_positive_rate, self.recall))
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))

    def precision_from(self, recall: np.ndarray) -> np.ndarray:
        """Return the best precision at a recall of at least each of these, float64 like `recall`.

        As in the evaluations of Pascal VOC and COCO: what a curve is averaged by over classes.
        """
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        place = np.searchsorted(self.recall, recall - 1e-12)
        return best[np.minimum(place, len(best) - 1)]

    def recall_at(self, false_positive_rate: np.ndarray) -> np.ndarray:
        """Return the recall at each of these shares of other rows, on the straight lines between thresholds."""
        x, y = (np.concatenate([[0.0], values]) for values in (self.false_positive_rate, self.recall))
        return np.interp(false_positive_rate, x, y)  # of several recalls at one rate, the last: the largest


def rank(known: np.ndarray, scores: np.ndarray) -> Ranking:
    """Rank rows by their score.

    Parameters
    ----------
    known
        bool ``[N]``, N at least 1: which rows are of the class.
    scores
        float ``[N]``, finite.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return Ranking(ranked[last], np.cumsum(known[order])[last], last + 1)
