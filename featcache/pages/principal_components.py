"""Principal components of features: the plane in which they differ most, for maps."""

import numpy as np

EXACT = 1000
"""Rows or columns up to which all components are computed, of which the first are taken."""


def principal_components(features: np.ndarray, count: int) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return the first principal components, float64 ``[n, count]``, and the share of the variance of each.

    The sign of each is such that its largest weight is positive, so that the same features give the same map. Where
    there are fewer dimensions or rows, the missing components are 0.

    Parameters
    ----------
    features
        float ``[n, D]``, finite.
    count
        How many.
    """
    rows, width = features.shape
    points, shares = np.zeros((rows, count)), [0.0] * count
    known = min(count, rows - 1, width)
    if known < 1:
        return points, tuple(shares)
    centred = features.astype(np.float64 if features.nbytes < 2**28 else np.float32)
    centred -= centred.mean(axis=0)
    total = float(np.einsum("nd,nd->", centred, centred, dtype=np.float64))
    if total <= 0:
        return points, tuple(shares)
    axes = _leading_axes(centred, known)
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(known)] < 0, -1.0, 1.0)
    points[:, :known] = centred @ axes
    shares[:known] = (np.square(points[:, :known]).sum(axis=0) / total).tolist()
    return points, tuple(shares)


def _leading_axes(centred: np.ndarray, count: int) -> np.ndarray:
    """Return the first right singular vectors, float ``[D, count]``, the largest first.

    From the smaller of XᵀX ``[D, D]`` and XXᵀ ``[n, n]`` where that is small; else by Lanczos' method, which needs only
    products with X: 10,000 rows of 2,048 numbers in seconds.
    """
    if min(centred.shape) > EXACT:
        from scipy.sparse.linalg import svds

        start = np.ones(min(centred.shape), centred.dtype)
        right = np.asarray(svds(centred, k=count, v0=start)[2])
        return right[::-1].T.astype(np.float64)
    if centred.shape[1] <= centred.shape[0]:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        return vectors[:, ::-1][:, :count].astype(np.float64)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    right = (centred.T @ vectors[:, ::-1][:, :count]).astype(np.float64)
    return right / np.maximum(np.linalg.norm(right, axis=0), np.finfo(np.float64).tiny)
