"""A network of four small stages, photos it can learn, and a head on it: everything compiles in a second."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from flax import nnx
from photo_folders import photo_folder

from featcache.backbones import family_of, resolve
from featcache.backbones.chain import Backbone, variables
from featcache.backbones.layers import ConvNorm, GlobalAveragePool, relu6
from featcache.backbones.loaded import LoadedBackbone
from featcache.classifier import Classifier

CLASSES = ("cat", "dog", "owl")
SIZE = 16


def tiny_network(seed: int = 0) -> LoadedBackbone:
    """Three convolutions with BatchNorm, and the mean over the last map."""
    widths = (3, 6, 8, 10)

    def build() -> Backbone:
        stages: dict[str, nnx.Module] = {}
        for number in range(3):
            stages[f"block_{number + 1}"] = ConvNorm(
                widths[number],
                widths[number + 1],
                3,
                strides=2,
                epsilon=1e-3,
                activation=relu6,
                rngs=None,
            )
        return Backbone({**stages, "pool": GlobalAveragePool()})

    graphdef, state = nnx.split(nnx.eval_shape(build))
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, (_, leaf) in variables(state).items():
        kind = name.rpartition(".")[2]
        if kind == "kernel":
            tensors[name] = draw.normal(size=leaf.shape).astype(np.float32) * np.float32(
                np.sqrt(2 / np.prod(leaf.shape[:-1]))
            )
        elif kind in ("scale", "var"):
            tensors[name] = draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        else:
            tensors[name] = draw.normal(scale=0.1, size=leaf.shape).astype(np.float32)
    filled = nnx.from_flat_state(
        [(path, leaf.replace(tensors[name])) for name, (path, leaf) in variables(state).items()]
    )
    known = resolve("efficientnet_lite0")
    pretrained = replace(known, transforms=known.transforms.with_size(SIZE, SIZE))
    return LoadedBackbone(family_of(known), pretrained, "tiny", graphdef, filled, tensors, None)


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
