"""DenseNet: each layer adds 32 channels to a map that it gets whole.

Huang et al., "Densely Connected Convolutional Networks", https://arxiv.org/abs/1608.06993

Stage names are those of ``keras.applications``: ``conv1_relu``, ``pool1``, then each layer of a dense block by its
end, ``conv2_block1_concat`` … ``conv5_block16_concat``, between the dense blocks ``pool2_relu``, ``pool2_conv`` and
``pool2_pool``, at the end ``bn`` and ``relu``. Inside a layer are the points ``0_relu``, ``1_relu`` and what it adds,
``2_conv``. torchvision's names are accepted too; there a layer's output is what it adds.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.families.presets import keras_file, keras_torch, torchvision_file, torchvision_preset
from featcache.backbones.families.resnet import blocks
from featcache.backbones.families.resnet_v2 import norm_relu
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import (
    AveragePool,
    BatchNorm,
    Conv,
    ConvNorm,
    Dense,
    GlobalAveragePool,
    MaxPool,
    Serial,
)
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf

GROWTH = 32
"""Channels that a layer adds; its 1×1 convolution has four times as many."""

# Table 1 of the paper: layers in each of the four dense blocks.
DEPTHS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}

POINTS = ("0_relu", "1_relu", "2_conv")


@dataclass(frozen=True)
class Config:
    """What differs between the variants and their sources.

    Parameters
    ----------
    repeats
        Layers in each of the four dense blocks.
    epsilon
        Of the batch normalisations: 1e-5 in torchvision, 1.001e-5 in Keras.
    classes
        Outputs of the original classifier.
    """

    repeats: tuple[int, ...]
    epsilon: float = 1e-5
    classes: int = 1000


class DenseLayer(nnx.Module):
    """``preact``, 1×1 (`reduce`) and 3×3 (`grow`) convolutions, whose output is appended to the input."""

    points = POINTS

    def __init__(self, in_features: int, *, epsilon: float, rngs: nnx.Rngs | None) -> None:
        self.preact = norm_relu(in_features, epsilon)
        self.reduce = ConvNorm(in_features, 4 * GROWTH, epsilon=epsilon, activation=jax.nn.relu, rngs=rngs)
        self.grow = Conv(4 * GROWTH, GROWTH, 3, rngs=rngs)

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H, W, in_features + GROWTH]``."""
        y = record("0_relu", self.preact(x))
        y = record("1_relu", self.reduce(y))
        y = record("2_conv", self.grow(y))
        return jnp.concatenate([x, y], axis=-1)


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``conv1_relu``, ``pool1``, ``conv2_block1_concat`` …, ``bn``, ``relu``, ``pool``, ``logits``."""
    epsilon = config.epsilon
    stages: dict[str, nnx.Module] = {
        "conv1_relu": ConvNorm(
            3,
            64,
            7,
            strides=2,
            padding="symmetric",
            epsilon=epsilon,
            activation=jax.nn.relu,
            rngs=rngs,
        ),
        "pool1": MaxPool(3, strides=2, padding="symmetric"),
    }
    features = 64
    for block, layer, name in blocks(config.repeats):
        if block > 0 and layer == 0:
            stages |= _transition(f"pool{block + 1}", features, epsilon=epsilon, rngs=rngs)
            features //= 2
        stages[f"{name}_concat"] = DenseLayer(features, epsilon=epsilon, rngs=rngs)
        features += GROWTH
    stages["bn"] = BatchNorm(features, epsilon=epsilon)
    stages["relu"] = Serial(relu=jax.nn.relu)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(features, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES | _inner_aliases(config))


def _transition(name: str, features: int, *, epsilon: float, rngs: nnx.Rngs | None) -> dict[str, nnx.Module]:
    """What halves the channels and the map between two dense blocks."""
    return {
        f"{name}_relu": norm_relu(features, epsilon),
        f"{name}_conv": Conv(features, features // 2, rngs=rngs),
        f"{name}_pool": AveragePool(2),
    }


ALIASES = {
    "avg_pool": "pool",
    "predictions": "logits",
    # torchvision
    "features.relu0": "conv1_relu",
    "features.pool0": "pool1",
    **{
        f"features.transition{n}.{part}": f"pool{n + 1}_{part}"
        for n in (1, 2, 3)
        for part in ("relu", "conv")
    },
    **{f"features.transition{n}": f"pool{n + 1}_pool" for n in (1, 2, 3)},
    "features.norm5": "bn",
    "features": "bn",
    "classifier": "logits",
}


def _inner_aliases(config: Config) -> dict[str, str]:
    """Names of the dense blocks and of the values inside their layers, in Keras and torchvision."""
    aliases: dict[str, str] = {}
    for block, layer, name in blocks(config.repeats):
        module, stage = f"features.denseblock{block + 1}", f"{name}_concat"
        aliases |= {f"{name}_{point}": f"{stage}_{point}" for point in POINTS}
        inner = {"": "2_conv", ".relu1": "0_relu", ".relu2": "1_relu"}
        aliases |= {f"{module}.denselayer{layer + 1}{part}": f"{stage}_{inner[part]}" for part in inner}
        aliases[module] = stage  # of the block's layers the last one stays
    return aliases


_PARTS = {"conv": "conv", "bn": "norm", "norm": "norm"}
_KERAS_LAYER = {"0_bn": "preact.norm", "1_conv": "reduce.conv", "1_bn": "reduce.norm", "2_conv": "grow"}
_TORCH_LAYER = {"norm1": "preact.norm", "conv1": "reduce.conv", "norm2": "reduce.norm", "conv2": "grow"}


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.DenseNet121``.

    The published files are of 2018, when the first layers were called ``conv1/conv`` and ``conv1/bn`` and the
    classifier ``fc1000``.
    """
    del config
    return KeyTable(
        modules=(
            ("conv1_(conv|bn)", lambda part: f"conv1_relu.{_PARTS[part]}"),
            (r"(conv\d_block\d+)_(\w+)", lambda layer, part: f"{layer}_concat.{_KERAS_LAYER[part]}"),
            (r"(pool\d)_bn", "{0}_relu.norm"),
            (r"(pool\d_conv)", "{0}"),
            ("bn", "bn"),
            ("predictions|fc1000", "logits"),
        ),
        leaf=keras_leaf,
    )


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.densenet121``; in its published files ``norm1`` is ``norm.1``."""
    names = {(str(b + 1), str(layer + 1)): f"{name}_concat" for b, layer, name in blocks(config.repeats)}
    return KeyTable(
        modules=(
            (r"features\.(conv|norm)0", lambda part: f"conv1_relu.{_PARTS[part]}"),
            (
                r"features\.denseblock(\d)\.denselayer(\d+)\.(conv|norm)\.?(\d)",
                lambda block, layer, part, n: f"{names[block, layer]}.{_TORCH_LAYER[part + n]}",
            ),
            (r"features\.transition(\d)\.norm", lambda n: f"pool{int(n) + 1}_relu.norm"),
            (r"features\.transition(\d)\.conv", lambda n: f"pool{int(n) + 1}_conv"),
            (r"features\.norm5", "bn"),
            ("classifier", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


# Depth to width of the pooled vector, parameters and multiply-accumulates.
_NUMBERS = {
    121: (1024, 7_978_856, 2_834_161_664),
    169: (1664, 14_149_480, 3_359_843_328),
    201: (1920, 20_013_928, 4_291_365_888),
}


def _pretrained(depth: int, tag: str, file: Download, top1: float) -> Pretrained:
    keras = tag == "keras_in1k"
    features, params, macs = _NUMBERS[depth]
    return Pretrained(
        arch=f"densenet{depth}",
        tag=tag,
        config=Config(DEPTHS[depth], epsilon=1.001e-5 if keras else 1e-5),
        transforms=keras_torch(224) if keras else torchvision_preset(),
        file=file,
        layout="keras" if keras else "torchvision",
        source="Keras (the authors' weights)" if keras else "torchvision IMAGENET1K_V1",
        licence="BSD-3-Clause",
        features=features,
        params=params,
        macs=macs,
        top1=top1,
    )


def _keras_file(depth: int, md5: str) -> Download:
    return keras_file(f"densenet/densenet{depth}_weights_tf_dim_ordering_tf_kernels.h5", md5)


FAMILY = Family(
    name="densenet",
    paper="https://arxiv.org/abs/1608.06993",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision},
    pretrained=(
        *(
            _pretrained(depth, "keras_in1k", _keras_file(depth, md5), top1)
            for depth, md5, top1 in (
                (121, "9d60b8095a5708f2dcce2bca79d332c7", 75.0),
                (169, "d699b8f76981ab1b30698df4c175e90b", 76.2),
                (201, "1ceb130c1ea1b78c3bf6114dbdfd8807", 77.3),
            )
        ),
        *(
            _pretrained(depth, "tv_in1k", torchvision_file(f"densenet{depth}-{digits}.pth"), top1)
            for depth, digits, top1 in (
                (121, "a639ec97", 74.4),
                (169, "b2777c0a", 75.6),
                (201, "c1103571", 76.9),
            )
        ),
    ),
)
