"""Caches of made-up classes for audits: some labels flipped, some rows copies or far from all others."""

from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from helpers.feature_caches import feature_cache

NAMES = ("ant", "bee", "cat")


def made_classes(
    rows: int, *, seed: int = 0, classes: int = 3, width: int = 12, apart: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return features float32 ``[rows, width]`` around a middle for each class, and labels int ``[rows]``."""
    random = np.random.default_rng(seed)
    middles = np.eye(classes, width) * apart
    labels = np.arange(rows) % classes
    return (middles[labels] + random.normal(size=(rows, width))).astype(np.float32), labels


def flipped(labels: np.ndarray, share: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which a share is another class, and the rows of these."""
    random = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    rows = np.sort(random.permutation(len(labels))[: round(share * len(labels))])
    wrong = labels.copy()
    wrong[rows] = (wrong[rows] + random.integers(1, classes, len(rows))) % classes
    return wrong, rows


def flipped_cache(
    path: Path, rows: int = 240, share: float = 0.05, **options: Any
) -> tuple[FeatureCache, np.ndarray]:
    """Write a cache with flipped labels; returns it and the rows of these."""
    features, labels = made_classes(rows)
    wrong, which = flipped(labels, share)
    splits = ["train"] * (rows - rows // 4) + ["test"] * (rows // 4)
    return feature_cache(path, features, wrong, splits, **options), which
