"""Ridge regression on features in closed form: one eigendecomposition serves every strength.

For one weighting of the rows and one strength l2, over the kernel W ``[D, T]`` and the bias b ``[T]``,

    minimise  Σ_i weight_i · ‖x_i @ W + b - target_i‖²  +  l2 · ‖W‖²

as scikit-learn's ``Ridge(alpha=l2)``. The bias is not penalised, so it drops out around the weighted means: with
X and Y there, each row times the root of its weight, and either decomposition

    N ≥ D:  XᵀX = V diag(λ) Vᵀ   W = V diag(1 / (λ + l2)) Vᵀ XᵀY
    N < D:  XXᵀ = U diag(λ) Uᵀ   W = Xᵀ U diag(1 / (λ + l2)) Uᵀ Y

N counts the rows of weight above 0 only, so that a few shots of a large cache cost what few rows cost.

Decomposed in float64 by numpy on the host. With 1,400 photos' 1,280 features a decomposition in float32 was 1 %
off at l2 = 1 and 11 % at 0.01, scikit-learn on float32 features 0.01 % and 0.07 %, this 3e-8 (relative to the
kernel's norm, against scikit-learn on float64 features). It takes about twice as long as float32's.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from featcache.errors import UsageError
from featcache.heads.feature_table import RowsOf
from featcache.heads.scaling import divisors

BLOCK = 1 << 22
"""Numbers of features that are taken to float64 at a time: 32 MiB."""


class _Design(NamedTuple):
    """The rows that count, and how they are centred, scaled and weighted; float64 but for `x` and `targets`.

    Parameters
    ----------
    x, targets
        ``[N, D]`` and ``[N, T]``.
    root
        Roots of the row weights, ``[N, 1]``.
    mean, deviation
        Of the features, ``[D]``.
    level
        Mean of the targets, ``[T]``.
    constant
        Which features are the same in all rows, bool ``[D]``.
    """

    x: np.ndarray | RowsOf
    targets: np.ndarray
    root: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    level: np.ndarray
    constant: np.ndarray


class _Spectrum(NamedTuple):
    """``W = basis [D, R] @ (projected [R, T] / (values [R] + l2))``."""

    values: np.ndarray
    basis: np.ndarray
    projected: np.ndarray


def class_targets(y: Any, classes: int) -> np.ndarray:
    """Return the targets of one-vs-rest classification by regression: +1 for the row's class, -1 for the others.

    As in scikit-learn's ``RidgeClassifier``, which leaves out the first of two columns because it is minus the
    second. The class with the largest output is chosen.

    Parameters
    ----------
    y
        int ``[N]`` in 0..classes - 1.
    classes
        Number of classes C.

    Returns
    -------
    numpy.ndarray
        float32 ``[N, C]``.

    Raises
    ------
    UsageError
        A label is none of the classes.

    Examples
    --------
    >>> class_targets([1, 0], 2)
    array([[-1.,  1.],
           [ 1., -1.]], dtype=float32)
    """
    y = np.asarray(y)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or np.any((y < 0) | (y >= classes)):
        raise UsageError(
            f"labels {y.dtype} {y.shape}, classes={classes}: expected integers of 0 to classes - 1"
        )
    return np.where(y[:, None] == np.arange(classes), np.float32(1), np.float32(-1))


def fit_ridge(x: Any, targets: Any, weight: Any, l2: Any, *, scaling: str) -> dict[str, np.ndarray]:
    """Solve K · L ridge regressions on the same features with K decompositions.

    Parameters
    ----------
    x
        float ``[N, D]``, or `featcache.heads.feature_table.RowsOf` a table whose features are read in blocks.
    targets
        float ``[N, T]``; `class_targets` for classification.
    weight
        float ``[K, N]``, not negative: how much a row counts. A row of weight 0 is absent, whatever it holds.
    l2
        float ``[L]`` or ``[K, L]``, not negative: strengths. 0 gives the smallest of the least-squares solutions.
    scaling
        The penalty acts on the weights of features that are scaled by the rows that count: ``"standard"``, ``"unit"``
        (of rows that are of unit length already), or ``"none"``; each is another objective. Returned parameters are
        for the features given in any case.

    Returns
    -------
    dict
        float32 ``kernel [K, L, D, T]`` and ``bias [K, L, T]``. All NaN for a weighting whose rows are not finite,
        all 0 for one without rows. A constant feature gets the weight 0, a constant target the kernel 0.

    Raises
    ------
    UsageError
        Shapes do not fit or a value is out of its range.
    """
    x = x if isinstance(x, RowsOf) else np.asarray(x)
    targets, weight = np.asarray(targets), np.asarray(weight, np.float64)
    l2 = np.asarray(l2, np.float64)
    _check(x.shape, targets.shape, weight, l2)
    strengths = np.broadcast_to(l2, (len(weight), l2.shape[-1]))
    solved = [
        _fit_weighting(x, targets, row_weight, strength, scaling=scaling)
        for row_weight, strength in zip(weight, strengths, strict=True)
    ]
    kernels, biases = zip(*solved, strict=True)
    return {"kernel": np.stack(kernels), "bias": np.stack(biases)}


def _fit_weighting(
    x: np.ndarray | RowsOf, targets: np.ndarray, weight: np.ndarray, l2: np.ndarray, *, scaling: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernels float32 ``[L, D, T]`` and biases ``[L, T]`` of one weighting."""
    count, features, outputs = len(l2), x.shape[1], targets.shape[1]
    counted = weight > 0
    if not counted.any():
        return np.zeros((count, features, outputs), np.float32), np.zeros((count, outputs), np.float32)
    if not counted.all():
        x, targets, weight = x[counted], targets[counted], weight[counted]
    design = _design(x, targets, weight, scaling=scaling)
    spectrum = _spectrum(design)
    if spectrum is None:
        nan = np.float32(np.nan)
        return np.full((count, features, outputs), nan), np.full((count, outputs), nan)
    # ((x − mean) / deviation) @ W + level = x @ (W / deviation) + (level − mean @ (W / deviation)): raw features.
    kernel = _solutions(spectrum, l2) / design.deviation[:, None]
    # A constant feature's part of an eigenvector is a rounding error, which a tiny penalty, or none, would blow up.
    kernel[:, design.constant] = 0.0
    return kernel.astype(np.float32), (design.level - design.mean @ kernel).astype(np.float32)


