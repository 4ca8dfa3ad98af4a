"""One HDF5 file: the features of one dataset under one recipe.

Written once, row by row with a checksum each, under a ``.partial.h5`` name; a final name means complete and
verified. Nothing here knows of JAX, images or backbones. The format is described in ``docs/reference/cache-format.md``.
"""

from featcache.cache.extraction_cost import ExtractionCost
from featcache.cache.layout import LayerSpec, RowTable, partial_path
from featcache.cache.maintenance import (
    CacheInfo,
    Leftover,
    describe,
    find_leftovers,
    gc,
    list_caches,
    remove,
    repair,
    verify,
)
from featcache.cache.reader import FeatureCache
from featcache.cache.verification import Verification
from featcache.cache.writer import CacheWriter
from featcache.core.disk.lock import WriteLock

__all__ = [
    "CacheInfo",
    "CacheWriter",
    "ExtractionCost",
    "FeatureCache",
    "LayerSpec",
    "Leftover",
    "RowTable",
    "Verification",
    "WriteLock",
    "describe",
    "find_leftovers",
    "gc",
    "list_caches",
    "partial_path",
    "remove",
    "repair",
    "verify",
]
