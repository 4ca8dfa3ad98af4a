"""Fitted heads of every kind as functions of JAX arrays, for a program that holds network and head.

`featcache.heads.inference` computes the same of numpy arrays, with numpy where that is faster on a CPU and in blocks
that memory has room for; here all is one expression that other runtimes have, too: products, the largest k, and rows
of a table.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from featcache.heads.model import as_arrays, form_of, head_kind
from featcache.heads.nearest import TIE, largest, remembered_rows
from featcache.heads.scaling import unit_length
from featcache.heads.settings import Settings

Function = Callable[[jax.Array], jax.Array]


def logits_function(settings: Settings, parameters: Mapping[str, np.ndarray], *, classes: int) -> Function:
    """Return a head as a function from features float32 ``[N, D]`` to raw outputs ``[N, C]``.

    Parameters
    ----------
    settings, parameters
        Of one fitted head.
    classes
        Number of classes.
    """
    if settings.head == "knn":
        return _knn(settings, parameters, classes)
    form = form_of(settings, parameters)
    return jax.vmap(partial(head_kind(form.head).logits, form, as_arrays(parameters)))


def nearness_function(
    train: np.ndarray, *, most: int, metric: str = "cosine"
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Return what `featcache.heads.nearest.nearest_rows` finds as a function of queries float32 ``[N, D]``.

    Parameters
    ----------
    train
        float ``[M, D]``, all finite.
    most
        How many rows k to find for each query; at most all.
    metric
        ``"cosine"`` or ``"euclidean"``.

    Returns
    -------
    callable
        To the closeness float32 ``[N, k]``, the nearest first, and the numbers of the rows int32 ``[N, k]``.
    """
    known = remembered_rows(train, np.ones(len(train), bool), metric, at_least=1)
    most = min(most, len(train))

    def search(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        placed = unit_length(query, jnp) if known.centre is None else query - known.centre
        near, rows = largest(most, False, known.x, known.half, placed, jnp.int32(0))
        if known.centre is not None:
            squared = jnp.sum(jnp.square(placed), axis=1, keepdims=True) - 2 * near
            near = -jnp.sqrt(jnp.maximum(squared, 0.0))
        return near, rows

    return search


def _knn(settings: Settings, parameters: Mapping[str, np.ndarray], classes: int) -> Function:
    """Return the logarithms of the shares of the votes, as `featcache.heads.inference` has them."""
    there = np.asarray(parameters["weight"]) > 0
    rows, labels, weight = (np.asarray(parameters[name])[there] for name in ("features", "labels", "weight"))
    neighbours = int(np.ravel(parameters["neighbours"])[0])
    search = nearness_function(rows, most=neighbours, metric=settings.metric)
    # A row's vote, ``[M, C]``: its weight in the column of its class.
    ballots = jnp.asarray(np.eye(classes, dtype=np.float32)[labels] * np.asarray(weight, np.float32)[:, None])
    spread = np.float32(1 / (classes * (1 + neighbours)))

    def logits(x: jax.Array) -> jax.Array:
        closeness, numbers = search(x)
        votes = jnp.take(ballots, numbers, axis=0, mode="clip")
        if settings.temperature:
            fading = jnp.exp(
                (closeness - closeness.max(axis=1, keepdims=True)) / np.float32(settings.temperature)
            )
            votes = votes * fading[:, :, None]
        return jnp.log(jnp.maximum(_shares(votes), 0.0) + spread)

    return logits


def _shares(votes: jax.Array) -> jax.Array:
    """Return each class's share ``[N, C]`` of votes ``[N, k, C]``, the nearest row's first.

    Of classes with equal votes the one with the nearest row wins, as in `featcache.heads.nearest.knn_scores`.
    """
    total = votes.sum(axis=1)
    share = total / total.sum(axis=1, keepdims=True)
    best = share.max(axis=1, keepdims=True)
    tied = (share >= best - TIE).astype(jnp.float32)
    # How early a vote for a tied class comes, ``[N, k, C]``: the nearest row's is the largest number of all.
    early = jnp.arange(votes.shape[1], 0, -1, dtype=jnp.float32)[None, :, None]
    earliest = (jnp.where(votes > 0, early, 0.0) * tied[:, None, :]).max(axis=1)
    return jnp.where(earliest == earliest.max(axis=1, keepdims=True), best + TIE, share)
