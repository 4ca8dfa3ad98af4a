"""The pictures of photos that were scored, read from their dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.cache import FeatureCache
from featcache.classifier.scored.rows import Photos, is_cache
from featcache.core.display import some
from featcache.datasets import Dataset, Record, open_to_score
from featcache.datasets.found_photos import open_again
from featcache.errors import FeatcacheError, ImageError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SIDE = 320
"""Pixels of a picture's longer side, at most."""


def dataset_of(classifier: Any, photos: Photos) -> Dataset:
    """Return the photos that a classifier was scored on, or whose features a cache holds.

    Parameters
    ----------
    classifier
        The classifier.
    photos
        What `Classifier.evaluate` was given.

    Raises
    ------
    UsageError
        If they are no longer where they were when their features were computed.
    """
    if isinstance(photos, Dataset):
        return photos
    if photos is not None and not isinstance(photos, FeatureCache) and not is_cache(photos):
        return open_to_score(photos)
    path = Path(classifier.provenance["cache"]) if photos is None else photos
    cache = path if isinstance(path, FeatureCache) else FeatureCache(path)
    try:
        return open_again(cache.identity["dataset"]["spec"], cache.task)
    except FeatcacheError as error:
        raise UsageError(
            f"the photos of {cache.path} cannot be opened, so there are no pictures of them: {error}; where they have "
            "moved, give their folder in the place of the cache"
        ) from error


def pictures_of(classifier: Any, photos: Photos, names: Sequence[str]) -> "list[np.ndarray | None]":
    """Return small pictures of photos, uint8 ``[H, W, 3]``, in the order of their names; ``None`` for one not readable.

    Raises
    ------
    UsageError
        If the dataset cannot be opened, or none of the names is in it.
    """
    data = dataset_of(classifier, photos)
    records = {record.id: record for record in data.records}
    if names and not any(name in records for name in names):
        raise UsageError(
            f"{data.spec} holds none of the photos that were scored ({some(names, 3)}); give the folder they are in"
        )
    return [_picture(records[name]) if name in records else None for name in names]


def _picture(record: Record) -> "np.ndarray | None":
    from featcache.images.decoding import read

    try:
        return read(record.read(), exif="apply", rgb="white", finish=_small)
    except (OSError, MemoryError, ImageError):
        return None


def _small(image: "Image.Image") -> "Image.Image":
    image.thumbnail((SIDE, SIDE))
    return image
