"""ConvNeXt: a convolutional network with the proportions and details of a vision transformer.

Liu et al., "A ConvNet for the 2020s", https://arxiv.org/abs/2201.03545

Stage names are those of ``keras.applications`` without the model's name: ``stem``, ``stage_0_block_0`` …,
``downsampling_block_0`` …, ``head_gap``, ``head_layernorm``, ``logits``, and inside a block the points
``depthwise_conv``, ``layernorm``, ``gelu`` and ``layer_scale``. With the model's name, and as modules of torchvision
and timm, they are accepted too. The default layer ``pool`` is the normalised mean, ``head_layernorm``: what Keras
gives for ``pooling="avg"`` and timm for ``num_classes=0``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.families.presets import (
    hub_file,
    keras_file,
    keras_torch,
    timm_preset,
    torchvision_file,
    torchvision_preset,
)
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.attention import LayerScale
from featcache.backbones.nn.basic import Conv, Dense, GlobalAveragePool, LayerNorm, Serial, gelu
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.images.transforms import Transforms

EPSILON = 1e-6
"""Of the layer normalisations, in all sources."""


@dataclass(frozen=True)
class Config:
    """What differs between the variants; their sources agree.

    Parameters
    ----------
    depths, widths
        Blocks and channels of each of the four stages of the network.
    classes
        Outputs of the original classifier.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    classes: int = 1000


class Variant(NamedTuple):
    """Blocks and channels of the four stages, parameters, and multiply-accumulates of one image of 224×224."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    params: int
    macs: int


# Section 3 and appendix A of the paper.
VARIANTS = {
    "tiny": Variant((3, 3, 9, 3), (96, 192, 384, 768), 28_589_128, 4_455_531_264),
    "small": Variant((3, 3, 27, 3), (96, 192, 384, 768), 50_223_688, 8_683_712_256),
    "base": Variant((3, 3, 27, 3), (128, 256, 512, 1024), 88_591_464, 15_354_729_472),
    "large": Variant((3, 3, 27, 3), (192, 384, 768, 1536), 197_767_336, 34_361_433_600),
    "xlarge": Variant((3, 3, 27, 3), (256, 512, 1024, 2048), 350_196_968, 60_921_030_656),
}


class ConvNeXtBlock(nnx.Module):
    """Depthwise 7×7, normalisation, two dense layers at each place, scaled and added to what came in."""

    def __init__(self, features: int, *, rngs: nnx.Rngs | None) -> None:
        self.depthwise = Conv(features, features, 7, groups=features, use_bias=True, rngs=rngs)
        self.norm = LayerNorm(features, epsilon=EPSILON)
        self.expand = Dense(features, 4 * features, activation=gelu, rngs=rngs)
        self.project = Dense(4 * features, features, rngs=rngs)
        self.layer_scale = LayerScale(features)
        self.points = ("depthwise_conv", "layernorm", "gelu", "layer_scale")

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, C]`` to the same shape."""
        y = record("depthwise_conv", self.depthwise(x))
        y = record("layernorm", self.norm(y))
        y = record("gelu", self.expand(y))
        return x + record("layer_scale", self.layer_scale(self.project(y)))


