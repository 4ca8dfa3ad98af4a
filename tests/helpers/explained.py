"""Small networks and classifiers to explain."""

from dataclasses import replace

import numpy as np
from flax import nnx

from featcache.backbones.chain import variables
from featcache.backbones.families import vit
from featcache.backbones.family import Family
from featcache.backbones.layer import Layer
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import resolve
from featcache.backbones.weights.loading import fill_state
from featcache.explanations.subject import HeadFunction, Subject
from featcache.heads.model import HeadArchitecture
from featcache.heads.probabilities import softmax

CLASSES = ("cat", "dog", "owl")


def tiny_transformer(*, pooling: str = "token", seed: int = 0, **config) -> LoadedBackbone:
    """A Vision Transformer of two heads and two blocks for pictures of 16 by 16 pixels, with drawn weights."""
    shape = vit.Config(128, 2, patch=4, grid=4, pooling=pooling, classes=0, **config)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: vit.build(shape, None)))
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, (_, leaf) in variables(state).items():
        kind = name.rpartition(".")[2]
        scale = 2 / np.sqrt(np.prod(leaf.shape[:-1])) if kind == "kernel" else 0.3
        values = draw.normal(scale=scale, size=leaf.shape)
        tensors[name] = (values + (kind == "scale")).astype(np.float32)
    known = resolve("efficientnet_lite0")
    pretrained = replace(
        known, arch="tiny_vit", tag="test", config=shape, transforms=known.transforms.with_size(16, 16)
    )
    family = Family("tiny_vit", "none", 1, vit.build, {}, (pretrained,))
    return LoadedBackbone(family, pretrained, "custom", graphdef, fill_state(state, tensors), tensors, None)


def subject(
    network: LoadedBackbone, layer: Layer, *, hidden: int = 0, unit: bool = False, seed: int = 0
) -> Subject:
    """A drawn head on a layer of a network; with `hidden`, an MLP with tanh."""
    width = int(np.prod(network.feature_shapes([layer])[str(layer)]))
    draw = np.random.default_rng(seed)
    arrays = {}
    if hidden:
        arrays = {"kernel_0": draw.normal(size=(width, hidden)), "bias_0": draw.normal(size=hidden)}
    arrays |= {"kernel": draw.normal(size=(hidden or width, 3)), "bias": draw.normal(size=3)}
    arrays = {name: (value / np.sqrt(len(value))).astype(np.float32) for name, value in arrays.items()}
    form = HeadArchitecture(
        "mlp" if hidden else "linear", 3, (hidden,) if hidden else (), "tanh", unit_rows=unit
    )

    def raw(features: np.ndarray) -> np.ndarray:
        x = features.reshape(len(features), -1).astype(np.float64)
        if unit:
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        if hidden:
            x = np.tanh(x @ arrays["kernel_0"] + arrays["bias_0"])
        return (x @ arrays["kernel"] + arrays["bias"]).astype(np.float32)

    return Subject(
        network, network.transforms, "float32", layer, HeadFunction(form, arrays), raw,
        lambda features: softmax(raw(features)), CLASSES,
    )  # fmt: skip


def pictures(count: int, side: int = 16, seed: int = 0) -> np.ndarray:
    """Random pictures uint8 ``[count, side, side, 3]``."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)
