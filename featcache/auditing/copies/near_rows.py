"""Pairs of rows that are far nearer to each other than their neighbours are: what may be copies, by features alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from featcache.auditing.copies.cells import CENTRES, OF_ONE, Cell, small_cells
from featcache.auditing.smallest import smallest

SMALL = 8192
"""Up to so many rows all are compared in all dimensions; of more, each is measured against so many drawn ones."""

MANY = 100_000
"""Rows of which each is compared with those in its own cells only (`featcache.auditing.copies.cells`)."""

RATIO = 0.8
"""Distance of a pair over the distance that is usual around it, below which it is looked at."""

SLACK = 1.1
"""Factor on `RATIO` for distances that were estimated in fewer dimensions, before the exact ones are computed."""

NEIGHBOUR = 10
"""The distance to which neighbour is called usual, where all rows are compared."""

_LEAST = 4
"""Of fewer rows nothing is usual."""

_AXES, _DRAWN = 64, 96
"""Dimensions in which distances are estimated: principal axes, and drawn directions."""
REDUCED = _AXES + _DRAWN
_ROWS, _COLUMNS = 2048, 8192
_MOST = 32
_PAIRS = 16_384

Vectors = Callable[[np.ndarray], np.ndarray]
"""Places int ``[n]`` to float ``[n, D]``."""


class Pairs(NamedTuple):
    """Pairs of places, the nearest first.

    Parameters
    ----------
    first, second
        int ``[P]``.
    ratio
        float ``[P]``: their distance over the usual one around the two, the geometric mean of both.
    similarity
        float ``[P]``: cosine similarity.
    usual
        float ``[N]``: the distance that is usual around each row.
    """

    first: np.ndarray
    second: np.ndarray
    ratio: np.ndarray
    similarity: np.ndarray
    usual: np.ndarray


def near_pairs(
    vectors: Vectors, places: np.ndarray, *, seed: int = 0, on_rows: Callable[[int], None] | None = None
) -> Pairs:
    """Find the pairs of rows that are nearer to each other than `RATIO` of what is usual around them.

    Parameters
    ----------
    vectors
        Returns features.
    places
        int ``[N]``: the rows to compare, each once.
    seed
        Of the rows and the directions that are drawn.
    on_rows
        Told how many rows have been compared with all.

    Returns
    -------
    Pairs
        By ascending ratio; numbers are positions in `places`.

    Notes
    -----
    Distances are those of rows of length 1, ``√(2 − 2 cos)``. What is usual around a row is the distance to its 10th
    neighbour, and at least half of the median of all rows': a burst of twenty shots must not make itself usual.

    Up to `SMALL` rows that is exact. Of more rows, distances are first estimated in 160 dimensions: 64 principal
    axes, and 96 drawn directions for what these leave (Johnson & Lindenstrauss, 1984), in blocks of the upper triangle;
    pairs within `SLACK` of the bound are computed again in all dimensions. Estimates stray by 4 % (one standard
    deviation) with features of photographs and by 6 % with noise of equal strength in all directions: a pair right at
    the bound may be missed, one at 0.7 is not. Of a row with more than 32 such pairs in one block of 8,192 rows
    the nearest 32 are kept.

    Of more than `MANY` rows each is compared with those that lie around the same centres, and the usual distance is
    that to the 10th of the rows around its nearest centre, not of drawn ones: the 5th of 8,192 drawn ones stands for
    the 600th of a million, and far more rows than copies are nearer than that. Time grows with the rows, not with their
    square.
    """
    count = len(places)
    if count < _LEAST:
        empty = np.zeros(0, np.int64)
        return Pairs(empty, empty, np.zeros(0), np.zeros(0), np.ones(count))
    random = np.random.default_rng(seed)
    drawn = np.sort(random.permutation(count)[:SMALL])
    sample = _unit(vectors(places[drawn]))
    directions, slack = (None, 1.0) if count <= SMALL else (_directions(sample, random), SLACK)
    centre = sample.mean(axis=0)
    reduced = np.empty((count, sample.shape[1] if directions is None else directions.shape[1]), np.float32)
    for start, part in zip(range(0, count, _ROWS), _blocks(vectors, places), strict=True):
        reduced[start : start + len(part)] = _reduced(part, centre, directions)
    if count <= MANY:
        usual = _usual(reduced, drawn, count)
        near = _candidates(reduced, usual, RATIO * slack, on_rows)
    else:
        cells = small_cells(reduced, seed)
        usual = _at_least_half(_usual_in_cells(reduced, cells))
        near = _candidates_in_cells(reduced, usual, cells, RATIO * slack, on_rows)
    found = np.concatenate([np.zeros((0, 2), np.int64), *near])
    del reduced, near  # of a million rows 640 MB, which exact distances take the place of
    if count > MANY:  # two rows may share several cells
        found = np.stack(np.divmod(np.unique(found[:, 0] * count + found[:, 1]), count), axis=1)
    similarity = similarities(vectors, places, found)
    distance = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    ratio = distance / np.sqrt(usual[found[:, 0]] * usual[found[:, 1]])
    order = np.argsort(ratio, kind="stable")
    order = order[ratio[order] <= RATIO]
    return Pairs(found[order, 0], found[order, 1], ratio[order], similarity[order], usual)


def comparisons(rows: int) -> float:
    """Return about how many pairs of so many rows are compared."""
    if rows <= MANY:
        return rows * (min(rows, SMALL) + rows / 2)
    in_a_cell = CENTRES * OF_ONE
    return rows * (in_a_cell + CENTRES * in_a_cell / 2 + rows / OF_ONE)


def usual_distances(x: np.ndarray, known: np.ndarray, *, own: np.ndarray, of: int) -> np.ndarray:
    """Return the distance of rows to the neighbour that stands for the 10th of `of` rows.

    Parameters
    ----------
    x
        float ``[n, D]``: the rows.
    known
        float ``[S, D]``: drawn rows.
    own
        int ``[n]``: which of the drawn rows a row itself is; -1 for none.
    of
        How many rows the drawn ones stand for. The fifth drawn neighbour is taken at least: the nearest may
        be copies.
    """
    nth = min(max(5, round(NEIGHBOUR * len(known) / of)), len(known) - 1)
    usual = np.zeros(len(x), np.float32)
    squares = np.einsum("nd,nd->n", known, known)
    # A cell may hold most of a million rows, as where a camera saw nothing but grass: then few rows at a time.
    step = max(1, min(_ROWS, _ROWS * _COLUMNS // max(1, len(known))))
    for start in range(0, len(x), step):
        part = x[start : start + step]
        near = (-2 * part) @ known.T
        near += squares
        line = np.flatnonzero(own[start : start + step] >= 0)
        near[line, own[start : start + step][line]] = np.inf
        nearest = smallest(near, nth)[:, -1] + np.einsum("nd,nd->n", part, part)
        usual[start : start + step] = np.sqrt(np.maximum(nearest, 0))
    return usual


def _usual(reduced: np.ndarray, drawn: np.ndarray, count: int) -> np.ndarray:
    own = np.full(count, -1)
    own[drawn] = np.arange(len(drawn))
    return _at_least_half(usual_distances(reduced, reduced[drawn], own=own, of=count))


def _at_least_half(usual: np.ndarray) -> np.ndarray:
    return np.maximum(usual, max(0.5 * float(np.median(usual)), 1e-3))


def _usual_in_cells(reduced: np.ndarray, cells: Sequence[Cell]) -> np.ndarray:
    """Return the distance of each row to the 10th of the rows in the cell of its nearest centre, float32 ``[N]``."""
    usual = np.zeros(len(reduced), np.float32)
    for members, nearest in cells:
        own = np.flatnonzero(nearest)
        if len(own) and len(members) > 1:
            x = reduced[members]
            usual[members[own]] = usual_distances(x[own], x, own=own, of=len(members))
    return usual


def _candidates_in_cells(
    reduced: np.ndarray,
    usual: np.ndarray,
    cells: Sequence[Cell],
    bound: float,
    on_rows: Callable[[int], None] | None,
) -> Iterator[np.ndarray]:
    """Yield the pairs of `_candidates`, cell by cell; a pair may come from several cells."""
    done = 0
    for members, nearest in cells:
        for pairs in _candidates(reduced[members], usual[members], bound, None):
            yield members[pairs]
        done += int(nearest.sum())
        if on_rows:
            on_rows(done)


def _blocks(vectors: Vectors, places: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(places), _ROWS):
        yield _unit(vectors(places[start : start + _ROWS]))


def _unit(x: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _directions(sample: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """Return ``[D, 160]``: principal axes, and drawn directions orthogonal to them; ``None`` where D is no more."""
    width = sample.shape[1]
    if width <= _AXES + _DRAWN:
        return None
    centred = sample - sample.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, -_AXES:]
    others = random.standard_normal((width, _DRAWN)) / np.sqrt(_DRAWN)
    return np.concatenate([axes, others - axes @ (axes.T @ others)], axis=1).astype(np.float32)


def _reduced(x: np.ndarray, centre: np.ndarray, directions: np.ndarray | None) -> np.ndarray:
    # About the centre squares are small, and their differences exact.
    return x - centre if directions is None else (x - centre) @ directions


def _candidates(
    reduced: np.ndarray, usual: np.ndarray, bound: float, on_rows: Callable[[int], None] | None
) -> Iterator[np.ndarray]:
    """Yield pairs ``[n, 2]`` of rows, the smaller first, whose distance over the usual one is within `bound`.

    ``−d² / 2`` of x and y is one product, of ``(x, −|x|²/2, 1)`` and ``(y, 1, −|y|²/2)``; with both divided by their
    usual distance, one pass over a block compares it with one number.
    """
    half = np.einsum("nd,nd->n", reduced, reduced)[:, None] / -2
    one = np.ones_like(half)
    left = np.concatenate([reduced, half, one], axis=1) / usual[:, None]
    right = np.concatenate([reduced, one, half], axis=1) / usual[:, None]
    for start in range(0, len(left), _ROWS):
        rows = left[start : start + _ROWS]
        for other in range(start, len(right), _COLUMNS):
            near = rows @ right[other : other + _COLUMNS].T
            if other < start + len(rows):
                near[np.tril_indices(len(rows), start - other, near.shape[1])] = -np.inf
            yield from _above(near, -(bound**2) / 2, start, other)
        if on_rows:
            on_rows(start + len(rows))


def _above(near: np.ndarray, least: float, start: int, other: int) -> Iterator[np.ndarray]:
    """Yield the pairs ``[n, 2]`` of a block whose nearness is `least` or more."""
    first, second = np.divmod(np.flatnonzero(near >= least), near.shape[1])
    crowded = np.flatnonzero(np.bincount(first, minlength=len(near)) > _MOST)
    if len(crowded):
        nearest = np.argpartition(-near[crowded], _MOST, axis=1)[:, :_MOST]
        calm = ~np.isin(first, crowded)
        first = np.concatenate([first[calm], np.repeat(crowded, _MOST)])
        second = np.concatenate([second[calm], nearest.ravel()])
    yield np.stack([first + start, second + other], axis=1)


def similarities(vectors: Vectors, places: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of each of the pairs ``[P, 2]`` of positions in `places`, float64 ``[P]``."""
    found = np.zeros(len(pairs))
    for start in range(0, len(pairs), _PAIRS):
        part = pairs[start : start + _PAIRS]
        rows, inverse = np.unique(part, return_inverse=True)
        x = _unit(vectors(places[rows]))
        inverse = inverse.reshape(part.shape)
        found[start : start + _PAIRS] = np.einsum(
            "nd,nd->n", x[inverse[:, 0]], x[inverse[:, 1]], dtype=np.float64
        )
    return found
