"""Losses that training minimises, of one example or of many.

Outputs are ``[C, …]``, classes first: with examples in the last axes nothing is transposed, and a loss is vectorised
over the examples instead of the few classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, label: jax.Array, smoothing: jax.Array | float = 0.0) -> jax.Array:
    """Return the softmax cross-entropy in nats, ``[…]``.

    Parameters
    ----------
    logits
        float ``[C, …]``.
    label
        int ``[…]``.
    smoothing
        Share of the target spread evenly over all classes (Szegedy et al., https://arxiv.org/abs/1512.00567).
    """
    log_p = jax.nn.log_softmax(logits, axis=0)
    # Not log_p[label]: the gradient of an index is a scatter, which a CPU does one by one.
    own = jnp.sum(jnp.where(_classes(logits) == label, log_p, 0.0), axis=0)
    return -(1 - smoothing) * own - smoothing * jnp.mean(log_p, axis=0)


def _classes(outputs: jax.Array) -> jax.Array:
    return jnp.arange(len(outputs)).reshape(-1, *[1] * (outputs.ndim - 1))


def binary_cross_entropy(
    logits: jax.Array, targets: jax.Array, smoothing: jax.Array | float = 0.0
) -> jax.Array:
    """Return the mean binary cross-entropy in nats over C labels of an example, ``[…]``.

    Parameters
    ----------
    logits
        float ``[C, …]``.
    targets
        float ``[C, …]`` in 0..1.
    smoothing
        Share of each target moved to one half.
    """
    targets = targets * (1 - smoothing) + smoothing / 2
    # log(1 + exp(z)) − z·t; softplus does not overflow, and has the right slope at 0, where every head starts.
    return jnp.mean(jax.nn.softplus(logits) - logits * targets, axis=0)


def squared_error(outputs: jax.Array, targets: jax.Array, smoothing: jax.Array | float = 0.0) -> jax.Array:
    """Return the mean squared error of C outputs ``[C, …]``; smoothing has no effect."""
    del smoothing
    return jnp.mean(jnp.square(outputs - targets), axis=0)


def _right_class(logits: jax.Array, label: jax.Array) -> jax.Array:
    return (jnp.argmax(logits, axis=0) == label).astype(jnp.float32)


def _right_answers(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean((logits > 0) == (targets > 0.5), axis=0)


def _negative_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return -squared_error(outputs, targets)


@dataclass(frozen=True)
class Loss:
    """A loss, and the score that is reported beside it.

    Parameters
    ----------
    value
        ``(outputs [C, …], targets, smoothing) -> […]``.
    score
        ``(outputs [C, …], targets) -> […]``, better when larger: accuracy (multiclass), share of right labels
        (multilabel), negative squared error (regression).
    """

    value: Callable[..., jax.Array]
    score: Callable[[jax.Array, jax.Array], jax.Array]


LOSSES: Mapping[str, Loss] = {
    "softmax": Loss(cross_entropy, _right_class),
    "sigmoid": Loss(binary_cross_entropy, _right_answers),
    "squared": Loss(squared_error, _negative_error),
}
