"""The building blocks of Inception-v3 and Inception-ResNet-v2: blocks of branches from tables, and a stem.

The stem has the names and widths of TF-slim's code.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from featcache.backbones.nn.basic import AveragePool, ConvNorm, MaxPool
from featcache.backbones.nn.convolution import Padding

EPSILON = 1e-3
"""Of the batch normalisations, in all sources."""

HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation that bring pixels of 0..1 to −1..1."""


@dataclass(frozen=True)
class Unit:
    """A convolution with its normalisation and ReLU: one row of a block's table.

    Parameters
    ----------
    name
        Within the block.
    features
        Output channels.
    kernel_size, strides
        In pixels.
    padding
        See `featcache.backbones.nn.convolution.explicit_padding`.
    """

    name: str
    features: int
    kernel_size: int | tuple[int, int]
    strides: int = 1
    padding: Padding = "same"


Step = Unit | tuple[Unit, ...] | str
"""A unit, units beside each other on the same input, or ``"average_pool"`` or ``"max_pool"``."""

Branches = tuple[tuple[Step, ...], ...]
"""Each branch is its steps in order; the branches' outputs are concatenated in this order."""


def _units_of(step: Step) -> tuple[Unit, ...]:
    if isinstance(step, str):
        return ()
    return (step,) if isinstance(step, Unit) else step


def units(branches: Branches) -> Iterator[Unit]:
    """Yield a block's units in the order in which Keras creates them."""
    return (unit for branch in branches for step in branch for unit in _units_of(step))


STEM: tuple[Unit | str, ...] = (
    Unit("Conv2d_1a_3x3", 32, 3, 2, "valid"),
    Unit("Conv2d_2a_3x3", 32, 3, 1, "valid"),
    Unit("Conv2d_2b_3x3", 64, 3),
    "MaxPool_3a_3x3",
    Unit("Conv2d_3b_1x1", 80, 1),
    Unit("Conv2d_4a_3x3", 192, 3, 1, "valid"),
    "MaxPool_5a_3x3",
)
"""The stages before the first block, of which Inception-ResNet-v2 has the same."""

STEM_FEATURES = 192
"""Channels that the stem gives to the first block."""


class Mixed(nnx.Module):
    """Parallel branches with concatenated outputs; the units are attributes by their names."""

    def __init__(
        self,
        in_features: int,
        branches: Branches,
        *,
        count_padding: bool = False,
        norm_scale: bool,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.average_pool = AveragePool(3, strides=1, padding="same", count_padding=count_padding)
        self.max_pool = MaxPool(3, strides=2)
        self.features = 0
        for branch in branches:
            width = in_features
            for step in branch:
                for unit in _units_of(step):
                    setattr(self, unit.name, conv_norm(width, unit, norm_scale, rngs))
                width = sum(unit.features for unit in _units_of(step)) or width
            self.features += width
        self.branches = tuple(tuple(_names(step) for step in branch) for branch in branches)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', features]``."""
        return jnp.concatenate([self._run(branch, x) for branch in self.branches], axis=-1)

    def _run(self, branch: tuple[tuple[str, ...], ...], x: jax.Array) -> jax.Array:
        for names in branch:
            parts = [getattr(self, name)(x) for name in names]
            x = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        return x


def conv_norm(in_features: int, unit: Unit, norm_scale: bool, rngs: nnx.Rngs | None) -> ConvNorm:
    """Return the module of one row of a table."""
    return ConvNorm(
        in_features,
        unit.features,
        unit.kernel_size,
        strides=unit.strides,
        padding=unit.padding,
        use_scale=norm_scale,
        epsilon=EPSILON,
        activation=jax.nn.relu,
        rngs=rngs,
    )


def _names(step: Step) -> tuple[str, ...]:
    return (step,) if isinstance(step, str) else tuple(unit.name for unit in _units_of(step))


def stem(norm_scale: bool, rngs: nnx.Rngs | None) -> dict[str, nnx.Module]:
    """Return the stages of `STEM` by their names."""
    stages: dict[str, nnx.Module] = {}
    width = 3
    for step in STEM:
        if isinstance(step, str):
            stages[step] = MaxPool(3, strides=2)
        else:
            stages[step.name] = conv_norm(width, step, norm_scale, rngs)
            width = step.features
    return stages
