"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", https://arxiv.org/abs/1801.04381

Stage names are those of ``keras.applications``; torchvision's and timm's are accepted too.
"""

from dataclasses import dataclass

import jax
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.families.mobilenet_v1 import timm_numbers
from featcache.backbones.families.presets import (
    hub_file,
    keras_file,
    keras_tf,
    timm_preset,
    torchvision_file,
    torchvision_preset,
)
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, relu6
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.nn.mbconv import scaled_features
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.images.transforms import Transforms

# Table 2 of the paper: expansion, output channels, repeats, stride of the first.
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class Config:
    """What differs between the variants and their sources.

    Parameters
    ----------
    alpha
        Factor on all channel counts (the paper's width multiplier); on the last only where it is above 1.
    padding
        ``"symmetric"`` in torchvision and timm, ``"same"`` in TensorFlow.
    epsilon
        Of the batch normalisations: 1e-5 in torchvision and timm, 1e-3 in Keras.
    classes
        Outputs of the original classifier.
    """

    alpha: float = 1.0
    padding: Padding = "symmetric"
    epsilon: float = 1e-5
    classes: int = 1000


class InvertedResidual(nnx.Module):
    """Expand 1×1, depthwise 3×3 or 5×5, project 1×1 without activation; a skip where the shape allows."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        expansion: int,
        strides: int,
        kernel_size: int = 3,
        padding: Padding,
        epsilon: float,
        rngs: nnx.Rngs | None,
    ) -> None:
        width = in_features * expansion
        self.expand = (
            ConvNorm(in_features, width, epsilon=epsilon, activation=relu6, rngs=rngs)
            if expansion != 1
            else None
        )
        self.depthwise = ConvNorm(
            width,
            width,
            kernel_size,
            strides=strides,
            padding=padding,
            groups=width,
            epsilon=epsilon,
            activation=relu6,
            rngs=rngs,
        )
        self.project = ConvNorm(width, out_features, epsilon=epsilon, rngs=rngs)
        self.skip = strides == 1 and in_features == out_features
        self.points = ("expand_relu",) * (expansion != 1) + ("depthwise_relu", "project_BN")

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', out_features]``."""
        y = x if self.expand is None else record("expand_relu", self.expand(x))
        y = record("depthwise_relu", self.depthwise(y))
        y = record("project_BN", self.project(y))
        return x + y if self.skip else y


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``Conv1_relu``, ``expanded_conv``, ``block_1`` …, ``out_relu``, ``pool``, ``logits``."""
    common = {"padding": config.padding, "epsilon": config.epsilon, "rngs": rngs}
    width = scaled_features(32, config.alpha)
    stages: dict[str, nnx.Module] = {
        "Conv1_relu": ConvNorm(3, width, 3, strides=2, activation=relu6, **common)
    }
    for expansion, features, repeats, first in ROWS:
        features = scaled_features(features, config.alpha)
        for repeat in range(repeats):
            stages[_block(len(stages) - 1)] = InvertedResidual(
                width, features, expansion=expansion, strides=first if repeat == 0 else 1, **common
            )
            width = features
    last = last_features(config.alpha)
    stages["out_relu"] = ConvNorm(width, last, epsilon=config.epsilon, activation=relu6, rngs=rngs)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(last, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES)


def last_features(alpha: float) -> int:
    """Channels of the last convolution: 1280, and more for the networks wider than the usual one."""
    return scaled_features(1280, max(alpha, 1.0))


def _block(number: int) -> str:
    return f"block_{number}" if number else "expanded_conv"


# timm's numbers of the blocks in order.
_TIMM = timm_numbers(features for _, features, repeats, _ in ROWS for _ in range(repeats))

# Blocks that begin a row change the map's size or width, so that nothing can be added to them.
_FIRST = [sum(row[2] for row in ROWS[:number]) for number in range(len(ROWS))]

ALIASES = {
    "global_average_pooling2d": "pool",
    "avg_pool": "pool",
    "predictions": "logits",
    **{f"block_{n}_add": f"block_{n}" for n in range(17) if n not in _FIRST},
    # torchvision
    "features.0": "Conv1_relu",
    "features.18": "out_relu",
    **{f"features.{n + 1}": _block(n) for n in range(17)},
    "classifier": "logits",
    # timm
    "bn1": "Conv1_relu",
    "bn2": "out_relu",
    **{f"blocks.{number}": _block(n) for n, number in enumerate(_TIMM)},
    "global_pool": "pool",
}


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.MobileNetV2``, today's and those of 2018 (``mobl1_conv_1_expand``)."""
    del config

    def unit(part: str):
        return lambda number, step: f"{_block(int(number))}.{step}.{part}"

    block, step = "(expanded_conv|block_[0-9]+)_", "(expand|depthwise|project)"
    return KeyTable(
        modules=(
            ("Conv1", "Conv1_relu.conv"),
            ("bn_Conv1", "Conv1_relu.norm"),
            (block + step, "{0}.{1}.conv"),
            (block + step + "_BN", "{0}.{1}.norm"),
            (r"mobl(\d+)_conv_(?:\d+_)?" + step, unit("conv")),
            (r"bn(\d+)_conv_(?:\d+_)?(?:bn_)?" + step, unit("norm")),
            ("Conv_1", "out_relu.conv"),
            ("Conv_1_bn", "out_relu.norm"),
            ("predictions|Logits", "logits"),
        ),
        leaf=keras_leaf,
    )


def _units(first: str, other: str) -> tuple[dict[str, str], dict[str, str]]:
    """A framework's modules of the first block, which has no expansion, and of any other, to ours."""
    ours = [f"{step}.{part}" for step in ("expand", "depthwise", "project") for part in ("conv", "norm")]
    of_first, of_other = first.split(), other.split()
    return dict(zip(of_first, ours[2:], strict=True)), dict(zip(of_other, ours, strict=True))


