"""ResNet: blocks that add what they compute to what they were given.

He et al., "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385

Stage names are those of ``keras.applications``: ``conv1_relu``, ``pool1_pool``, then each block by its end,
``conv2_block1_out`` … ``conv5_block3_out``. The names of torchvision and timm are accepted too. Inside a block are
the points ``1_relu`` and ``2_relu`` (``1_relu`` in the blocks of two convolutions), and the branch's end before it
is added, ``3_bn`` (``2_bn``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.families.presets import (
    hub_file,
    keras_caffe,
    keras_file,
    timm_preset,
    torchvision_file,
    torchvision_preset,
)
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, MaxPool
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf

WIDTHS = (64, 128, 256, 512)

# Table 1 of the paper: kernel sizes in a block, blocks in each of the four stacks.
BASIC, BOTTLENECK = (3, 3), (1, 3, 1)
DEPTHS = {
    18: (BASIC, (2, 2, 2, 2)),
    34: (BASIC, (3, 4, 6, 3)),
    50: (BOTTLENECK, (3, 4, 6, 3)),
    101: (BOTTLENECK, (3, 4, 23, 3)),
    152: (BOTTLENECK, (3, 8, 36, 3)),
}


@dataclass(frozen=True)
class Config:
    """What differs between the variants and their sources.

    Parameters
    ----------
    kernels
        Kernel sizes of a block's convolutions, in pixels. Three are a bottleneck, whose end is four times as wide.
    repeats
        Blocks in each of the four stacks.
    strided
        Which convolution of a stack's first block takes steps of two, counted from 1: the first in the paper and
        in Keras, the 3×3 one of a bottleneck in torchvision (known as ResNet v1.5).
    use_bias
        Whether the convolutions have a bias (Keras).
    epsilon
        Of the batch normalisations: 1e-5 in torchvision, 1.001e-5 in Keras.
    classes
        Outputs of the original classifier.
    """

    kernels: tuple[int, ...]
    repeats: tuple[int, ...]
    strided: int = 1
    use_bias: bool = False
    epsilon: float = 1e-5
    classes: int = 1000


class Residual(nnx.Module):
    """Convolutions (`units`) beside a `shortcut`, added up and rectified.

    The shortcut is the input itself where the shapes allow, a 1×1 convolution elsewhere.
    """

    def __init__(
        self, in_features: int, width: int, *, strides: int, config: Config, rngs: nnx.Rngs | None
    ) -> None:
        last = len(config.kernels)
        out_features = block_features(width, config)

        def unit(number: int, kernel_size: int) -> ConvNorm:
            return ConvNorm(
                in_features if number <= 1 else width,
                out_features if number in (0, last) else width,
                kernel_size,
                strides=strides if number in (0, config.strided) else 1,
                padding="symmetric",
                use_bias=config.use_bias,
                epsilon=config.epsilon,
                activation=jax.nn.relu if 0 < number < last else None,
                rngs=rngs,
            )

        self.units = nnx.Dict({str(n): unit(n, kernel) for n, kernel in enumerate(config.kernels, 1)})
        self.shortcut = unit(0, 1) if strides != 1 or in_features != out_features else None
        self.points = point_names(config)

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', out_features]``."""
        y = x
        for number, point in enumerate(self.points, 1):
            y = record(point, self.units[str(number)](y))
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def block_features(width: int, config: Config) -> int:
    """Channels at the end of a block whose convolutions have `width` channels."""
    return width * (4 if len(config.kernels) == 3 else 1)


def point_names(config: Config) -> tuple[str, ...]:
    """Names of the values inside a block: the output of each of its convolutions."""
    last = len(config.kernels)
    return (*(f"{number}_relu" for number in range(1, last)), f"{last}_bn")


