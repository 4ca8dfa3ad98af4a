"""The training photos that are nearest to others by the cosine of their features: what a classifier has seen like them.

Every photo is compared with every training photo; rows are read in blocks, so that memory does not grow with them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from featcache.cache import FeatureCache, LayerSpec
from featcache.classifier.evaluation import require_same_features
from featcache.classifier.scored.rows import is_own
from featcache.core.parallel import ordered_map
from featcache.errors import FeatcacheError
from featcache.heads.streamed_nearest import StreamedNearest, one_vector
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


class HoldsFeatures(Protocol):
    """What is searched: a `featcache.cache.FeatureCache`, or rows of one that are held in memory."""

    # ruff: noqa: D102 - featcache.cache.FeatureCache documents them

    @property
    def layers(self) -> Mapping[str, LayerSpec]: ...
    def features(self, rows: np.ndarray, layer: str) -> np.ndarray: ...


def nearest_photos(
    cache: HoldsFeatures,
    layer: str,
    rows: np.ndarray,
    query: np.ndarray,
    *,
    most: int = 3,
    not_these: np.ndarray | None = None,
    block_bytes: int = BLOCK_BYTES,
    on_rows: Callable[[int], None] = lambda count: None,
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
        Features that are read at a time, as float32; of two blocks, one is read while the other is compared.
    on_rows
        Called with the number of rows of each block.

    Returns
    -------
    similarity
        float64 ``[Q, k]``: cosine similarity, the nearest first; ``-inf`` where no further row is there.
    found
        int ``[Q, k]``: numbers of rows in the cache; -1 where no further row is there.

    Raises
    ------
    DataError
        If a query or a row is not finite.
    """
    vectors = one_vector(query)
    if not len(vectors) or not len(rows) or most < 1:
        return np.zeros((len(vectors), 0)), np.zeros((len(vectors), 0), np.int64)
    nearest = StreamedNearest(vectors, min(most, len(rows)), not_these)
    size = max(1, block_bytes // (4 * int(np.prod(cache.layers[layer].shape))))
    blocks = (rows[start : start + size] for start in range(0, len(rows), size))

    def read(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return block, cache.features(block, layer)

    for block, features in ordered_map(read, blocks, workers=1, ahead=2):
        nearest.add(block, features if features.ndim == 2 else one_vector(features))
        on_rows(len(block))
    # Rounding leaves the cosine of a row with itself above 1.
    return np.minimum(nearest.similarity.astype(np.float64), 1.0), nearest.found
