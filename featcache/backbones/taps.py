"""A layer: what of a backbone is cached. A stage plus a pooling, written ``stage:pooling``."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from featcache.errors import UsageError, did_you_mean

POOLINGS = ("avg", "max", "flatten", "map", "none")


@dataclass(frozen=True)
class Layer:
    """A stage and how its output becomes one array per image.

    Parameters
    ----------
    stage
        Name of a stage or inner point of the chain.
    pooling
        ``"avg"`` or ``"max"`` over height and width, ``"flatten"`` to a vector, ``"map"`` for the spatial map
        itself, ``"none"`` for what is a vector already.
    """

    stage: str
    pooling: str

    def __str__(self) -> str:
        return self.stage if self.pooling == "none" else f"{self.stage}:{self.pooling}"

    def apply(self, x: jax.Array) -> jax.Array:
        """Pool ``[B, H, W, C]`` or ``[B, D]`` to ``[B, …]``."""
        if self.pooling == "avg":
            return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        if self.pooling == "max":
            return jnp.max(x, axis=(1, 2))
        return x.reshape(x.shape[0], -1) if self.pooling == "flatten" else x


def split_layer(text: str) -> tuple[str, str | None]:
    """Split ``"block5_pool:flatten"`` into stage and pooling (``None`` where not given)."""
    stage, colon, pooling = text.partition(":")
    if colon and pooling not in POOLINGS:
        raise UsageError(f"layer {text!r}: no pooling {pooling!r}; {did_you_mean(pooling, POOLINGS)}")
    return stage, pooling or None


def make_layer(point: str, pooling: str | None, shape: Sequence[int]) -> Layer:
    """Return the layer of a tapped value of `shape` (one image, without the batch axis).

    Maps are averaged unless told otherwise; vectors have nothing to pool.
    """
    if len(shape) == 1:
        if pooling in ("avg", "max"):
            raise UsageError(
                f"layer {point}:{pooling}: its output is a vector of {shape[0]} already; ask for {point}"
            )
        return Layer(point, "none")
    if pooling == "none":
        raise UsageError(f"layer {point}:none: its output is a map {tuple(shape)}; ask for {point}:map")
    return Layer(point, pooling or "avg")
