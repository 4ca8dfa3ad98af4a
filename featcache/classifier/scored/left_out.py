"""Rows that an evaluation leaves out: those that a list names, or that one left out of the classifier's training."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.scored.rows import is_own, known_as
from featcache.core.display import counted
from featcache.datasets.exclude_list import ExcludeGiven, read_exclude
from featcache.errors import DataError, UsageError
from featcache.splits.left_out import rows_left_out
from featcache.splits.shuffled import SliceOrder

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier


def rows_kept(
    classifier: "Classifier",
    cache: FeatureCache,
    split: str,
    exclude: ExcludeGiven,
    *,
    order: SliceOrder | None,
    remembered: Collection[str] = (),
) -> tuple[np.ndarray, str]:
    """Return the rows of a split that are scored, and in words which of it are not.

    Parameters
    ----------
    classifier, cache, split
        What is scored, on what.
    exclude
        The list; ``None`` for what the classifier's training left out, where this is its own cache.
    order
        In which slices are cut.
    remembered
        The ids that a list left out of the classifier's training.

    Raises
    ------
    DataError
        If the split holds no readable image, or the list names photos that the cache does not hold.
    UsageError
        If the list holds every row.
    """
    rows = cache.rows_of(split, order=order)
    if not len(rows):
        raise DataError(f"{cache.path} has no readable image in split {split!r}")
    if exclude is not None:
        out = np.isin(rows, rows_left_out(cache, read_exclude(exclude, cache.ids, origin=known_as(cache))))
        told = f"{out.sum()} of {len(rows)} photos are left out, as the list says" if out.any() else ""
    else:
        out = np.isin(rows, rows_left_out(cache, remembered))
        told = (
            f"{out.sum()} of {len(rows)} photos are left out, as they were of its training"
            if out.any()
            else ""
        )
        if out.any() and not is_own(classifier, cache):
            # Elsewhere a photo of that name may be another one.
            same = cache.identity["dataset"]["spec"] == classifier.provenance["dataset"]
            count = int(out.sum())
            verb, them = ("is", "it") if count == 1 else ("are", "them")
            told = (
                f"{counted(count, 'photo')} that a list left out of its training {verb} scored, as this is another "
                f"cache (--exclude FILE leaves {them} out)"
                if same
                else ""
            )
            out[:] = False
    if out.all():
        raise UsageError(
            f"all {len(rows)} rows of {split} in {known_as(cache)} are left out, so that none can be scored; name "
            "another split, or another list of what to leave out (none leaves out nothing)"
        )
    return rows[~out], told
