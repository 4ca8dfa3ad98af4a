"""Whether what an audit found matters: heads that are trained with and without the photos that it would leave out."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.auditing.material import TooFewPhotosError
from featcache.auditing.ranked import RankedList
from featcache.cache import FeatureCache
from featcache.core.display import counted, percent
from featcache.core.tasks import require_classes
from featcache.errors import DataError, FeatcacheWarning, UsageError
from featcache.metrics.intervals import difference_interval
from featcache.splits.selection import NONE, SplitSpec, select_rows

HELD = "[:20%]", "[20%:]"
"""The slices that judge and train where a cache has no split of its own to judge by."""


@dataclass(frozen=True)
class Effect:
    """Two heads of default settings, which differ in the rows that they learnt from.

    Parameters
    ----------
    left_out, trained
        How many training rows the second head did without, and how many the first had.
    judged, judged_by
        How many rows judge both, and which: those of a split that are no suspects. Neither head has learnt from them.
    accuracy, accuracy_without
        Accuracy on these of the head that learnt from all training rows, and of that which did without some.
    difference, interval
        The second minus the first, and its 95 % interval.
    """

    left_out: int
    trained: int
    judged: int
    judged_by: str
    accuracy: float
    accuracy_without: float
    difference: float
    interval: tuple[float, float]

    @property
    def matters(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def finding(self) -> str:
        """What came of it, in one sentence."""
        low, high = self.interval
        told = (
            f"without {counted(self.left_out, 'photo')} of {self.trained:,} a head has "
            f"{percent(self.accuracy_without)} of {counted(self.judged, 'photo')} right instead of "
            f"{percent(self.accuracy)}: {100 * self.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
        )
        if not self.matters:
            return f"{told}, no difference that so many photos can show"
        return f"{told}; leaving them out {'helps' if self.difference > 0 else 'harms'}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "matters": self.matters, "finding": self.finding}


def measure_effect(
    cache: FeatureCache, lists: Sequence[RankedList], *, layer: str | None = None, seed: int = 0
) -> Effect:
    """Train a head with and without what lists would leave out, and compare the two on rows that are no suspects.

    Parameters
    ----------
    cache
        A multiclass cache.
    lists
        Of an audit of it.
    layer, seed
        Of the heads.

    Returns
    -------
    Effect
        Judged by the cache's test split, else by its val split, else by a fifth of all rows, which then do not train.

    Raises
    ------
    UsageError
        If the cache is not multiclass.
    TooFewPhotosError
        If nothing is to be left out of the training rows, all rows that could judge are suspects, or a head cannot be
        trained on what is left.
    """
    require_classes(cache, "the effect of an audit")
    out, suspects = _rows_left_out(lists), _suspects(lists)
    parts = _parts(cache)
    with _few_photos():
        judges = np.setdiff1d(
            select_rows(cache, SplitSpec(**parts, val_fraction=0, seed=seed)).test, suspects
        )
        trained = select_rows(cache, SplitSpec(**parts, seed=seed)).pool
    fewer = np.intersect1d(trained, out)
    if not len(fewer):
        raise TooFewPhotosError(
            f"{cache.path}: the audit names no training photo to leave out (no label is certainly wrong, no photo is "
            "there twice), so there is no effect to measure"
        )
    if not len(judges):
        raise TooFewPhotosError(
            f"{cache.path}: every photo of {parts['test']} is a suspect or its copy, so none can judge; correct the "
            "labels first"
        )
    ids = sorted({cache.ids[row] for row in fewer.tolist()})
    with _few_photos():
        right = [_right(cache, layer, parts, seed, judges, exclude) for exclude in (None, ids)]
    gained = right[1].astype(np.float64) - right[0]
    return Effect(
        left_out=len(fewer),
        trained=len(trained),
        judged=len(judges),
        judged_by=str(parts["test"]),
        accuracy=float(right[0].mean()),
        accuracy_without=float(right[1].mean()),
        difference=float(gained.mean()),
        interval=difference_interval(gained),
    )


@contextmanager
def _few_photos() -> Iterator[None]:
    """Tell that the effect is not to be had where rows cannot be divided, or a class is left without training photos.

    What the lists say stands all the same. Rows with NaN were refused before.
    """
    try:
        yield
    except (DataError, UsageError) as error:
        raise TooFewPhotosError(
            f"the effect cannot be measured, as no two heads can be trained: {error}"
        ) from error


def _parts(cache: FeatureCache) -> dict[str, Any]:
    """Return the rows that train and judge, as arguments of `featcache.train_head`; what judges is called test."""
    own = [split for split in ("test", "val") if split in cache.splits and len(cache.rows_of(split))]
    if "train" in cache.splits and own:
        named = {"train": "train", "val": None if own[0] == "test" else NONE, "test": own[0]}
        return named | {"shuffle_slices": False}
    first = "train" if "train" in cache.splits else "all"
    judge, rest = (f"{first}{part}" for part in HELD)
    return {"train": rest, "val": NONE, "test": judge, "shuffle_slices": True}


def _rows_left_out(lists: Sequence[RankedList]) -> np.ndarray:
    rows = [row for found in lists for entry in found.entries for row in entry.leave_out]
    return np.unique(np.array(rows, np.int64))


def _suspects(lists: Sequence[RankedList]) -> np.ndarray:
    """Return the rows that may not judge: what is left out, and every member of a cluster that something is left of."""
    rows = [
        row
        for found in lists
        for entry in found.entries
        if entry.leave_out
        for row in (
            entry.row,
            *entry.leave_out,
            *(own.row for own in entry.resembles if found.kind == "copies"),
        )
    ]
    return np.unique(np.array(rows, np.int64))


def _right(
    cache: FeatureCache,
    layer: str | None,
    parts: dict[str, Any],
    seed: int,
    judges: np.ndarray,
    exclude: Sequence[str] | None,
) -> np.ndarray:
    """Return which of the judging rows a head has right, bool ``[n]``."""
    from featcache.classifier.train_head import train_head

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FeatcacheWarning
        )  # of mistakes in the data, which the audit itself lists
        head = train_head(
            cache, output=None, layer=layer, **parts, seed=seed, exclude=exclude, calibrate=False
        )
    found = head.probabilities(cache.features(judges, head.layer))
    return found.argmax(axis=1) == cache.labels[judges]
