"""The training photos that are nearest to others by the cosine of their features: what a classifier has seen like them.

Every photo is compared with every training photo; rows are read in blocks, so that memory does not grow with them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.evaluation import require_same_features
from featcache.classifier.scored.rows import is_own
from featcache.classifier.view_features import one_vector
from featcache.errors import FeatcacheError
from featcache.splits.selection import SplitSpec, select_rows

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

BLOCK_BYTES = 1 << 26
"""Features of one block, read at a time: 64 MiB."""


def training_cache(classifier: "Classifier", cache: FeatureCache) -> FeatureCache | None:
    """Return the cache that a classifier was trained on: the given one, or the one it names.

    ``None`` if that is gone, damaged, or holds other features by now.
    """
    if is_own(classifier, cache):
        return cache
    try:
        found = FeatureCache(Path(classifier.provenance["cache"]))
        require_same_features(classifier, found)
    except (FeatcacheError, OSError):  # nothing depends on it: a page comes without neighbours then
        return None
    return found


def training_rows(classifier: "Classifier", cache: FeatureCache) -> np.ndarray:
    """Return the rows of its training cache that a head has learnt from, int ``[n]``, ascending.

    With validation rows where it was trained on them too, after they had judged it.
    """
    own = classifier.settings
    spec = SplitSpec.from_training(classifier.training, val_fraction=own.val_fraction, seed=own.seed)
    chosen = select_rows(cache, spec)
    return np.sort(chosen.train) if classifier.training.get("refitted") is None else chosen.pool


def nearest_photos(
    cache: FeatureCache,
    layer: str,
    rows: np.ndarray,
    query: np.ndarray,
    *,
    most: int = 3,
    not_these: np.ndarray | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of a cache that are nearest to other images.

    Parameters
    ----------
    cache, layer
        The features.
    rows
        int ``[M]``: the rows to choose from, each once.
    query
        float ``[Q, D]``, or ``[Q, …, D]`` as the cache holds them.
    most
        How many to find for each, k; at most all.
    not_these
        int ``[Q]``: for each query a row that is not to be found, because it is the query itself; -1 for none.
    block_bytes
        Features that are read at a time.

    Returns
    -------
    similarity
        float64 ``[Q, k]``: cosine similarity, the nearest first; ``-inf`` where no further row is there.
    found
        int ``[Q, k]``: numbers of rows in the cache.
    """
    from featcache.heads.nearest import nearest_rows

    vectors = one_vector(query)
    excluded = np.full(len(vectors), -1) if not_these is None else np.asarray(not_these)
    similarity, found = np.zeros((len(vectors), 0)), np.zeros((len(vectors), 0), np.int64)
    row_bytes = 4 * int(np.prod(cache.layers[layer].shape))
    size = max(1, block_bytes // row_bytes)
    for start in range(0, len(rows) if len(vectors) else 0, size):
        block = rows[start : start + size]
        known = one_vector(cache.features(block, layer))
        # One more than asked for, as the query itself may be among them.
        parts = list(nearest_rows(known, vectors, most=most + 1))
        near = np.concatenate([closeness for _, closeness, _ in parts])
        numbers = block[np.concatenate([places for _, _, places in parts])]
        near = np.where(numbers == excluded[:, None], -np.inf, near)
        similarity = np.concatenate([similarity, near], axis=1)
        found = np.concatenate([found, numbers], axis=1)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
        similarity = np.take_along_axis(similarity, order, axis=1)
        found = np.take_along_axis(found, order, axis=1)
    return similarity, found
