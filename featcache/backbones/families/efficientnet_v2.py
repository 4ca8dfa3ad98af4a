"""EfficientNetV2: EfficientNet with fused blocks at the beginning, searched for fast training.

Tan and Le, "EfficientNetV2: Smaller Models and Faster Training", https://arxiv.org/abs/2104.00298

Stage names are those of ``keras.applications``: ``stem``, ``block1a`` … ``block6h``, ``top``, and inside a block
the points ``expand_activation``, ``activation``, ``se_excite`` and ``project_bn`` (in fused blocks the first and
the last; without an expansion ``project_activation``). The modules of torchvision and timm are accepted too.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.presets import (
    hub_file,
    keras_file,
    keras_torch,
    timm_preset,
    torchvision_file,
    torchvision_preset,
)
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.nn.mbconv import (
    Row,
    chain,
    keras_table,
    scaled_features,
    timm_table,
    torchvision_table,
)
from featcache.backbones.weights.key_mapping import KeyTable
from featcache.images.transforms import Transforms

# Kernel, expansion, channels, repeats, stride, whether fused: Table 4 of the paper (S), and for the others the
# authors' code, https://github.com/google/automl/tree/master/efficientnetv2
ROWS = {
    "b": (
        Row(3, 1, 16, 1, 1, fused=True),
        Row(3, 4, 32, 2, 2, fused=True),
        Row(3, 4, 48, 2, 2, fused=True),
        Row(3, 4, 96, 3, 2),
        Row(3, 6, 112, 5, 1),
        Row(3, 6, 192, 8, 2),
    ),
    "s": (
        Row(3, 1, 24, 2, 1, fused=True),
        Row(3, 4, 48, 4, 2, fused=True),
        Row(3, 4, 64, 4, 2, fused=True),
        Row(3, 4, 128, 6, 2),
        Row(3, 6, 160, 9, 1),
        Row(3, 6, 256, 15, 2),
    ),
    "m": (
        Row(3, 1, 24, 3, 1, fused=True),
        Row(3, 4, 48, 5, 2, fused=True),
        Row(3, 4, 80, 5, 2, fused=True),
        Row(3, 4, 160, 7, 2),
        Row(3, 6, 176, 14, 1),
        Row(3, 6, 304, 18, 2),
        Row(3, 6, 512, 5, 1),
    ),
    "l": (
        Row(3, 1, 32, 4, 1, fused=True),
        Row(3, 4, 64, 7, 2, fused=True),
        Row(3, 4, 96, 7, 2, fused=True),
        Row(3, 4, 192, 10, 2),
        Row(3, 6, 224, 19, 1),
        Row(3, 6, 384, 25, 2),
        Row(3, 6, 640, 7, 1),
    ),
}
STEMS = {"b": 32, "s": 24, "m": 24, "l": 32}


class Variant(NamedTuple):
    """Its rows, factors, image size in pixels, parameters, and multiply-accumulates of one image."""

    rows: str
    width: float
    depth: float
    size: int
    params: int
    macs: int


VARIANTS = {
    "b0": Variant("b", 1.0, 1.0, 224, 7_139_704, 718_086_176),
    "b1": Variant("b", 1.0, 1.1, 240, 8_141_052, 1_196_819_360),
    "b2": Variant("b", 1.1, 1.2, 260, 10_096_086, 1_697_542_832),
    "b3": Variant("b", 1.2, 1.4, 300, 14_358_406, 3_011_458_816),
    "s": Variant("s", 1.0, 1.0, 384, 21_458_488, 8_365_617_152),
    "m": Variant("m", 1.0, 1.0, 480, 54_139_356, 24_582_460_384),
    "l": Variant("l", 1.0, 1.0, 480, 118_515_272, 56_079_699_008),
}


@dataclass(frozen=True)
class Config:
    """Which base network, its scaling, and what differs between sources.

    Parameters
    ----------
    rows
        Which of `ROWS`.
    width, depth
        Factors on their channels and repeats.
    padding
        ``"same"`` in TensorFlow, ``"symmetric"`` in torchvision.
    epsilon
        Of the batch normalisations.
    classes
        Outputs of the original classifier.
    """

    rows: str
    width: float = 1.0
    depth: float = 1.0
    padding: Padding = "same"
    epsilon: float = 1e-3
    classes: int = 1000


def scaled_rows(config: Config) -> list[Row]:
    """The rows of a variant."""
    return [
        row.scale(scaled_features(row.features, config.width, least=0), ceil(row.repeats * config.depth))
        for row in ROWS[config.rows]
    ]


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``stem``, ``block1a`` …, ``top``, ``pool``, ``logits``."""
    return chain(
        scaled_rows(config),
        stem=scaled_features(STEMS[config.rows], config.width, least=0),
        top=scaled_features(1280, config.width, least=0),
        padding=config.padding,
        epsilon=config.epsilon,
        classes=config.classes,
        rngs=rngs,
    )


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.EfficientNetV2B0``; its own normalisation has no tensors."""
    del config
    return keras_table()


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.efficientnet_v2_s``."""
    return torchvision_table(scaled_rows(config))


