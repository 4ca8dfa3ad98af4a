"""Confident learning, by cleanlab: how well each label fits held-out probabilities, and which are probably wrong.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70 (2021),
https://arxiv.org/abs/1911.00068. A row is counted as wrong where another class reaches that class's threshold, the mean
probability of the rows labelled so, and does so by more than its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.argument_types import spelled
from featcache.errors import MissingExtraError
from featcache.metrics.intervals import wilson_interval


@dataclass(frozen=True)
class LabelQuality:
    """What confident learning says of labels that exclude each other.

    Parameters
    ----------
    quality
        float ``[n]``: self-confidence, the held-out probability of the given label.
    wrong
        bool ``[n]``: counted as wrong.
    joint
        float ``[C, C]``: estimated shares of all rows by given label and true class; adds up to 1.
    confident
        How many rows reach a threshold, and so were counted for `joint`.
    sure, sure_wrong
        How many rows are the `SUREST` of those taken for each class, and how many of these are labelled otherwise.
    """

    quality: np.ndarray
    wrong: np.ndarray
    joint: np.ndarray
    confident: int
    sure: int
    sure_wrong: int

    @property
    def share(self) -> float:
        """Estimated share of wrong labels: what is off the diagonal of `joint`."""
        share = float(1 - np.trace(self.joint))
        return share if share > ROUNDING else 0.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return an interval of the share of wrong labels.

        Notes
        -----
        Two estimates err on different sides. What is off the diagonal counts photos between two classes as wrong; among
        the `SUREST` photos of each class there are none of these, but fewer mistakes, too, where people mislabel what
        is hard to tell. The interval spans Wilson's of both. On made-up classes with 0 to 10 % of the labels flipped
        (20 draws of 33 settings) it held the truth in 95 to 100 % of the draws of 27 settings. The others are classes
        that overlap (90 to 93 % told apart), with 1 % of the labels flipped (85 and 90 %) or none (45 to 75 %): photos
        between two classes cannot be told from wrong labels there. The estimate's own interval alone held it in 0 to
        100 %.
        """
        counted, surest = (
            wilson_interval(share * rows, rows, level)
            if share > 0
            else (0.0, wilson_interval(0, rows, level)[1])
            for share, rows in (
                (self.share, max(1, self.confident)),
                (self.sure_wrong / max(1, self.sure), max(1, self.sure)),
            )
        )
        return min(counted[0], surest[0]), max(counted[1], surest[1])


SUREST = 0.25
"""Share of the photos taken for a class, the surest of them, among which photos between two classes are rare."""

ROUNDING = 1e-9


def label_quality(labels: np.ndarray, probabilities: np.ndarray) -> LabelQuality:
    """Return what confident learning says of labels.

    Ranking by self-confidence was chosen by measurement: among as many first entries as there are flips (3 % of
    flowers' labels, five seeds), .80 are flips, .73 by normalised margin; of two classes the two are one order.

    Parameters
    ----------
    labels
        int ``[n]`` in 0..C - 1; each class has rows.
    probabilities
        float ``[n, C]``, held out; rows add up to 1.

    Raises
    ------
    MissingExtraError
        If cleanlab is not installed.
    """
    count, filters, rank = _cleanlab()
    labels = np.asarray(labels, np.int64)
    probabilities = np.asarray(probabilities, np.float64)
    counted = count.compute_confident_joint(labels, probabilities, calibrate=False)
    joint = count.estimate_joint(labels, probabilities)
    # In this process: cleanlab's own processes would be forks of one that runs JAX's threads.
    wrong = filters.find_label_issues(
        labels, probabilities, filter_by="confident_learning", n_jobs=1, min_examples_per_class=0
    )
    quality = rank.get_label_quality_scores(labels, probabilities, method="self_confidence")
    return LabelQuality(quality, wrong, joint, int(np.sum(counted)), *_surest(labels, probabilities))


def _surest(labels: np.ndarray, probabilities: np.ndarray) -> tuple[int, int]:
    """Return `LabelQuality.sure` and `LabelQuality.sure_wrong`."""
    guessed, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    sure = np.zeros(len(labels), bool)
    for own in np.unique(guessed):
        taken = np.flatnonzero(guessed == own)
        order = np.argsort(-confidence[taken], kind="stable")
        sure[taken[order[: max(1, round(SUREST * len(taken)))]]] = True
    return int(sure.sum()), int((guessed != labels)[sure].sum())


def overlapping_pairs(found: LabelQuality, rows: int) -> list[tuple[int, int, int]]:
    """Return each two classes and how many of the rows are estimated to be labelled as the other, most first."""
    from cleanlab.dataset import find_overlapping_classes

    pairs = find_overlapping_classes(joint=found.joint, num_examples=rows, asymmetric=False)
    columns = ("Class Index A", "Class Index B", "Num Overlapping Examples")
    return [tuple(own) for own in pairs[list(columns)].to_numpy().astype(int).tolist()]


def require_cleanlab() -> None:
    """Raise `MissingExtraError` if cleanlab is not installed, before anything is computed for it."""
    _cleanlab()


def _cleanlab() -> tuple[Any, Any, Any]:
    try:
        from cleanlab import count, filter, rank
    except ImportError as error:
        raise MissingExtraError(
            "finding wrong labels needs cleanlab, which is not installed: pip install 'featcache[audit]' (or cleanlab)"
            f"; other lists are made without it: {spelled('only')} copies,outliers,looks"
        ) from error
    return count, filter, rank
