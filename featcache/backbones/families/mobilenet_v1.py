"""MobileNet (version 1): thirteen depthwise separable convolutions, without skips.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
https://arxiv.org/abs/1704.04861

Stage names are those of ``keras.applications``: each 3×3 depthwise and each 1×1 convolution, after its activation,
is a stage of its own (``conv_dw_1_relu``, ``conv_pw_1_relu``, …). timm's names are accepted too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.presets import hub_file, keras_file, keras_tf, timm_preset
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, relu6
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf

# Table 1 of the paper: output channels and stride of each depthwise separable convolution.
ROWS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


@dataclass(frozen=True)
class Config:
    """What differs between the variants and their sources.

    Parameters
    ----------
    alpha
        Factor on all channel counts (the paper's width multiplier), rounded down.
    padding
        Of the first convolution and of those with stride 1: ``"same"`` in Keras, ``"symmetric"`` in timm.
    strided_padding
        Of the depthwise convolutions with stride 2. Keras adds one row below and one column on the right
        whether the map's size is even or odd, which is ``"same"`` for even sizes only.
    epsilon
        Of the batch normalisations: 1e-3 in Keras, 1e-5 in timm.
    classes
        Outputs of the original classifier.
    """

    alpha: float = 1.0
    padding: Padding = "same"
    strided_padding: Padding = ((0, 1), (0, 1))
    epsilon: float = 1e-3
    classes: int = 1000


TIMM = Config(padding="symmetric", strided_padding="symmetric", epsilon=1e-5)
"""The form of timm's weights."""


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``conv1_relu``, ``conv_dw_1_relu``, ``conv_pw_1_relu`` …, ``pool``, ``logits``."""
    unit = partial(ConvNorm, epsilon=config.epsilon, activation=relu6, rngs=rngs)
    width = int(32 * config.alpha)
    stages: dict[str, nnx.Module] = {"conv1_relu": unit(3, width, 3, strides=2, padding=config.padding)}
    for number, (features, strides) in enumerate(ROWS, 1):
        stages[f"conv_dw_{number}_relu"] = unit(
            width,
            width,
            3,
            strides=strides,
            padding=config.padding if strides == 1 else config.strided_padding,
            groups=width,
        )
        stages[f"conv_pw_{number}_relu"] = unit(width, int(features * config.alpha))
        width = int(features * config.alpha)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(width, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES)


def timm_numbers(features: Iterable[int]) -> list[str]:
    """Return timm's ``"group.block"`` numbers of blocks: each run of equal (unscaled) widths is a group."""
    groups = [len(list(run)) for _, run in groupby(features)]
    return [f"{group}.{block}" for group, blocks in enumerate(groups) for block in range(blocks)]


_TIMM_NUMBERS = timm_numbers(features for features, _ in ROWS)

ALIASES = {
    "avg_pool": "pool",
    "global_pool": "pool",
    "predictions": "logits",
    "reshape_2": "logits",
    "classifier": "logits",
    "bn1": "conv1_relu",
    **{f"blocks.{block}.bn1": f"conv_dw_{number}_relu" for number, block in enumerate(_TIMM_NUMBERS, 1)},
    **{f"blocks.{block}": f"conv_pw_{number}_relu" for number, block in enumerate(_TIMM_NUMBERS, 1)},
}


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.MobileNet``, whose classifier is a 1×1 convolution."""
    del config
    unit = r"(conv1|conv_(?:dw|pw)_\d+)"
    return KeyTable(
        modules=((unit, "{0}_relu.conv"), (unit + "_bn", "{0}_relu.norm"), ("conv_preds", "logits")),
        leaf=keras_leaf,
        layouts=((r"logits\.kernel", pointwise_as_dense),),
    )


def pointwise_as_dense(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel ``[1, 1, D_in, D_out]`` of a convolution over one pixel as ``[D_in, D_out]``."""
    # Any other shape is left as it is, and will be reported.
    return kernel[0, 0] if kernel.ndim == 4 and kernel.shape[:2] == (1, 1) else kernel


def _timm(config: Config) -> KeyTable:
    """Names of ``timm.create_model("mobilenetv1_100")``."""
    del config
    number = {block: position for position, block in enumerate(_TIMM_NUMBERS, 1)}

    def unit(name: str):
        return lambda block: name.format(number[block])

    block = r"blocks\.(\d+\.\d+)\."
    return KeyTable(
        modules=(
            ("conv_stem", "conv1_relu.conv"),
            ("bn1", "conv1_relu.norm"),
            (block + "conv_dw", unit("conv_dw_{}_relu.conv")),
            (block + "bn1", unit("conv_dw_{}_relu.norm")),
            (block + "conv_pw", unit("conv_pw_{}_relu.conv")),
            (block + "bn2", unit("conv_pw_{}_relu.norm")),
            ("classifier", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


# Alpha, input size, parameters, multiply-accumulates, top-1. The accuracies are those of the checkpoints of
# 2017-06-14, from which Keras' files were made, by TF-Slim's table of that time:
# https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet_v1.md
_KERAS = (
    (1.0, 224, 4_231_976, 568_740_352, 70.7),
    (1.0, 192, 4_231_976, 418_121_728, 69.3),
    (1.0, 160, 4_231_976, 290_675_200, 67.2),
    (1.0, 128, 4_231_976, 186_400_768, 64.1),
    (0.75, 224, 2_585_560, 325_400_448, 68.4),
    (0.75, 192, 2_585_560, 239_273_472, 67.4),
    (0.75, 160, 2_585_560, 166_396_800, 65.2),
    (0.75, 128, 2_585_560, 106_770_432, 61.8),
    (0.5, 224, 1_331_592, 149_497_088, 64.0),
    (0.5, 192, 1_331_592, 109_970_432, 62.1),
    (0.5, 160, 1_331_592, 76_524_800, 59.9),
    (0.5, 128, 1_331_592, 49_160_192, 56.2),
    (0.25, 224, 470_072, 41_030_272, 50.6),
    (0.25, 192, 470_072, 30_212_608, 49.0),
    (0.25, 160, 470_072, 21_059_200, 46.0),
    (0.25, 128, 470_072, 13_570_048, 41.3),
)


def _from_keras(alpha: float, size: int, params: int, macs: int, top1: float) -> Pretrained:
    width = "1_0" if alpha == 1 else f"{alpha * 10:.1f}".replace(".", "_")  # Keras writes 7_5 for 0.75
    return Pretrained(
        arch=f"mobilenet_v1_{alpha * 100:03.0f}",
        tag=f"keras_in1k_{size}",
        config=Config(alpha),
        transforms=keras_tf(size),
        file=keras_file(f"mobilenet/mobilenet_{width}_{size}_tf.h5"),
        layout="keras",
        source="Keras (TF-Slim's weights)",
        licence="Apache-2.0",
        features=int(1024 * alpha),
        params=params,
        macs=macs,
        top1=top1,
    )


FAMILY = Family(
    name="mobilenet_v1",
    paper="https://arxiv.org/abs/1704.04861",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "timm": _timm},
    pretrained=(
        *(_from_keras(*row) for row in _KERAS),
        Pretrained(
            arch="mobilenet_v1_100",
            tag="ra4_e3600_r224_in1k",
            config=TIMM,
            transforms=timm_preset(224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            file=hub_file("mobilenetv1_100.ra4_e3600_r224_in1k"),
            layout="timm",
            source="timm",
            licence="Apache-2.0",
            features=1024,
            params=4_231_976,
            macs=568_740_352,
            top1=75.4,
        ),
    ),
    aliases={"MobileNet": "mobilenet_v1_100", "mobilenet_v1": "mobilenet_v1_100"},
)
