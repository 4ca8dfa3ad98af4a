"""Caches of made-up features, written without a network: what heads are trained on."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featcache.cache import CacheWriter, ExtractionCost, FeatureCache, LayerSpec, RowTable
from featcache.cache.layout import build_identity
from featcache.core.identity import Recipe
from featcache.images.augmentation import Augmentation

RECIPE = Recipe("mobilenet_v2", 1, {"width": 1.0}, "ab" * 32, {"input_size": [224, 224], "crop_pct": 0.875})

RULE = {"rule": "stratified by content", "test_fraction": 0.2, "seed": 0}

DRAWN = {"policy": Augmentation.parse("flip,random-resized-crop").to_json(), "seed": 3}
"""How views are said to be drawn, without their number."""


def feature_cache(
    path: Path,
    features: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    splits: Sequence[str],
    *,
    classes: Sequence[str] = ("ant", "bee", "cat"),
    layer: str = "pool",
    backbone: str = "mobilenet_v2.tv_in1k",
    weights: str | None = None,
    images: Sequence[int] | None = None,
    statistics: np.ndarray | None = None,
    views: int = 1,
    task: str = "classes",
    drawn: bool = False,
    cost: ExtractionCost | None = None,
) -> FeatureCache:
    """Write features ``[N, …]`` of rows with these labels and split names; rows of one number are one image.

    With several views features are ``[N, V, …]``. Labels of other tasks are targets ``[N, T]``. With `drawn` its splits
    are said to be drawn from photos that have none. Without labels, ``task="unlabelled"``, those given are not written.
    `cost` is what making it is said to have taken.
    """
    recipe = RECIPE if views == 1 else replace(RECIPE, views={**DRAWN, "count": views})
    values = {layer: features} | ({} if statistics is None else {"image:statistics": statistics})
    count = len(features)
    numbers = range(count) if images is None else images
    names = tuple(dict.fromkeys(splits))
    rows = RowTable(
        ids=tuple(f"{split}/{row}.jpg" for row, split in enumerate(splits)),
        sha256=np.array([list(hashlib.sha256(b"%d" % number).digest()) for number in numbers], np.uint8),
        labels=np.array(labels, np.int32) if task == "classes" else np.full(count, -1, np.int32),
        splits=np.array([names.index(split) for split in splits], np.int16),
        sizes=np.zeros(count, np.int64),
        mtimes_ns=np.zeros(count, np.int64),
        targets=None if task in ("classes", "unlabelled") else np.asarray(labels, np.float32),
    )
    named = {
        "spec": "photos",
        "classes": list(classes),
        "splits": list(names),
        "rule": RULE if drawn else None,
    }
    identity = build_identity(
        recipe=recipe.to_json(),
        layers={
            name: LayerSpec(value.shape[1:], "float32", recipe.fingerprint(name))
            if views == 1 or name != layer
            else LayerSpec(value.shape[2:], "float32", recipe.fingerprint(name), views)
            for name, value in values.items()
        },
        dataset=named | ({} if task == "classes" else {"task": task}),
        rows=rows,
        provenance={"backbone": backbone, "weights": weights},
    )
    with CacheWriter.create(path, identity=identity, rows=rows) as writer:
        writer.write(np.arange(count), values)
        return writer.publish(cost)


def accept_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let caches be written as by another program, which does not refuse NaN and infinity."""

    def stored(writer: CacheWriter, values: np.ndarray, layer: str, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values, writer.layers[layer].stored)

    monkeypatch.setattr(CacheWriter, "_stored", stored)


def blobs(count: int, width: int = 12, *, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds around a centre for each class: float32 ``[N, D]`` and labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(5).normal(size=(classes, width))
    return (centres[labels] + random.normal(size=(count, width))).astype(np.float32), labels


CLASSES, WIDTH = 5, 256
"""Of `photos`."""


def photos(random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Features as a network's: sparse, of unlike sizes, loud or quiet by the image, with classes in a few of them."""
    labels = np.arange(rows) % CLASSES
    means = np.random.default_rng(7).gamma(0.3, 1.0, (CLASSES, WIDTH))
    sizes = np.random.default_rng(8).gamma(3.0, 0.3, WIDTH)
    x = np.maximum(means[labels] + random.normal(0, 1.3, (rows, WIDTH)), 0) * sizes
    return (x * random.gamma(4.0, 0.25, (rows, 1))).astype(np.float32), labels
