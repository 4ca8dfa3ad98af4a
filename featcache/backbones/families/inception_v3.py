"""Inception-v3: blocks of branches with kernels of several sizes, large ones factorised.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", https://arxiv.org/abs/1512.00567

The blocks are called as in ``keras.applications`` (``mixed0`` … ``mixed10``), the stem, whose layers have only
automatic names there, as in TF-slim (``Conv2d_1a_3x3`` … ``MaxPool_5a_3x3``). Torchvision's and timm's names are
accepted too.
"""

from dataclasses import dataclass, replace

from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.presets import (
    hub_file,
    keras_file,
    keras_tf,
    timm_preset,
    torchvision_file,
    torchvision_preset,
)
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import Dense, GlobalAveragePool
from featcache.backbones.nn.inception import HALF, STEM, STEM_FEATURES, Branches, Mixed, Unit, stem, units
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.images.transforms import Transforms


@dataclass(frozen=True)
class Config:
    """What differs between the sources of this architecture.

    Parameters
    ----------
    count_padding
        Whether the average pooling counts its padding as pixels: torchvision and timm, not TensorFlow and Keras.
    norm_scale
        Whether the batch normalisations have a scale: torchvision and timm, not TensorFlow and Keras.
    classes
        Outputs of the original classifier; 1,001 in the checkpoints of TF-slim.
    """

    count_padding: bool = False
    norm_scale: bool = False
    classes: int = 1000


# Figures 5, 10, 6, 10 again and 7 of the paper, with torchvision's names.


def _grid35(pool_features: int) -> Branches:
    return (
        (Unit("branch1x1", 64, 1),),
        (Unit("branch5x5_1", 48, 1), Unit("branch5x5_2", 64, 5)),
        (Unit("branch3x3dbl_1", 64, 1), Unit("branch3x3dbl_2", 96, 3), Unit("branch3x3dbl_3", 96, 3)),
        ("average_pool", Unit("branch_pool", pool_features, 1)),
    )


