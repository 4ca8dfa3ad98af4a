"""A network of four small stages, photos it can learn, and a head on it: everything compiles in a second."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone, variables
from featcache.backbones.family import Family
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.nn.basic import ConvNorm, GlobalAveragePool, relu6
from featcache.backbones.registry import resolve
from featcache.backbones.weights.loading import fill_state
from featcache.classifier.classifier import Classifier
from helpers.known_families import known
from helpers.photo_folders import photo_folder

CLASSES = ("cat", "dog", "owl")
SIZE = 16


@dataclass(frozen=True)
class Config:
    """Widths of the three convolutions."""

    widths: tuple[int, ...] = (6, 8, 10)
    classes: int = 0


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Three convolutions with BatchNorm, and the mean over the last map; only the first is more than 1×1.

    Those compile in a third of the time.
    """
    stages: dict[str, nnx.Module] = {}
    for number, (width, before) in enumerate(zip(config.widths, (3, *config.widths), strict=False), start=1):
        size, strides = (3, 2) if number == 1 else (1, 1)
        stages[f"block_{number}"] = ConvNorm(
            before, width, size, strides=strides, epsilon=1e-3, activation=relu6, rngs=rngs
        )
    return Backbone({**stages, "pool": GlobalAveragePool()})


_KNOWN = resolve("efficientnet_lite0")
PRETRAINED = replace(
    _KNOWN, arch="tiny", tag="test", config=Config(), transforms=_KNOWN.transforms.with_size(SIZE, SIZE)
)
FAMILY = Family("tiny", "none", 1, build, {}, (PRETRAINED,))


registered = partial(known, FAMILY)
"""Context in which featcache knows the tiny network."""


def tiny_network(seed: int = 0) -> LoadedBackbone:
    """The tiny network with drawn weights."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: build(Config(), None)))
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, (_, leaf) in variables(state).items():
        kind = name.rpartition(".")[2]
        if kind == "kernel":
            scale = np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
            tensors[name] = draw.normal(size=leaf.shape).astype(np.float32) * scale
        elif kind in ("scale", "var"):
            tensors[name] = draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        else:
            tensors[name] = draw.normal(scale=0.1, size=leaf.shape).astype(np.float32)
    return LoadedBackbone(FAMILY, PRETRAINED, "custom", graphdef, fill_state(state, tensors), tensors, None)


def tiny_photos(root: Path, *, train: int = 8) -> Path:
    """Photos of three classes in three splits."""
    counts = {"train": train, "val": 4, "test": 4}
    return photo_folder(root, {f"{split}/{name}": n for split, n in counts.items() for name in CLASSES})


def tiny_classifier(network: LoadedBackbone, photos: Path, *, layer: str = "pool", **settings) -> Classifier:
    """A head on the tiny network, that knows which photos it learnt from."""
    from featcache import extract, train_head

    cache = extract(photos, backbone=network, layers=(layer,), output=photos.with_suffix(".h5"))
    chosen = {"epochs": 5, "learning_rate": 1e-2, "output": None} | settings
    return replace(train_head(cache, **chosen), network=network)
