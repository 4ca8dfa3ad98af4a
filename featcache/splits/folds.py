"""Folds: which rows train and which validate each head, stratified or in whole groups, drawn by content.

Like `featcache.splits.stratified`, everything is ranked by a hash of the image's own bytes, so that renaming
or moving files changes nothing and adding an image changes it for few others.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from featcache.errors import DataError


def ranks(keys: Sequence[bytes], *, seed: int) -> np.ndarray:
    """Return each row's place, int ``[N]``, in a random order that depends on the keys and the seed only."""
    digests = np.array([hashlib.sha256(b"%d:" % seed + key).digest() for key in keys], dtype="S32")
    order = np.argsort(digests, kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def stratified_folds(keys: Sequence[bytes], labels: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row, int ``[N]`` in 0..folds - 1, stratified by class.

    Exact duplicates (equal keys) are in the same fold, those of different classes in that of the first of these.

    Raises
    ------
    DataError
        If there are fewer different rows than folds.
    """
    _refuse_too_many(folds, len(set(keys)), "different training images")
    assigned = np.zeros(len(labels), np.int64)
    start = 0
    fold_of: dict[bytes, int] = {}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own = [keys[row] for row in rows.tolist()]
        places = dict(zip(own, ranks(own, seed=seed).tolist(), strict=True))  # equal keys: the last one's
        order = {key: number for number, key in enumerate(sorted(places, key=lambda key: places[key]))}
        assigned[rows] = [fold_of.setdefault(key, (start + order[key]) % folds) for key in own]
        # The next class goes on where this one ended, so that small classes do not all fill fold 0.
        start += len(order)
    return assigned


def grouped_folds(groups: Sequence[str], labels: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row, with whole groups in one fold and classes as balanced as that allows.

    Raises
    ------
    DataError
        If there are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _refuse_too_many(folds, len(set(groups)), "groups")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    assigned = np.zeros(len(labels), np.int64)
    if np.unique(labels, return_counts=True)[1].max() < folds:
        # No class can be in every fold, which scikit-learn refuses; then the folds are only made equally large.
        labels = np.zeros(len(labels), np.int64)
    for number, (_, rows) in enumerate(splitter.split(np.zeros(len(labels)), labels, np.asarray(groups))):
        assigned[rows] = number
    return assigned


def _refuse_too_many(folds: int, count: int, what: str) -> None:
    if folds > count:
        raise DataError(f"{folds} folds of {count} {what}; ask for at most {count} folds")
