"""How much each class's rows count so that all classes count the same, however rare."""

import numpy as np


def balanced_class_weights(
    labels: np.ndarray, weight: np.ndarray | None = None, *, classes: int
) -> np.ndarray:
    """Return the factor on each class's rows with which all classes that are present count the same.

    The total stays what it was: with n rows of c present classes the factor of class k is n / (c · n_k), as
    scikit-learn's ``class_weight="balanced"``.

    Parameters
    ----------
    labels
        int ``[N]`` in 0..classes - 1.
    weight
        float ``[N]``: how much each row counts; 1 by default. Of weight 0, it is absent.
    classes
        Number of classes C.

    Returns
    -------
    numpy.ndarray
        float64 ``[C]``; 0 for a class without rows.
    """
    counts = np.bincount(labels, weights=weight, minlength=classes).astype(np.float64)
    present = counts > 0
    return np.where(present, counts.sum() / (present.sum() * np.where(present, counts, 1.0)), 0.0)
