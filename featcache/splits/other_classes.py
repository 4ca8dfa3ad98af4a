"""Refusal of rows that cannot judge a head, because they are of other classes than those that train it."""

from typing import TYPE_CHECKING

import numpy as np

from featcache.errors import DataError

if TYPE_CHECKING:
    from featcache.splits.selection import CachedRows, SplitSpec

EXPECTED = 10
"""A class of which so many rows were expected in a part, and none is there, was not left out by chance: e⁻¹⁰."""


def refuse_other_classes(
    cache: "CachedRows", parts: "SplitSpec", name: str, train: np.ndarray, judged: np.ndarray
) -> None:
    """Refuse validation or test rows that no trained head could be judged by.

    Those are rows without any class that trains. Validation rows of a single class, where others would be among them
    but for the way they were cut, choose the head that always answers with this class.

    Parameters
    ----------
    cache, parts
        The rows' cache, and the request.
    name
        ``"val"`` or ``"test"``.
    train, judged
        Row numbers of the training rows and of the part, which may be empty.

    Raises
    ------
    DataError
        Naming the classes of both, with the options that would do it right.
    """
    if not len(judged):
        return
    counts, own = (np.bincount(cache.labels[rows], minlength=len(cache.classes)) for rows in (train, judged))
    if not (counts * own).any():
        what = f"are all of classes that no training row has ({_named(cache, own)}; training: {_named(cache, counts)})"
    elif name == "val" and (own > 0).sum() == 1 and _missing_most(counts, own) >= EXPECTED:
        what = f"are all of one class ({_named(cache, own)}; training: {_named(cache, counts)})"
    else:
        return
    asked = getattr(parts, name) or name
    raise DataError(
        f"{cache.path}: the {len(judged)} {name} rows ({asked}) {what}, so that their score would mean nothing; "
        f"{_remedy(parts, name)}"
    )


def _missing_most(counts: np.ndarray, own: np.ndarray) -> float:
    """Return how many rows were to be expected of the largest class that is missing."""
    return float((counts * (own == 0)).max() * own.sum() / counts.sum())


def _named(cache: "CachedRows", counts: np.ndarray, most: int = 3) -> str:
    names = [cache.classes[int(label)] for label in np.flatnonzero(counts)]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _remedy(parts: "SplitSpec", name: str) -> str:
    told = {key: value for key in ("train", "val", "test") if "[" in (value := getattr(parts, key) or "")}
    if told and not parts.shuffle_slices:
        given = " ".join(f"--{key} '{value}'" for key, value in told.items())
        return (
            "slices are cut from rows in their order, which is by class in folders; the same of shuffled rows, every "
            f"class evenly: {given} --shuffle-slices"
        )
    return (
        "split all rows anew, every class evenly: --train 'all[:60%]' --val 'all[60%:80%]' --test 'all[80%:]' "
        f"--shuffle-slices; or leave these rows out: --{name} none"
    )
