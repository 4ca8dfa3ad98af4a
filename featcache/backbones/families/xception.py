"""Xception: residual blocks of depthwise separable convolutions.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", https://arxiv.org/abs/1610.02357

Stage names are those of ``keras.applications`` (``block1_conv1_act``, ``block14_sepconv2_act``), and values inside
the blocks too (``block13_sepconv2_bn``). The sums at the end of the residual blocks, which have automatic names there
(``add_11``), are called ``block2`` … ``block13``. Timm counts blocks from the first residual one, so that its
``block1`` is ``block2`` here: its names are accepted where they cannot be mistaken (``block2.rep.0``).
"""

from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.families.presets import keras_file, keras_tf, timm_preset
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import (
    Activation,
    BatchNorm,
    Conv,
    ConvNorm,
    Dense,
    GlobalAveragePool,
    MaxPool,
)
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.nn.inception import HALF
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.images.transforms import Transforms

# Figure 5 of the paper: output channels of each separable convolution of the residual blocks 2 to 13. The blocks of
# two convolutions also halve the map, and have a convolution in the shortcut.
BLOCKS: dict[str, tuple[int, ...]] = {
    "block2": (128, 128),
    "block3": (256, 256),
    "block4": (728, 728),
    **{f"block{number}": (728, 728, 728) for number in range(5, 13)},
    "block13": (728, 1024),
}


@dataclass(frozen=True)
class Config:
    """What differs between the sources of this architecture.

    Parameters
    ----------
    padding
        Of the max pooling: ``"same"`` as in Keras, ``"symmetric"`` in timm's port of the same weights.
    epsilon
        Of the batch normalisations: 1e-3 in Keras, 1e-5 in timm's port.
    classes
        Outputs of the original classifier.
    """

    padding: Padding = "same"
    epsilon: float = 1e-3
    classes: int = 1000


class SeparableConvNorm(nnx.Module):
    """A 3×3 convolution of each channel by itself, a 1×1 convolution across them, normalisation, activation."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        epsilon: float,
        activation: Activation | None = None,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.depthwise = Conv(in_features, in_features, 3, groups=in_features, rngs=rngs)
        self.pointwise = Conv(in_features, out_features, rngs=rngs)
        self.norm = BatchNorm(out_features, epsilon=epsilon)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H, W, out_features]``."""
        y = self.norm(self.pointwise(self.depthwise(x)))
        return y if self.activation is None else self.activation(y)


