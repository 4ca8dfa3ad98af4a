"""Which of many photos to label: few that stand for the others, as vectors, without regard to where they come from.

Two rules, chosen by the simulation in ``benchmarks/suggest.py``:

- `unsure`: photos are divided into as many clusters as are asked for, in which each counts by how unsure the classifier
  is of it, and the photo nearest to each centre is taken. Photos that a classifier is sure of move no centre, and two
  that are alike are in one cluster: so the batch is uncertain *and* diverse (weighted k-means of Zhdanov, "Diverse
  mini-batch active learning", 2019, https://arxiv.org/abs/1901.05954, over all photos instead of the most uncertain).
- `typical`: of as many clusters as there will be labelled photos, those without one, the largest first, each by the
  photo that the others crowd around (TypiClust; Hacohen et al., "Active learning on a budget", ICML 2022,
  https://arxiv.org/abs/2202.02794): for the very start, where there is no classifier to be unsure.
"""

import warnings
from dataclasses import dataclass

import numpy as np

CLUSTERS = 500
"""Clusters at most, as in TypiClust: where more photos are asked for, several are taken of each."""
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


def unsure(vectors: np.ndarray, weight: np.ndarray, count: int, *, seed: int = 0) -> Chosen:
    """Choose photos that a classifier is unsure of and that are unlike each other.

    Parameters
    ----------
    vectors
        float32 ``[M, P]``, M at least 1.
    weight
        float ``[M]``, 0 or above: how unsure it is of each; see `featcache.labelling.uncertainty.uncertainty`.
    count
        How many; at most all.
    seed
        Of the first centres.
    """
    weight = np.maximum(np.asarray(weight, np.float64), _LEAST)
    clusters, distance = _clusters(vectors, min(count, CLUSTERS), seed, weight)
    mass = np.bincount(clusters, weight)
    return _in_turns(clusters, distance, np.argsort(-mass, kind="stable"), min(count, len(vectors)))


def typical(vectors: np.ndarray, known: np.ndarray, count: int, *, seed: int = 0) -> Chosen:
    """Choose photos that are typical of what no labelled photo stands for.

    Parameters
    ----------
    vectors
        float32 ``[M, P]``, M at least 1.
    known
        float32 ``[L, P]``: the labelled photos.
    count
        How many; at most all.
    seed
        Of the first centres.
    """
    count = min(count, len(vectors))
    both = np.concatenate([vectors, known]).astype(np.float32)
    clusters, _ = _clusters(both, min(count + len(known), CLUSTERS), seed)
    total = clusters.max() + 1
    own = clusters[: len(vectors)]
    size = np.bincount(own, minlength=total)
    labelled = np.bincount(clusters[len(vectors) :], minlength=total)
    order = np.lexsort((-size, labelled))
    order = order[size[order] > 0]
    # Clusters are asked for what they can give within the count: the neighbours of others cost time for nothing.
    isolation = np.full(len(vectors), np.inf)
    random = np.random.default_rng(seed)
    for cluster in order[:count].tolist():
        places = np.flatnonzero(own == cluster)
        isolation[places] = _isolation(vectors[places], random)
    return _in_turns(own, isolation, order, count)


def _clusters(
    vectors: np.ndarray, count: int, seed: int, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of each row, int ``[M]``, and its distance to the centre, float64 ``[M]``."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    count = min(count, len(vectors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different photos than clusters
        found = KMeans(count, max_iter=50, random_state=seed).fit(vectors, sample_weight=weight)
    clusters = np.asarray(found.labels_, np.int64)
    centres = found.cluster_centers_[clusters]
    return clusters, np.linalg.norm(vectors - centres, axis=1).astype(np.float64)


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
