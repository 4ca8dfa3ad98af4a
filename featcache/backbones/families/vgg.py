"""VGG: 3×3 convolutions in five blocks, then three dense layers.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
https://arxiv.org/abs/1409.1556

Stage names are those of ``keras.applications``; torchvision's are accepted too. There is no pooled vector in the
original: the default layer ``pool`` is the mean of ``block5_pool``.
"""

from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.presets import keras_caffe, keras_file, torchvision_file, torchvision_preset
from featcache.backbones.family import Download, Family, Pretrained
from featcache.backbones.nn.basic import AdaptiveAveragePool, Conv, Dense, Flatten, MaxPool
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf
from featcache.images.transforms import Transforms

WIDTHS = (64, 128, 256, 512, 512)

# Table 1 of the paper, columns A, B, D and E: convolutions in each block.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@dataclass(frozen=True)
class Config:
    """What differs between the variants and their sources.

    Parameters
    ----------
    repeats
        Convolutions in each of the five blocks.
    any_size
        Whether the last map is averaged to 7×7 before the dense layers, so that these take images of any size
        (torchvision), or has to be 7×7 (Keras).
    classes
        Outputs of the original classifier.
    """

    repeats: tuple[int, ...]
    any_size: bool = False
    classes: int = 1000


def convolutions(config: Config) -> list[str]:
    """Names of the convolutions in order, such as ``block1_conv1``."""
    return [
        f"block{block}_conv{repeat + 1}"
        for block, repeats in enumerate(config.repeats, 1)
        for repeat in range(repeats)
    ]


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``block1_conv1`` … ``block5_pool``, ``flatten``, ``fc1``, ``fc2``, ``logits``."""
    stages: dict[str, nnx.Module] = {}
    width = 3
    for block, (features, repeats) in enumerate(zip(WIDTHS, config.repeats, strict=True), 1):
        for repeat in range(repeats):
            stages[f"block{block}_conv{repeat + 1}"] = Conv(
                width, features, 3, use_bias=True, activation=jax.nn.relu, rngs=rngs
            )
            width = features
        stages[f"block{block}_pool"] = MaxPool(2)
    if config.any_size:
        stages["avgpool"] = AdaptiveAveragePool(7)
    stages["flatten"] = Flatten(7, input_size=224)
    stages["fc1"] = Dense(width * 49, 4096, activation=jax.nn.relu, rngs=rngs)
    stages["fc2"] = Dense(4096, 4096, activation=jax.nn.relu, rngs=rngs)
    stages["logits"] = Dense(4096, config.classes, rngs=rngs)
    return Backbone(stages, ALIASES | _torchvision_aliases(config))


ALIASES = {"pool": "block5_pool", "predictions": "logits"}


def _torchvision_aliases(config: Config) -> dict[str, str]:
    """``features.N`` of each ReLU and pooling, and of the classifier's."""
    return {
        **{f"features.{number + 1}": name for number, name in _features(config)},
        **{f"features.{number}": name for number, name in _pools(config)},
        "classifier.1": "fc1",
        "classifier.4": "fc2",
        "classifier.6": "logits",
    }


def _features(config: Config) -> list[tuple[int, str]]:
    """Torchvision's numbers of the convolutions: each is followed by a ReLU, each block by a pooling."""
    starts = [2 * sum(config.repeats[:block]) + block for block in range(5)]
    numbers = [starts[block] + 2 * n for block, repeats in enumerate(config.repeats) for n in range(repeats)]
    return list(zip(numbers, convolutions(config), strict=True))


def _pools(config: Config) -> list[tuple[int, str]]:
    return [(2 * sum(config.repeats[:block]) + block - 1, f"block{block}_pool") for block in range(1, 6)]


def _keras(config: Config) -> KeyTable:
    """Names of ``keras.applications.VGG16`` and ``VGG19``."""
    del config
    return KeyTable(
        modules=((r"(block\d_conv\d|fc\d)", "{0}"), ("predictions", "logits")),
        leaf=keras_leaf,
    )


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.vgg16``: ``features.N``, ``classifier.N``."""
    names = dict(_features(config))
    return KeyTable(
        modules=(
            (r"features\.(\d+)", lambda number: names[int(number)]),
            (r"classifier\.0", "fc1"),
            (r"classifier\.3", "fc2"),
            (r"classifier\.6", "logits"),
        ),
        leaf=torch_leaf,
        layouts=((r"fc1\.kernel", _channels_last),),
    )


def _channels_last(kernel: np.ndarray) -> np.ndarray:
    """Rows of a kernel ``[C·H·W, D]`` over a map flattened channels first, reordered to rows first."""
    features = kernel.shape[1]
    if kernel.shape[0] != 512 * 49:
        return kernel  # of another network; its shape will be reported
    return kernel.reshape(512, 7, 7, features).transpose(1, 2, 0, 3).reshape(-1, features)


def _pretrained(
    depth: int,
    tag: str,
    transforms: Transforms,
    file: Download,
    top1: float,
    params: int,
    macs: int,
) -> Pretrained:
    keras = tag == "keras_in1k"
    return Pretrained(
        arch=f"vgg{depth}",
        tag=tag,
        config=Config(DEPTHS[depth], any_size=not keras),
        transforms=transforms,
        file=file,
        layout="keras" if keras else "torchvision",
        source="Keras (the authors' weights)" if keras else "torchvision IMAGENET1K_V1",
        licence="CC-BY-4.0" if keras else "BSD-3-Clause",
        features=512,
        params=params,
        macs=macs,
        top1=top1,
    )


def _keras_file(depth: int, md5: str) -> Download:
    return keras_file(f"vgg{depth}/vgg{depth}_weights_tf_dim_ordering_tf_kernels.h5", md5)


# Parameters and multiply-accumulates of each depth.
_NUMBERS = {
    11: (132_863_336, 7_609_090_048),
    13: (133_047_848, 11_308_466_176),
    16: (138_357_544, 15_470_264_320),
    19: (143_667_240, 19_632_062_464),
}

FAMILY = Family(
    name="vgg",
    paper="https://arxiv.org/abs/1409.1556",
    revision=1,
    build=build,
    key_tables={"keras": _keras, "torchvision": _torchvision},
    pretrained=(
        *(
            _pretrained(
                depth, "keras_in1k", keras_caffe(224), _keras_file(depth, md5), 71.3, *_NUMBERS[depth]
            )
            for depth, md5 in (
                (16, "64373286793e3c8b2b4e3219cbf3544b"),
                (19, "cbe5617147190e668d6c5d5026f83318"),
            )
        ),
        *(
            _pretrained(
                depth, "tv_in1k", torchvision_preset(), torchvision_file(file), top1, *_NUMBERS[depth]
            )
            for depth, file, top1 in (
                (11, "vgg11-8a719046.pth", 69.0),
                (13, "vgg13-19584684.pth", 69.9),
                (16, "vgg16-397923af.pth", 71.6),
                (19, "vgg19-dcbb9e9d.pth", 72.4),
            )
        ),
    ),
)
