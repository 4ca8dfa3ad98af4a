"""How much each class's rows count: so that all classes count the same, however rare, or as much as is said."""

from collections.abc import Sequence

import numpy as np

from featcache.heads.weights_by_class import weights_of


def class_factors(
    rule: str, labels: np.ndarray, weight: np.ndarray | None = None, *, classes: int, names: Sequence[str]
) -> np.ndarray | None:
    """Return the factor on each class's rows, float64 ``[C]``; ``None`` where all count as they are.

    Parameters
    ----------
    rule
        ``class_weights`` of `featcache.heads.settings.Settings`.
    labels, weight, classes
        See `balanced_class_weights`.
    names
        Of the classes, by which weights are given.

    Raises
    ------
    UsageError
        Weights name a class that there is not.
    """
    if rule == "none":
        return None
    if rule == "balanced":
        return balanced_class_weights(labels, weight, classes=classes)
    return np.array(weights_of(rule, names))


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
