"""Layers, whose features are cached: a stage plus a pooling, written ``stage:pooling``."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from featcache.errors import UsageError, did_you_mean

POOLINGS = ("avg", "max", "cls", "flatten", "map", "none")


@dataclass(frozen=True)
class Layer:
    """A stage and the pooling of its output to one array per image.

    Parameters
    ----------
    stage
        Name of a stage or inner point of the chain.
    pooling
        ``"avg"`` or ``"max"`` over height and width (or a transformer's patches), ``"cls"`` for its class token,
        ``"flatten"`` to a vector, ``"map"`` for the value itself: a spatial map, or all tokens; ``"none"`` for
        what is a vector already.
    prefix_tokens
        How many tokens come before those of the patches, where the value is tokens.
    """

    stage: str
    pooling: str
    prefix_tokens: int = 0

    def __str__(self) -> str:
        return self.stage if self.pooling == "none" else f"{self.stage}:{self.pooling}"

    def apply(self, x: jax.Array) -> jax.Array:
        """Pool ``[B, H, W, C]``, ``[B, N, D]`` or ``[B, D]`` to ``[B, …]``."""
        if self.pooling == "cls":
            return x[:, 0]
        if self.pooling in ("avg", "max"):
            places = tuple(range(1, x.ndim - 1))
            patches = x[:, self.prefix_tokens :] if x.ndim == 3 else x
            if self.pooling == "max":
                return jnp.max(patches, axis=places)
            return jnp.mean(patches, axis=places, dtype=jnp.float32)
        return x.reshape(x.shape[0], -1) if self.pooling == "flatten" else x


def split_layer(text: str) -> tuple[str, str | None]:
    """Split ``"block5_pool:flatten"`` into stage and pooling (``None`` where not given)."""
    stage, colon, pooling = text.partition(":")
    if colon and pooling not in POOLINGS:
        raise UsageError(f"layer {text!r}: no pooling {pooling!r}; {did_you_mean(pooling, POOLINGS)}")
    return stage, pooling or None


def make_layer(point: str, pooling: str | None, shape: Sequence[int], prefix_tokens: int = 0) -> Layer:
    """Return the layer of a tapped value of `shape` (one image, without the batch axis).

    By default, maps are averaged, tokens give the class token (or their mean if there is none), and vectors are not
    pooled.
    """
    if len(shape) == 1:
        if pooling in ("avg", "max", "cls"):
            raise UsageError(
                f"layer {point}:{pooling}: its output is a vector of {shape[0]} already; ask for {point}"
            )
        return Layer(point, "none")
    tokens = len(shape) == 2
    if pooling == "none":
        what = "tokens" if tokens else "a map"
        raise UsageError(f"layer {point}:none: its output is {what} {tuple(shape)}; ask for {point}:map")
    if pooling == "cls" and not (tokens and prefix_tokens):
        raise UsageError(f"layer {point}:cls: this network has no class token; ask for {point}:avg")
    if not tokens:
        return Layer(point, pooling or "avg")
    return Layer(point, pooling or ("cls" if prefix_tokens else "avg"), prefix_tokens)
