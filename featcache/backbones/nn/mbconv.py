"""The building blocks of the EfficientNets: rows of inverted residual blocks, plain or fused.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", https://arxiv.org/abs/1801.04381, with
squeeze-and-excitation as in https://arxiv.org/abs/1905.11946, fused as in https://arxiv.org/abs/2104.00298

Stage names are those of ``keras.applications``: ``stem``, each block by its row and its letter in the row,
``block1a`` … ``block7a``, ``top``, ``pool``, ``logits``. The modules of torchvision and timm are accepted too.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import NamedTuple

import jax
from flax import nnx

from featcache.backbones.chain import Backbone, Recorder, record_nothing
from featcache.backbones.nn.basic import ConvNorm, Dense, GlobalAveragePool, SqueezeExcite
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.weights.key_mapping import KeyTable, keras_leaf, torch_leaf


class BlockStep(NamedTuple):
    """One step of a block: its attribute here, the name of its output, and timm's two modules."""

    name: str
    point: str
    conv: str
    norm: str


_SQUEEZE = BlockStep("squeeze", "se_excite", "se", "se")

# The steps of each kind of block in order, which is also how torchvision counts them.
BLOCK_STEPS = {
    "inverted": (
        BlockStep("expand", "expand_activation", "conv_pw", "bn1"),
        BlockStep("depthwise", "activation", "conv_dw", "bn2"),
        _SQUEEZE,
        BlockStep("project", "project_bn", "conv_pwl", "bn3"),
    ),
    # Without an expansion.
    "separable": (
        BlockStep("depthwise", "activation", "conv_dw", "bn1"),
        _SQUEEZE,
        BlockStep("project", "project_bn", "conv_pw", "bn2"),
    ),
    # One whole convolution instead of expansion and depthwise convolution.
    "fused": (
        BlockStep("expand", "expand_activation", "conv_exp", "bn1"),
        BlockStep("project", "project_bn", "conv_pwl", "bn2"),
    ),
    "plain": (BlockStep("project", "project_activation", "conv", "bn1"),),
}


@dataclass(frozen=True)
class Row:
    """Blocks in sequence, of which only the first may change the map's size and width.

    Parameters
    ----------
    kernel_size
        Of the depthwise or fused convolutions, in pixels.
    expansion
        Channels inside a block, as a multiple of its input's.
    features
        Channels that come out.
    repeats
        How many blocks.
    strides
        Step of the first block, in pixels.
    fused
        Whether expansion and depthwise convolution are one, without squeeze-and-excitation.
    """

    kernel_size: int
    expansion: int
    features: int
    repeats: int
    strides: int
    fused: bool = False

    @property
    def steps(self) -> tuple[BlockStep, ...]:
        """The steps of its blocks."""
        if self.fused:
            return BLOCK_STEPS["plain" if self.expansion == 1 else "fused"]
        return BLOCK_STEPS["separable" if self.expansion == 1 else "inverted"]

    def scale(self, features: int, repeats: int) -> "Row":
        """Return the row with another number of channels and blocks."""
        return replace(self, features=features, repeats=repeats)


def scaled_features(features: int, width: float, least: float = 0.9) -> int:
    """Scale a channel count by `width` and round it to a multiple of 8.

    Parameters
    ----------
    features
        Channels of the base network.
    width
        Factor.
    least
        Share of the exact value below which rounding must not end: 0.9 in EfficientNet, 0 in its version 2.
    """
    wanted = features * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < least * wanted else rounded


def block_name(row: int, repeat: int) -> str:
    """Keras' name of a block by its row and its place there, both counted from 0: ``block2b``."""
    return f"block{row + 1}{chr(ord('a') + repeat)}"


def blocks(rows: Sequence[Row]) -> Iterator[tuple[int, int, str]]:
    """Yield each block's row and its place there, both counted from 0, and its name."""
    for number, row in enumerate(rows):
        for repeat in range(row.repeats):
            yield number, repeat, block_name(number, repeat)


