"""A family of tiny networks with published weights of which no hash is: files are written, loaded and recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.numpy
from flax import nnx

from featcache.backbones.chain import Backbone, variables
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, relu6
from featcache.backbones.registry import resolve
from featcache.backbones.weights.key_mapping import KeyTable
from featcache.core.environment import weights_folder
from helpers.known_families import known

Tensors = dict[str, np.ndarray]

URL = "http://127.0.0.1:9/models"
CLASSES = 5


@dataclass(frozen=True)
class Config:
    """Channels of the convolutions, and outputs of the classifier."""

    width: int = 4
    classes: int = CLASSES


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """``early``, ``late``, ``pool``, ``logits``."""
    common = {"epsilon": 1e-3, "activation": relu6, "rngs": rngs}
    return Backbone(
        {
            "early": ConvNorm(3, config.width, 3, strides=2, **common),
            "late": ConvNorm(config.width, 2 * config.width, 1, **common),
            "pool": GlobalAveragePool(),
            "logits": Dense(2 * config.width, config.classes, rngs=rngs),
        }
    )


def _table(config: Config) -> KeyTable:
    del config
    return KeyTable(modules=(("(.*)", "{}"),), leaf=lambda name, tensor: (name, tensor))


def _weights(arch: str, width: int) -> Pretrained:
    known = resolve("mobilenet_v1_025.keras_in1k_128")
    return replace(
        known,
        arch=arch,
        tag="in1k",
        config=Config(width),
        layout="own",
        features=2 * width,
        params=32 * width + 2 * width * width + 5 * width + (2 * width + 1) * CLASSES,
        transforms=known.transforms.with_size(16, 16),
        file=Download(f"{URL}/{arch}.safetensors"),
        source="nobody",
    )


NARROW, WIDE = _weights("narrow", 4), _weights("wide", 8)
FAMILY = Family("strip", "none", 1, build, {"own": _table}, (NARROW, WIDE))


registered = partial(known, FAMILY)
"""Context in which featcache knows the tiny networks."""


def drawn(
    weights: Pretrained = NARROW, *, seed: int = 0, classes: int = CLASSES, top: bool = True
) -> Tensors:
    """Tensors of these weights, by the names of their file."""
    network = nnx.eval_shape(lambda: build(replace(weights.config, classes=classes), None))
    draw = np.random.default_rng(seed)
    return {
        name: draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        for name, (_, leaf) in variables(nnx.state(network)).items()
        if top or not name.startswith("logits")
    }


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """Write a file of weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(dict(tensors), path)
    return path


def place(weights: Pretrained = NARROW) -> Path:
    """Where the file of these weights is looked for."""
    return weights_folder() / weights.file.filename
