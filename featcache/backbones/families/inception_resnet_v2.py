"""Inception-ResNet-v2: inception blocks whose scaled output is added to their input.

Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
https://arxiv.org/abs/1602.07261

Stage names are those of ``keras.applications`` (``mixed_5b``, ``block35_1`` for ``block35_1_ac``, …,
``conv_7b_ac``), in the stem, whose layers have only automatic names there, those of TF-slim
(``Conv2d_1a_3x3`` … ``MaxPool_5a_3x3``). Timm's names are accepted too.
"""

from dataclasses import dataclass

import jax
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.families.presets import hub_file, keras_file, keras_tf, timm_preset
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import Conv, Dense, GlobalAveragePool
from featcache.backbones.nn.inception import (
    HALF,
    STEM,
    STEM_FEATURES,
    Branches,
    Mixed,
    Unit,
    conv_norm,
    stem,
    units,
)
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.images.transforms import Transforms


@dataclass(frozen=True)
class Config:
    """What differs between the sources of this architecture.

    Parameters
    ----------
    norm_scale
        Whether the batch normalisations have a scale: timm, not TensorFlow and Keras.
    classes
        Outputs of the original classifier; 1,001 in the checkpoints of TF-slim.
    """

    norm_scale: bool = False
    classes: int = 1000


# Figures 16, 17 and 19 of the paper with the widths of TF-slim's code, from which all weights come, and its names.

BLOCK35 = (
    (Unit("Branch_0_Conv2d_1x1", 32, 1),),
    (Unit("Branch_1_Conv2d_0a_1x1", 32, 1), Unit("Branch_1_Conv2d_0b_3x3", 32, 3)),
    (
        Unit("Branch_2_Conv2d_0a_1x1", 32, 1),
        Unit("Branch_2_Conv2d_0b_3x3", 48, 3),
        Unit("Branch_2_Conv2d_0c_3x3", 64, 3),
    ),
)

BLOCK17 = (
    (Unit("Branch_0_Conv2d_1x1", 192, 1),),
    (
        Unit("Branch_1_Conv2d_0a_1x1", 128, 1),
        Unit("Branch_1_Conv2d_0b_1x7", 160, (1, 7)),
        Unit("Branch_1_Conv2d_0c_7x1", 192, (7, 1)),
    ),
)

BLOCK8 = (
    (Unit("Branch_0_Conv2d_1x1", 192, 1),),
    (
        Unit("Branch_1_Conv2d_0a_1x1", 192, 1),
        Unit("Branch_1_Conv2d_0b_1x3", 224, (1, 3)),
        Unit("Branch_1_Conv2d_0c_3x1", 256, (3, 1)),
    ),
)

MIXED_5B = (
    (Unit("Branch_0_Conv2d_1x1", 96, 1),),
    (Unit("Branch_1_Conv2d_0a_1x1", 48, 1), Unit("Branch_1_Conv2d_0b_5x5", 64, 5)),
    (
        Unit("Branch_2_Conv2d_0a_1x1", 64, 1),
        Unit("Branch_2_Conv2d_0b_3x3", 96, 3),
        Unit("Branch_2_Conv2d_0c_3x3", 96, 3),
    ),
    ("average_pool", Unit("Branch_3_Conv2d_0b_1x1", 64, 1)),
)

MIXED_6A = (
    (Unit("Branch_0_Conv2d_1a_3x3", 384, 3, 2, "valid"),),
    (
        Unit("Branch_1_Conv2d_0a_1x1", 256, 1),
        Unit("Branch_1_Conv2d_0b_3x3", 256, 3),
        Unit("Branch_1_Conv2d_1a_3x3", 384, 3, 2, "valid"),
    ),
    ("max_pool",),
)

MIXED_7A = (
    (Unit("Branch_0_Conv2d_0a_1x1", 256, 1), Unit("Branch_0_Conv2d_1a_3x3", 384, 3, 2, "valid")),
    (Unit("Branch_1_Conv2d_0a_1x1", 256, 1), Unit("Branch_1_Conv2d_1a_3x3", 288, 3, 2, "valid")),
    (
        Unit("Branch_2_Conv2d_0a_1x1", 256, 1),
        Unit("Branch_2_Conv2d_0b_3x3", 288, 3),
        Unit("Branch_2_Conv2d_1a_3x3", 320, 3, 2, "valid"),
    ),
    ("max_pool",),
)

