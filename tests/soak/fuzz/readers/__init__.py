"""The readers of foreign bytes, the most exposed first; only the module of the one that is asked for is imported."""

from collections.abc import Mapping
from importlib import import_module

from ..reader import Reader

MODULES: Mapping[str, tuple[str, ...]] = {
    "images": ("jpeg", "png", "gif", "webp", "bmp", "tiff", "ppm", "avif", "heic", "jxl"),
    "tables": ("csv", "tsv", "jsonl", "metadata", "coco", "lists", "list", "exclude", "labels", "classes"),
    "archives": ("tar", "npm"),
    "weights": ("torch-zip", "torch-legacy", "safetensors", "manifest", "keras-h5", "keras-archive"),
    "caches": ("cache", "cache-earlier", "cache-unfinished"),
    "classifiers": ("classifier", "finetuned"),
    "matlab": ("mat", "mat-flowers"),
    "documents": (
        *("sweep", "run", "checkpoint", "owner", "lock-file", "hashes", "audit", "settings", "description"),
    ),
    "network": ("http",),
    "columns": ("parquet", "hf-parquet", "hf-arrow", "array-record", "tfds"),
}
PATIENCE: Mapping[str, float] = {"keras-h5": 90.0, "keras-archive": 90.0}
"""Seconds for one input, where they are more than usual: HDF5 may loop, and its process is ended after 60 s (20 s of
processor time, `featcache.backbones.weights.hdf5_manifest`)."""
NAMES = tuple(name for names in MODULES.values() for name in names)


def reader_of(name: str) -> Reader | None:
    """Return a reader; ``None`` where what it reads with is not installed."""
    module = next((module for module, names in MODULES.items() if name in names), "faulty")
    found = import_module(f"{__name__}.{module}").READERS
    return next((reader for reader in found if reader.name == name), None)
