"""AlexNet: five convolutions and three dense layers.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", https://arxiv.org/abs/1404.5997
(the form without groups and local normalisation that torchvision has), after Krizhevsky et al., "ImageNet
Classification with Deep Convolutional Neural Networks", 2012.

Stage names are those of Caffe: ``conv1`` … ``conv5`` (after the ReLU), ``pool1``, ``pool2``, ``pool5``, ``fc6``,
``fc7``; torchvision's are accepted too. There is no pooled vector in the original: the default layer ``pool`` is the
mean of ``pool5``.
"""

from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.presets import torchvision_file, torchvision_preset
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.nn.basic import AdaptiveAveragePool, Conv, Dense, Flatten, MaxPool
from featcache.backbones.weights.key_mapping import KeyTable, torch_leaf

MAP = 6
"""Side of the map that the dense layers take, in pixels."""

# Name, channels, kernel, stride, padding on each side, and torchvision's number in ``features``.
CONVOLUTIONS = (
    ("conv1", 64, 11, 4, 2, 0),
    ("conv2", 192, 5, 1, 2, 3),
    ("conv3", 384, 3, 1, 1, 6),
    ("conv4", 256, 3, 1, 1, 8),
    ("conv5", 256, 3, 1, 1, 10),
)

# Convolution to the pooling after it, and torchvision's number of that.
POOLINGS = {"conv1": ("pool1", 2), "conv2": ("pool2", 5), "conv5": ("pool5", 12)}


@dataclass(frozen=True)
class Config:
    """What may differ between weights.

    Parameters
    ----------
    classes
        Outputs of the original classifier.
    """

    classes: int = 1000


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``conv1``, ``pool1`` … ``pool5``, ``avgpool``, ``flatten``, ``fc6``, ``fc7``, ``logits``."""
    stages: dict[str, nnx.Module] = {}
    width = 3
    for name, features, kernel_size, strides, pad, _ in CONVOLUTIONS:
        stages[name] = Conv(
            width,
            features,
            kernel_size,
            strides=strides,
            padding=((pad, pad), (pad, pad)),
            use_bias=True,
            activation=jax.nn.relu,
            rngs=rngs,
        )
        width = features
        if name in POOLINGS:
            stages[POOLINGS[name][0]] = MaxPool(3, strides=2)
    stages["avgpool"] = AdaptiveAveragePool(MAP)
    stages["flatten"] = Flatten(MAP, input_size=224)
    stages["fc6"] = Dense(width * MAP * MAP, 4096, activation=jax.nn.relu, rngs=rngs)
    stages["fc7"] = Dense(4096, 4096, activation=jax.nn.relu, rngs=rngs)
    stages["logits"] = Dense(4096, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES)


ALIASES = {
    "pool": "pool5",
    "fc8": "logits",
    **{f"features.{number + 1}": name for name, *_, number in CONVOLUTIONS},
    **{f"features.{number}": name for name, number in POOLINGS.values()},
    "features": "pool5",
    "classifier.2": "fc6",
    "classifier.5": "fc7",
    "classifier.6": "logits",
}


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.alexnet``: ``features.N``, ``classifier.N``."""
    del config
    names = {str(number): name for name, *_, number in CONVOLUTIONS}
    return KeyTable(
        modules=(
            (r"features\.(\d+)", lambda number: names[number]),
            (r"classifier\.1", "fc6"),
            (r"classifier\.4", "fc7"),
            (r"classifier\.6", "logits"),
        ),
        leaf=torch_leaf,
        layouts=((r"fc6\.kernel", _channels_last),),
    )


def _channels_last(kernel: np.ndarray) -> np.ndarray:
    """Rows of a kernel ``[C·H·W, D]`` over a map flattened channels first, reordered to rows first."""
    channels, features = CONVOLUTIONS[-1][1], kernel.shape[1]
    if kernel.shape[0] != channels * MAP * MAP:
        return kernel  # of another network; its shape will be reported
    return kernel.reshape(channels, MAP, MAP, features).transpose(1, 2, 0, 3).reshape(-1, features)


FAMILY = Family(
    name="alexnet",
    paper="https://arxiv.org/abs/1404.5997",
    revision=1,
    build=build,
    key_tables={"torchvision": _torchvision},
    pretrained=(
        Pretrained(
            arch="alexnet",
            tag="tv_in1k",
            config=Config(),
            transforms=torchvision_preset(),
            file=torchvision_file("alexnet-owt-7be5be79.pth"),
            layout="torchvision",
            source="torchvision IMAGENET1K_V1",
            licence="BSD-3-Clause",
            features=256,
            params=61_100_840,
            macs=714_188_480,
            top1=56.5,
        ),
    ),
)
