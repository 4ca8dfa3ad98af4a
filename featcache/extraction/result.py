"""The result of an extraction: path of the cache, and counts of copied, computed and unreadable rows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from featcache.cache import FeatureCache
from featcache.core.progress import Progress
from featcache.datasets import Dataset
from featcache.images.decoding import QUARANTINE_REASONS


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
        Id and reason of each image that could not be read.
    skipped
        Files left out by the source: reason to count.
    dropped
        Images that the cache held before and that the dataset no longer has.
    seconds
        Wall time of the whole extraction.
    progress
        Seconds spent on each stage.
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

    @property
    def cache(self) -> FeatureCache:
        """The cache, opened."""
        return FeatureCache(self.path)

    def __fspath__(self) -> str:
        return str(self.path)


def finished_extraction(
    cache: FeatureCache, data: Dataset, progress: Progress, started: float, **counts: int
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
    **counts
        Counts of `Extraction` that are not 0, such as ``computed``.
    """
    nothing = dict.fromkeys(("computed", "reused", "duplicates", "resumed", "dropped"), 0)
    return Extraction(
        path=cache.path,
        images=len(cache),
        quarantined=quarantined_rows(cache),
        skipped=data.skipped,
        seconds=time.monotonic() - started,
        progress=progress,
        **(nothing | counts),
    )


def quarantined_rows(cache: FeatureCache) -> dict[str, str]:
    """Return id and reason of the images that could not be read."""
    # A newer featcache may know more reasons; its caches of this format are still read.
    reasons = dict(enumerate(QUARANTINE_REASONS, start=1))
    return {cache.ids[row]: reasons.get(int(cache.status[row]), "unreadable") for row in cache.quarantined()}