class Block(nnx.Module):
    """Separable convolutions with a ReLU before each (but the network's first), a shortcut around them."""

    def __init__(
        self,
        in_features: int,
        widths: tuple[int, ...],
        *,
        is_first: bool,
        config: Config,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.sepconvs = tuple(f"sepconv{number + 1}" for number in range(len(widths)))
        for name, before, after in zip(self.sepconvs, (in_features, *widths), widths, strict=False):
            setattr(self, name, SeparableConvNorm(before, after, epsilon=config.epsilon, rngs=rngs))
        halves = len(widths) == 2
        self.pool = MaxPool(3, strides=2, padding=config.padding) if halves else None
        self.shortcut = (
            ConvNorm(in_features, widths[-1], strides=2, epsilon=config.epsilon, rngs=rngs)
            if halves
            else None
        )
        points = [f"{name}_{part}" for name in self.sepconvs for part in ("act", "bn")]
        self.points = (*points[is_first:], *("pool",) * halves)

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', out_features]``."""
        y = x
        for name in self.sepconvs:
            if f"{name}_act" in self.points:
                y = record(f"{name}_act", jax.nn.relu(y))
            y = record(f"{name}_bn", getattr(self, name)(y))
        if self.pool is None or self.shortcut is None:
            return x + y
        return self.shortcut(x) + record("pool", self.pool(y))


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``block1_conv1_act``, ``block1_conv2_act``, ``block2`` … ``block13``, then the exit and top."""
    common = {"epsilon": config.epsilon, "activation": jax.nn.relu, "rngs": rngs}
    stages: dict[str, nnx.Module] = {
        "block1_conv1_act": ConvNorm(3, 32, 3, strides=2, padding="valid", **common),
        "block1_conv2_act": ConvNorm(32, 64, 3, padding="valid", **common),
    }
    width = 64
    for name, widths in BLOCKS.items():
        stages[name] = Block(width, widths, is_first=name == "block2", config=config, rngs=rngs)
        width = widths[-1]
    stages["block14_sepconv1_act"] = SeparableConvNorm(width, 1536, **common)
    stages["block14_sepconv2_act"] = SeparableConvNorm(1536, 2048, **common)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(2048, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES)


def _timm_points() -> dict[str, str]:
    """Timm's names of the values inside its blocks, whose modules have numbers."""
    names: dict[str, str] = {}
    for number, (block, widths) in enumerate(BLOCKS.items(), 1):
        modules = [f"sepconv{n + 1}_{part}" for n in range(len(widths)) for part in ("act", "conv", "bn")]
        modules += ["pool"] * (len(widths) == 2)
        names |= {
            f"block{number}.rep.{position}": f"{block}_{module}"
            for position, module in enumerate(modules[number == 1 :])  # no ReLU before the first convolution
            if not module.endswith("conv")
        }
    return names


ALIASES = {
    **_timm_points(),
    "act1": "block1_conv1_act",
    "act2": "block1_conv2_act",
    "act3": "block14_sepconv1_act",
    "act4": "block14_sepconv2_act",
    "avg_pool": "pool",
    "global_pool": "pool",
    "predictions": "logits",
    "fc": "logits",
}

_STEM = ["block1_conv1_act", "block1_conv2_act"]
_EXIT = ["block14_sepconv1_act", "block14_sepconv2_act"]


def _parts(block: str) -> list[str]:
    """Our paths of a block's convolutions, in the order in which Keras creates them."""
    sepconvs = [f"{block}.sepconv{number + 1}" for number in range(len(BLOCKS[block]))]
    return [f"{block}.shortcut", *sepconvs] if len(sepconvs) == 2 else sepconvs


_IN_BLOCKS = [part for block in BLOCKS for part in _parts(block)]
_SHORTCUTS = [part for part in _IN_BLOCKS if part.endswith(".shortcut")]


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.Xception``, and those of the files that it publishes.

    Today's code gives automatic names to the shortcuts only. The published files are of 2016 and have automatic names
    in the form of Keras 1 for all layers (https://github.com/keras-team/keras/issues/9683).
    """
    del config
    convolutions = [*_STEM, *_SHORTCUTS]
    sepconvs = [*(part for part in _IN_BLOCKS if part not in _SHORTCUTS), *_EXIT]
    norms = [*_STEM, *_IN_BLOCKS, *_EXIT]
    return KeyTable(
        modules=(
            (r"(block1_conv\d)", "{0}_act.conv"),
            (r"(block1_conv\d)_bn", "{0}_act.norm"),
            (r"(block14_sepconv\d)", "{0}_act"),
            (r"(block14_sepconv\d)_bn", "{0}_act.norm"),
            (r"(block\d+)_(sepconv\d)", "{0}.{1}"),
            (r"(block\d+)_(sepconv\d)_bn", "{0}.{1}.norm"),
            (r"conv2d_(\d+)", lambda number: f"{_SHORTCUTS[int(number)]}.conv"),
            (r"batch_normalization_(\d+)", lambda number: f"{_SHORTCUTS[int(number)]}.norm"),
            (r"convolution2d_(\d+)", lambda number: f"{convolutions[int(number)]}.conv"),
            (r"separableconvolution2d_(\d+)", lambda number: sepconvs[int(number)]),
            (r"batchnormalization_(\d+)", lambda number: f"{norms[int(number)]}.norm"),
            (r"predictions|dense(_\d+)?", "logits"),
        ),
        leaf=_keras_leaf,
        numbered=(
            "conv2d",
            "batch_normalization",
            "convolution2d",
            "separableconvolution2d",
            "batchnormalization",
        ),
    )


def _keras_leaf(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """As `keras_leaf`; a separable convolution is one layer in Keras and two modules here."""
    if name == "pointwise_kernel":
        return "pointwise.kernel", tensor
    leaf, value = keras_leaf(name, tensor)
    return (f"depthwise.{leaf}" if name == "depthwise_kernel" else leaf), value


def _timm(config: Config) -> KeyTable:
    """Names of timm's ``legacy_xception``: ``block1.rep.0.conv1``."""
    del config
    outside = dict(zip("1234", [*_STEM, *_EXIT], strict=True))

    def block(number: str) -> str:
        return f"block{int(number) + 1}"

    def sepconv(number: str, position: str, part: str) -> str:
        # Two or three modules for each convolution, the ReLU first.
        return f"{block(number)}.sepconv{int(position) // 3 + 1}.{part}"

    return KeyTable(
        modules=(
            (r"conv([12])", lambda number: f"{outside[number]}.conv"),
            (r"conv([34])\.conv1", lambda number: f"{outside[number]}.depthwise"),
            (r"conv([34])\.pointwise", lambda number: f"{outside[number]}.pointwise"),
            (r"bn([1-4])", lambda number: f"{outside[number]}.norm"),
            (r"block(\d+)\.rep\.(\d)\.conv1", lambda n, position: sepconv(n, position, "depthwise")),
            (r"block(\d+)\.rep\.(\d)\.pointwise", lambda n, position: sepconv(n, position, "pointwise")),
            (r"block(\d+)\.rep\.(\d)", lambda n, position: sepconv(n, position, "norm")),
            (r"block(\d+)\.skip", lambda n: f"{block(n)}.shortcut.conv"),
            (r"block(\d+)\.skipbn", lambda n: f"{block(n)}.shortcut.norm"),
            ("fc", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


def _pretrained(
    tag: str, config: Config, transforms: Transforms, file: Download, source: str, licence: str, top1: float
) -> Pretrained:
    return Pretrained(
        arch="xception",
        tag=tag,
        config=config,
        transforms=transforms,
        file=file,
        layout="keras" if tag == "keras_in1k" else "timm",
        source=source,
        licence=licence,
        features=2048,
        params=22_855_952,
        macs=8_357_403_496,
        top1=top1,
    )


FAMILY = Family(
    name="xception",
    paper="https://arxiv.org/abs/1610.02357",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "timm": _timm},
    pretrained=(
        _pretrained(
            "keras_in1k",
            Config(),
            keras_tf(299),
            keras_file(
                "xception/xception_weights_tf_dim_ordering_tf_kernels.h5", "0a58e3b7378bc2990ea3b43d5981f1f6"
            ),
            "Keras",
            "Apache-2.0",
            79.0,
        ),
        _pretrained(
            "tf_in1k",
            Config(padding="symmetric", epsilon=1e-5),
            timm_preset(299, 0.8975, mean=HALF, std=HALF),
            # As in torchvision's names, the digits are the first of its sha256 (nine here).
            Download(
                "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/"
                "xception-43020ad28.pth",
                sha256="43020ad2",
            ),
            "timm (legacy_xception, ported from Keras)",
            "Apache-2.0",
            79.0,
        ),
    ),
    aliases={"legacy_xception": "xception"},
)
