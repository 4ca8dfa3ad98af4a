"""The block of MobileNetV3, the paper's "bneck": an inverted residual with squeeze-and-excitation.

Howard et al., "Searching for MobileNetV3", https://arxiv.org/abs/1905.02244
"""

from typing import NamedTuple

import jax
from flax import nnx

from featcache.backbones.chain import Recorder, record_nothing
from featcache.backbones.nn.basic import ConvNorm, SqueezeExcite, hard_sigmoid, hard_swish
from featcache.backbones.nn.convolution import Padding
from featcache.backbones.nn.mbconv import scaled_features

ACTIVATIONS = {"RE": jax.nn.relu, "HS": hard_swish}
"""By the names of the paper's tables."""

POINTS = {
    "expand": "expand_activation",
    "depthwise": "depthwise_activation",
    "squeeze": "squeeze_excite_mul",
    "project": "project_bn",
}
"""The parts of a block in order, and what their outputs are called."""


class Row(NamedTuple):
    """One block, as a row of the paper's tables gives it.

    Parameters
    ----------
    kernel_size
        Of the depthwise convolution, in pixels.
    width
        Channels inside; there is no expansion where as many come in.
    features
        Channels that come out.
    squeezed
        Whether it has squeeze-and-excitation, with a quarter of `width`.
    activation
        One of `ACTIVATIONS`.
    strides
        Of the depthwise convolution, in pixels.
    """

    kernel_size: int
    width: int
    features: int
    squeezed: bool
    activation: str
    strides: int

    def scale(self, before: int, in_features: int, alpha: float) -> "Row":
        """Return the row of a network of another width.

        Parameters
        ----------
        before, in_features
            Channels that come in, in the paper's network and in this one: inside, their ratio to `width` stays.
        alpha
            Factor on the channels that come out.
        """
        width = scaled_features(in_features, self.width / before)
        return self._replace(width=width, features=scaled_features(self.features, alpha))

    def minimalistic(self) -> "Row":
        """Return the row without squeeze-and-excitation, hard swish and 5×5 convolutions."""
        return self._replace(kernel_size=3, squeezed=False, activation="RE")

    def parts(self, in_features: int) -> tuple[str, ...]:
        """Return which of `POINTS` the block has."""
        absent = {"expand": self.width == in_features, "squeeze": not self.squeezed}
        return tuple(part for part in POINTS if not absent.get(part))

    def has_skip(self, in_features: int) -> bool:
        """Whether the input is added to the output."""
        return self.strides == 1 and self.features == in_features


class Bottleneck(nnx.Module):
    """Expand 1×1, depthwise, squeeze, project 1×1 without activation; a skip where the shape allows."""

    def __init__(
        self,
        in_features: int,
        row: Row,
        *,
        padding: Padding,
        epsilon: float,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.parts = row.parts(in_features)
        self.points = tuple(POINTS[part] for part in self.parts)
        self.skip = row.has_skip(in_features)
        width, activation = row.width, ACTIVATIONS[row.activation]
        norm = {"epsilon": epsilon, "rngs": rngs}
        across = {"strides": row.strides, "padding": padding, "groups": width}
        if "expand" in self.parts:
            self.expand = ConvNorm(in_features, width, activation=activation, **norm)
        self.depthwise = ConvNorm(width, width, row.kernel_size, activation=activation, **across, **norm)
        if "squeeze" in self.parts:
            inner = {"activation": jax.nn.relu, "gate": hard_sigmoid}
            self.squeeze = SqueezeExcite(width, scaled_features(width, 0.25), **inner, rngs=rngs)
        self.project = ConvNorm(width, row.features, **norm)

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map ``[B, H, W, in_features]`` to ``[B, H', W', features of the row]``."""
        y = x
        for part, point in zip(self.parts, self.points, strict=True):
            y = record(point, getattr(self, part)(y))
        return x + y if self.skip else y
