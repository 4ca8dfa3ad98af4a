"""How far a photo lies from all that was seen: one minus the cosine to the nearest of a few hundred centres.

The centres are those of the training photos' features, so that no class is needed and their number is bounded: the
nearest-neighbour distance of Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022, on unit
features, with the rows replaced by the centres of spherical k-means (Dhillon and Modha, 2001). A centre is a mean, so
that one odd photo among thousands, such as a cat between flowers, does not make what it shows familiar; the nearest
single row does. `benchmarks/unknown.py` holds the measurement by which this was chosen.
"""

from dataclasses import dataclass

import numpy as np

from featcache.classifier.known.thresholds import HeldOutScores
from featcache.classifier.view_features import one_vector
from featcache.errors import UsageError
from featcache.heads.nearest import nearest_rows

KNOWN_SHARE = 0.99
"""Share of photos like those it was trained on that are not called unlike, by default."""

MOST_ROWS = 10_000
"""Training rows that centres are found for, and held-out rows whose distances are measured; of more, a sample."""

ROWS_A_CENTRE = 10
MOST_CENTRES = 400
MOST_BYTES = 2**22
"""Centres: one for each `ROWS_A_CENTRE` training rows, at most `MOST_CENTRES`, and 4 MiB of them as float16."""

ROUNDS = 8
"""Of k-means; the mean distance to the nearest centre changes by under 1 % after these."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What was seen, and how far from it photos lay that were held out.

    Parameters
    ----------
    centres
        float16 ``[P, D]``, of norm 1.
    distances
        Of rows that the centres were not made of.
    """

    centres: np.ndarray
    distances: HeldOutScores

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return how far images lie from what was seen, float32 ``[N]`` in 0 to 2.

        Parameters
        ----------
        features
            float ``[N, D]``, or maps and tokens ``[N, …, D]``, whose mean over the places is taken.
        """
        return distance_to(self.centres, one_vector(features))


def learnt(train: np.ndarray, held_out: np.ndarray, *, seed: int = 0) -> Familiarity:
    """Return what training rows make familiar.

    Parameters
    ----------
    train, held_out
        float ``[n, …, D]`` and ``[m, …, D]``: features of training rows, and of others of the same kind.
    seed
        Of the first centres.
    """
    centres = centres_of(one_vector(train), seed=seed)
    return Familiarity(centres, HeldOutScores.of(distance_to(centres, one_vector(held_out))))


def distance_to(centres: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return one minus the cosine of vectors ``[N, D]`` to the nearest centre ``[P, D]``, float32 ``[N]``.

    Raises
    ------
    UsageError
        If they are of another width.
    """
    if vectors.shape[1] != centres.shape[1]:
        raise UsageError(f"features of width {vectors.shape[1]}; what was seen has {centres.shape[1]}")
    if not len(vectors):
        return np.zeros(0, np.float32)
    parts = nearest_rows(centres, vectors, most=1)
    return (1 - np.concatenate([near[:, 0] for _, near, _ in parts])).clip(0, 2).astype(np.float32)


def centres_of(vectors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return the centres of rows ``[n, D]`` by spherical k-means, float16 ``[P, D]`` of norm 1."""
    rows = _of_unit_norm(vectors)
    most = min(MOST_CENTRES, MOST_BYTES // (2 * rows.shape[1]))
    count = int(np.clip(len(rows) // ROWS_A_CENTRE, 1, max(most, 1)))
    centres = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]
    for _ in range(ROUNDS):
        nearest = np.argmax(rows @ centres.T, axis=1)
        order = np.argsort(nearest, kind="stable")
        taken, first = np.unique(nearest[order], return_index=True)
        # A centre that no row is nearest to stays where it is.
        centres[taken] = _of_unit_norm(np.add.reduceat(rows[order], first, axis=0))
    return centres.astype(np.float16)


def _of_unit_norm(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float32)
