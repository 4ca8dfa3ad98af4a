"""ResNet V2: normalisation and ReLU come before the convolutions, and nothing comes after the sum.

He et al., "Identity Mappings in Deep Residual Networks", https://arxiv.org/abs/1603.05027

Stage names are those of ``keras.applications``: ``conv1_conv``, ``pool1_pool``, then each block by its end,
``conv2_block1_out`` … ``conv5_block3_out``, then ``post_relu``. Inside a block are the points ``preact_relu``,
``1_relu``, ``2_relu`` and the branch's end before it is added, ``3_conv``.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.families.presets import keras_file, keras_tf
from featcache.backbones.families.resnet import DEPTHS, WIDTHS, blocks
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.nn.basic import BatchNorm, Conv, ConvNorm, Dense, GlobalAveragePool, Serial
from featcache.backbones.nn.convolution import max_pool
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf

POINTS = ("preact_relu", "1_relu", "2_relu", "3_conv")


@dataclass(frozen=True)
class Config:
    """What differs between the variants.

    Parameters
    ----------
    repeats
        Blocks in each of the four stacks.
    epsilon
        Of the batch normalisations.
    classes
        Outputs of the original classifier.
    """

    repeats: tuple[int, ...]
    epsilon: float = 1.001e-5
    classes: int = 1000


def norm_relu(features: int, epsilon: float) -> Serial:
    """Return a batch normalisation (`norm`) and a ReLU."""
    return Serial(norm=BatchNorm(features, epsilon=epsilon), relu=jax.nn.relu)


class ZeroPaddedMaxPool(nnx.Module):
    """Largest value of each 3×3 window in steps of two, of a map with a border of zeros.

    The map has negative values here, so that the zeros may win, which those of `MaxPool` never do.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, H', W', C]``."""
        return max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, strides=2)


class Residual(nnx.Module):
    """``preact``, then 1×1, 3×3 and 1×1 (`unit1`, `unit2`, `expand`), added to the shortcut.

    The first block of a stack has a 1×1 convolution as its `shortcut`; all others pass on their input, of which
    a block with a stride keeps every second row and column.
    """

    points = POINTS

    def __init__(
        self,
        in_features: int,
        width: int,
        *,
        strides: int,
        first: bool,
        epsilon: float,
        rngs: nnx.Rngs | None,
    ) -> None:
        relu = jax.nn.relu
        self.strides = strides
        self.preact = norm_relu(in_features, epsilon)
        self.unit1 = ConvNorm(in_features, width, epsilon=epsilon, activation=relu, rngs=rngs)
        self.unit2 = ConvNorm(
            width,
            width,
            3,
            strides=strides,
            padding="symmetric",
            epsilon=epsilon,
            activation=relu,
            rngs=rngs,
        )
        self.expand = Conv(width, 4 * width, use_bias=True, rngs=rngs)
        self.shortcut = Conv(in_features, 4 * width, use_bias=True, rngs=rngs) if first else None

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', 4 · width]``."""
        active = record("preact_relu", self.preact(x))
        y = record("1_relu", self.unit1(active))
        y = record("2_relu", self.unit2(y))
        y = record("3_conv", self.expand(y))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return y + shortcut[:, :: self.strides, :: self.strides]


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``conv1_conv``, ``pool1_pool``, ``conv2_block1_out`` …, ``post_relu``, ``pool``, ``logits``."""
    stages: dict[str, nnx.Module] = {
        "conv1_conv": Conv(3, 64, 7, strides=2, padding="symmetric", use_bias=True, rngs=rngs),
        "pool1_pool": ZeroPaddedMaxPool(),
    }
    features = 64
    for stack, repeat, block in blocks(config.repeats):
        # Unlike in the first version, a stack halves the map at its end.
        halves = stack < 3 and repeat == config.repeats[stack] - 1
        stages[f"{block}_out"] = Residual(
            features,
            WIDTHS[stack],
            strides=2 if halves else 1,
            first=repeat == 0,
            epsilon=config.epsilon,
            rngs=rngs,
        )
        features = 4 * WIDTHS[stack]
    stages["post_relu"] = norm_relu(features, config.epsilon)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(features, config.classes, rngs=rngs)
    inner = {
        f"{block}_{point}": f"{block}_out_{point}"
        for _, _, block in blocks(config.repeats)
        for point in POINTS
    }
    return Backbone(stages, ALIASES | inner)


ALIASES = {"avg_pool": "pool", "predictions": "logits"}

# Keras' layers inside a block, after the block's name.
_PARTS = {
    "preact_bn": "preact.norm",
    "0_conv": "shortcut",
    "1_conv": "unit1.conv",
    "1_bn": "unit1.norm",
    "2_conv": "unit2.conv",
    "2_bn": "unit2.norm",
    "3_conv": "expand",
}


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.ResNet50V2``; in the published files of 2019 the classifier is ``probs``."""
    del config
    return KeyTable(
        modules=(
            ("conv1_conv", "conv1_conv"),
            (r"(conv\d_block\d+)_(\w+)", lambda block, part: f"{block}_out.{_PARTS[part]}"),
            ("post_bn", "post_relu.norm"),
            ("predictions|probs", "logits"),
        ),
        leaf=keras_leaf,
    )


def _pretrained(depth: int, md5: str, top1: float, params: int, macs: int) -> Pretrained:
    return Pretrained(
        arch=f"resnet{depth}_v2",
        tag="keras_in1k",
        config=Config(DEPTHS[depth][1]),
        transforms=keras_tf(224),
        file=keras_file(f"resnet/resnet{depth}v2_weights_tf_dim_ordering_tf_kernels.h5", md5),
        layout="keras",
        source="Keras (from fb.resnet.torch)",
        licence="BSD-3-Clause",
        features=2048,
        params=params,
        macs=macs,
        top1=top1,
    )


FAMILY = Family(
    name="resnet_v2",
    paper="https://arxiv.org/abs/1603.05027",
    revision=1,
    build=build,
    key_tables={"keras": _keras},
    pretrained=(
        _pretrained(50, "3ef43a0b657b3be2300d5770ece849e0", 76.0, 25_568_360, 3_482_255_360),
        _pretrained(101, "6343647c601c52e1368623803854d971", 77.2, 44_577_896, 7_194_476_544),
        _pretrained(152, "a49b44d1979771252814e80f8ec446f9", 78.0, 60_236_904, 10_906_697_728),
    ),
)
