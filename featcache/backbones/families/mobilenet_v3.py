"""MobileNetV3: inverted residuals with squeeze-and-excitation and hard swish, found by search.

Howard et al., "Searching for MobileNetV3", https://arxiv.org/abs/1905.02244

Stage names are those of ``keras.applications`` where it has names: ``expanded_conv``, ``expanded_conv_1``, …; its
activations have none, so that the first convolution and those of the top are ``conv_activation``,
``conv_1_activation`` and, behind the pooling, ``conv_2_activation`` here. torchvision's and timm's names are
accepted too.
"""

from dataclasses import dataclass

import jax
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.mobilenet_v1 import pointwise_as_dense, timm_numbers
from featcache.backbones.families.mobilenet_v2 import TIMM_UNITS
from featcache.backbones.families.presets import (
    hub_file,
    keras_file,
    keras_tf,
    timm_preset,
    torchvision_file,
    torchvision_preset,
)
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, hard_swish
from featcache.backbones.nn.bneck import Bottleneck, Row
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.images.transforms import Transforms

# Tables 1 and 2 of the paper, without the convolutions before and after.
ROWS = {
    "large": (
        Row(3, 16, 16, False, "RE", 1),
        Row(3, 64, 24, False, "RE", 2),
        Row(3, 72, 24, False, "RE", 1),
        Row(5, 72, 40, True, "RE", 2),
        Row(5, 120, 40, True, "RE", 1),
        Row(5, 120, 40, True, "RE", 1),
        Row(3, 240, 80, False, "HS", 2),
        Row(3, 200, 80, False, "HS", 1),
        Row(3, 184, 80, False, "HS", 1),
        Row(3, 184, 80, False, "HS", 1),
        Row(3, 480, 112, True, "HS", 1),
        Row(3, 672, 112, True, "HS", 1),
        Row(5, 672, 160, True, "HS", 2),
        Row(5, 960, 160, True, "HS", 1),
        Row(5, 960, 160, True, "HS", 1),
    ),
    "small": (
        Row(3, 16, 16, True, "RE", 2),
        Row(3, 72, 24, False, "RE", 2),
        Row(3, 88, 24, False, "RE", 1),
        Row(5, 96, 40, True, "HS", 2),
        Row(5, 240, 40, True, "HS", 1),
        Row(5, 240, 40, True, "HS", 1),
        Row(5, 120, 48, True, "HS", 1),
        Row(5, 144, 48, True, "HS", 1),
        Row(5, 288, 96, True, "HS", 2),
        Row(5, 576, 96, True, "HS", 1),
        Row(5, 576, 96, True, "HS", 1),
    ),
}

# Channels of the first convolution and of the dense layer behind the pooling, which are not scaled.
STEM = 16
LAST = {"large": 1280, "small": 1024}


@dataclass(frozen=True)
class Config:
    """What differs between the variants and their sources.

    Parameters
    ----------
    variant
        ``"large"`` or ``"small"``.
    alpha
        Factor on the channel counts, up to 1.
    minimalistic
        Without squeeze-and-excitation, hard swish and 5×5 convolutions.
    padding
        ``"same"`` in TensorFlow, ``"symmetric"`` in torchvision and timm.
    epsilon
        Of the batch normalisations: 1e-3 in Keras and torchvision, 1e-5 in timm.
    classes
        Outputs of the original classifier.
    """

    variant: str
    alpha: float = 1.0
    minimalistic: bool = False
    padding: Padding = "same"
    epsilon: float = 1e-3
    classes: int = 1000


def blocks(config: Config) -> dict[str, tuple[int, Row]]:
    """Return the blocks by name: the channels that come in, and the row that this configuration makes of it."""
    found: dict[str, tuple[int, Row]] = {}
    before, features = STEM, STEM
    for number, row in enumerate(ROWS[config.variant]):
        scaled = row.scale(before, features, config.alpha)
        found[f"expanded_conv_{number}" if number else "expanded_conv"] = (
            features,
            scaled.minimalistic() if config.minimalistic else scaled,
        )
        before, features = row.features, scaled.features
    return found