def _design(x: np.ndarray | RowsOf, targets: np.ndarray, weight: np.ndarray, *, scaling: str) -> _Design:
    # The derivative by b is 0 at b = mean(y) − mean(x) @ W, with means over share_i = weight_i / Σ weight. Put in, b
    # drops out, and what is left is the penalised least-squares problem of features and targets around these means.
    share = weight / weight.sum()
    # mean = x_0 + Σ share_i·(x_i − x_0): a constant feature is exactly 0 there, and its mean has no rounding error.
    # With d = x − x_0, the variance is Σ share_i·d_i² − (Σ share_i·d_i)²: one pass over rows that may have to be read.
    # As x_0 is one of the rows, what is subtracted is at most 1 / share_0 times what is left, for which float64 has
    # digits.
    origin = x[0].astype(np.float64)
    first, second, constant = np.zeros(x.shape[1]), np.zeros(x.shape[1]), np.ones(x.shape[1], bool)
    for rows in _blocks(x):
        apart = x[rows] - origin
        first += share[rows] @ apart
        constant &= ~apart.any(axis=0)
        second += share[rows] @ np.square(apart, out=apart)
    mean, deviation = origin + first, np.ones(x.shape[1])
    if scaling != "none":
        variance = np.maximum(second - np.square(first), 0.0)
        deviation = divisors(scaling, variance, mean, weight.sum())
    level = targets[0] + share @ (targets - targets[0].astype(np.float64))
    return _Design(x, targets, np.sqrt(weight)[:, None], mean, deviation, level, constant)


