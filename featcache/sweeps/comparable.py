"""Which of several caches one leaderboard can compare: those whose heads are judged by the same labelled images.

A glob such as ``photos-*.h5`` also finds shards, slices and caches of other images. An accuracy on fewer or other rows
would win or lose by its rows.
"""

from collections.abc import Callable, Sequence

import numpy as np

from featcache.cache import FeatureCache
from featcache.core.display import SPLIT_WORDS
from featcache.errors import FeatcacheError, UsageError
from featcache.sweeps.data import SweepData


def comparable(
    caches: Sequence[FeatureCache], divided: Callable[[FeatureCache], SweepData]
) -> tuple[list[SweepData], list[str]]:
    """Return the caches with the same judged rows, and a sentence for each that is left out.

    Judged are the validation rows, or with folds all that are divided, and the test rows: by the hashes of the images
    and their labels, whatever their order. Of several kinds the one with the most caches stays, then the one with the
    most images.

    Parameters
    ----------
    caches
        One or more.
    divided
        Chooses the rows of a cache.

    Raises
    ------
    UsageError
        If no two caches can be compared, and the others are no parts of the one that would stay.
    FeatcacheError
        If no cache has the rows that were asked for.
    """
    if not caches:
        raise UsageError("no cache to sweep over; give one or more")
    usable: list[SweepData] = []
    failed: list[FeatcacheError] = []
    for cache in caches:
        try:
            usable.append(divided(cache))
        except FeatcacheError as error:
            failed.append(error)
    if not usable:
        raise failed[0]
    kept = _largest_kind(usable)
    reasons = {data: _why(data, kept[0]) for data in usable if data not in kept}
    if len(kept) == 1:
        for data, reason in reasons.items():
            if not _is_part(data.cache, kept[0].cache):
                raise UsageError(
                    f"{data.cache.path} {reason}; one leaderboard needs the same validation and test images with the "
                    "same labels: sweep over each alone"
                )
    told = [f"left out: {data.cache.path} {reason}" for data, reason in reasons.items()]
    return kept, [*told, *(f"left out: {error}" for error in failed)]


def cache_names(caches: Sequence[FeatureCache]) -> tuple[str, ...]:
    """Return what a leaderboard calls each cache: its backbone, and its file where another one has that too."""
    backbones = [cache.backbone for cache in caches]
    files = [cache.path.name for cache in caches]
    if len(set(files)) < len(files):
        files = [str(cache.path) for cache in caches]
    return tuple(
        backbone if backbones.count(backbone) == 1 else f"{backbone} ({file})"
        for backbone, file in zip(backbones, files, strict=True)
    )


def _largest_kind(usable: Sequence[SweepData]) -> list[SweepData]:
    kinds: dict[object, list[SweepData]] = {}
    for data in usable:
        cache = data.cache
        judged = (frozenset(_labelled(data, rows).items()) for rows in (data.val, data.test))
        kinds.setdefault((cache.task, cache.classes, *judged), []).append(data)
    return max(kinds.values(), key=lambda kind: (len(kind), max(len(data.cache) for data in kind)))


def _labelled(data: SweepData, rows: np.ndarray) -> dict[bytes, tuple[bytes, ...]]:
    """Return the labels or targets of each image among some rows, by its hash; of copies all."""
    found: dict[bytes, list[bytes]] = {}
    known = data.cache.known
    for row in rows.tolist():
        found.setdefault(data.cache.sha256[row].tobytes(), []).append(known[row].tobytes())
    return {key: tuple(sorted(own)) for key, own in found.items()}


def _images(cache: FeatureCache) -> set[bytes]:
    return {cache.sha256[row].tobytes() for row in cache.rows_of()}


def _is_part(cache: FeatureCache, whole: FeatureCache) -> bool:
    return _images(cache) < _images(whole)


def _why(data: SweepData, kept: SweepData) -> str:
    """Say how the rows of a cache differ from those of one that stays."""
    cache, other = data.cache, kept.cache
    own, others = _images(cache), _images(other)
    shared = len(own & others)
    if own < others:
        return f"holds {len(own)} of the {len(others)} images of {other.path}: it is a shard, a slice or an older state"
    if not shared:
        return f"holds other images than {other.path}"
    if (cache.task, cache.classes) != (other.task, other.classes):
        return f"has other classes than {other.path}"
    if own != others:
        return f"holds {shared} of the {len(others)} images of {other.path} and {len(own) - shared} others"
    for name in ("val", "test"):
        ours, theirs = (_labelled(each, getattr(each, name)) for each in (data, kept))
        if ours.keys() != theirs.keys():
            same = len(ours.keys() & theirs.keys())
            return (
                f"has the same images as {other.path}, but other {SPLIT_WORDS[name]} rows ({same} of {len(theirs)} are "
                "the same): extract both with the same --seed and --test-fraction, or name the rows with --train, "
                "--val and --test"
            )
        if wrong := sum(ours[key] != theirs[key] for key in ours):
            return f"has {wrong} {SPLIT_WORDS[name]} images with other labels than {other.path}"
    return f"has other rows than {other.path}"
