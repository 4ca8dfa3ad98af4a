"""Raw outputs of fitted heads of every kind."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from featcache.core.jit_options import cpu_options
from featcache.heads.model import HeadArchitecture, as_arrays, form_of, head_kind
from featcache.heads.settings import Settings


def outputs(
    settings: Settings, parameters: Mapping[str, np.ndarray], x: np.ndarray, *, classes: int
) -> np.ndarray:
    """Return the raw outputs float32 ``[K, N, C]`` of K heads (parameters with a leading axis) on ``x [N, D]``."""
    if settings.head == "knn":
        return np.stack(
            [_knn_outputs(settings, parameters, k, x, classes) for k in range(len(parameters["labels"]))]
        )
    if settings.head == "prototype":
        from featcache.heads.nearest import prototype_scores

        return np.asarray(prototype_scores(dict(parameters), x, metric=settings.metric))
    form = form_of(settings, {name: value[0] for name, value in parameters.items()})
    return np.asarray(_many_logits()(form, as_arrays(parameters), np.asarray(x, np.float32)))


@cache
def _many_logits() -> Callable[..., jax.Array]:
    def run(form: HeadArchitecture, parameters: Any, x: jax.Array) -> jax.Array:
        one = jax.vmap(partial(head_kind(form.head).logits, form), in_axes=(None, 0))
        return jax.vmap(one, in_axes=(0, None))(parameters, x)

    return jax.jit(run, static_argnums=0, compiler_options=cpu_options(xla_cpu_use_fusion_emitters=False))


def _knn_outputs(
    settings: Settings, parameters: Mapping[str, np.ndarray], head: int, x: np.ndarray, classes: int
) -> np.ndarray:
    """Return the logarithms of the shares of the votes, whose softmax are the shares."""
    from featcache.heads.nearest import knn_scores

    weight = parameters["weight"][head]
    neighbours = int(np.ravel(parameters["neighbours"][head])[0])
    votes = knn_scores(
        parameters["features"][head],
        parameters["labels"][head],
        x,
        classes=classes,
        neighbours=neighbours,
        metric=settings.metric,
        temperature=settings.temperature,
        weight=weight,
    )
    # One vote more, spread over all classes: a class that nobody voted for is unlikely, not impossible.
    spread = 1 / (classes * (1 + neighbours))
    return np.log(np.maximum(votes, 0) + np.float32(spread))
