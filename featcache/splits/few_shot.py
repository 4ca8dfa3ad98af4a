"""Few-shot training rows: the same number of images of each class, drawn by their content."""

from collections.abc import Sequence

import numpy as np

from featcache.splits.folds import ranks


def draw_shots(keys: Sequence[bytes], labels: np.ndarray, *, shots: int, seed: int) -> np.ndarray:
    """Choose `shots` rows of each class, bool ``[N]``; a smaller draw is a subset of a larger one.

    A class with fewer rows gives all it has.
    """
    chosen = np.zeros(len(labels), bool)
    places = ranks(keys, seed=seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen[rows[np.argsort(places[rows], kind="stable")[:shots]]] = True
    return chosen
