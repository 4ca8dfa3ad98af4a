"""Scalings of features that hold from one row of each class to all rows.

Deviations measured on few rows are mostly chance: with one image of each of five classes a feature's deviation may be a
hundredth of what it is over all images, and dividing by it makes noise the loudest feature. Two things help, and both
are right with many rows as well (`benchmarks/accuracy.py` measures them):

* rows of unit length, as nearest neighbours by cosine have them: how strongly a network responds to an image says
  little about what the image shows;
* deviations that are pulled towards the one that all features have in common, as if `PRIOR_ROWS` more rows had been
  seen in which all features vary alike.
"""

from types import ModuleType
from typing import Any

import numpy as np

PRIOR_ROWS = 100.0
"""Rows of equal variances that count beside the measured ones: with 100 rows, both count the same."""

CONSTANT = 1e-6
"""A feature whose deviation is below this share of 1 + its size counts as constant."""


def unit_length(x: Any, xp: ModuleType = np) -> Any:
    """Return rows ``[…, D]`` of Euclidean length 1; a row of zeros stays zeros.

    Parameters
    ----------
    x
        Features, a numpy or JAX array.
    xp
        `numpy` or `jax.numpy`.
    """
    # By the largest number first: the squares of numbers beyond 1e19 are beyond float32. After it the sum of squares
    # is at least 1, but for zeros, for which 1 keeps the derivative finite.
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True, initial=0.0)
    x = x / xp.where(largest > 0, largest, 1.0).astype(x.dtype)
    return x / xp.sqrt(xp.maximum(xp.sum(xp.square(x), axis=-1, keepdims=True), 1.0)).astype(x.dtype)


def divisors(scaling: str, variance: Any, level: Any, rows: Any, xp: ModuleType = np) -> Any:
    """Return what each feature is divided by, ``[…, D]``, from its variance over a head's rows.

    Parameters
    ----------
    scaling
        ``"unit"``: pulled towards the features' common deviation; ``"standard"``: each feature's own.
    variance
        ``[…, D]``, not negative.
    level
        ``[…, D]``: size of the features, beside which a deviation is told from rounding.
    rows
        ``[…]``: how many rows it was measured on, by weight.
    xp
        `numpy` or `jax.numpy`.
    """
    if scaling == "unit":
        # The posterior mean of a variance whose prior is worth PRIOR_ROWS observations of the common one: an
        # inverse gamma distribution, which is conjugate to the normal one's variance (Gelman et al., Bayesian Data
        # Analysis, 2.6).
        common = xp.mean(variance, axis=-1, keepdims=True)
        rows = xp.asarray(rows)[..., None]
        shrunken = xp.sqrt((rows * variance + PRIOR_ROWS * common) / (rows + PRIOR_ROWS))
        return xp.where(common > CONSTANT**2, shrunken, 1.0)
    deviation = xp.sqrt(variance)
    return xp.where(deviation > CONSTANT * (1 + xp.abs(level)), deviation, 1.0)
