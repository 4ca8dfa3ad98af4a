"""Long lines as short paths that look the same."""

import numpy as np


def runs(at: np.ndarray, on: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the points that are joined: a point that is not finite leaves a gap.

    Parameters
    ----------
    at, on
        Places across and down, float ``[n]``.

    Returns
    -------
    list of np.ndarray
        int ``[m]`` each.
    """
    there = np.flatnonzero(np.isfinite(at) & np.isfinite(on))
    if not len(there):
        return []
    return np.split(there, np.flatnonzero(np.diff(there) > 1) + 1)


def thinned(at: np.ndarray, on: np.ndarray, wide: float = 0.5) -> list[tuple[float, float]]:
    """Return the points of a line without those that nobody can see.

    Of the points that follow each other within `wide` the first, the lowest, the highest and the last stay (Jugel et
    al., "M4: A Visualization-Oriented Time Series Data Aggregation", 2014), so that the line covers the same pixels.

    Parameters
    ----------
    at, on
        Places across and down, float ``[n]``, finite.
    wide
        Width of what counts as one column of pixels.
    """
    if len(at) <= 400:
        return list(zip(at.tolist(), on.tolist(), strict=True))
    columns = np.floor(at / wide)
    kept: list[int] = []
    for column in np.split(np.arange(len(at)), np.flatnonzero(np.diff(columns)) + 1):
        extremes = column[[0, int(on[column].argmin()), int(on[column].argmax()), -1]]
        kept += sorted(set(extremes.tolist()))
    return [(float(at[i]), float(on[i])) for i in kept]
