"""Which of many photos to label: few that stand for the others, as vectors, without regard to where they come from.

Photos, labelled ones included, are divided into as many clusters as there will be labels. Those come first that hold
most of what is not known: the sum of how unsure a classifier is of their photos, divided by one more than the labels
that they hold. Of each, the photo is taken that the others crowd around. Where no classifier says how sure it is,
every photo counts the same, and this is TypiClust (Hacohen et al., "Active learning on a budget", ICML 2022,
https://arxiv.org/abs/2202.02794); with one, a batch is uncertain *and* diverse, and no photo is an odd one. Chosen by
the simulation in ``benchmarks/suggest.py``.
"""

import warnings
from dataclasses import dataclass

import numpy as np

CLUSTERS = 500
"""Clusters at most, as in TypiClust: where there are more labels, several are taken of each."""
FITTED = 20_000
"""Photos that clusters are computed from, at most; all are divided among them."""
NEIGHBOURS = 20
"""Neighbours whose mean distance says how typical a photo is."""
SEEN = 4096
"""Photos of a cluster among which neighbours are looked for."""

_LEAST = 1e-6
"""What a photo of which a classifier is sure counts, so that clusters are defined where all are."""


@dataclass(frozen=True)
class Chosen:
    """Photos that stand for others, the one first that stands for most.

    Parameters
    ----------
    places
        int ``[n]``: places among the photos.
    stand_for
        int ``[n]``: how many photos are in the cluster of each, itself included.
    """

    places: np.ndarray
    stand_for: np.ndarray


def representatives(
    vectors: np.ndarray, known: np.ndarray, count: int, *, weight: np.ndarray | None = None, seed: int = 0
) -> Chosen:
    """Choose photos that stand for many others of which little is known.

    Parameters
    ----------
    vectors
        float32 ``[M, P]``, M at least 1.
    known
        float32 ``[L, P]``: the labelled photos.
    count
        How many; at most all.
    weight
        float ``[M]``, 0 or above: how unsure a classifier is of each (`featcache.labelling.uncertainty.uncertainty`);
        by default all count the same.
    seed
        Of the first centres.
    """
    count = min(count, len(vectors))
    weight = np.ones(len(vectors)) if weight is None else np.maximum(weight, _LEAST)
    clusters = _clusters(np.concatenate([vectors, known]), min(count + len(known), CLUSTERS), seed)
    total, own = int(clusters.max()) + 1, clusters[: len(vectors)]
    size = np.bincount(own, minlength=total)
    labels = np.bincount(clusters[len(vectors) :], minlength=total)
    order = np.argsort(-np.bincount(own, weight, total) / (1 + labels), kind="stable")
    order = order[size[order] > 0]
    # Only clusters of which a photo may be taken are looked into.
    isolation = np.full(len(vectors), np.inf)
    random = np.random.default_rng(seed)
    for cluster in order[:count].tolist():
        places = np.flatnonzero(own == cluster)
        isolation[places] = _isolation(vectors[places], random)
    return _in_turns(own, isolation, order, count)


def _clusters(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the cluster of each row, int ``[M]``."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    vectors = np.ascontiguousarray(vectors, np.float32)
    some = vectors
    if len(vectors) > FITTED:
        some = vectors[np.random.default_rng(seed).choice(len(vectors), FITTED, replace=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different photos than clusters
        found = KMeans(min(count, len(some)), max_iter=50, random_state=seed).fit(some)
    return np.asarray(found.predict(vectors), np.int64)


def _isolation(vectors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the mean distance of each row to its nearest neighbours, float64 ``[n]``."""
    from sklearn.neighbors import NearestNeighbors

    if len(vectors) < 2:
        return np.zeros(len(vectors))
    few = vectors if len(vectors) <= SEEN else random.choice(vectors, SEEN, replace=False)
    # One more than counts, as a row is its own neighbour, at the distance 0.
    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, len(few)), algorithm="brute").fit(few)
    return near.kneighbors(vectors)[0].sum(axis=1) / NEIGHBOURS


def _in_turns(clusters: np.ndarray, distance: np.ndarray, order: np.ndarray, count: int) -> Chosen:
    """Take the nearest of each cluster in the given order, then the second nearest of each, and so on."""
    place_of = np.full(int(clusters.max()) + 1, len(clusters))
    place_of[order] = np.arange(len(order))
    inner = np.lexsort((distance, clusters))
    starts = np.flatnonzero(np.r_[True, np.diff(clusters[inner]) != 0])
    sizes = np.diff(np.r_[starts, len(inner)])
    turn = np.empty(len(clusters), np.int64)
    turn[inner] = np.arange(len(inner)) - np.repeat(starts, sizes)
    taken = np.lexsort((place_of[clusters], turn))[:count]
    return Chosen(taken, np.bincount(clusters)[clusters[taken]])
