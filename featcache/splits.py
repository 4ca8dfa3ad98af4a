"""Drawing splits that stay put: stratified, seeded, and by content rather than by file name."""

import hashlib
from collections.abc import Sequence

import numpy as np


def draw_stratified(keys: Sequence[bytes], labels: np.ndarray, *, fraction: float, seed: int) -> np.ndarray:
    """Choose about `fraction` of the rows of each class.

    Rows are ranked by ``sha256(seed, key)`` within their class and the first are taken. With content hashes
    as keys the choice survives renaming and moving files, adding images changes it for few others, and exact
    duplicates (equal keys, hence equal ranks) end up on one side but for the one pair on the border.

    Parameters
    ----------
    keys
        One per row, such as the sha256 of the image.
    labels
        int ``[N]``; classes are stratified.
    fraction
        Between 0 and 1. A class of at least two rows gives at least one row and keeps at least one.
    seed
        Another seed, another choice.

    Returns
    -------
    numpy.ndarray
        bool ``[N]``, true where chosen.
    """
    labels = np.asarray(labels)
    ranks = np.array([hashlib.sha256(b"%d:" % seed + key).digest() for key in keys], dtype="S32")
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        take = round(len(rows) * fraction)
        if fraction > 0 and len(rows) > 1:
            take = min(max(take, 1), len(rows) - 1)
        chosen[rows[np.argsort(ranks[rows], kind="stable")[:take]]] = True
    return chosen