BRANCHES: dict[str, Branches] = {
    "mixed_5b": MIXED_5B,
    "block35": BLOCK35,
    "mixed_6a": MIXED_6A,
    "block17": BLOCK17,
    "mixed_7a": MIXED_7A,
    "block8": BLOCK8,
}

# How many residual blocks of each kind, and the factor on what they add.
RESIDUALS = {"block35": (10, 0.17), "block17": (20, 0.1), "block8": (10, 0.2)}

LAST_BLOCK = "block8_10"
"""Is added unscaled, and no ReLU follows."""

LAST_UNIT = Unit("conv_7b_ac", 1536, 1)


class ResidualBlock(nnx.Module):
    """Branches, a 1×1 convolution back to the input's channels, a scaled sum, ReLU."""

    points = ("mixed", "conv")

    def __init__(
        self,
        in_features: int,
        branches: Branches,
        *,
        scale: float,
        is_last: bool,
        norm_scale: bool,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.mixed = Mixed(in_features, branches, norm_scale=norm_scale, rngs=rngs)
        self.conv = Conv(self.mixed.features, in_features, use_bias=True, rngs=rngs)
        self.scale = 1.0 if is_last else scale
        self.is_last = is_last

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to the same shape."""
        y = record("mixed", self.mixed(x))
        y = x + self.scale * record("conv", self.conv(y))
        return y if self.is_last else jax.nn.relu(y)


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: the stem, ``mixed_5b``, ``block35_1`` … ``block8_10``, ``conv_7b_ac``, ``pool``, ``logits``."""
    stages = stem(config.norm_scale, rngs)
    width = STEM_FEATURES
    for stage in STAGES:
        kind = _kind(stage)
        if kind in RESIDUALS:
            stages[stage] = ResidualBlock(
                width,
                BRANCHES[kind],
                scale=RESIDUALS[kind][1],
                is_last=stage == LAST_BLOCK,
                norm_scale=config.norm_scale,
                rngs=rngs,
            )
        else:
            stages[stage] = mixed = Mixed(width, BRANCHES[kind], norm_scale=config.norm_scale, rngs=rngs)
            width = mixed.features
    stages[LAST_UNIT.name] = conv_norm(width, LAST_UNIT, config.norm_scale, rngs)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(LAST_UNIT.features, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES)


STAGES = tuple(
    f"{kind}_{number + 1}" if kind in RESIDUALS else kind
    for kind in BRANCHES
    for number in range(RESIDUALS.get(kind, (1,))[0])
)
"""Those between the stem and the last convolution."""


def _kind(stage: str) -> str:
    return stage if stage in BRANCHES else stage.partition("_")[0]


def _mixed(stage: str) -> str:
    """Our path of the branches of a stage."""
    return f"{stage}.mixed" if _kind(stage) in RESIDUALS else stage


# Timm's numbers, from 0, of the blocks of each kind; its last block is outside of them.
_TIMM_BLOCKS = {
    **{f"repeat.{n}": f"block35_{n + 1}" for n in range(10)},
    **{f"repeat_1.{n}": f"block17_{n + 1}" for n in range(20)},
    **{f"repeat_2.{n}": f"block8_{n + 1}" for n in range(9)},
    "block8": LAST_BLOCK,
}

_TIMM_UNITS = {
    "conv2d_1a": "Conv2d_1a_3x3",
    "conv2d_2a": "Conv2d_2a_3x3",
    "conv2d_2b": "Conv2d_2b_3x3",
    "conv2d_3b": "Conv2d_3b_1x1",
    "conv2d_4a": "Conv2d_4a_3x3",
    "conv2d_7b": LAST_UNIT.name,
}

ALIASES = {
    **_TIMM_UNITS,
    **_TIMM_BLOCKS,
    "maxpool_3a": "MaxPool_3a_3x3",
    "maxpool_5a": "MaxPool_5a_3x3",
    "repeat": "block35_10",
    "repeat_1": "block17_20",
    "repeat_2": "block8_9",
    **{f"{block}_ac": block for block in _TIMM_BLOCKS.values() if block != LAST_BLOCK},
    "avg_pool": "pool",
    "global_pool": "pool",
    "predictions": "logits",
    "classif": "logits",
}


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.InceptionResNetV2``, and those of the files that it publishes.

    Today's code numbers all units but the last. The published files were written before it was part of Keras, by
    https://github.com/yuyang-huang/keras-inception-resnet-v2 (whose code gives the same MD5s), with TF-slim's names.
    """
    del config
    paths = [unit.name for unit in STEM if isinstance(unit, Unit)]
    paths += [f"{_mixed(stage)}.{unit.name}" for stage in STAGES for unit in units(BRANCHES[_kind(stage)])]

    def part(norm: str | None) -> str:
        return "norm" if norm else "conv"

    return KeyTable(
        modules=(
            (r"conv2d_(\d+)", lambda number: f"{paths[int(number)]}.conv"),
            (r"batch_normalization_(\d+)", lambda number: f"{paths[int(number)]}.norm"),
            (r"(block\d+_\d+)_conv", "{0}.conv"),
            (r"conv_7b(_bn)?", lambda norm: f"conv_7b_ac.{part(norm)}"),
            (r"Conv2d_7b_1x1(_BatchNorm)?", lambda norm: f"conv_7b_ac.{part(norm)}"),
            (r"(Conv2d_\w\w_\dx\d)(_BatchNorm)?", lambda unit, norm: f"{unit}.{part(norm)}"),
            (
                r"(Mixed_\w\w|Block\d+_\d+)_(Branch_\w+?)(_BatchNorm)?",
                lambda stage, unit, norm: f"{_mixed(stage.lower())}.{unit}.{part(norm)}",
            ),
            (r"Block(\d+_\d+)_Conv2d_1x1", "block{0}.conv"),
            (r"predictions|Logits", "logits"),
        ),
        leaf=keras_leaf,
        numbered=("conv2d", "batch_normalization"),
    )


def _timm(config: Config) -> KeyTable:
    """Names of timm: ``repeat.0.branch1.2.conv``; a branch of one unit has no positions."""
    del config
    parts = {"conv": "conv", "bn": "norm"}

    def unit(block: str, branch: str, position: str | None, part: str) -> str:
        stage = _TIMM_BLOCKS.get(block, block)
        step = BRANCHES[_kind(stage)][int(branch)][int(position or 0)]
        if not isinstance(step, Unit):
            raise LookupError(step)
        return f"{_mixed(stage)}.{step.name}.{parts[part]}"

    block = r"(repeat(?:_[12])?\.\d+|block8)"
    return KeyTable(
        modules=(
            (r"(conv2d_\w\w)\.(conv|bn)", lambda unit, part: f"{_TIMM_UNITS[unit]}.{parts[part]}"),
            (r"(mixed_\w\w|repeat(?:_[12])?\.\d+|block8)\.branch(\d)(?:\.(\d))?\.(conv|bn)", unit),
            (block + r"\.conv2d", lambda block: f"{_TIMM_BLOCKS[block]}.conv"),
            ("classif", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


def _pretrained(tag: str, transforms: Transforms, file: Download, source: str, top1: float) -> Pretrained:
    keras = tag == "keras_in1k"
    return Pretrained(
        arch="inception_resnet_v2",
        tag=tag,
        config=Config(norm_scale=not keras),
        transforms=transforms,
        file=file,
        layout="keras" if keras else "timm",
        source=source,
        licence="Apache-2.0",
        features=1536,
        params=55_813_192 if keras else 55_843_464,  # the scales
        macs=13_155_794_016,
        top1=top1,
    )


def _timm_pretrained(tag: str, source: str, top1: float) -> Pretrained:
    transforms = timm_preset(299, 0.8975, mean=HALF, std=HALF)
    return _pretrained(tag, transforms, hub_file(f"inception_resnet_v2.{tag}"), source, top1)


FAMILY = Family(
    name="inception_resnet_v2",
    paper="https://arxiv.org/abs/1602.07261",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "timm": _timm},
    pretrained=(
        _pretrained(
            "keras_in1k",
            keras_tf(299),
            keras_file(
                "inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
                "e693bd0210a403b3192acc6073ad2e96",
            ),
            "Keras",
            80.3,
        ),
        _timm_pretrained("tf_in1k", "timm (TF-slim 2016-08-30)", 80.5),
        _timm_pretrained("tf_ens_adv_in1k", "timm (TF-slim, ensemble adversarial training 2017-08-18)", 80.0),
    ),
)
