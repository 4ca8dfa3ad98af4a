"""Sets of classes that hold the right one as often as was asked for: split conformal prediction.

A class belongs to a photo's set if its probability is at least the one that right classes have on the promised share of
held-out rows: the score ``1 − p`` of Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers with Bounded
Error Levels", 2019 (LAC). Of all sets with the promised coverage these have the fewest classes on average, which is why
they are taken rather than adaptive ones (APS, RAPS), whose sets are larger in exchange for coverage that depends less
on the photo. The promise is about the mean over photos, not about each class. A set may be empty: no class is likely
enough, as when a head is right more often than it is asked to be.
"""

import numpy as np

from featcache.classifier.known.thresholds import HeldOutScores


def right_class_scores(probabilities: np.ndarray, labels: np.ndarray) -> HeldOutScores:
    """Return how far the right class is from certain, on rows that the head has not learnt from.

    Parameters
    ----------
    probabilities
        float32 ``[n, C]``.
    labels
        int ``[n]``.

    Notes
    -----
    ``−p`` is kept, which has the order of ``1 − p`` and no rounding.
    """
    return HeldOutScores.of(-probabilities[np.arange(len(labels)), labels])


def prediction_sets(probabilities: np.ndarray, scores: HeldOutScores, level: float) -> np.ndarray | None:
    """Return the smallest sets of classes that hold the right one in a share of photos.

    Parameters
    ----------
    probabilities
        float32 ``[N, C]``, of the head that gave the scores.
    scores
        Of `right_class_scores`.
    level
        The share, above 0 and below 1.

    Returns
    -------
    numpy.ndarray or None
        bool ``[N, C]``: the classes in each photo's set; ``None`` if there are too few held-out rows for this level.
    """
    bound = scores.bound(level)
    return None if bound is None else -np.asarray(probabilities, np.float32) <= np.float32(bound)
