"""What a head is: parameters, logits and loss of ONE head on ONE example.

Batches and many heads at once are the caller's ``vmap``. A head never sees an image or a backbone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Parameters = Mapping[str, jax.Array]


class Scaling(NamedTuple):
    """Standardisation of the features, learnt on the training rows: `mean` and `deviation`, both ``[D]``."""

    mean: jax.Array
    deviation: jax.Array


@dataclass(frozen=True)
class Head:
    """A kind of head.

    Parameters
    ----------
    init
        ``(key, D, C) -> parameters``.
    logits
        ``(parameters, x [D]) -> [C]``.
    fold
        ``(parameters, scaling) -> parameters`` of the same head on raw features: standardisation costs
        nothing once it is part of the weights, and needs no second copy of the features.
    """

    init: Callable[[jax.Array, int, int], dict[str, jax.Array]]
    logits: Callable[..., jax.Array]
    fold: Callable[[Parameters, Scaling], dict[str, jax.Array]]


def _linear_init(key: jax.Array, features: int, classes: int) -> dict[str, jax.Array]:
    del key  # the loss is convex: zeros are the best start, and every seed finds the same minimum
    return {"kernel": jnp.zeros((features, classes)), "bias": jnp.zeros(classes)}


def _linear_logits(parameters: Parameters, x: jax.Array) -> jax.Array:
    return x @ parameters["kernel"] + parameters["bias"]


def _linear_fold(parameters: Parameters, scaling: Scaling) -> dict[str, jax.Array]:
    # ((x - mean) / deviation) @ W + b  ==  x @ (W / deviation) + (b - (mean / deviation) @ W)
    kernel = parameters["kernel"] / scaling.deviation[:, None]
    return {"kernel": kernel, "bias": parameters["bias"] - scaling.mean @ kernel}


HEADS: Mapping[str, Head] = {"linear": Head(_linear_init, _linear_logits, _linear_fold)}


def cross_entropy(logits: jax.Array, label: jax.Array, smoothing: jax.Array | float = 0.0) -> jax.Array:
    """Softmax cross-entropy of one example in nats.

    Parameters
    ----------
    logits
        float ``[C]``.
    label
        int scalar.
    smoothing
        Share of the target spread evenly over all classes (Szegedy et al., https://arxiv.org/abs/1512.00567).
    """
    log_p = jax.nn.log_softmax(logits)
    return -(1 - smoothing) * log_p[label] - smoothing * jnp.mean(log_p)


def feature_scaling(x: jax.Array, weight: jax.Array) -> Scaling:
    """Return the scaling of features by their weighted mean and standard deviation.

    Parameters
    ----------
    x
        float ``[N, D]``.
    weight
        float ``[N]``: 1 for a training row, 0 for another.

    Returns
    -------
    Scaling
        A constant feature gets deviation 1, so that it stays harmless.
    """
    # Around a common centre first: the second moment about zero would lose the digits of a small variance.
    centre = jnp.mean(x, axis=0)
    share = weight / jnp.maximum(jnp.sum(weight), 1.0)
    mean = share @ (x - centre)
    variance = jnp.maximum(share @ jnp.square(x - centre) - jnp.square(mean), 0.0)
    deviation = jnp.sqrt(variance)
    floor = 1e-6 * (1.0 + jnp.abs(centre))
    return Scaling(mean + centre, jnp.where(deviation > floor, deviation, 1.0))


def head_kind(name: str) -> Head:
    """Return a head by name; raise `UnknownNameError` with the known ones."""
    from featcache.errors import UnknownNameError, did_you_mean

    if name not in HEADS:
        raise UnknownNameError(f"no head {name!r}; {did_you_mean(name, HEADS)}")
    return HEADS[name]


def as_arrays(parameters: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Return parameters as float32 device arrays."""
    return {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}
