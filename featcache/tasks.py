"""What is to be learnt of an image: which class it is of, several yes-or-no answers about it, or numbers."""

from typing import Any

import numpy as np

from featcache.errors import UsageError

CLASSES, ANSWERS, NUMBERS = "classes", "answers", "numbers"
TASKS = (CLASSES, ANSWERS, NUMBERS)
"""Exclusive classes, one for each image; any number of labels for each image; numbers to predict."""

_BINS = 5
_FEW = 5


def require_classes(held: Any, what: str) -> None:
    """Refuse a cache or a dataset whose images are not of one class each.

    Parameters
    ----------
    held
        With a ``task``, and a ``path`` or a ``spec``.
    what
        What cannot be done with others, such as ``"a sweep"``.

    Raises
    ------
    UsageError
        Naming what can.
    """
    if held.task != CLASSES:
        name = getattr(held, "path", None) or held.spec
        raise UsageError(
            f"{what} is for images of one class each, and {name} holds {held.task} ({', '.join(held.classes[:5])}"
            f"{', …' if len(held.classes) > 5 else ''}); train on it with featcache train-head"
        )


def strata(task: str, targets: np.ndarray) -> np.ndarray:
    """Return the stratum of each image, int ``[N]``, for drawing splits that hold everything in its share.

    Images with the same answers are a stratum; those whose answers fewer than 5 images share are one together, so
    that rare ones are drawn from too. Numbers are cut into 5 ranges of equally many images by the first of them.

    Parameters
    ----------
    task
        ``"answers"`` or ``"numbers"``.
    targets
        float ``[N, T]``.
    """
    if task == NUMBERS:
        # By rank, so that equal numbers in unlucky places do not make a range empty; equal ones stay together.
        _, place, counts = np.unique(targets[:, 0], return_inverse=True, return_counts=True)
        before = np.cumsum(counts) - counts
        return (before[place] * _BINS // max(1, len(targets))).astype(np.int64)
    _, own, counts = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
    return np.where(counts[own.reshape(-1)] < _FEW, -1, own.reshape(-1))
