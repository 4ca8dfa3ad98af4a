"""How far a photo lies from all that was seen: one minus the cosine to the third nearest of some training photos.

Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022, on unit features and a sample of the
training rows (which they find to do as well as all), so that no class is needed and the size is bounded. The third
nearest, because one odd photo, such as a cat between flowers, makes all that looks like it familiar to the nearest.
`benchmarks/unknown.py` holds the measurement by which this was chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.classifier.known.thresholds import HeldOutScores
from featcache.errors import IntegrityError, UsageError
from featcache.heads.streamed_nearest import one_vector

KNOWN_SHARE = 0.99
"""Share of photos like those it was trained on that are not called unlike, by default."""

NEIGHBOUR = 3
"""Which of the nearest rows counts."""

MOST_ROWS, MOST_BYTES = 800, 2**21
"""Training rows that are kept, as float16: 2 MB of 1,280 numbers each, never more than 2 MiB."""

MOST_HELD_OUT = 10_000
"""Held-out rows whose distances are measured; of more, a sample."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What was seen, and how far from it photos lay that were held out.

    Parameters
    ----------
    sample
        float16 ``[P, D]``, of norm 1: some training rows.
    distances
        Of rows that did not train.
    """

    sample: np.ndarray
    distances: HeldOutScores

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return how far images lie from what was seen, float32 ``[N]`` in 0 to 2.

        Parameters
        ----------
        features
            float ``[N, D]``, or maps and tokens ``[N, …, D]``, whose mean over the places is taken.

        Raises
        ------
        IntegrityError
            If the sample is of another width than the features that the head has taken: it is of another head.
        """
        vectors = one_vector(features)
        if vectors.shape[1] != self.sample.shape[1]:
            raise IntegrityError(
                f"this classifier is damaged: what it has seen is kept {self.sample.shape[1]} wide, and the features "
                f"of its head are {vectors.shape[1]}; restore it from a copy, or train the head again"
            )
        return distance_to(self.sample, vectors)


def learnt(train: np.ndarray, held_out: np.ndarray, *, seed: int = 0) -> Familiarity:
    """Return what training rows make familiar.

    Parameters
    ----------
    train, held_out
        float ``[n, …, D]`` and ``[m, …, D]``: features of training rows, and of others of the same kind.
    seed
        Of the sample.
    """
    sample = sample_of(one_vector(train), seed=seed)
    return Familiarity(sample, HeldOutScores.of(distance_to(sample, one_vector(held_out))))


def sample_of(vectors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return some of the rows ``[n, D]``, drawn at random and brought to norm 1: float16 ``[P, D]``."""
    most = max(1, min(MOST_ROWS, MOST_BYTES // (2 * vectors.shape[1])))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:most])
    rows = np.asarray(vectors[drawn], np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float16)


def distance_to(sample: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return one minus the cosine of vectors ``[N, D]`` to the `NEIGHBOUR`-th nearest of rows ``[P, D]``.

    Parameters
    ----------
    sample
        Of `sample_of`. Of fewer rows than `NEIGHBOUR` the farthest counts.
    vectors
        float ``[N, D]``.

    Returns
    -------
    numpy.ndarray
        float32 ``[N]``, within 0 and 2.

    Raises
    ------
    UsageError
        If they are of another width.
    """
    from featcache.heads.nearest import nearest_rows

    if vectors.shape[1] != sample.shape[1]:
        raise UsageError(f"features of width {vectors.shape[1]}; what was seen has {sample.shape[1]}")
    if not len(vectors):
        return np.zeros(0, np.float32)
    parts = nearest_rows(sample, vectors, most=NEIGHBOUR)
    return (1 - np.concatenate([near[:, -1] for _, near, _ in parts])).clip(0, 2).astype(np.float32)


def distance_function(sample: np.ndarray) -> Callable[[Any], Any]:
    """Return `Familiarity.distance` to a sample as a function of JAX arrays, float32 ``[N, …]`` to ``[N]``."""
    import jax.numpy as jnp

    from featcache.heads.traceable import nearness_function

    near = nearness_function(sample, most=NEIGHBOUR)
    return lambda features: jnp.clip(1 - near(one_vector(features, jnp))[0].min(axis=1), 0, 2)
