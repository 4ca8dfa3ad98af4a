"""Confident learning, by cleanlab: how well each label fits held-out probabilities, and which are probably wrong.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70 (2021),
https://arxiv.org/abs/1911.00068. A row is counted as wrong where another class reaches that class's threshold, the mean
probability of the rows labelled so, and does so by more than its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from featcache.core.argument_types import spelled
from featcache.errors import MissingExtraError
from featcache.heads.feature_table import blocks
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

_REACHED, _AS_GOOD = 1e-6, 1e-8
"""cleanlab's: below a threshold by so little, it is reached; a label that is less probable by so little is kept."""

_BLOCK_BYTES = 1 << 24


class Probabilities(Protocol):
    """float ``[n, C]`` of which rows are taken by slices: an array, or what computes them as they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, C)``."""
        ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


def label_quality(labels: np.ndarray, probabilities: Probabilities) -> LabelQuality:
    """Return what confident learning says of labels.

    Ranking by self-confidence was chosen by measurement: among as many first entries as there are flips (3 % of
    flowers' labels, five seeds), .80 are flips, .73 by normalised margin; of two classes the two are one order.

    Parameters
    ----------
    labels
        int ``[n]`` in 0..C - 1; each class has rows.
    probabilities
        float ``[n, C]``, held out; rows add up to 1.

    Notes
    -----
    What cleanlab computes with ``filter_by="confident_learning"``, but block by block: of a million rows of 100
    classes, its arrays of rows × classes took 2 GB.

    Raises
    ------
    MissingExtraError
        If cleanlab is not installed.
    """
    count = _cleanlab()
    labels = np.asarray(labels, np.int64)
    quality, guessed, confidence = (
        np.empty(len(labels), kind) for kind in (np.float64, np.int64, np.float64)
    )
    for part, own, given in _parts(labels, probabilities):
        quality[part] = own[np.arange(len(own)), given]
        guessed[part], confidence[part] = own.argmax(axis=1), own.max(axis=1)
    least = _thresholds(labels, quality, probabilities.shape[1])
    counted = np.zeros((len(least), len(least)), np.int64)
    wrong = np.zeros(len(labels), bool)
    for part, own, given in _parts(labels, probabilities):
        taken, sure = _taken_for(own, guessed[part], least)
        np.add.at(counted, (given[sure], taken[sure]), 1)
        # Where another class is as probable as the given one, or by less than rounding more, the label stands.
        own[np.arange(len(own)), given] += _AS_GOOD
        wrong[part] = sure & (taken != given) & (own.argmax(axis=1) != given)
    np.fill_diagonal(counted, np.maximum(np.diag(counted), 1))
    joint = count.calibrate_confident_joint(counted, labels)
    joint = joint / max(float(joint.sum()), np.finfo(np.float64).tiny)
    surest = _surest(labels, guessed, confidence)
    return LabelQuality(quality, wrong, joint, int(counted.sum()), *surest)


def _parts(
    labels: np.ndarray, probabilities: Probabilities
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield rows of probabilities block by block, float64 ``[b, C]`` of their own, with their labels."""
    for part in blocks(len(labels), 2 * probabilities.shape[1], _BLOCK_BYTES):
        yield part, np.array(probabilities[part], np.float64), labels[part]


def _thresholds(labels: np.ndarray, quality: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean probability of each class for the rows that are labelled so, float ``[C]``."""
    means = [own.mean() if len(own := quality[labels == label]) else np.inf for label in range(classes)]
    return np.maximum(means, 2 * np.finfo(np.float64).eps)


def _taken_for(own: np.ndarray, guessed: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the class that each row reaches the threshold of, of several the most probable, and whether it does."""
    reaches = own >= least - _REACHED
    several = reaches.sum(axis=1)
    return np.where(several > 1, guessed, reaches.argmax(axis=1)), several > 0


def _surest(labels: np.ndarray, guessed: np.ndarray, confidence: np.ndarray) -> tuple[int, int]:
    """Return `LabelQuality.sure` and `LabelQuality.sure_wrong`."""
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


def _cleanlab() -> Any:
    try:
        from cleanlab import count
    except ImportError as error:
        raise MissingExtraError(
            "finding wrong labels needs cleanlab, which is not installed: pip install 'featcache[audit]' (or cleanlab)"
            f"; other lists are made without it: {spelled('only')} copies,outliers,looks"
        ) from error
    return count