def blocks(config: Config) -> Iterator[tuple[int, int, str]]:
    """Yield for each block its stage and its place there, both counted from 0, and its name."""
    for stage, depth in enumerate(config.depths):
        for place in range(depth):
            yield stage, place, f"stage_{stage}_block_{place}"


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``stem``, ``stage_0_block_0`` …, ``head_gap``, ``head_layernorm``, ``logits``."""

    def conv(stage: int, features: int, size: int) -> Conv:
        width = config.widths[stage]
        return Conv(features, width, size, strides=size, padding="valid", use_bias=True, rngs=rngs)

    def norm(stage: int) -> LayerNorm:
        return LayerNorm(config.widths[stage], epsilon=EPSILON)

    stages: dict[str, nnx.Module] = {"stem": Serial(conv=conv(0, 3, 4), norm=norm(0))}
    for stage, place, name in blocks(config):
        if stage > 0 and place == 0:
            downsampling = Serial(norm=norm(stage - 1), conv=conv(stage, config.widths[stage - 1], 2))
            stages[f"downsampling_block_{stage - 1}"] = downsampling
        stages[name] = ConvNeXtBlock(config.widths[stage], rngs=rngs)
    stages["head_gap"] = GlobalAveragePool()
    stages["head_layernorm"] = norm(-1)
    stages["logits"] = Dense(config.widths[-1], config.classes, rngs=rngs)
    return Backbone(stages, ALIASES | _keras_aliases(config, stages) | _torch_aliases(config))


ALIASES = {
    "pool": "head_layernorm",
    "head_dense": "logits",
    # Keras without a top
    "global_average_pooling2d": "head_gap",
    "layer_normalization": "head_layernorm",
    # torchvision
    "features.0": "stem",
    "classifier.1": "head_layernorm",
    "classifier.2": "logits",
    # timm
    "head.flatten": "head_layernorm",
    "head.fc": "logits",
}


def _keras_aliases(config: Config, stages: Mapping[str, nnx.Module]) -> dict[str, str]:
    """Keras' names with the model's in front, such as ``convnext_tiny_stage_0_block_0_gelu``."""
    size = (config.depths, config.widths)
    model = next((name for name, variant in VARIANTS.items() if variant[:2] == size), None)
    if model is None:
        return {}
    names = {name: name for name in stages} | {"head_dense": "logits"}
    for name, stage in stages.items():
        names |= {f"{name}_{point}": f"{name}_{point}" for point in getattr(stage, "points", ())}
        if isinstance(stage, ConvNeXtBlock):
            names[f"{name}_identity"] = f"{name}_layer_scale"  # what is left of stochastic depth
    return {f"convnext_{model}_{name}": point for name, point in names.items()}


def _torch_aliases(config: Config) -> dict[str, str]:
    """Modules of torchvision and timm."""
    aliases: dict[str, str] = {}
    for stage, place, name in blocks(config):
        torchvision, timm = f"features.{2 * stage + 1}", f"stages.{stage}"
        # A stage is its last block.
        aliases |= dict.fromkeys(
            (torchvision, f"{torchvision}.{place}", timm, f"{timm}.blocks.{place}"), name
        )
        inner = (f"{torchvision}.{place}.block.0", f"{timm}.blocks.{place}.conv_dw")
        aliases |= dict.fromkeys(inner, f"{name}_depthwise_conv")
        if stage > 0:
            downsampling = (f"features.{2 * stage}", f"{timm}.downsample")
            aliases |= dict.fromkeys(downsampling, f"downsampling_block_{stage - 1}")
    return aliases


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.ConvNeXtTiny``, which begin with the model's name.

    The last normalisation of the published files without a top is not the trained one, but 1 and 0:
    https://github.com/sayakpaul/keras-convnext-conversion
    """
    del config
    parts = {
        "depthwise_conv": "depthwise",
        "layernorm": "norm",
        "pointwise_conv_1": "expand",
        "pointwise_conv_2": "project",
        "layer_scale": "layer_scale",
    }
    units = {"conv": "conv", "layernorm": "norm"}
    any_model = "(?:.+_)?"
    return KeyTable(
        modules=(
            (any_model + "stem_(conv|layernorm)", lambda unit: f"stem.{units[unit]}"),
            (
                any_model + r"downsampling_(conv|layernorm)_(\d)",
                lambda unit, number: f"downsampling_block_{number}.{units[unit]}",
            ),
            (
                any_model + rf"(stage_\d_block_\d+)_({'|'.join(parts)})",
                lambda block, part: f"{block}.{parts[part]}",
            ),
            # The second without a top.
            (any_model + "head_layernorm|layer_normalization_0", "head_layernorm"),
            (any_model + "head_dense", "logits"),
        ),
        leaf=keras_leaf,
        numbered=("layer_normalization",),
    )