def _grid17(width: int) -> Branches:
    return (
        (Unit("branch1x1", 192, 1),),
        (
            Unit("branch7x7_1", width, 1),
            Unit("branch7x7_2", width, (1, 7)),
            Unit("branch7x7_3", 192, (7, 1)),
        ),
        (
            Unit("branch7x7dbl_1", width, 1),
            Unit("branch7x7dbl_2", width, (7, 1)),
            Unit("branch7x7dbl_3", width, (1, 7)),
            Unit("branch7x7dbl_4", width, (7, 1)),
            Unit("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("average_pool", Unit("branch_pool", 192, 1)),
    )


_TO_17 = (
    (Unit("branch3x3", 384, 3, 2, "valid"),),
    (
        Unit("branch3x3dbl_1", 64, 1),
        Unit("branch3x3dbl_2", 96, 3),
        Unit("branch3x3dbl_3", 96, 3, 2, "valid"),
    ),
    ("max_pool",),
)

_TO_8 = (
    (Unit("branch3x3_1", 192, 1), Unit("branch3x3_2", 320, 3, 2, "valid")),
    (
        Unit("branch7x7x3_1", 192, 1),
        Unit("branch7x7x3_2", 192, (1, 7)),
        Unit("branch7x7x3_3", 192, (7, 1)),
        Unit("branch7x7x3_4", 192, 3, 2, "valid"),
    ),
    ("max_pool",),
)

_GRID8 = (
    (Unit("branch1x1", 320, 1),),
    (
        Unit("branch3x3_1", 384, 1),
        (Unit("branch3x3_2a", 384, (1, 3)), Unit("branch3x3_2b", 384, (3, 1))),
    ),
    (
        Unit("branch3x3dbl_1", 448, 1),
        Unit("branch3x3dbl_2", 384, 3),
        (Unit("branch3x3dbl_3a", 384, (1, 3)), Unit("branch3x3dbl_3b", 384, (3, 1))),
    ),
    ("average_pool", Unit("branch_pool", 192, 1)),
)

BLOCKS: dict[str, Branches] = {
    "mixed0": _grid35(32),
    "mixed1": _grid35(64),
    "mixed2": _grid35(64),
    "mixed3": _TO_17,
    "mixed4": _grid17(128),
    "mixed5": _grid17(160),
    "mixed6": _grid17(160),
    "mixed7": _grid17(192),
    "mixed8": _TO_8,
    "mixed9": _GRID8,
    "mixed10": _GRID8,
}


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``Conv2d_1a_3x3`` … ``MaxPool_5a_3x3``, ``mixed0`` … ``mixed10``, ``pool``, ``logits``."""
    stages = stem(config.norm_scale, rngs)
    width = STEM_FEATURES
    for name, branches in BLOCKS.items():
        stages[name] = block = Mixed(
            width, branches, count_padding=config.count_padding, norm_scale=config.norm_scale, rngs=rngs
        )
        width = block.features
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(width, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES)


TORCHVISION = {
    f"Mixed_{name}": block
    for name, block in zip(
        ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"), BLOCKS, strict=True
    )
}
"""Names of the blocks in TF-slim, torchvision and timm, to ours."""

ALIASES = {
    **TORCHVISION,
    "maxpool1": "MaxPool_3a_3x3",
    "maxpool2": "MaxPool_5a_3x3",
    "Pool1": "MaxPool_3a_3x3",
    "Pool2": "MaxPool_5a_3x3",
    "avg_pool": "pool",
    "avgpool": "pool",
    "global_pool": "pool",
    "predictions": "logits",
    "fc": "logits",
}


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.InceptionV3``: all units in order, ``conv2d_N`` and ``batch_normalization_N``."""
    del config
    paths = [unit.name for unit in STEM if isinstance(unit, Unit)]
    paths += [f"{block}.{unit.name}" for block, branches in BLOCKS.items() for unit in units(branches)]
    return KeyTable(
        modules=(
            (r"conv2d_(\d+)", lambda number: f"{paths[int(number)]}.conv"),
            (r"batch_normalization_(\d+)", lambda number: f"{paths[int(number)]}.norm"),
            ("predictions", "logits"),
        ),
        leaf=keras_leaf,
        numbered=("conv2d", "batch_normalization"),
    )


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.inception_v3`` and of timm's: ``Mixed_5b.branch1x1.conv``."""
    del config
    return KeyTable(
        modules=(
            (r"(Conv2d_\w+)\.conv", "{0}.conv"),
            (r"(Conv2d_\w+)\.bn", "{0}.norm"),
            (r"(Mixed_\w\w)\.(\w+)\.conv", lambda block, unit: f"{TORCHVISION[block]}.{unit}.conv"),
            (r"(Mixed_\w\w)\.(\w+)\.bn", lambda block, unit: f"{TORCHVISION[block]}.{unit}.norm"),
            ("fc", "logits"),
        ),
        leaf=torch_leaf,
        # The auxiliary classifier is there for training only.
        ignore=(r".*\.num_batches_tracked", r"AuxLogits\..*"),
    )


def _pretrained(
    tag: str, transforms: Transforms, file: Download, source: str, licence: str, top1: float
) -> Pretrained:
    keras = tag == "keras_in1k"
    return Pretrained(
        arch="inception_v3",
        tag=tag,
        config=Config(count_padding=not keras, norm_scale=not keras),
        transforms=transforms,
        file=file,
        layout="keras" if keras else "torchvision",
        source=source,
        licence=licence,
        features=2048,
        params=23_817_352 if keras else 23_834_568,  # the scales
        macs=5_713_216_096,
        top1=top1,
    )


def _timm(tag: str, source: str, top1: float, transforms: Transforms) -> Pretrained:
    return _pretrained(tag, transforms, hub_file(f"inception_v3.{tag}"), source, "Apache-2.0", top1)


_TF_TRANSFORMS = timm_preset(299, mean=HALF, std=HALF)

FAMILY = Family(
    name="inception_v3",
    paper="https://arxiv.org/abs/1512.00567",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision},
    pretrained=(
        _pretrained(
            "keras_in1k",
            keras_tf(299),
            keras_file(
                "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
                "9a0d58056eeedaa3f26cb7ebd46da564",
            ),
            "Keras",
            "Apache-2.0",
            77.9,
        ),
        _pretrained(
            "tv_in1k",
            # Torchvision's own mean and standard deviation are undone inside its network (transform_input).
            replace(torchvision_preset(299, 342), mean=HALF, std=HALF),
            torchvision_file("inception_v3_google-0cc3c7bd.pth"),
            "torchvision IMAGENET1K_V1",
            "BSD-3-Clause",
            77.3,
        ),
        _timm("tf_in1k", "timm (TF-slim 2016-08-28)", 77.9, _TF_TRANSFORMS),
        _timm("tf_adv_in1k", "timm (TF-slim, adversarial training 2017-08-18)", 77.6, _TF_TRANSFORMS),
        _timm("gluon_in1k", "timm (Gluon CV)", 78.8, timm_preset(299)),
    ),
)
