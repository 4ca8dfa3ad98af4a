"""k nearest neighbours and nearest class means (prototypes).

Both are exact: every query is compared with every row, in float32.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from featcache.errors import DataError, UnknownNameError, UsageError, did_you_mean
from featcache.heads.settings import METRICS

BLOCK_BYTES = 1 << 28
"""Memory of `knn_scores` beside the features and the scores, by default: 256 MiB."""

MOST_QUERIES = 1024
"""Queries in one block; more make no product faster."""

TIE = 1e-6
"""Shares of the votes that differ by less are equal."""


def knn_scores(
    train: np.ndarray,
    labels: np.ndarray,
    query: np.ndarray | None = None,
    *,
    classes: int,
    neighbours: int,
    metric: str = "cosine",
    temperature: float | None = None,
    weight: np.ndarray | None = None,
    memory: int = BLOCK_BYTES,
) -> np.ndarray:
    """Score queries by the votes of their k nearest training rows.

    Parameters
    ----------
    train
        float ``[M, D]``.
    labels
        int ``[M]`` in ``0..classes-1``.
    query
        float ``[Q, D]``; ``None`` for the training rows themselves, each without its own vote.
    classes
        Number of classes C.
    neighbours
        How many rows k vote. Where fewer rows are there, all of them do.
    metric
        ``"cosine"`` or ``"euclidean"``.
    temperature
        A vote counts ``exp(closeness / temperature)``, where closeness is the cosine similarity or minus the
        euclidean distance: with cosine, the weighted kNN of DINO (Caron et al., 2021,
        https://arxiv.org/abs/2104.14294, there 0.07). ``None``: all k votes count the same.
    weight
        bool or float ``[M]``, a factor on each row's votes. A row of weight 0 is absent: it is no neighbour of any
        query, and may hold anything.
    memory
        Bytes of one block of queries, beside the features and the scores.

    Returns
    -------
    numpy.ndarray
        float32 ``[Q, C]``: each class's share of the votes. Of classes with equal votes the one
        with the nearest row wins: its share is `TIE` too large.

    Raises
    ------
    DataError
        If a row is not finite, a label is no class, or no row could vote.
    UsageError
        If a value is out of its range.
    """
    factors = _factors(weight, len(train))
    _require_labels(labels, factors > 0, classes)
    if temperature is not None and not 0 < temperature < np.inf:
        raise UsageError(
            f"temperature {temperature}: expected above 0, or None for votes that count the same"
        )
    if neighbours < 1:
        raise UsageError(f"neighbours {neighbours}: expected at least 1")
    scores = np.empty((len(train if query is None else query), classes), np.float32)
    # A row that is not there may have any label; its vote is 0 and goes to class 0.
    known = np.where(factors > 0, labels, 0)
    found = nearest_rows(train, query, most=neighbours, metric=metric, weight=factors, memory=memory)
    for part, closeness, rows in found:
        # Relative to the nearest row, so that nothing overflows; shares do not change by that.
        fading = closeness - closeness[:, :1] if temperature else np.where(closeness > -np.inf, 0.0, -np.inf)
        votes = np.exp(fading / (temperature or 1.0)) * factors[rows]
        scores[part] = _shares(votes, known[rows], classes)
    return scores


def nearest_rows(
    train: np.ndarray,
    query: np.ndarray | None = None,
    *,
    most: int,
    metric: str = "cosine",
    weight: np.ndarray | None = None,
    memory: int = BLOCK_BYTES,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Find the nearest training rows of every query, block by block.

    Parameters
    ----------
    train, query, metric, weight, memory
        As for `knn_scores`.
    most
        Number of rows k to find for each query; at most all.

    Yields
    ------
    slice
        The queries of the block.
    closeness
        float64 ``[B, k]``, the nearest first: cosine similarity, or minus the euclidean distance; ``-inf`` where
        no further row is there.
    rows
        int ``[B, k]``: numbers of the training rows.

    Notes
    -----
    Cosine similarities are good to about 1e-6. Squared euclidean distances come from a product of rows around
    their common mean, and are good to about 1e-6 of the squared distance from that mean. Rows that differ by
    less in their nearness come in any order.
    """
    own = query is None
    asked = train if query is None else query
    _require_features(train, asked, metric)
    known = remembered_rows(train, _factors(weight, len(train)) > 0, metric, at_least=1 + own)
    most = min(most, len(train))
    size = block_rows(memory, len(asked), *train.shape, most=most)
    for first in range(0, len(asked), size):
        # The last block begins earlier, so that all have one shape and one compiled program.
        start = min(first, len(asked) - size)
        block = asked[start : start + size]
        _require_finite(block, "queries", start=start)
        block = _place(block, metric, known.centre)
        near, rows = _search()(most, own, known.x, known.half, block, np.int32(start))
        closeness = np.asarray(near, np.float64)
        if metric == "euclidean":
            squared = np.sum(np.square(block, dtype=np.float64), axis=1, keepdims=True) - 2 * closeness
            closeness = -np.sqrt(np.maximum(squared, 0.0))
        new = slice(first - start, None)
        yield slice(first, start + size), closeness[new], np.asarray(rows)[new]


class Known(NamedTuple):
    """Training rows prepared for the search: `x` ``[M, D]``, `half` ``[M]``, and the centre that was subtracted.

    `half` is half the squared norm, 0 for cosine similarity, infinite for an absent row.
    """

    x: jax.Array
    half: jax.Array
    centre: np.ndarray | None


def remembered_rows(train: np.ndarray, counting: np.ndarray, metric: str, *, at_least: int) -> Known:
    """Return training rows ``[M, D]`` as `largest` compares them; those that do not count are never found."""
    if counting.sum() < at_least:
        raise DataError(f"{counting.sum()} training rows are there; {at_least} or more are needed")
    _require_finite(train, "training rows", counting)
    centre = _centre(train, counting, metric)
    # What is not there may be NaN, and NaN − ∞ would be the largest of all.
    x = _place(np.where(counting[:, None], train, 0.0), metric, centre)
    squares = np.einsum("nd,nd->n", x, x) if metric == "euclidean" else np.zeros(len(x))
    half = np.where(counting, squares / 2, np.inf).astype(np.float32)
    return Known(jnp.asarray(x), jnp.asarray(half), centre)


def block_rows(memory: int, queries: int, rows: int, width: int, *, most: int) -> int:
    """Return how many queries fit in `memory` bytes at a time: one at least.

    A query needs its nearness to every row twice (as computed, and in the search for the largest), its features,
    and its neighbours with what is computed of them in float64.
    """
    return max(1, min(queries, MOST_QUERIES, memory // (4 * (2 * rows + width + 12 * most))))


@cache
def _search() -> Any:
    return jax.jit(largest, static_argnums=(0, 1))


def largest(
    most: int, own: bool, known: jax.Array, half: jax.Array, query: jax.Array, start: jax.Array
) -> list[jax.Array]:
    """Return the largest ``q·t − half`` of every query ``[B, D]`` over rows ``[M, D]``, and their row numbers."""
    # Of q·t − |t|²/2 the largest is the nearest row, and |q − t|² = |q|² − 2 (q·t − |t|²/2). For cosine all norms
    # are 1 and the half is 0; a row that is not there has it infinite. GPUs would multiply in TF32.
    near = jnp.matmul(query, known.T, precision=lax.Precision.HIGHEST) - half
    if own:
        lines = start + jnp.arange(len(query))
        near = jnp.where(lines[:, None] == jnp.arange(len(known)), -jnp.inf, near)
    return list(lax.top_k(near, most))


def _shares(votes: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return each class's share ``[B, C]`` of votes ``[B, k]``, the nearest row's first.

    In numpy: XLA's scatter takes longer on a CPU than all the rest.
    """
    count = len(votes)
    line = np.arange(count)
    cell = line[:, None] * classes + labels
    total = np.bincount(cell.ravel(), votes.ravel(), count * classes).reshape(count, classes)
    share = total / total.sum(axis=1, keepdims=True)
    tied = share >= share.max(axis=1, keepdims=True) - TIE
    # The first vote for a class that is tied for the first place comes from its nearest row.
    first = np.argmax(tied.ravel()[cell], axis=1)
    share[line, labels[line, first]] = share.max(axis=1) + TIE
    return share


# ---- prototypes


def prototypes(
    x: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    classes: int,
    metric: str = "cosine",
) -> dict[str, np.ndarray]:
    """Return nearest-class-mean heads, one for each weighting of the rows.

    Parameters
    ----------
    x
        float ``[N, D]``.
    labels
        int ``[N]`` in ``0..classes-1``.
    weight
        float ``[K, N]``: weight of each row in its class's mean, 0 for an absent one; by default one head with equal
        weights.
    classes
        Number of classes C.
    metric
        ``"euclidean"`` (the nearest centroid), or ``"cosine"``: rows are brought to norm 1, and so are their
        means.

    Returns
    -------
    dict
        ``kernel [K, D, C]`` and ``bias [K, C]``: linear heads on features that `prototype_scores` has brought
        to norm 1 (cosine) or left as they are (euclidean).

    Raises
    ------
    DataError
        If a row that counts is not finite, or a label is no class.

    Notes
    -----
    With a common centre c, ``|x − m|² = |x − c|² − 2 (m − c)·(x − c) + |m − c|²``, of which the first part is
    the same for all classes: the nearest mean has the largest ``(m − c)·x − (m − c)·(m + c) / 2``.
    """
    factors = np.stack([_factors(row, len(x)) for row in ([None] if weight is None else weight)])
    counting = np.any(factors > 0, axis=0)
    _require_features(x, x, metric)
    _require_labels(labels, counting, classes)
    _require_finite(x, "training rows", counting)
    centre = _centre(x, counting, metric)
    heads, width = len(factors), x.shape[1]
    kernel = np.zeros((heads, width, classes), np.float32)
    bias = np.full((heads, classes), -np.inf, np.float32)
    for label in range(classes):
        rows = np.flatnonzero((np.asarray(labels) == label) & counting)
        sums = factors[:, rows].sum(axis=1)
        present = sums > 0
        placed = _place(x[rows], metric, centre)
        mean = factors[:, rows] @ placed / np.where(present, sums, 1.0)[:, None]
        kernel[:, :, label] = _to_unit_norm(mean) if centre is None else mean
        bias[present, label] = 0.0 if centre is None else _offset(mean, centre)[present]
    return {"kernel": kernel, "bias": bias}


def prototype_scores(
    parameters: dict[str, np.ndarray], x: np.ndarray, *, metric: str = "cosine"
) -> np.ndarray:
    """Score rows by the nearness of each class mean.

    Parameters
    ----------
    parameters
        Of `prototypes`.
    x
        float ``[N, D]``.
    metric
        The same as there.

    Returns
    -------
    numpy.ndarray
        float32 ``[K, N, C]``: cosine similarities; or minus half the squared euclidean distances, up to a
        summand for each row, which neither the order nor a softmax sees. A class without rows has ``-inf``.
    """
    _require_features(x, x, metric)
    _require_finite(x, "queries")
    return _place(x, metric, None) @ parameters["kernel"] + parameters["bias"][:, None]


def _offset(mean: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """``−(m − c)·(m + c) / 2`` of ``m − c`` ``[K, D]``."""
    from_centre = mean.astype(np.float64)
    return -np.sum(from_centre * (from_centre / 2 + centre), axis=1)


# ---- shared by both


def _centre(x: np.ndarray, counting: np.ndarray, metric: str) -> np.ndarray | None:
    """Return the rows' mean, float32 ``[D]``: centring leaves distances unchanged and reduces their rounding error."""
    if metric == "cosine":
        return None
    mean = np.mean(x, axis=0, dtype=np.float64, where=counting[:, None]) if counting.any() else np.zeros(1)
    return np.broadcast_to(mean, x.shape[1:]).astype(np.float32)


def _place(x: np.ndarray, metric: str, centre: np.ndarray | None) -> np.ndarray:
    """Return rows prepared for the metric: of norm 1 (cosine), or minus the centre (euclidean)."""
    x = np.asarray(x, np.float32)
    if metric == "cosine":
        return _to_unit_norm(x)
    return x if centre is None else x - centre


def _to_unit_norm(x: np.ndarray) -> np.ndarray:
    """Return rows scaled to norm 1; a row of zeros stays 0, with similarity 0 to every row."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _factors(weight: np.ndarray | None, rows: int) -> np.ndarray:
    """Return weights as float32 ``[M]``."""
    factors = np.ones(rows, np.float32) if weight is None else np.asarray(weight, np.float32)
    if factors.shape != (rows,):
        raise UsageError(f"weights of shape {factors.shape} for {rows} rows; expected one for each")
    if not (np.isfinite(factors) & (factors >= 0)).all():
        raise UsageError("a row's weight is negative or not finite; expected 0 or above")
    return factors


def _require_features(train: np.ndarray, query: np.ndarray, metric: str) -> None:
    if metric not in METRICS:
        raise UnknownNameError(f"no metric {metric!r}; {did_you_mean(metric, METRICS)}")
    if train.ndim != 2 or query.ndim != 2 or train.shape[1] != query.shape[1]:
        raise UsageError(
            f"training features {train.shape} and queries {query.shape}: expected [M, D] and [Q, D]"
        )


def _require_labels(labels: np.ndarray, counting: np.ndarray, classes: int) -> None:
    if np.shape(labels) != counting.shape:
        raise UsageError(
            f"labels of shape {np.shape(labels)} for {len(counting)} rows; expected one for each"
        )
    used = np.asarray(labels)[counting]
    if len(used) and (used.min() < 0 or used.max() >= classes):
        raise DataError(f"labels {used.min()}..{used.max()}; expected 0..{classes - 1} for {classes} classes")


def _require_finite(x: np.ndarray, what: str, counting: np.ndarray | bool = True, *, start: int = 0) -> None:
    bad = np.flatnonzero(counting & ~np.isfinite(x).all(axis=1))
    if len(bad):
        raise DataError(
            f"row {start + bad[0]} of the {what} holds NaN or infinity; leave it out (weight 0), or extract it again"
        )
