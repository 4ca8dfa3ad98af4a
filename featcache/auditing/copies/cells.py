"""Cells of many rows: those that lie around one of some centres, among which pairs that are near are looked for.

To compare a million rows with each other takes an hour; a copy lies much nearer to its original than all others do, and
both lie around the same centres. Each row belongs to the cells of its nearest few centres, so that two rows on either
side of a border are in one cell, too (an inverted file with several lists for each row: Sivic and Zisserman, "Video
Google", ICCV 2003; Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI 2011). A cell
that holds very many rows is divided again, among centres of its own.
"""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

OF_ONE = 2048
"""Rows for each centre, about."""

CENTRES = 3
"""Cells of each row."""

LARGEST = 16
"""A cell of so many times `OF_ONE` rows is divided again.

With `CENTRES` places for each row, n rows in one cell are n² comparisons, and divided 9 · n · `OF_ONE`.
"""

Cell = tuple[np.ndarray, np.ndarray]
"""Rows of a cell, int ``[n]`` ascending, and bool ``[n]``: of which of them it is the nearest one."""

_FITTED = 20_000
_ROWS = 8192
_ALIKE = 0.5
"""Share of the rows that lie in one of their cells from which they are divided without centres."""


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

    def members(self) -> Iterator[Cell]:
        """Yield the rows of each cell, and whose nearest one it is."""
        width = self.cells.shape[1]
        flat = self.cells.ravel()
        order = np.argsort(flat, kind="stable")
        ends = np.searchsorted(flat[order], np.arange(self.centres + 1))
        for cell in range(self.centres):
            rows, places = np.divmod(order[ends[cell] : ends[cell + 1]], width)
            if len(rows):
                yield rows, places == 0


def cells_of(x: np.ndarray, seed: int, rows: np.ndarray | None = None) -> Cells:
    """Divide rows float32 ``[N, P]``, or some of them, int ``[n]``, among the k-means centres of a draw of them."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    own = np.arange(len(x)) if rows is None else rows
    random = np.random.default_rng(seed)
    some = x[own[np.sort(random.permutation(len(own))[:_FITTED])]]
    count = max(CENTRES, min(-(-len(own) // OF_ONE), len(some) // 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than centres
        centres = KMeans(count, max_iter=20, random_state=seed).fit(some).cluster_centers_
    found = np.empty((len(own), CENTRES), np.int32)
    half = np.einsum("nd,nd->n", centres, centres) / 2
    for start in range(0, len(own), _ROWS):
        # −d²/2 of x and a centre c, but for |x|²/2, which is the same for all centres.
        near = x[own[start : start + _ROWS]] @ centres.T - half
        first = np.argpartition(-near, CENTRES - 1, axis=1)[:, :CENTRES]
        order = np.argsort(-np.take_along_axis(near, first, axis=1), axis=1, kind="stable")
        found[start : start + _ROWS] = np.take_along_axis(first, order, axis=1)
    return Cells(found, count)


def small_cells(x: np.ndarray, seed: int) -> list[Cell]:
    """Divide rows float32 ``[N, P]`` into cells, none of which holds very many.

    Each row has one nearest cell among them.
    """
    found = []
    for rows, nearest in cells_of(x, seed).members():
        found += _divided(x, rows, nearest, seed)
    return found


def _divided(x: np.ndarray, rows: np.ndarray, nearest: np.ndarray, seed: int) -> list[Cell]:
    """Return a cell, or the smaller ones that it is divided into."""
    if len(rows) <= LARGEST * OF_ONE:
        return [(rows, nearest)]
    found = []
    for members, closest in cells_of(x, seed, rows).members():
        divide = _divided
        if len(members) > _ALIKE * len(rows):
            # Rows that are all alike have the same three cells, and are to be compared in one of them.
            members, closest = members[closest], closest[closest]
            divide = _in_a_line
        found += divide(x, rows[members], nearest[members] & closest, seed)
    return found


def _in_a_line(x: np.ndarray, rows: np.ndarray, nearest: np.ndarray, seed: int) -> list[Cell]:
    """Divide rows that no centres divide, as where most rows are the same: in the order of one drawn direction.

    Each row is in two windows of `CENTRES` times `OF_ONE` rows, and nearest in that in whose middle half it is.
    """
    if len(rows) <= LARGEST * OF_ONE:
        return [(rows, nearest)] if len(rows) else []
    direction = np.random.default_rng(seed).standard_normal(x.shape[1]).astype(x.dtype)
    at = np.concatenate([x[rows[start : start + _ROWS]] @ direction for start in range(0, len(rows), _ROWS)])
    order = np.argsort(at, kind="stable")
    step = -(-CENTRES * OF_ONE // 2)
    last = max(0, -(-len(rows) // step) - 2)
    middle = np.empty(len(rows), np.int64)
    middle[order] = np.clip((np.arange(len(rows)) - step // 2) // step, 0, last)
    found = []
    for window in range(last + 1):
        places = np.sort(order[window * step : (window + 2) * step])
        found.append((rows[places], nearest[places] & (middle[places] == window)))
    return found