class MBConv(nnx.Module):
    """An inverted residual block of one of the kinds in `BLOCK_STEPS`; a skip where the shape allows."""

    def __init__(
        self,
        in_features: int,
        row: Row,
        *,
        strides: int,
        padding: Padding,
        epsilon: float,
        rngs: nnx.Rngs | None,
    ) -> None:
        width = in_features * row.expansion
        norm = {"epsilon": epsilon, "rngs": rngs}
        across = {"kernel_size": row.kernel_size, "strides": strides, "padding": padding}
        for step in row.steps:
            if step.name == "expand":
                fused = across if row.fused else {}
                self.expand = ConvNorm(in_features, width, activation=jax.nn.silu, **fused, **norm)
            elif step.name == "depthwise":
                self.depthwise = ConvNorm(
                    width, width, groups=width, activation=jax.nn.silu, **across, **norm
                )
            elif step is _SQUEEZE:
                # A quarter of the block's input, not of the expanded map.
                self.squeeze = SqueezeExcite(width, in_features // 4, activation=jax.nn.silu, rngs=rngs)
            elif row.fused and row.expansion == 1:
                self.project = ConvNorm(width, row.features, activation=jax.nn.silu, **across, **norm)
            else:
                self.project = ConvNorm(width, row.features, **norm)
        self.steps = tuple(step.name for step in row.steps)
        self.skip = strides == 1 and in_features == row.features
        points = tuple(step.point for step in row.steps)
        self.points = points if self.skip else points[:-1]  # the last is then the block's own output

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', features of the row]``."""
        y = x
        for step, point in zip_longest(self.steps, self.points):
            y = getattr(self, step)(y)
            if point is not None:
                y = record(point, y)
        return x + y if self.skip else y


def chain(
    rows: Sequence[Row],
    *,
    stem: int,
    top: int,
    padding: Padding,
    epsilon: float,
    classes: int,
    rngs: nnx.Rngs | None,
) -> Backbone:
    """Build the chain: ``stem``, ``block1a`` …, ``top``, ``pool``, ``logits``.

    Parameters
    ----------
    rows
        The blocks, already scaled.
    stem, top
        Channels of the first and the last convolution.
    padding, epsilon
        Of the convolutions, and of the batch normalisations.
    classes
        Outputs of the original classifier.
    rngs
        For the initial parameters; zeros without.
    """
    norm = {"activation": jax.nn.silu, "epsilon": epsilon, "rngs": rngs}
    stages: dict[str, nnx.Module] = {"stem": ConvNorm(3, stem, 3, strides=2, padding=padding, **norm)}
    features = stem
    for number, repeat, name in blocks(rows):
        row = rows[number]
        strides = row.strides if repeat == 0 else 1
        stages[name] = MBConv(features, row, strides=strides, padding=padding, epsilon=epsilon, rngs=rngs)
        features = row.features
    stages["top"] = ConvNorm(features, top, **norm)
    stages["pool"] = GlobalAveragePool()
    stages["logits"] = Dense(top, classes, rngs=rngs)
    skips = {name for name, stage in stages.items() if getattr(stage, "skip", False)}
    return Backbone(stages, _aliases(rows, skips))


def _aliases(rows: Sequence[Row], skips: Container[str]) -> dict[str, str]:
    """Names of the same values in Keras, torchvision and timm; `skips` are the blocks that add their input."""
    aliases = {
        "stem_activation": "stem",
        "top_activation": "top",
        "avg_pool": "pool",
        "predictions": "logits",
        "features.0": "stem",
        f"features.{len(rows) + 1}": "top",
        "classifier.1": "logits",
        "bn1": "stem",
        "bn2": "top",
        "global_pool": "pool",
        "classifier": "logits",
    }
    for number, repeat, name in blocks(rows):
        torchvision, timm = f"features.{number + 1}", f"blocks.{number}"
        # A row is its last block.
        aliases |= dict.fromkeys((torchvision, f"{torchvision}.{repeat}", timm, f"{timm}.{repeat}"), name)
        points = [f"{name}_{step.point}" for step in rows[number].steps]
        if name in skips:
            aliases[f"{name}_add"] = name
        else:
            aliases[points[-1]] = name
            points[-1] = name
        for place, (step, point) in enumerate(zip(rows[number].steps, points, strict=True)):
            aliases[f"{torchvision}.{repeat}.block.{place}"] = point
            aliases[f"{timm}.{repeat}.{step.norm}"] = point
    return aliases


_UNITS = {"conv": "conv", "bn": "norm", "0": "conv", "1": "norm"}


def keras_table(constants: tuple[tuple[str, tuple[float, ...]], ...] = ()) -> KeyTable:
    """Names of ``keras.applications``: ``stem_conv``, ``block1a_dwconv`` (``dwconv2`` in version 2)."""
    block = r"(block\d+[a-z])_"
    return KeyTable(
        modules=(
            ("(stem|top)_(conv|bn)", lambda stage, unit: f"{stage}.{_UNITS[unit]}"),
            (block + "(expand|project)_(conv|bn)", lambda b, part, unit: f"{b}.{part}.{_UNITS[unit]}"),
            (block + "dwconv2?", "{0}.depthwise.conv"),
            (block + "bn", "{0}.depthwise.norm"),
            (block + "se_(reduce|expand)", "{0}.squeeze.{1}"),
            ("predictions", "logits"),
        ),
        leaf=keras_leaf,
        constants=constants,
        ignore=(r"normalization(_\d+)?\.count",),
    )


def torchvision_table(rows: Sequence[Row]) -> KeyTable:
    """Names of torchvision: ``features.0.0``, ``features.2.0.block.3.1``, ``classifier.1``."""

    def part(row: str, repeat: str, place: str) -> str:
        number = int(row) - 1
        return f"{block_name(number, int(repeat))}.{rows[number].steps[int(place)].name}"

    def squeeze(row: str, repeat: str, place: str, layer: str) -> str:
        return f"{part(row, repeat, place)}.{'reduce' if layer == '1' else 'expand'}"

    block = r"features\.(\d+)\.(\d+)\.block\.(\d)\."
    return KeyTable(
        modules=(
            (r"features\.0\.([01])", lambda unit: f"stem.{_UNITS[unit]}"),
            (rf"features\.{len(rows) + 1}\.([01])", lambda unit: f"top.{_UNITS[unit]}"),
            (block + "([01])", lambda r, n, place, unit: f"{part(r, n, place)}.{_UNITS[unit]}"),
            (block + "fc([12])", squeeze),
            (r"classifier\.1", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )


def timm_table(rows: Sequence[Row]) -> KeyTable:
    """Names of timm: ``conv_stem``, ``blocks.1.0.conv_pw``, ``blocks.1.0.se.conv_reduce``, ``classifier``."""
    units = [
        {step.conv: f"{step.name}.conv" for step in row.steps}
        | {step.norm: f"{step.name}.norm" for step in row.steps}
        for row in rows
    ]

    def unit(row: str, repeat: str, module: str) -> str:
        return f"{block_name(int(row), int(repeat))}.{units[int(row)][module]}"

    block = r"blocks\.(\d+)\.(\d+)\."
    return KeyTable(
        modules=(
            ("conv_stem", "stem.conv"),
            ("bn1", "stem.norm"),
            (
                block + r"se\.conv_(reduce|expand)",
                lambda r, n, c: f"{block_name(int(r), int(n))}.squeeze.{c}",
            ),
            (block + r"(\w+)", unit),
            ("conv_head", "top.conv"),
            ("bn2", "top.norm"),
            ("classifier", "logits"),
        ),
        leaf=torch_leaf,
        ignore=(r".*\.num_batches_tracked",),
    )
