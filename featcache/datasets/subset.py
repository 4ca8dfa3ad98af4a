"""Slices and shards of a dataset: the records that an extraction takes, and their part of the cache's name."""

import os
import re
from dataclasses import dataclass, replace

import numpy as np

from featcache.core.tasks import MULTICLASS
from featcache.core.warning import warn
from featcache.datasets import Dataset, open_dataset
from featcache.datasets.dataset import UNSPLIT
from featcache.errors import DataError, UnknownNameError, UsageError
from featcache.splits.other_classes import EXPECTED
from featcache.splits.slices import rows_in


@dataclass(frozen=True)
class Shard:
    """One of `of` parts of a dataset, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``"2/3"``."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"shard {text!r}: expected i/n with 1 <= i <= n, such as 2/3")
        return cls(int(match[1]), int(match[2]))

    def of_dataset(self, data: Dataset) -> Dataset:
        """Return every n-th record, so that shards are of equal size and hold all classes.

        Raises
        ------
        DataError
            If there are fewer images than parts.
        """
        records = data.records[self.number - 1 :: self.of]
        if not records:
            raise DataError(f"{data.spec} has {len(data.records)} images, too few for {self.of} shards")
        return replace(data, records=records)


@dataclass(frozen=True)
class Subset:
    """The part of a dataset that is taken: a slice, and one shard of that; by default everything."""

    split: str | None = None
    shard: Shard | None = None

    @property
    def suffix(self) -> str:
        """Part of the cache's file name, so that a subset's cache never replaces the whole dataset's."""
        shard = f".part-{self.shard.number}-of-{self.shard.of}" if self.shard else ""
        return (f".{_spell_slice(self.split)}" if self.split is not None else "") + shard


def _spell_slice(split: str) -> str:
    """Return a slice as it may stand in a file's name: ``train[:80%]`` is ``train-to80pct``."""
    text = "all" + split if split.startswith("[") else split
    for sign, word in (("[", "-"), ("]", ""), (":", "to"), ("%", "pct")):
        text = text.replace(sign, word)
    return re.sub(r"[^\w.+-]", "", text)


def open_subset(
    dataset: str | os.PathLike[str] | Dataset,
    shard: str | None = None,
    split: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Dataset, Subset]:
    """Open a dataset, a slice of it, or one shard of either; raises what opening and `slice_records` raise."""
    data = open_dataset(dataset, data_dir=data_dir)
    part = Subset(split, Shard.parse(shard) if shard else None)
    data = data if split is None else slice_records(data, split)
    return (part.shard.of_dataset(data) if part.shard else data), part


def slice_records(data: Dataset, text: str) -> Dataset:
    """Return the records of a slice, in the dataset's order, whatever the order of the slice.

    Parameters
    ----------
    data
        Any dataset. One without splits of its own has no ``train`` yet, because the test split is drawn after its
        images were read: only slices of all records are allowed then.
    text
        See `featcache.splits.slices`.

    Raises
    ------
    UsageError
        If the dataset has no such split or slice, or there is no record in it.

    Warns
    -----
    FeatcacheWarning
        If it loses whole classes, as slices of folders do.
    """
    own = () if UNSPLIT in data.splits else data.splits
    split_of = np.array([own.index(record.split) if own else -1 for record in data.records], np.int64)
    try:
        rows = rows_in(text, own, split_of, origin=data.spec)
    except UnknownNameError as error:
        if own:
            raise
        raise UsageError(
            f"split {text!r}: {data.spec} has no splits of its own, train and test are drawn after its images were "
            "read; give a slice of all records, such as 'all[:80%]' or '[:100]', or extract everything and give the "
            "slice to train-head or evaluate"
        ) from error
    _warn_of_lost_classes(data, text, rows)
    return replace(data, records=[data.records[row] for row in np.sort(rows)])


def _warn_of_lost_classes(data: Dataset, text: str, rows: np.ndarray) -> None:
    """Say which classes a slice loses that it would not have lost by chance."""
    if data.task != MULTICLASS:
        return
    labels = np.array([record.label for record in data.records])
    whole, part = (np.bincount(own, minlength=len(data.classes)) for own in (labels, labels[rows]))
    lost = np.flatnonzero((part == 0) & (whole * len(rows) >= EXPECTED * len(labels)))
    if len(lost):
        names = ", ".join(data.classes[label] for label in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        warn(
            f"{data.spec}: {text} holds no image of {len(lost)} of {len(data.classes)} classes ({names}{more}), as "
            "slices are cut from records in their order, which is by class in folders; extract everything, and give "
            "train-head the slice with --shuffle-slices"
        )
