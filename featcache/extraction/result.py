"""The result of an extraction: path of the cache, and counts of copied, computed and unreadable rows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.core.progress import Progress
from featcache.datasets import Dataset
from featcache.images.decoding import QUARANTINE_REASONS, TEMPORARY_REASONS


@dataclass(frozen=True)
class Extraction:
    """A finished extraction; may be used wherever a cache's path is expected.

    Parameters
    ----------
    path
        The cache file.
    images
        Rows in the cache.
    computed, reused, duplicates, resumed
        Number of rows by the origin of their features: the network, another cache, another row with the same bytes,
        an earlier run of this extraction that was interrupted.
    quarantined
        Id and reason of each image that could not be read; see also `temporary`.
    skipped
        Files left out by the source: reason to count.
    dropped
        Images that the cache held before and that the dataset no longer has.
    seconds
        Wall time of the whole extraction.
    progress
        Seconds spent on each stage.
    retried
        Ids of the images that the earlier cache at `path` lacks for a temporary reason. All were tried again; those
        that still cannot be read are among `quarantined`.
    damaged
        Rows of the earlier cache at `path` that were damaged on the disk; they have been computed again.
    details
        Of those of `quarantined` whose bytes could not be read, why: what the system said, or what was refused.
    """

    path: Path
    images: int
    computed: int
    reused: int
    duplicates: int
    resumed: int
    quarantined: Mapping[str, str]
    skipped: Mapping[str, int]
    dropped: int
    seconds: float
    progress: Progress = field(repr=False)
    retried: tuple[str, ...] = ()
    damaged: int = 0
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def temporary(self) -> dict[str, str]:
        """Those of `quarantined` whose reason may pass, so that the next extraction tries them again."""
        return temporary_images(self.quarantined)

    @property
    def cache(self) -> FeatureCache:
        """The cache, opened."""
        return FeatureCache(self.path)

    def __fspath__(self) -> str:
        return str(self.path)


def finished_extraction(
    cache: FeatureCache,
    data: Dataset,
    progress: Progress,
    started: float,
    details: Mapping[int, str],
    **others: Any,
) -> Extraction:
    """Return the result of a finished extraction.

    Parameters
    ----------
    cache, data
        The finished cache and its dataset.
    progress
        Seconds spent on each stage.
    started
        Start time by `time.monotonic`.
    details
        Row numbers, and why their bytes could not be read.
    **others
        Fields of `Extraction` that are not 0 or empty, such as ``computed``.
    """
    nothing: dict[str, Any] = dict.fromkeys(("computed", "reused", "duplicates", "resumed", "dropped"), 0)
    quarantined = quarantined_rows(cache)
    names = {cache.ids[row]: why for row, why in details.items()}
    return Extraction(
        path=cache.path,
        images=len(cache),
        quarantined=quarantined,
        details={name: why for name, why in names.items() if name in quarantined},
        skipped=data.skipped,
        seconds=time.monotonic() - started,
        progress=progress,
        **(nothing | others),
    )


def quarantined_rows(cache: FeatureCache) -> dict[str, str]:
    """Return id and reason of the images that could not be read."""
    # A newer featcache may know more reasons; its caches of this format are still read.
    reasons = dict(enumerate(QUARANTINE_REASONS, start=1))
    return {cache.ids[row]: reasons.get(int(cache.status[row]), "unreadable") for row in cache.quarantined()}


def temporary_images(quarantined: Mapping[str, str]) -> dict[str, str]:
    """Return those of `quarantined_rows` whose reason may pass."""
    return {name: reason for name, reason in quarantined.items() if reason in TEMPORARY_REASONS}


def temporary_rows(cache: FeatureCache) -> np.ndarray:
    """Return the numbers of the rows that have no features for a reason that may pass."""
    numbers = [
        number for number, reason in enumerate(QUARANTINE_REASONS, start=1) if reason in TEMPORARY_REASONS
    ]
    return np.flatnonzero(np.isin(cache.status, numbers))