TORCHVISION_UNITS = _units("0.0 0.1 1 2", "0.0 0.1 1.0 1.1 2 3")
TIMM_UNITS = _units("conv_dw bn1 conv_pw bn2", "conv_pw bn1 conv_dw bn2 conv_pwl bn3")


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.mobilenet_v2``: ``features.0`` … ``features.18``, ``classifier.1``."""
    del config

    def unit(number: str, module: str) -> str:
        return f"{_block(int(number) - 1)}.{TORCHVISION_UNITS[number != '1'][module]}"

    return KeyTable(
        modules=(
            (r"features\.0\.0", "Conv1_relu.conv"),
            (r"features\.0\.1", "Conv1_relu.norm"),
            (r"features\.(\d+)\.conv\.([\d.]+)", unit),
            (r"features\.18\.0", "out_relu.conv"),
            (r"features\.18\.1", "out_relu.norm"),
            (r"classifier\.1", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


def _timm(config: Config) -> KeyTable:
    """Names of ``timm.create_model("mobilenetv2_100")``."""
    del config
    names = {number: _block(position) for position, number in enumerate(_TIMM)}

    def unit(number: str, module: str) -> str:
        return f"{names[number]}.{TIMM_UNITS[number != '0.0'][module]}"

    return KeyTable(
        modules=(
            ("conv_stem", "Conv1_relu.conv"),
            ("bn1", "Conv1_relu.norm"),
            (r"blocks\.(\d+\.\d+)\.(\w+)", unit),
            ("conv_head", "out_relu.conv"),
            ("bn2", "out_relu.norm"),
            ("classifier", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


_SOURCES = {
    "tv_in1k": "torchvision IMAGENET1K_V1",
    "tv2_in1k": "torchvision IMAGENET1K_V2",
    "keras": "Keras (TF-Slim's weights)",
    "timm": "timm",
}

# Parameters of each width.
_PARAMS = {0.35: 1_677_128, 0.5: 1_968_680, 0.75: 2_636_424, 1.0: 3_504_872, 1.3: 5_386_792, 1.4: 6_108_776}

# Alpha, input size, multiply-accumulates, top-1: the accuracies are TF-Slim's, from whose checkpoints Keras' files
# were made, https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet/README.md
_KERAS = (
    (1.0, 224, 300_774_272, 71.8),
    (1.0, 192, 221_316_608, 70.7),
    (1.0, 160, 154_083_200, 68.8),
    (1.0, 128, 99_074_048, 65.3),
    (1.0, 96, 56_289_152, 60.3),
    (0.35, 224, 59_285_808, 60.3),
    (0.35, 192, 43_896_512, 58.2),
    (0.35, 160, 30_874_800, 55.7),
    (0.35, 128, 20_220_672, 50.8),
    (0.35, 96, 11_934_128, 45.5),
    (0.5, 224, 97_131_840, 65.4),
    (0.5, 192, 71_701_760, 63.9),
    (0.5, 160, 50_184_000, 61.0),
    (0.5, 128, 32_578_560, 57.7),
    (0.5, 96, 18_885_440, 51.2),
    (0.75, 224, 209_069_792, 69.8),
    (0.75, 192, 153_941_888, 68.7),
    (0.75, 160, 107_295_200, 66.4),
    (0.75, 128, 69_129_728, 63.2),
    (0.75, 96, 39_445_472, 58.8),
    (1.3, 224, 509_374_560, 74.4),
    (1.4, 224, 582_195_824, 75.0),
)


def _pretrained(
    layout: str, alpha: float, tag: str, transforms: Transforms, file: Download, macs: int, top1: float
) -> Pretrained:
    return Pretrained(
        arch="mobilenet_v2" if alpha == 1 else f"mobilenet_v2_{alpha * 100:03.0f}",
        tag=tag,
        config=Config(alpha, "same", 1e-3) if layout == "keras" else Config(alpha),
        transforms=transforms,
        file=file,
        layout=layout,
        source=_SOURCES.get(tag) or _SOURCES[layout],
        licence="BSD-3-Clause" if layout == "torchvision" else "Apache-2.0",
        features=last_features(alpha),
        params=_PARAMS[alpha],
        macs=macs,
        top1=top1,
    )


def _keras_file(alpha: float, size: int) -> Download:
    return keras_file(f"mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}.h5")


_TORCHVISION = Download(
    "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)

FAMILY = Family(
    name="mobilenet_v2",
    paper="https://arxiv.org/abs/1801.04381",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision, "timm": _timm},
    pretrained=(
        *(
            _pretrained("torchvision", 1.0, tag, torchvision_preset(resized=resized), file, 300_774_272, top1)
            for tag, resized, file, top1 in (
                ("tv_in1k", 256, _TORCHVISION, 71.9),
                ("tv2_in1k", 232, torchvision_file("mobilenet_v2-7ebf99e0.pth"), 72.2),
            )
        ),
        *(
            _pretrained(
                "keras", alpha, f"keras_in1k_{size}", keras_tf(size), _keras_file(alpha, size), macs, top1
            )
            for alpha, size, macs, top1 in _KERAS
        ),
        *(
            _pretrained("timm", alpha, tag, timm_preset(224), hub_file(f"{name}.{tag}"), macs, top1)
            for alpha, name, tag, macs, top1 in (
                (1.0, "mobilenetv2_100", "ra_in1k", 300_774_272, 73.0),
                (0.5, "mobilenetv2_050", "lamb_in1k", 97_131_840, 66.0),
                (1.4, "mobilenetv2_140", "ra_in1k", 582_195_824, 76.5),
            )
        ),
    ),
    aliases={"mobilenetv2_100": "mobilenet_v2"},
)