def _blocks(x: np.ndarray | RowsOf) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        yield slice(start, start + step)


def _seen(design: _Design, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return centred features and targets of some rows, times the roots of their weights."""
    # weight_i · ‖r_i‖² = ‖√weight_i · r_i‖²: with both sides multiplied, the problem has no weights any more.
    x = (design.x[rows] - design.mean) / design.deviation
    return x * design.root[rows], (design.targets[rows] - design.level) * design.root[rows]


def _spectrum(design: _Design) -> _Spectrum | None:
    """Return the decomposition in whichever of the two forms is smaller; None if a number is not finite."""
    rows, features = design.x.shape
    if rows < features:
        # W = (XᵀX + l2·I)⁻¹ XᵀY = Xᵀ (XXᵀ + l2·I)⁻¹ Y (the push-through identity), and XXᵀ = U diag(λ) Uᵀ is [N, N]:
        # W [D, T] = (XᵀU) [D, N] · diag(1 / (λ + l2)) · (UᵀY) [N, T].
        x, targets = _seen(design, slice(None))
        gram, cross = x @ x.T, targets
    else:
        # W [D, T] = V [D, D] · diag(1 / (λ + l2)) · Vᵀ(XᵀY) [D, T], of XᵀX = V diag(λ) Vᵀ [D, D]. XᵀX and XᵀY are sums
        # over rows, so that X is never whole in float64.
        x, gram, cross = None, np.zeros((features, features)), np.zeros((features, design.targets.shape[1]))
        for block in _blocks(design.x):
            seen, targets = _seen(design, block)
            gram += seen.T @ seen
            cross += seen.T @ targets
    if not (np.isfinite(gram).all() and np.isfinite(cross).all()):
        return None
    # l2 stands in 1 / (λ + l2) only: this step, O(R³) with R = min(N, D), is done once, and each l2 takes one product
    # [D, R] × [R, T].
    values, vectors = np.linalg.eigh(gram)
    return _Spectrum(values, vectors if x is None else x.T @ vectors, vectors.T @ cross)


def _solutions(spectrum: _Spectrum, l2: np.ndarray) -> np.ndarray:
    """Return the kernels ``[L, D, T]`` for the centred and scaled features."""
    values, basis, projected = spectrum
    # λ = 0 is a direction without features (of constant or duplicated ones, of equal rows). The solution has no part in
    # it but for rounding, which must not be divided by a small l2, let alone by 0. With it left out, l2 = 0 gives the
    # pseudoinverse's solution, the smallest one.
    seen = values > np.finfo(np.float64).eps * len(values) * max(values[-1], 0)
    strength = np.where(seen, values, 1) + l2[:, None]
    scaled = np.where(seen, 1 / strength, 0)[:, :, None] * projected
    # One product for all strengths: [D, R] × [R, L · T].
    together = basis @ np.moveaxis(scaled, 1, 0).reshape(len(values), -1)
    return np.moveaxis(together.reshape(len(basis), len(l2), -1), 1, 0)


def _check(x: tuple[int, ...], targets: tuple[int, ...], weight: np.ndarray, l2: np.ndarray) -> None:
    if len(x) != 2 or len(targets) != 2 or targets[0] != x[0]:
        raise UsageError(f"x {x} and targets {targets}: expected [rows, features] and [rows, outputs]")
    if weight.ndim != 2 or weight.shape[1] != x[0] or not len(weight):
        raise UsageError(f"weight {weight.shape}: expected [weightings, {x[0]}], because x has {x[0]} rows")
    if l2.ndim not in (1, 2) or not l2.size or (l2.ndim == 2 and len(l2) != len(weight)):
        raise UsageError(f"l2 {l2.shape}: expected [strengths] or [{len(weight)}, strengths], as weight")
    for name, values in (("weight", weight), ("l2", l2)):
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise UsageError(f"{name}: expected finite numbers of at least 0")
