"""EfficientNet B0–B7: one small network, scaled in width, depth and image size together.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946

Stage names are those of ``keras.applications``: ``stem``, ``block1a`` … ``block7a``, ``top``, and inside a block
the points ``expand_activation``, ``activation``, ``se_excite`` and ``project_bn``. The modules of torchvision and
timm are accepted too.
"""

from dataclasses import dataclass
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
from featcache.images.transforms import IMAGENET_MEAN, IMAGENET_STD, Transforms

# Table 1 of the paper (B0).
ROWS = (
    Row(kernel_size=3, expansion=1, features=16, repeats=1, strides=1),
    Row(kernel_size=3, expansion=6, features=24, repeats=2, strides=2),
    Row(kernel_size=5, expansion=6, features=40, repeats=2, strides=2),
    Row(kernel_size=3, expansion=6, features=80, repeats=3, strides=2),
    Row(kernel_size=5, expansion=6, features=112, repeats=3, strides=1),
    Row(kernel_size=5, expansion=6, features=192, repeats=4, strides=2),
    Row(kernel_size=3, expansion=6, features=320, repeats=1, strides=1),
)


class Variant(NamedTuple):
    """One of B0 to B7: its factors, image size in pixels, parameters, and multiply-accumulates of one image."""

    width: float
    depth: float
    size: int
    params: int
    macs: int


# Factors and sizes as the authors' code gives them.
VARIANTS = (
    Variant(1.0, 1.0, 224, 5_288_548, 385_814_752),
    Variant(1.0, 1.1, 240, 7_794_184, 686_802_832),
    Variant(1.1, 1.2, 260, 9_109_994, 993_561_872),
    Variant(1.2, 1.4, 300, 12_233_232, 1_827_141_392),
    Variant(1.4, 1.8, 380, 19_341_616, 4_393_771_024),
    Variant(1.6, 2.2, 456, 30_389_784, 10_266_384_752),
    Variant(1.8, 2.6, 528, 43_040_704, 19_067_593_536),
    Variant(2.0, 3.1, 600, 66_347_960, 37_745_884_192),
)


@dataclass(frozen=True)
class Config:
    """Scaling of the base network, and what differs between sources.

    Parameters
    ----------
    width, depth
        Factors on the channels and repeats of `ROWS`.
    padding
        ``"same"`` in TensorFlow (Keras' ``correct_pad`` comes to the same), ``"symmetric"`` in torchvision.
    epsilon
        Of the batch normalisations.
    classes
        Outputs of the original classifier.
    """

    width: float = 1.0
    depth: float = 1.0
    padding: Padding = "same"
    epsilon: float = 1e-3
    classes: int = 1000


def scaled_rows(config: Config) -> list[Row]:
    """The rows of a variant."""
    return [
        row.scale(scaled_features(row.features, config.width), ceil(row.repeats * config.depth))
        for row in ROWS
    ]


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``stem``, ``block1a`` … ``block7a``, ``top``, ``pool``, ``logits``."""
    return chain(
        scaled_rows(config),
        stem=scaled_features(32, config.width),
        top=scaled_features(1280, config.width),
        padding=config.padding,
        epsilon=config.epsilon,
        classes=config.classes,
        rngs=rngs,
    )


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.EfficientNetB0``, whose own normalisation must be that of the transforms.

    What its layer calls a variance is the standard deviation in the published files; Keras divides by its root
    once more behind. https://github.com/tensorflow/tensorflow/issues/49930
    """
    del config
    return keras_table(
        constants=(
            (r"normalization(_\d+)?\.mean", IMAGENET_MEAN),
            (r"normalization(_\d+)?\.variance", IMAGENET_STD),
        )
    )


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.efficientnet_b0``."""
    return torchvision_table(scaled_rows(config))


def _timm(config: Config) -> KeyTable:
    """Names of timm's ``efficientnet_b0`` and ``tf_efficientnet_b0``."""
    return timm_table(scaled_rows(config))


def _pretrained(
    number: int,
    tag: str,
    file: Download,
    top1: float,
    transforms: Transforms,
    *,
    layout: str,
    source: str,
    licence: str = "Apache-2.0",
    padding: Padding = "same",
    epsilon: float = 1e-3,
    macs: int | None = None,
) -> Pretrained:
    variant = VARIANTS[number]
    return Pretrained(
        arch=f"efficientnet_b{number}",
        tag=tag,
        config=Config(variant.width, variant.depth, padding, epsilon),
        transforms=transforms,
        file=file,
        layout=layout,
        source=source,
        licence=licence,
        features=scaled_features(1280, variant.width),
        params=variant.params,
        macs=macs or variant.macs,
        top1=top1,
    )


