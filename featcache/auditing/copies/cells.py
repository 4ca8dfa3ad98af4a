"""Cells of many rows: those that lie around one of some centres, among which pairs that are near are looked for.

To compare a million rows with each other takes an hour; a copy lies much nearer to its original than all others do, and
both lie around the same centres. Each row belongs to the cells of its nearest few centres, so that two rows on either
side of a border are in one cell, too (an inverted file with several lists for each row: Sivic and Zisserman, "Video
Google", ICCV 2003; Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI 2011).
"""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

OF_ONE = 4096
"""Rows for each centre, about."""

CENTRES = 3
"""Cells of each row."""

_FITTED = 20_000
_ROWS = 8192


class Cells(NamedTuple):
    """Which rows lie around which centre.

    Parameters
    ----------
    cells
        int ``[N, 3]``: the cells of each row, the nearest first.
    centres
        How many cells there are.
    """

    cells: np.ndarray
    centres: int

    def members(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows of each cell, int ``[n]`` ascending, and bool ``[n]``: whose nearest one it is."""
        width = self.cells.shape[1]
        flat = self.cells.ravel()
        order = np.argsort(flat, kind="stable")
        ends = np.searchsorted(flat[order], np.arange(self.centres + 1))
        for cell in range(self.centres):
            rows, places = np.divmod(order[ends[cell] : ends[cell + 1]], width)
            if len(rows):
                yield rows, places == 0


def cells_of(x: np.ndarray, seed: int) -> Cells:
    """Divide rows float32 ``[N, P]`` among the k-means centres of some of them."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    random = np.random.default_rng(seed)
    some = x[np.sort(random.permutation(len(x))[:_FITTED])]
    count = max(CENTRES, min(-(-len(x) // OF_ONE), len(some) // 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than centres
        centres = KMeans(count, max_iter=20, random_state=seed).fit(some).cluster_centers_
    found = np.empty((len(x), CENTRES), np.int32)
    half = np.einsum("nd,nd->n", centres, centres) / 2
    for start in range(0, len(x), _ROWS):
        # −d²/2 of x and a centre c, but for |x|²/2, which is the same for all centres.
        near = x[start : start + _ROWS] @ centres.T - half
        first = np.argpartition(-near, CENTRES - 1, axis=1)[:, :CENTRES]
        order = np.argsort(-np.take_along_axis(near, first, axis=1), axis=1, kind="stable")
        found[start : start + _ROWS] = np.take_along_axis(first, order, axis=1)
    return Cells(found, count)
