"""Read a layer's features for heads: how many views of each image to use, and one table of all of them.

The features of N images with V views each are a table of N·V rows: view v of image r is row ``r · V + v``. Labels and
weights belong to the images, so that a view never counts as another image.
"""

import numpy as np

from featcache.cache import FeatureCache
from featcache.checks.rows import require_finite
from featcache.errors import UsageError
from featcache.heads.feature_table import (
    DEFAULT_MEMORY,
    ArrayTable,
    FeatureTable,
    StreamedTable,
    as_float32,
)
from featcache.heads.settings import Settings

PLAIN_ONLY = ("knn",)
"""Heads that use the plain view only. Among all views the k nearest rows would be views of a few images, and k would
no longer be the number of images that vote."""


def views_used(cache: FeatureCache, layer: str, settings: Settings) -> int:
    """Return how many views of each image a head learns from.

    Raises
    ------
    UsageError
        If more are asked for than the layer holds.
    """
    held = cache.layers[layer].views
    if settings.head in PLAIN_ONLY:
        return 1
    if settings.views is not None and settings.views > held:
        has = f"{held} views" if held > 1 else "one view, the plain one,"
        raise UsageError(
            f"views {settings.views}: {cache.path} holds {has} of each image in {layer}; ask for at most {held}, or "
            f"extract more: featcache extract DATASET --views {settings.views}"
        )
    return settings.views or held


def with_views(cache: FeatureCache, layer: str, settings: Settings) -> Settings:
    """Return the settings with the number of views that is used; ``None`` if the cache holds only one.

    Raises
    ------
    UsageError
        As `views_used`.
    """
    used = views_used(cache, layer, settings)
    several = cache.layers[layer].views > 1 and settings.head not in PLAIN_ONLY
    return Settings(**{**vars(settings), "views": used if several else None})


def require_several(cache: FeatureCache, layer: str) -> None:
    """Raise for test-time augmentation on a layer that holds one view.

    Raises
    ------
    UsageError
        If the layer holds one view; the message says how to extract more.
    """
    if cache.layers[layer].views == 1:
        raise UsageError(
            f"tta averages over the views of an image, and {cache.path} holds one of each in {layer}; extract several "
            "(featcache extract DATASET --views 8), or do without (--no-tta)"
        )


def view_features(cache: FeatureCache, rows: np.ndarray, layer: str, views: int = 1) -> np.ndarray:
    """Return the first `views` views of some rows, float32 ``[n · V, D]``, with maps flattened.

    Raises
    ------
    DataError
        If a row holds NaN or infinity.
    """
    return as_float32(_finite_features(cache, rows, layer, views)).reshape(
        len(rows) * views, int(np.prod(cache.layers[layer].shape))
    )


def _finite_features(cache: FeatureCache, rows: np.ndarray, layer: str, views: int) -> np.ndarray:
    """Return the first `views` views of some rows as they are stored, ``[n, V · D]``."""
    width = int(np.prod(cache.layers[layer].shape))
    # The checksum of a row covers all of its views, so reading one means reading all.
    values = cache.features(rows, layer) if views == 1 else cache.features(rows, layer, view="all")[:, :views]
    features = values.reshape(len(rows), views * width)
    require_finite(features, rows, cache, layer)
    return features


def feature_table(
    cache: FeatureCache, rows: np.ndarray, layer: str, views: int = 1, *, memory: int = DEFAULT_MEMORY
) -> FeatureTable:
    """Return the first `views` views of some rows as a table, in memory where half of `memory` holds them.

    Larger ones are read from the cache whenever they are asked for.

    Raises
    ------
    DataError
        If a row holds NaN or infinity.
    IntegrityError
        If a row is damaged.
    """
    width = int(np.prod(cache.layers[layer].shape))
    if 4 * len(rows) * views * width <= memory // 2:
        return ArrayTable(view_features(cache, rows, layer, views))
    # Checked once here; the many reads that follow are not checked.
    step = max(1, 4096 // views)
    for start in range(0, len(rows), step):
        _finite_features(cache, rows[start : start + step], layer, views)

    def read(numbers: np.ndarray) -> np.ndarray:
        # Read, not mapped: pages of the file that were looked at count as this process's memory.
        return cache.features(rows[numbers // views], layer, view=numbers % views, verify=False)

    return StreamedTable(read, len(rows) * views, width)


def rows_of_views(images: np.ndarray, views: int) -> np.ndarray:
    """Return the table's row numbers ``[n · V]`` of all views of images ``[n]``."""
    return (images[:, None] * views + np.arange(views)).ravel()
