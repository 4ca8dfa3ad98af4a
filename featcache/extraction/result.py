"""The result of an extraction: path of the cache, and counts of copied, computed and unreadable rows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.core.columns.digest_array import DigestRows, is_repeated, sortable
from featcache.core.display import escaped, html_table
from featcache.core.progress import Progress
from featcache.core.tasks import MULTICLASS
from featcache.core.warning import warn
from featcache.datasets import Dataset
from featcache.images.decoding import QUARANTINE_REASONS, TEMPORARY_REASONS
from featcache.splits.copies import conflicting_copies, grouped_copies


@dataclass(frozen=True, repr=False)
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
    reused_from
        Path of each other cache that rows were copied from, and how many.
    details
        Of those of `quarantined` whose bytes could not be read, why: what the system said, or what was refused.
    engine
        What computed features, such as ``"onnxruntime 1.32.0"``; empty where nothing was computed.
    uploaded
        URL of the copy in a store, where `output` named one.
    uploaded_before
        Whether that copy was there already, unchanged, so that nothing was uploaded.
    actors
        Where a cluster computed: name of each actor, with its machine, to images/s.
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
    reused_from: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    engine: str = ""
    uploaded: str = ""
    uploaded_before: bool = False
    actors: Mapping[str, float] = field(default_factory=dict)

    @property
    def temporary(self) -> dict[str, str]:
        """Those of `quarantined` whose reason may pass, so that the next extraction tries them again."""
        return temporary_images(self.quarantined)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what is probably not as it was meant: images without features."""
        lines = unreadable_lines(self.quarantined, details=self.details)
        return ("\n".join(lines),) if lines else ()

    @property
    def cache(self) -> FeatureCache:
        """The cache, opened."""
        return FeatureCache(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Extraction({str(self.path)!r}, {self.images} images: {self._counts()})"

    def _counts(self) -> str:
        parts = ("computed", "reused", "resumed", "duplicates", "dropped")
        told = [f"{getattr(self, part)} {part}" for part in parts if getattr(self, part)]
        return (
            ", ".join(told + ([f"{len(self.quarantined)} unreadable"] if self.quarantined else [])) or "none"
        )

    def _repr_html_(self) -> str:
        rows = [("images", self.images), ("features", self._counts()), ("seconds", f"{self.seconds:.1f}")]
        return html_table(str(self.path), rows + [("warning", text) for text in self.warnings])


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

    Warns
    -----
    FeatcacheWarning
        If copies of an image have different labels.
    """
    _warn_of_conflicts(cache)
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


def _warn_of_conflicts(cache: FeatureCache, most: int = 3) -> None:
    """Say which images are there more than once with different labels."""
    repeated = is_repeated(sortable(cache.sha256))
    if not repeated.any():
        return
    rows = cache.rows_of()
    copies = grouped_copies(DigestRows(cache.sha256), rows[repeated[rows]].tolist())
    pairs = conflicting_copies(copies.values(), cache.known)
    if not pairs:
        return

    def named(row: int) -> str:
        return (
            f"{cache.ids[row]} ({cache.classes[cache.labels[row]]})"
            if cache.task == MULTICLASS
            else cache.ids[row]
        )

    examples = ", ".join(f"{named(a)} = {named(b)}" for a, b in pairs[:most])
    more = f", and {len(pairs) - most} more" if len(pairs) > most else ""
    warn(
        f"{len(pairs)} {'images are' if len(pairs) > 1 else 'image is'} there more than once with different labels "
        f"({examples}{more}): no head can learn both; correct the labels, or remove the copies, and extract again, "
        "which computes nothing anew"
    )


def quarantined_rows(cache: FeatureCache) -> dict[str, str]:
    """Return id and reason of the images that could not be read."""
    # A newer featcache may know more reasons; its caches of this format are still read.
    reasons = dict(enumerate(QUARANTINE_REASONS, start=1))
    return {cache.ids[row]: reasons.get(int(cache.status[row]), "unreadable") for row in cache.quarantined()}


def temporary_images(quarantined: Mapping[str, str]) -> dict[str, str]:
    """Return those of `quarantined_rows` whose reason may pass."""
    return {name: reason for name, reason in quarantined.items() if reason in TEMPORARY_REASONS}


def unreadable_lines(
    quarantined: Mapping[str, str], most: int = 10, *, details: Mapping[str, str] | None = None
) -> list[str]:
    """Return images without features as lines of text, at most `most` of each kind, with details where there are."""
    why = {name: f": {escaped(detail)}" for name, detail in (details or {}).items() if detail}
    temporary = temporary_images(quarantined)
    damaged = {name: reason for name, reason in quarantined.items() if name not in temporary}
    text = []
    for images, what in (
        (damaged, "unreadable {} (they have no features):"),
        (temporary, "not read  {} for now (they have no features; the same command tries them again):"),
    ):
        listed = [f"{escaped(name)}: {reason}{why.get(name, '')}" for name, reason in images.items()]
        text += [what.format(len(listed))] if listed else []
        text += [f"  {line}" for line in listed[:most]]
        more = len(listed) - most
        text += [f"  … and {more} more (--json, or quarantined in Python, lists all)"] if more > 0 else []
    return text


def temporary_rows(cache: FeatureCache) -> np.ndarray:
    """Return the numbers of the rows that have no features for a reason that may pass."""
    numbers = [
        number for number, reason in enumerate(QUARANTINE_REASONS, start=1) if reason in TEMPORARY_REASONS
    ]
    return np.flatnonzero(np.isin(cache.status, numbers))