def _timm(config: Config) -> KeyTable:
    """Names of timm's ``tf_efficientnetv2_b0``."""
    return timm_table(scaled_rows(config))


def _pretrained(
    variant: str,
    tag: str,
    file: Download,
    top1: float,
    transforms: Transforms,
    *,
    layout: str,
    source: str,
    licence: str = "Apache-2.0",
    padding: Padding = "same",
) -> Pretrained:
    rows, width, depth, _, params, macs = VARIANTS[variant]
    return Pretrained(
        arch=f"efficientnet_v2_{variant}",
        tag=tag,
        config=Config(rows, width, depth, padding),
        transforms=transforms,
        file=file,
        layout=layout,
        source=source,
        licence=licence,
        features=scaled_features(1280, width, least=0),
        params=params,
        macs=macs,
        top1=top1,
    )


def _of_keras(variant: str, md5: str, top1: float) -> Pretrained:
    # B0 to B3 normalise as EfficientNet does; S, M and L divide by 128 and take off 1.
    transforms = keras_torch(VARIANTS[variant].size)
    if not variant.startswith("b"):
        transforms = replace(transforms, mean=(128 / 255,) * 3, std=(128 / 255,) * 3)
    return _pretrained(
        variant,
        "keras_in1k",
        keras_file(f"efficientnet_v2/efficientnetv2-{variant}.h5", md5),
        top1,
        transforms,
        layout="keras",
        source="Keras (the authors' weights)",
    )


def _of_torchvision(variant: str, digits: str, top1: float, transforms: Transforms) -> Pretrained:
    return _pretrained(
        variant,
        "tv_in1k",
        torchvision_file(f"efficientnet_v2_{variant}-{digits}.pth"),
        top1,
        transforms,
        layout="torchvision",
        source="torchvision IMAGENET1K_V1",
        licence="BSD-3-Clause",
        padding="symmetric",
    )


def _of_timm(variant: str, tag: str, top1: float, transforms: Transforms) -> Pretrained:
    return _pretrained(
        variant,
        tag,
        hub_file(f"tf_efficientnetv2_{variant}.{tag}"),
        top1,
        transforms,
        layout="timm",
        source="timm (the authors' weights" + (", after ImageNet-21k)" if "21k" in tag else ")"),
    )


_HALF = (0.5, 0.5, 0.5)

FAMILY = Family(
    name="efficientnet_v2",
    paper="https://arxiv.org/abs/2104.00298",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision, "timm": _timm},
    pretrained=(
        # Accuracies of https://keras.io/api/applications
        _of_keras("b0", "21ecbf6da12460d5c40bb2f29ceb2188", 78.7),
        _of_keras("b1", "069f0534ff22adf035c89e2d9547a9dc", 79.8),
        _of_keras("b2", "424e49f28180edbde1e94797771950a7", 80.5),
        _of_keras("b3", "1f1fc43bd98a6e4fd8fdfd551e02c7a0", 82.0),
        _of_keras("s", "e1d88a8495beba45748fedd0cecbe016", 83.9),
        _of_keras("m", "a3bf6aa3276309f4fc6a34aa114c95cd", 85.3),
        _of_keras("l", "27e6d408b53c7ebc868fefa357689935", 85.7),
        _of_torchvision("s", "dd5fe13b", 84.2, torchvision_preset(384, 384)),
        _of_torchvision("m", "dc08266a", 85.1, torchvision_preset(480, 480)),
        _of_torchvision(
            "l", "59c71312", 85.8, replace(torchvision_preset(480, 480, "bicubic"), mean=_HALF, std=_HALF)
        ),
        # The sizes of the authors and of timm's results-imagenet.csv, whose accuracies these are; timm's own
        # default is the smaller size of training.
        _of_timm("b0", "in1k", 78.4, timm_preset(224, 0.875)),
        _of_timm("b1", "in1k", 79.5, timm_preset(240, 0.882)),
        _of_timm("b2", "in1k", 80.2, timm_preset(260, 0.890)),
        _of_timm("b3", "in1k", 82.0, timm_preset(300, 0.904)),
        _of_timm("s", "in21k_ft_in1k", 84.3, timm_preset(384, 1.0, mean=_HALF, std=_HALF)),
        *(
            _of_timm(
                variant,
                "in21k_ft_in1k",
                top1,
                replace(timm_preset(480, 1.0, mean=_HALF, std=_HALF), crop_mode="squash"),
            )
            for variant, top1 in (("m", 86.0), ("l", 86.8))
        ),
    ),
    aliases={f"tf_efficientnetv2_{variant}": f"efficientnet_v2_{variant}" for variant in VARIANTS},
)