def _of_keras(number: int, md5: str, top1: float) -> Pretrained:
    return _pretrained(
        number,
        "keras_in1k",
        keras_file(f"https://storage.googleapis.com/keras-applications/efficientnetb{number}.h5", md5),
        top1,
        keras_torch(VARIANTS[number].size),
        layout="keras",
        source="Keras (the authors' weights, AutoAugment)",
    )


def _of_torchvision(
    number: int,
    file: str,
    resized: int,
    top1: float,
    *,
    tag: str = "tv_in1k",
    size: int | None = None,
    macs: int | None = None,
) -> Pretrained:
    return _pretrained(
        number,
        tag,
        torchvision_file(f"efficientnet_b{number}{file}.pth"),
        top1,
        torchvision_preset(
            size or VARIANTS[number].size, resized, "bicubic" if tag == "tv_in1k" else "bilinear"
        ),
        layout="torchvision",
        source=f"torchvision IMAGENET1K_V{1 if tag == 'tv_in1k' else 2}",
        licence="BSD-3-Clause",
        padding="symmetric",
        epsilon=1e-5 if number < 5 else 1e-3,
        macs=macs,
    )


def _of_timm(number: int, crop_pct: float, top1: float) -> Pretrained:
    return _pretrained(
        number,
        "ns_jft_in1k",
        hub_file(f"tf_efficientnet_b{number}.ns_jft_in1k"),
        top1,
        timm_preset(VARIANTS[number].size, crop_pct),
        layout="timm",
        source="timm (the authors' weights, Noisy Student with JFT-300M)",
    )


FAMILY = Family(
    name="efficientnet",
    paper="https://arxiv.org/abs/1905.11946",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision, "timm": _timm},
    pretrained=(
        # Accuracies of https://keras.io/api/applications
        *(
            _of_keras(number, md5, top1)
            for number, (md5, top1) in enumerate(
                (
                    ("902e53a9f72be733fc0bcb005b3ebbac", 77.1),
                    ("1d254153d4ab51201f1646940f018540", 79.1),
                    ("b15cce36ff4dcbd00b6dd88e7857a6ad", 80.1),
                    ("ffd1fdc53d0ce67064dc6a9c7960ede0", 81.6),
                    ("18c95ad55216b8f92d7e70b3a046e2fc", 82.9),
                    ("ace28f2a6363774853a83a0b21b9421a", 83.6),
                    ("165f6e37dce68623721b423839de8be5", 84.0),
                    ("8c03f828fec3ef71311cd463b6759d99", 84.3),
                )
            )
        ),
        _of_torchvision(0, "_rwightman-7f5810bc", 256, 77.7),
        _of_torchvision(1, "_rwightman-bac287d4", 256, 78.6),
        _of_torchvision(1, "-c27df63c", 255, 79.8, tag="tv2_in1k"),
        _of_torchvision(2, "_rwightman-c35c1473", 288, 80.6, size=288, macs=1_087_529_456),
        _of_torchvision(3, "_rwightman-b3899882", 320, 82.0),
        _of_torchvision(4, "_rwightman-23ab8bcd", 384, 83.4),
        _of_torchvision(5, "_lukemelas-1a07897c", 456, 83.4),
        _of_torchvision(6, "_lukemelas-24a108a5", 528, 84.0),
        _of_torchvision(7, "_lukemelas-c5b4e57e", 600, 84.1),
        # Accuracies of timm's results-imagenet.csv
        *(
            _of_timm(number, crop_pct, top1)
            for number, (crop_pct, top1) in enumerate(
                (
                    (0.875, 78.7),
                    (0.882, 81.4),
                    (0.890, 82.4),
                    (0.904, 84.1),
                    (0.922, 85.2),
                    (0.934, 86.1),
                    (0.942, 86.5),
                    (0.949, 86.8),
                )
            )
        ),
        _pretrained(
            0,
            "ra_in1k",
            hub_file("efficientnet_b0.ra_in1k"),
            77.7,
            timm_preset(224),
            layout="timm",
            source="timm (RandAugment)",
            padding="symmetric",
            epsilon=1e-5,
        ),
    ),
    aliases={f"tf_efficientnet_b{number}": f"efficientnet_b{number}" for number in range(8)},
)