def _torch_leaf(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """The factors of a block's channels belong to the block itself: ``[C]`` in timm, ``[C, 1, 1]`` in torchvision."""
    if name in ("gamma", "layer_scale"):
        return "layer_scale.scale", tensor.reshape(-1)
    return torch_leaf(name, tensor)


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.convnext_tiny``: stages in odd ``features``, downsampling between."""
    del config
    parts = {"0": "depthwise", "2": "norm", "3": "expand", "5": "project"}

    def block(features: str, place: str) -> str:
        return f"stage_{int(features) // 2}_block_{place}"

    return KeyTable(
        modules=(
            (r"features\.0\.([01])", lambda unit: f"stem.{('conv', 'norm')[int(unit)]}"),
            (
                r"features\.([246])\.([01])",
                lambda n, unit: f"downsampling_block_{int(n) // 2 - 1}.{('norm', 'conv')[int(unit)]}",
            ),
            (r"features\.([1357])\.(\d+)", block),
            (
                r"features\.([1357])\.(\d+)\.block\.([0235])",
                lambda n, place, part: f"{block(n, place)}.{parts[part]}",
            ),
            (r"classifier\.0", "head_layernorm"),
            (r"classifier\.2", "logits"),
        ),
        leaf=_torch_leaf,
    )


def _timm(config: Config) -> KeyTable:
    """Names of timm's ``convnext_tiny``: ``stem.0``, ``stages.1.blocks.0.conv_dw``, ``head.fc``."""
    del config
    parts = {"conv_dw": "depthwise", "norm": "norm", "mlp.fc1": "expand", "mlp.fc2": "project"}
    block = r"stages\.(\d)\.blocks\.(\d+)"
    return KeyTable(
        modules=(
            (r"stem\.([01])", lambda unit: f"stem.{('conv', 'norm')[int(unit)]}"),
            (
                r"stages\.(\d)\.downsample\.([01])",
                lambda n, unit: f"downsampling_block_{int(n) - 1}.{('norm', 'conv')[int(unit)]}",
            ),
            (block, "stage_{0}_block_{1}"),
            (block + r"\.(\w+(?:\.fc\d)?)", lambda n, place, part: f"stage_{n}_block_{place}.{parts[part]}"),
            (r"head\.norm", "head_layernorm"),
            (r"head\.fc", "logits"),
        ),
        leaf=_torch_leaf,
    )


_SOURCES = {
    "keras_in1k": ("keras", "Keras (the authors' weights)", "Apache-2.0"),
    "tv_in1k": ("torchvision", "torchvision IMAGENET1K_V1", "BSD-3-Clause"),
    "fb_in1k": ("timm", "timm (the authors' weights)", "Apache-2.0"),
    "fb_in22k_ft_in1k": ("timm", "timm (the authors' weights, after ImageNet-22k)", "Apache-2.0"),
}


def _pretrained(size: str, tag: str, top1: float, file: Download, transforms: Transforms) -> Pretrained:
    variant = VARIANTS[size]
    layout, source, licence = _SOURCES[tag]
    if tag == "keras_in1k" and size in ("base", "large", "xlarge"):
        source = "Keras (the authors' weights, after ImageNet-22k)"
    return Pretrained(
        arch=f"convnext_{size}",
        tag=tag,
        config=Config(variant.depths, variant.widths),
        transforms=transforms,
        file=file,
        layout=layout,
        source=source,
        licence=licence,
        features=variant.widths[-1],
        params=variant.params,
        macs=variant.macs,
        top1=top1,
    )


def _keras_file(size: str, sha256: str) -> Download:
    return replace(keras_file(f"convnext/convnext_{size}.h5"), sha256=sha256)


FAMILY = Family(
    name="convnext",
    paper="https://arxiv.org/abs/2201.03545",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision, "timm": _timm},
    pretrained=(
        # Accuracies of https://keras.io/api/applications
        *(
            _pretrained(size, "keras_in1k", top1, _keras_file(size, sha256), keras_torch(224))
            for size, top1, sha256 in (
                ("tiny", 81.3, "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff"),
                ("small", 82.3, "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c"),
                ("base", 85.3, "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6"),
                ("large", 86.3, "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6"),
                ("xlarge", 86.7, "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee"),
            )
        ),
        *(
            _pretrained(
                size,
                "tv_in1k",
                top1,
                torchvision_file(f"convnext_{size}-{digits}.pth"),
                torchvision_preset(224, resized),
            )
            for size, top1, digits, resized in (
                ("tiny", 82.5, "983f1562", 236),
                ("small", 83.6, "0c510722", 230),
                ("base", 84.1, "6075fbad", 232),
                ("large", 84.4, "ea097f82", 232),
            )
        ),
        # Accuracies at 224 pixels, of https://github.com/facebookresearch/ConvNeXt
        *(
            _pretrained(size, tag, top1, hub_file(f"convnext_{size}.{tag}"), timm_preset(224))
            for tag, size, top1 in (
                ("fb_in1k", "tiny", 82.1),
                ("fb_in1k", "small", 83.1),
                ("fb_in1k", "base", 83.8),
                ("fb_in1k", "large", 84.3),
                ("fb_in22k_ft_in1k", "tiny", 82.9),
                ("fb_in22k_ft_in1k", "small", 84.6),
                ("fb_in22k_ft_in1k", "base", 85.8),
                ("fb_in22k_ft_in1k", "large", 86.6),
                ("fb_in22k_ft_in1k", "xlarge", 87.0),
            )
        ),
    ),
)