def blocks(repeats: tuple[int, ...]) -> Iterator[tuple[int, int, str]]:
    """Yield for each block its stack and its number in the stack, both counted from 0, and Keras' name.

    Parameters
    ----------
    repeats
        Blocks in each stack.
    """
    for stack, count in enumerate(repeats):
        for repeat in range(count):
            yield stack, repeat, f"conv{stack + 2}_block{repeat + 1}"


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``conv1_relu``, ``pool1_pool``, ``conv2_block1_out`` …, ``pool``, ``logits``."""
    stages: dict[str, nnx.Module] = {
        "conv1_relu": ConvNorm(
            3,
            64,
            7,
            strides=2,
            padding="symmetric",
            use_bias=config.use_bias,
            epsilon=config.epsilon,
            activation=jax.nn.relu,
            rngs=rngs,
        ),
        # Keras pads with zeros, torchvision with -inf: behind a ReLU that is the same.
        "pool1_pool": MaxPool(3, strides=2, padding="symmetric"),
    }
    features = 64
    for stack, repeat, block in blocks(config.repeats):
        stages[f"{block}_out"] = Residual(
            features,
            WIDTHS[stack],
            strides=2 if stack > 0 and repeat == 0 else 1,
            config=config,
            rngs=rngs,
        )
        features = block_features(WIDTHS[stack], config)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(features, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES | _block_aliases(config))


ALIASES = {
    "avg_pool": "pool",
    "predictions": "logits",
    # torchvision; the same in timm but for act1 and global_pool
    "relu": "conv1_relu",
    "act1": "conv1_relu",
    "maxpool": "pool1_pool",
    "avgpool": "pool",
    "global_pool": "pool",
    "fc": "logits",
}


def _block_aliases(config: Config) -> dict[str, str]:
    """Names of the blocks and of the values inside them, in Keras, torchvision and timm."""
    aliases: dict[str, str] = {}
    *inner, end = point_names(config)
    for stack, repeat, block in blocks(config.repeats):
        module, stage = f"layer{stack + 1}.{repeat}", f"{block}_out"
        aliases |= {f"{block}_{point}": f"{stage}_{point}" for point in (*inner, end)}
        aliases |= {f"{module}.act{number}": f"{stage}_{point}" for number, point in enumerate(inner, 1)}
        aliases[f"{module}.bn{len(config.kernels)}"] = f"{stage}_{end}"
        aliases[f"{module}.act{len(config.kernels)}"] = stage
        aliases[module] = stage
        aliases[f"layer{stack + 1}"] = stage  # of the stack's blocks the last one stays
    return aliases


_PARTS = {"conv": "conv", "bn": "norm", "0": "conv", "1": "norm"}


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.ResNet50``: ``conv2_block1_0_conv`` (the shortcut), ``conv2_block1_1_bn``.

    The published files are of 2019, when the classifier was called ``probs``.
    """
    del config
    block = r"(conv\d_block\d+)"
    return KeyTable(
        modules=(
            ("conv1_(conv|bn)", lambda part: f"conv1_relu.{_PARTS[part]}"),
            (block + "_0_(conv|bn)", lambda block, part: f"{block}_out.shortcut.{_PARTS[part]}"),
            (block + r"_(\d)_(conv|bn)", lambda block, n, part: f"{block}_out.units.{n}.{_PARTS[part]}"),
            ("predictions|probs", "logits"),
        ),
        leaf=keras_leaf,
    )


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.resnet50``, and of timm: ``layer1.0.conv1``, ``layer1.0.downsample.0``."""
    names = {(str(stack + 1), str(repeat)): f"{block}_out" for stack, repeat, block in blocks(config.repeats)}
    block = r"layer(\d)\.(\d+)\."
    return KeyTable(
        modules=(
            ("(conv|bn)1", lambda part: f"conv1_relu.{_PARTS[part]}"),
            (block + r"(conv|bn)(\d)", lambda s, r, part, n: f"{names[s, r]}.units.{n}.{_PARTS[part]}"),
            (block + r"downsample\.([01])", lambda s, r, part: f"{names[s, r]}.shortcut.{_PARTS[part]}"),
            ("fc", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


# Tag to layout of the file, source and licence.
_SOURCES = {
    "keras_in1k": ("keras", "Keras (the authors' weights)", "MIT"),
    "tv_in1k": ("torchvision", "torchvision IMAGENET1K_V1", "BSD-3-Clause"),
    "tv2_in1k": ("torchvision", "torchvision IMAGENET1K_V2", "BSD-3-Clause"),
    "a1_in1k": ("torchvision", "timm, ResNet strikes back A1", "Apache-2.0"),
}

# Depth to parameters and multiply-accumulates, in the form of torchvision and in that of Keras.
_NUMBERS = {
    18: (11_689_512, 1_814_073_344),
    34: (21_797_672, 3_663_761_408),
    50: (25_557_032, 4_089_184_256),
    101: (44_549_160, 7_801_405_440),
    152: (60_192_808, 11_513_626_624),
}
_KERAS_NUMBERS = {
    50: (25_583_592, 3_857_973_248),
    101: (44_601_832, 7_570_194_432),
    152: (60_268_520, 11_282_415_616),
}

_TRANSFORMS = {
    "keras_in1k": keras_caffe(224),
    "tv_in1k": torchvision_preset(),
    "tv2_in1k": torchvision_preset(resized=232),
    "a1_in1k": timm_preset(224, 0.95),
}


def _pretrained(depth: int, tag: str, file: Download, top1: float) -> Pretrained:
    kernels, repeats = DEPTHS[depth]
    layout, source, licence = _SOURCES[tag]
    if layout == "keras":
        config = Config(kernels, repeats, use_bias=True, epsilon=1.001e-5)
        params, macs = _KERAS_NUMBERS[depth]
    else:
        config = Config(kernels, repeats, strided=2 if kernels == BOTTLENECK else 1)
        params, macs = _NUMBERS[depth]
    return Pretrained(
        arch=f"resnet{depth}",
        tag=tag,
        config=config,
        transforms=_TRANSFORMS[tag],
        file=file,
        layout=layout,
        source=source,
        licence=licence,
        features=block_features(WIDTHS[-1], config),
        params=params,
        macs=macs,
        top1=top1,
    )


def _keras_file(depth: int, md5: str) -> Download:
    return keras_file(f"resnet/resnet{depth}_weights_tf_dim_ordering_tf_kernels.h5", md5)


FAMILY = Family(
    name="resnet",
    paper="https://arxiv.org/abs/1512.03385",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision},
    pretrained=(
        *(
            _pretrained(depth, "keras_in1k", _keras_file(depth, md5), top1)
            for depth, md5, top1 in (
                (50, "2cb95161c43110f7111970584f804107", 74.9),
                (101, "f1aeb4b969a6efcfb50fad2f0c20cfc5", 76.4),
                (152, "100835be76be38e30d865e96f2aaae62", 76.6),
            )
        ),
        *(
            _pretrained(depth, tag, torchvision_file(f"resnet{depth}-{digits}.pth"), top1)
            for depth, tag, digits, top1 in (
                (18, "tv_in1k", "f37072fd", 69.8),
                (34, "tv_in1k", "b627a593", 73.3),
                (50, "tv_in1k", "0676ba61", 76.1),
                (50, "tv2_in1k", "11ad3fa6", 80.9),
                (101, "tv_in1k", "63fe2227", 77.4),
                (101, "tv2_in1k", "cd907fc2", 81.9),
                (152, "tv_in1k", "394f9c45", 78.3),
                (152, "tv2_in1k", "f82ba261", 82.3),
            )
        ),
        # Accuracies at 224 pixels, from https://arxiv.org/abs/2110.00476; timm's table gives those at 288.
        *(
            _pretrained(depth, "a1_in1k", hub_file(f"resnet{depth}.a1_in1k"), top1)
            for depth, top1 in ((18, 71.5), (34, 76.4), (50, 80.4), (101, 81.5), (152, 82.0))
        ),
    ),
)
