"""Infer the output shapes of a network's stages by tracing, without computing anything."""

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.errors import FeatcacheError, UsageError

Shape = tuple[int, ...]


def tapped_shapes(
    graphdef: Any, state: Any, taps: Sequence[str], size: tuple[int, int], *, name: str
) -> dict[str, Shape]:
    """Return the shape of each tapped value for one image, without the batch axis.

    The chain is traced stage by stage: the mean of a map without pixels is NaN, and JAX raises no
    error, so the first stage with an empty output has to be found before the next one hides it.

    Parameters
    ----------
    graphdef, state
        The network, split (``nnx.split``).
    taps
        Names of stages or inner points.
    size
        Height and width of the image, in pixels.
    name
        Name of the network in error messages.

    Raises
    ------
    UnknownNameError
        If a tap is no stage.
    UsageError
        If there is no tap, or a stage on the way to the last one has an empty output at this size, or cannot take its
        input.
    """

    def run(state: Any, image: jax.Array) -> dict[str, jax.Array]:
        network = nnx.merge(graphdef, state)
        places = {tap: network.stage_of(network.resolve(tap)) for tap in taps}
        if not places:
            return network(image, taps=())  # says that there is none
        values: dict[str, jax.Array] = {}
        before, x = None, image
        for stage in network.order[: max(map(network.order.index, places.values())) + 1]:
            here = [tap for tap, place in places.items() if place == stage]
            found = _run_stage(network, stage, here, before, x, f"{name} at {size[0]}×{size[1]} pixels")
            values |= {tap: found[tap] for tap in here}
            before, x = stage, found[stage]
        return values

    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return {tap: tuple(value.shape[1:]) for tap, value in jax.eval_shape(run, state, image).items()}


def _run_stage(
    network: Backbone, stage: str, taps: Sequence[str], before: str | None, x: jax.Array, where: str
) -> dict[str, jax.Array]:
    """Run one stage; raise `UsageError` if it cannot take its input, or its output is empty."""
    try:
        found = network(x, taps=(*taps, stage), after=before)
    except FeatcacheError:  # some are ValueErrors, too
        raise
    except (TypeError, ValueError) as error:  # what JAX raises where shapes do not fit
        reason = shorten(str(error), 120, placeholder=" …")
        raise UsageError(
            f"{where}: stage {stage!r} cannot take {tuple(x.shape[1:])} ({reason}); give another image size, "
            "leave it out for the one that belongs to the weights, or ask for a layer before that stage"
        ) from error
    empty = next((value.shape[1:] for value in found.values() if 0 in value.shape), None)
    if empty is not None:
        raise UsageError(
            f"{where}: nothing is left of an image after stage {stage!r}, whose output is {tuple(empty)}; give "
            "a larger image size, or leave it out for the one that belongs to the weights"
        )
    return found
