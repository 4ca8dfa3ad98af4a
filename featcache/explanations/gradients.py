"""Grad-CAM, and the gradient times the value: heat from how an output changes with the values of a map.

Selvaraju et al., "Grad-CAM", https://arxiv.org/abs/1610.02391: each channel counts by the mean of its gradient over all
places. Draelos and Carin, "Use HiResCAM instead of Grad-CAM", https://arxiv.org/abs/2011.08891: each place of a channel
by its own gradient, which is what transformers need, whose tokens mean different things at different places.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from featcache.backbones.loaded import network_input
from featcache.explanations.places import as_grid
from featcache.explanations.subject import Subject, head_arrays, head_outputs


def gradient_heat(
    subject: Subject, stage: str, images: np.ndarray, targets: np.ndarray, *, by_channel: bool
) -> np.ndarray:
    """Return heat float32 ``[B, k, h, w]`` at a stage for some classes.

    Parameters
    ----------
    subject
        With a head that has a gradient.
    stage
        A point of the chain whose value is a map, or tokens.
    images
        uint8 ``[B, H, W, 3]``.
    targets
        int ``[B, k]``: classes.
    by_channel
        Whether a channel counts by its mean gradient (Grad-CAM; only what speaks for a class is kept); otherwise each
        place by its own.
    """
    values, gradients = values_and_gradients(subject, stage, images, targets)
    if values.ndim == 3:
        values, gradients = (
            as_grid(each, subject.network, subject.transforms) for each in (values, gradients)
        )
    if not by_channel:
        return np.einsum("bhwc,bkhwc->bkhw", values, gradients, optimize=True)
    weights = gradients.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
    heat = np.einsum("bhwc,bkc->bkhw", values, weights, optimize=True)
    return np.where(heat < 0, np.float32(0), heat)  # NaN stays, and is told


def values_and_gradients(
    subject: Subject, stage: str, images: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a stage's values float32 ``[B, …]``, and the gradients ``[B, k, …]`` of the outputs `targets` by them."""
    head, network = subject.head, subject.network
    assert head is not None
    assert subject.layer is not None
    names = ("gradients", stage, subject.layer, head.form, head.single)
    key = (*names, subject.transforms, subject.compute_dtype)
    run = network.remembered(key, partial(_compile, subject, stage))
    values, gradients = run(network.state, head_arrays(subject), images, targets)
    return np.asarray(values), np.asarray(gradients).swapaxes(0, 1)


def _compile(subject: Subject, stage: str) -> Any:
    head, layer, network = subject.head, subject.layer, subject.network
    assert head is not None
    assert layer is not None
    graphdef, transforms = network.graphdef, subject.transforms
    form, single = head.form, head.single
    dtype = jnp.dtype(subject.compute_dtype)
    (shape,) = network.shapes([stage], transforms).values()
    precision = "highest" if dtype == jnp.float32 else "default"

    def run(state: Any, parameters: Any, images: jax.Array, targets: jax.Array) -> Any:
        chain = nnx.merge(graphdef, state)
        x = network_input(images, transforms).astype(dtype)

        def outputs(added: jax.Array) -> tuple[jax.Array, jax.Array]:
            found = chain(x, taps=(layer.stage, stage), added={stage: added})
            features = layer.apply(found[layer.stage]).astype(jnp.float32)
            return head_outputs(form, single, parameters, features), found[stage]

        with jax.default_matmul_precision(precision):
            nothing = jnp.zeros((len(images), *shape), dtype)
            raw, pull, values = jax.vjp(outputs, nothing, has_aux=True)
            asked = jax.nn.one_hot(targets.T, raw.shape[1], dtype=raw.dtype)  # [k, B, C]
            (gradients,) = jax.vmap(pull)(asked)
        return values.astype(jnp.float32), gradients.astype(jnp.float32)

    return jax.jit(run)
