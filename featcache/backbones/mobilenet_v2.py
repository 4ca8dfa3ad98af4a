"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", https://arxiv.org/abs/1801.04381

Stage names are those of ``keras.applications``; torchvision's are accepted too.
"""

from dataclasses import dataclass

import jax
from flax import nnx

from featcache.backbones.chain import Backbone, Record, forget
from featcache.backbones.convert import KeyTable, torch_leaf
from featcache.backbones.convolution import Padding
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.layers import ConvNorm, Dense, GlobalAveragePool, relu6
from featcache.transforms import IMAGENET_MEAN, IMAGENET_STD, Transforms

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
    """What differs between the sources of this architecture.

    Parameters
    ----------
    padding
        ``"symmetric"`` in torchvision, ``"same"`` in TensorFlow.
    epsilon
        Of the batch normalisations: 1e-5 in torchvision, 1e-3 in Keras.
    classes
        Outputs of the original classifier.
    """

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

    def __call__(self, x: jax.Array, record: Record = forget) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', out_features]``."""
        y = x if self.expand is None else record("expand_relu", self.expand(x))
        y = record("depthwise_relu", self.depthwise(y))
        y = record("project_BN", self.project(y))
        return x + y if self.skip else y


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``Conv1``, ``expanded_conv``, ``block_1`` … ``block_16``, ``out_relu``, ``pool``, ``logits``."""
    stages: dict[str, nnx.Module] = {
        "Conv1": ConvNorm(
            3,
            32,
            3,
            strides=2,
            padding=config.padding,
            epsilon=config.epsilon,
            activation=relu6,
            rngs=rngs,
        )
    }
    width = 32
    for expansion, features, repeats, first in ROWS:
        for repeat in range(repeats):
            stages[_block(len(stages) - 1)] = InvertedResidual(
                width,
                features,
                expansion=expansion,
                strides=first if repeat == 0 else 1,
                padding=config.padding,
                epsilon=config.epsilon,
                rngs=rngs,
            )
            width = features
    stages["out_relu"] = ConvNorm(width, 1280, epsilon=config.epsilon, activation=relu6, rngs=rngs)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(1280, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES)


def _block(number: int) -> str:
    return f"block_{number}" if number else "expanded_conv"


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.mobilenet_v2``: ``features.0`` … ``features.18``, ``classifier.1``."""
    del config

    def unit(part: str):
        return lambda number: f"{_block(int(number) - 1)}.{part}"

    block = r"features\.([2-9]|1[0-7])\.conv"
    return KeyTable(
        modules=(
            (r"features\.0\.0", "Conv1.conv"),
            (r"features\.0\.1", "Conv1.norm"),
            # The first block has no expansion, so its indices are one lower.
            (r"features\.(1)\.conv\.0\.0", unit("depthwise.conv")),
            (r"features\.(1)\.conv\.0\.1", unit("depthwise.norm")),
            (r"features\.(1)\.conv\.1", unit("project.conv")),
            (r"features\.(1)\.conv\.2", unit("project.norm")),
            (block + r"\.0\.0", unit("expand.conv")),
            (block + r"\.0\.1", unit("expand.norm")),
            (block + r"\.1\.0", unit("depthwise.conv")),
            (block + r"\.1\.1", unit("depthwise.norm")),
            (block + r"\.2", unit("project.conv")),
            (block + r"\.3", unit("project.norm")),
            (r"features\.18\.0", "out_relu.conv"),
            (r"features\.18\.1", "out_relu.norm"),
            (r"classifier\.1", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


ALIASES = {
    "Conv1_relu": "Conv1",
    "global_average_pooling2d": "pool",
    "avg_pool": "pool",
    "predictions": "logits",
    "classifier": "logits",
    "features.0": "Conv1",
    "features.18": "out_relu",
    **{f"features.{n + 1}": _block(n) for n in range(17)},
    **{f"block_{n}_add": f"block_{n}" for n in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)},
}

FAMILY = Family(
    name="mobilenet_v2",
    paper="https://arxiv.org/abs/1801.04381",
    revision=1,
    build=build,
    key_tables={"torchvision": _torchvision},
    pretrained=(
        Pretrained(
            arch="mobilenet_v2",
            tag="tv_in1k",
            config=Config(),
            transforms=Transforms(
                input_size=(224, 224),
                crop_pct=0.875,
                crop_mode="center",
                interpolation="bilinear",
                mean=IMAGENET_MEAN,
                std=IMAGENET_STD,
            ),
            file=Download(
                "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
                "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            ),
            layout="torchvision",
            source="torchvision IMAGENET1K_V1",
            licence="BSD-3-Clause",
            features=1280,
            params=3_504_872,
            macs=300_774_272,
            top1=71.9,
        ),
    ),
    aliases={"mobilenetv2_100": "mobilenet_v2"},
)
