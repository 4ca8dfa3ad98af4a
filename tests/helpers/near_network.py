"""A narrow network that has layouts of PyTorch and Keras, and what people make of such a model in both."""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from flax import nnx

from featcache.backbones import load
from featcache.backbones.chain import Backbone
from featcache.backbones.family import Family
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, relu6
from featcache.backbones.registry import resolve
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.errors import FeatcacheWarning
from helpers.known_families import known
from helpers.support import keras

Tensors = dict[str, np.ndarray]

WIDTHS = (4, 6, 8)
SIZE = 8


@dataclass(frozen=True)
class Config:
    """Widths of the three convolutions, and classes."""

    widths: tuple[int, ...] = WIDTHS
    classes: int = 10


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Three 1×1 convolutions with BatchNorm, the mean of the map, ten classes."""
    stages: dict[str, nnx.Module] = {}
    for number, (width, before) in enumerate(zip(config.widths, (3, *config.widths), strict=False), start=1):
        stages[f"block_{number}"] = ConvNorm(before, width, 1, epsilon=1e-3, activation=relu6, rngs=rngs)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(config.widths[-1], config.classes, rngs=rngs)
    return Backbone(stages)


def _torch(config: Config) -> KeyTable:
    names = {str(number): f"block_{number}" for number in range(1, len(config.widths) + 1)}
    return KeyTable(
        modules=(
            (r"features\.(\d+)\.0", lambda number: f"{names[number]}.conv"),
            (r"features\.(\d+)\.1", lambda number: f"{names[number]}.norm"),
            (r"classifier\.1", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


def _keras(config: Config) -> KeyTable:
    del config
    return KeyTable(
        modules=(
            (r"block_(\d+)_conv", "block_{0}.conv"),
            (r"block_(\d+)_bn", "block_{0}.norm"),
            ("predictions", "logits"),
        ),
        leaf=keras_leaf,
        constants=(
            (r"normalization\.mean", (0.5, 0.5, 0.5)),
            (r"normalization\.variance", (0.25, 0.25, 0.25)),
        ),
    )


_KNOWN = resolve("efficientnet_lite0")
_TRANSFORMS = replace(_KNOWN.transforms.with_size(SIZE, SIZE), mean=(0.5,) * 3, std=(0.25,) * 3)
PRETRAINED = tuple(
    replace(_KNOWN, arch="near", tag=layout, layout=layout, config=Config(), transforms=_TRANSFORMS)
    for layout in ("torch", "keras")
)
FAMILY = Family("near", "none", 1, build, {"torch": _torch, "keras": _keras}, PRETRAINED, {"Near": "near"})


registered = partial(known, FAMILY)
"""Context in which featcache knows the network."""


def torch_tensors(classes: int | None = 10, seed: int = 0) -> Tensors:
    """A state dict of the whole network, or without classifier."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (width, before) in enumerate(zip(WIDTHS, (3, *WIDTHS), strict=False), start=1):
        shapes[f"features.{number}.0.weight"] = (width, before, 1, 1)
        shapes |= {
            f"features.{number}.1.{leaf}": (width,)
            for leaf in ("weight", "bias", "running_mean", "running_var")
        }
    if classes is not None:
        shapes |= {"classifier.1.weight": (classes, WIDTHS[-1]), "classifier.1.bias": (classes,)}
    tensors = {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return tensors | {f"features.{n}.1.num_batches_tracked": np.array(7) for n in range(1, len(WIDTHS) + 1)}


def keras_base(name: str = "base", blocks: int = len(WIDTHS), seed: int = 0) -> Any:
    """The stages before the pooling as a Keras model, every tensor drawn."""
    layers = keras().layers
    image = x = keras().Input((SIZE, SIZE, 3))
    for number, width in enumerate(WIDTHS[:blocks], start=1):
        x = layers.Conv2D(width, 1, use_bias=False, kernel_initializer="zeros", name=f"block_{number}_conv")(
            x
        )
        x = layers.BatchNormalization(name=f"block_{number}_bn")(x)
        x = layers.ReLU(6, name=f"block_{number}_relu")(x)
    base = keras().Model(image, x, name=name)
    rng = np.random.default_rng(seed)
    for variable in base.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return base


def dense(units: int, **options: Any) -> Any:
    """A dense layer of zeros: drawing random numbers compiles a generator for each shape."""
    return keras().layers.Dense(units, kernel_initializer="zeros", **options)


def loaded(name: str, path: Path | str) -> tuple[LoadedBackbone, list[str]]:
    """The network and what was said, without the folder."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = load(name, weights=path)
    assert all(issubclass(each.category, FeatcacheWarning) for each in caught)
    return network, [str(each.message).replace(f"{Path(path).parent}/", "") for each in caught]


def saved(folder: Path, tensors: Tensors, name: str = "w.safetensors") -> Path:
    path = folder / name
    safetensors.numpy.save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path)
    return path


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def ones(**shapes: tuple[int, ...]) -> Tensors:
    return {name.replace("__", "."): np.ones(shape, np.float32) for name, shape in shapes.items()}


def assert_features_of(network: LoadedBackbone, original: LoadedBackbone) -> None:
    """Every tensor up to the pooling is the original's, bit for bit."""
    names = [name for name in original.tensors if not name.startswith("logits.")]
    assert names == [name for name in network.tensors if not name.startswith("logits.")]
    assert len(names) == 5 * len(WIDTHS)
    for name in names:
        assert network.tensors[name].tobytes() == original.tensors[name].tobytes(), name


def load_quietly(name: str, path: str) -> LoadedBackbone:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatcacheWarning)
        return load(name, weights=path)