def pooled_features(config: Config) -> int:
    """Channels of the last map: six for each that the last block gives."""
    return 6 * [row.features for _, row in blocks(config).values()][-1]


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``conv_activation``, ``expanded_conv`` …, ``pool``, ``conv_2_activation``, ``logits``."""
    common = {"padding": config.padding, "epsilon": config.epsilon, "rngs": rngs}
    outer = jax.nn.relu if config.minimalistic else hard_swish
    stages: dict[str, nnx.Module] = {
        "conv_activation": ConvNorm(3, STEM, 3, strides=2, activation=outer, **common)
    }
    for name, (features, row) in blocks(config).items():
        stages[name] = Bottleneck(features, row, **common)
    pooled, last = pooled_features(config), LAST[config.variant]
    stages["conv_1_activation"] = ConvNorm(pooled // 6, pooled, activation=outer, **common)
    stages["pool"] = GlobalAveragePool()
    stages["conv_2_activation"] = Dense(pooled, last, activation=outer, rngs=rngs)
    stages["logits"] = Dense(last, config.classes, rngs=rngs)
    return Backbone(stages, _aliases(config))


def _maps(config: Config) -> list[str]:
    """The stages that are maps, as torchvision counts them."""
    return ["conv_activation", *blocks(config), "conv_1_activation"]


def _timm_names(config: Config) -> dict[str, str]:
    """The numbers of timm to the blocks; the last convolution is one more group."""
    numbers = timm_numbers([*(row.features for row in ROWS[config.variant]), 0])
    return dict(zip(numbers, _maps(config)[1:], strict=True))


def _aliases(config: Config) -> dict[str, str]:
    skips = [name for name, (features, row) in blocks(config).items() if row.has_skip(features)]
    return {
        "avg_pool": "pool",
        "predictions": "logits",
        **{f"{name}_add": name for name in skips},
        # torchvision
        **{f"features.{number}": name for number, name in enumerate(_maps(config))},
        "classifier.1": "conv_2_activation",
        "classifier": "logits",
        # timm
        "bn1": "conv_activation",
        **{f"blocks.{number}": name for number, name in _timm_names(config).items()},
    }


_UNITS = ("conv", "norm")

# Keras and timm have convolutions of one pixel where there are dense layers here.
_DENSE = ((r"(?:conv_2_activation|logits)\.kernel", pointwise_as_dense),)


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.MobileNetV3Large``, today's and those of its files (``Conv_1/BatchNorm``)."""
    del config
    block, step, norm = r"(expanded_conv(?:_\d+)?)_", "(expand|depthwise|project)", "_(?:bn|BatchNorm)"
    return KeyTable(
        modules=(
            ("[Cc]onv", "conv_activation.conv"),
            ("[Cc]onv" + norm, "conv_activation.norm"),
            (block + step, "{0}.{1}.conv"),
            (block + step + norm, "{0}.{1}.norm"),
            (block + "squeeze_excite_[Cc]onv", "{0}.squeeze.reduce"),
            (block + "squeeze_excite_[Cc]onv_1", "{0}.squeeze.expand"),
            ("[Cc]onv_1", "conv_1_activation.conv"),
            ("[Cc]onv_1" + norm, "conv_1_activation.norm"),
            ("[Cc]onv_2", "conv_2_activation"),
            ("[Ll]ogits", "logits"),
        ),
        leaf=keras_leaf,
        layouts=_DENSE,
    )


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.mobilenet_v3_large``: ``features.4.block.2.fc1``, ``classifier.0``."""
    names = _maps(config)
    parts = {name: row.parts(features) for name, (features, row) in blocks(config).items()}

    def part(number: str, place: str) -> str:
        name = names[int(number)]
        return f"{name}.{parts[name][int(place)]}"

    block = r"features\.(\d+)\.block\.(\d)\."
    return KeyTable(
        modules=(
            (r"features\.(\d+)\.([01])", lambda n, unit: f"{names[int(n)]}.{_UNITS[int(unit)]}"),
            (block + "([01])", lambda n, place, unit: f"{part(n, place)}.{_UNITS[int(unit)]}"),
            (block + "fc1", lambda n, place: f"{part(n, place)}.reduce"),
            (block + "fc2", lambda n, place: f"{part(n, place)}.expand"),
            (r"classifier\.0", "conv_2_activation"),
            (r"classifier\.3", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


def _timm(config: Config) -> KeyTable:
    """Names of ``timm.create_model("mobilenetv3_large_100")``."""
    names = _timm_names(config)

    def unit(number: str, module: str) -> str:
        return f"{names[number]}.{TIMM_UNITS[number != '0.0'][module]}"

    block, last = r"blocks\.(\d+\.\d+)\.", list(names)[-1].replace(".", r"\.")
    return KeyTable(
        modules=(
            ("conv_stem", "conv_activation.conv"),
            ("bn1", "conv_activation.norm"),
            (block + r"se\.conv_(reduce|expand)", lambda n, layer: f"{names[n]}.squeeze.{layer}"),
            (rf"blocks\.{last}\.conv", "conv_1_activation.conv"),
            (rf"blocks\.{last}\.bn1", "conv_1_activation.norm"),
            (block + r"(\w+)", unit),
            ("conv_head", "conv_2_activation"),
            ("classifier", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
        layouts=_DENSE,
    )


# Parameters and multiply-accumulates.
_NUMBERS = {
    "large": (5_483_032, 216_589_760),
    "large_075": (3_993_528, 154_560_624),
    "large_minimalistic": (3_924_288, 209_136_704),
    "small": (2_542_856, 56_510_400),
    "small_075": (2_041_872, 43_399_344),
    "small_minimalistic": (2_044_736, 52_288_448),
}

_SOURCES = {
    "keras_in1k": "Keras",
    "tv_in1k": "torchvision IMAGENET1K_V1",
    "tv2_in1k": "torchvision IMAGENET1K_V2",
}

# Name here and in the file, MD5, top-1.
_KERAS = (
    ("large", "large_224_1.0", "59e551e166be033d707958cf9e29a6a7", 75.6),
    ("large_075", "large_224_0.75", "765b44a33ad4005b3ac83185abf1d0eb", 73.3),
    ("large_minimalistic", "large_minimalistic_224_1.0", "675e7b876c45c57e9e63e6d90a36599c", 72.3),
    ("small", "small_224_1.0", "8768d4c2e7dee89b9d02b2d03d65d862", 68.1),
    ("small_075", "small_224_0.75", "cb65d4e5be93758266aa0a7f2c6708b7", 65.4),
    ("small_minimalistic", "small_minimalistic_224_1.0", "99cd97fb2fcdad2bf028eb838de69e37", 61.9),
)

# Name, tag, short side before the crop, file, top-1.
_TORCHVISION = (
    ("large", "tv_in1k", 256, "mobilenet_v3_large-8738ca79.pth", 74.0),
    ("large", "tv2_in1k", 232, "mobilenet_v3_large-5c1a4163.pth", 75.3),
    ("small", "tv_in1k", 256, "mobilenet_v3_small-047dcff4.pth", 67.7),
)

_HALF = (0.5, 0.5, 0.5)

# Name here and there, tag, transforms, top-1.
_TIMM = (
    ("large", "large_100", "ra_in1k", timm_preset(224), 75.8),
    (
        "large",
        "large_100",
        "ra4_e3600_r224_in1k",
        timm_preset(224, 0.95, mean=_HALF, std=_HALF),
        76.3,
    ),
    ("small", "small_100", "lamb_in1k", timm_preset(224), 67.7),
    ("small_075", "small_075", "lamb_in1k", timm_preset(224), 65.2),
)


def _pretrained(
    name: str, tag: str, layout: str, transforms: Transforms, file: Download, top1: float
) -> Pretrained:
    variant, _, form = name.partition("_")
    config = Config(
        variant,
        alpha=0.75 if form == "075" else 1.0,
        minimalistic=form == "minimalistic",
        padding="same" if layout == "keras" else "symmetric",
        epsilon=1e-5 if layout == "timm" else 1e-3,
    )
    params, macs = _NUMBERS[name]
    return Pretrained(
        arch=f"mobilenet_v3_{name}",
        tag=tag,
        config=config,
        transforms=transforms,
        file=file,
        layout=layout,
        source=_SOURCES.get(tag, "timm"),
        licence="BSD-3-Clause" if layout == "torchvision" else "Apache-2.0",
        features=pooled_features(config),
        params=params,
        macs=macs,
        top1=top1,
    )


def _keras_file(name: str, md5: str) -> Download:
    return keras_file(f"mobilenet_v3/weights_mobilenet_v3_{name}_float.h5", md5)


FAMILY = Family(
    name="mobilenet_v3",
    paper="https://arxiv.org/abs/1905.02244",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision, "timm": _timm},
    pretrained=(
        *(
            _pretrained(name, "keras_in1k", "keras", keras_tf(224), _keras_file(file, md5), top1)
            for name, file, md5, top1 in _KERAS
        ),
        *(
            _pretrained(
                name, tag, "torchvision", torchvision_preset(resized=side), torchvision_file(file), top1
            )
            for name, tag, side, file, top1 in _TORCHVISION
        ),
        *(
            _pretrained(name, tag, "timm", transforms, hub_file(f"mobilenetv3_{theirs}.{tag}"), top1)
            for name, theirs, tag, transforms, top1 in _TIMM
        ),
    ),
    aliases={f"mobilenetv3_{variant}_100": f"mobilenet_v3_{variant}" for variant in ROWS},
)
