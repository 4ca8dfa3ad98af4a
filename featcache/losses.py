"""Losses of ONE example: what training makes small."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp


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


def binary_cross_entropy(
    logits: jax.Array, targets: jax.Array, smoothing: jax.Array | float = 0.0
) -> jax.Array:
    """Mean cross-entropy in nats of C yes-or-no questions about one example.

    Parameters
    ----------
    logits
        float ``[C]``.
    targets
        float ``[C]`` in 0..1.
    smoothing
        Share of each target moved to one half.
    """
    targets = targets * (1 - smoothing) + smoothing / 2
    # max(z, 0) − z·t + log(1 + exp(−|z|)) does not overflow.
    losses = jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.mean(losses)


def squared_error(outputs: jax.Array, targets: jax.Array, smoothing: jax.Array | float = 0.0) -> jax.Array:
    """Mean squared error of one example's C outputs; there is nothing to smooth."""
    del smoothing
    return jnp.mean(jnp.square(outputs - targets))


def _right_class(logits: jax.Array, label: jax.Array) -> jax.Array:
    return (jnp.argmax(logits) == label).astype(jnp.float32)


def _right_answers(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean((logits > 0) == (targets > 0.5))


def _negative_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return -squared_error(outputs, targets)


@dataclass(frozen=True)
class Loss:
    """What training makes small, and what people read instead.

    Parameters
    ----------
    value
        ``(outputs [C], target, smoothing) -> scalar``.
    score
        ``(outputs [C], target) -> scalar``, better when larger: whether the class, or which share of the
        answers, is right; the negative error of a regression.
    """

    value: Callable[..., jax.Array]
    score: Callable[[jax.Array, jax.Array], jax.Array]


LOSSES: Mapping[str, Loss] = {
    "softmax": Loss(cross_entropy, _right_class),
    "sigmoid": Loss(binary_cross_entropy, _right_answers),
    "squared": Loss(squared_error, _negative_error),
}
