"""Fit heads to features: K heads of one architecture in one jitted program, early stopping as a mask per head.

Everything here is arrays. The minibatch order is shared by the heads, so that K linear heads become one
matrix product; hyperparameters, seeds and row weights (folds, shots, classes) have a leading axis K.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from featcache.core.jit_options import cpu_options
from featcache.heads.model import Scaling
from featcache.heads.settings import FULL_BATCH
from featcache.solvers.lbfgs_training import init_state, iterate
from featcache.solvers.optimizers import Hyperparameters
from featcache.solvers.train_step import (
    HeadsProgram,
    Learners,
    TrainProgress,
    TrainRows,
    evaluate,
    for_raw_features,
    mean_loss,
    new_learners,
    scalings,
    train_steps,
)

MONITORS = ("loss", "score")


class EpochHistory(NamedTuple):
    """Mean loss and score after each epoch, ``[epochs, K]``; NaN where a head had stopped."""

    train_loss: jax.Array
    val_loss: jax.Array
    val_score: jax.Array


class TrainedHeads(NamedTuple):
    """The heads at their best epoch.

    `parameters` have a leading axis K and work on raw features; `best_epoch` int ``[K]`` counts from 1 (0: no
    epoch was better than the start, the head diverged); `epochs_run` is the number of epochs of the longest.
    """

    parameters: dict[str, jax.Array]
    best_epoch: jax.Array
    epochs_run: jax.Array
    history: EpochHistory


class Carry(NamedTuple):
    """The state that is carried from epoch to epoch."""

    epoch: jax.Array
    learners: Learners
    best: Any
    best_value: jax.Array
    best_epoch: jax.Array
    stopped: jax.Array
    history: EpochHistory


MOST_ORDERED = 1 << 25
"""Row numbers that `batch_order` draws at most: 128 MiB."""

_OF_VIEWS = 1
"""Added to the seed, so that views are drawn independently of the order."""


def fit(
    program: HeadsProgram, hyper: Hyperparameters, train: TrainRows, val: TrainRows, *, views: int = 1
) -> TrainedHeads:
    """Fit K heads; compiled once for a program and shapes.

    Parameters
    ----------
    program
        The program.
    hyper
        ``[K]`` values. The first head's seed decides the order of the rows, which all heads share.
    train
        Training rows; rows of weight 0 do not count.
    val
        Rows that decide when to stop and which epoch to keep. With none (``M = 0``) every head runs all epochs
        and keeps the last.
    views
        Rows of `train` for each image, of which every epoch takes one; see `batch_order`.

    Returns
    -------
    TrainedHeads
        Parameters at the best epoch and the history.
    """
    seed = int(hyper.seed[0])
    images = train.x.shape[0] // views
    order = batch_order(images, batch_size=program.batch_size, epochs=program.epochs, seed=seed, views=views)
    return run_program()(program, hyper, train, val, order)


def batch_order(images: int, *, batch_size: int, epochs: int, seed: int, views: int = 1) -> np.ndarray:
    """Draw the order of the images, the same for all heads, so that one gather serves them all.

    Drawn here and not in the compiled program, where sorting random numbers takes a third of an epoch's time.

    Parameters
    ----------
    images
        Number of images N.
    batch_size, epochs
        Images in a step, and the number of epochs.
    seed
        Of the order, and of the views.
    views
        Rows V of each image; view v of image r is row ``r · V + v``. Every epoch takes one view of each image,
        drawn evenly and by itself: the order of the images is that of one view, so that only the views differ.

    Returns
    -------
    numpy.ndarray
        int32 ``[epochs, steps, batch]`` row numbers; the last batch is filled up with -1. Of very many images fewer
        epochs are drawn, and used again.
    """
    size = min(batch_size, images)
    steps = -(-images // size)
    drawn = max(1, min(epochs, MOST_ORDERED // max(images, 1)))
    order = np.full((drawn, steps * size), -1, np.int32)
    draw, view = np.random.default_rng(seed), np.random.default_rng([seed, _OF_VIEWS])
    for epoch in range(drawn):
        turn = draw.permutation(images)
        order[epoch, :images] = turn if views == 1 else turn * views + view.integers(views, size=images)[turn]
    return order.reshape(drawn, steps, size)


@cache
def run_program(*, one_core: bool = False) -> Callable[..., TrainedHeads]:
    """Return the compiled part of `fit`, which also takes `batch_order`'s result.

    With `one_core`, for many heads: each call keeps to one core, so that as many calls as there are cores, each of
    a part of the heads, do not wait for each other.
    """
    if one_core:
        options = cpu_options(xla_cpu_multi_thread_eigen=False, xla_cpu_prefer_vector_width=512)
    else:
        # XLA's newer emitters compile this program a third slower, and few heads run no faster.
        options = cpu_options(xla_cpu_use_fusion_emitters=False)
    return jax.jit(run_heads, static_argnums=0, compiler_options=options)


def run_heads(
    program: HeadsProgram,
    hyper: Hyperparameters,
    train: TrainRows,
    val: TrainRows,
    order: jax.Array | np.ndarray,
) -> TrainedHeads:
    """Train K heads to the end; what `run_program` compiles."""
    order = jnp.asarray(order)
    scaling = scalings(program, train)
    steps = order.shape[1]

    def running(carry: Carry) -> jax.Array:
        return (carry.epoch < program.epochs) & ~jnp.all(carry.stopped)

    def advance(carry: Carry) -> Carry:
        if program.optimizer in FULL_BATCH:
            learners, losses = iterate(program, hyper, train, scaling, carry.learners)
            return validate_epoch(carry, learners, losses)
        progress = TrainProgress(carry.epoch * steps, steps)
        batches = order[carry.epoch % len(order)]
        learners, losses, weights = train_steps(
            program, hyper, train, scaling, batches, progress, carry.learners
        )
        return validate_epoch(carry, learners, mean_loss(losses, weights))

    def validate_epoch(carry: Carry, learners: Learners, loss: jax.Array) -> Carry:
        return end_epoch(
            program, hyper, carry, learners, loss, evaluate(program, learners.parameters, scaling, val)
        )

    first = init_carry(program, hyper, train.x.shape[1])
    if program.optimizer in FULL_BATCH:
        first = first._replace(learners=init_state(program, hyper, train, scaling, first.learners))
    return finalize(program, lax.while_loop(running, advance, first), scaling)


def finalize(program: HeadsProgram, end: Carry, scaling: Scaling) -> TrainedHeads:
    """Return K trained heads: the parameters of the best epoch, for raw features."""
    parameters = jax.vmap(partial(for_raw_features, program), in_axes=(0, program.by_head))(end.best, scaling)
    return TrainedHeads(parameters, end.best_epoch, end.epoch, end.history)


def init_carry(program: HeadsProgram, hyper: Hyperparameters, features: int) -> Carry:
    """Return the state of K heads before the first epoch."""
    heads = len(hyper.seed)
    learners = new_learners(program, hyper, features)
    # With an explicit dtype: weakly typed arrays would have the functions of a streamed run compiled twice.
    empty = jnp.full((program.epochs, heads), jnp.nan, jnp.float32)
    return Carry(
        epoch=jnp.zeros((), jnp.int32),
        learners=learners,
        best=learners.parameters,
        best_value=jnp.full(heads, jnp.inf, jnp.float32),
        best_epoch=jnp.zeros(heads, jnp.int32),
        stopped=jnp.zeros(heads, bool),
        history=EpochHistory(empty, empty, empty),
    )


def end_epoch(
    program: HeadsProgram,
    hyper: Hyperparameters,
    carry: Carry,
    learners: Learners,
    train_loss: jax.Array,
    judged: tuple[jax.Array, jax.Array, jax.Array],
) -> Carry:
    """Keep the parameters of heads that improved; stop those that have not for `patience` epochs, or learnt all rows.

    A stopped head is still computed until the last one stops, without effect: masking every array would cost more
    than it saves. A head without validation rows improves with every finite epoch.

    Parameters
    ----------
    program, hyper, carry
        Program, hyperparameters, and the state before the epoch.
    learners, train_loss
        After the epoch.
    judged
        Sums of `featcache.solvers.train_step.evaluate`.
    """
    epoch = carry.epoch + 1
    loss, score, weight = judged
    scores = EpochHistory(
        train_loss, *(jnp.where(weight > 0, part / weight, jnp.nan) for part in (loss, score))
    )
    value = scores.val_loss if program.monitor == "loss" else -scores.val_score
    # The loss is the mean over the epoch's steps: parameters may be infinite after them while it is still finite.
    finite = jnp.isfinite(train_loss) & _all_finite(learners.parameters)
    improved = (weight <= 0) | (value < carry.best_value - hyper.min_delta)
    better = improved & ~carry.stopped & finite

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    best_epoch = jnp.where(better, epoch, carry.best_epoch)
    alive = ~carry.stopped
    return carry._replace(
        epoch=epoch,
        learners=learners,
        best=jax.tree.map(keep, learners.parameters, carry.best),
        best_value=jnp.where(better, value, carry.best_value),
        best_epoch=best_epoch,
        stopped=carry.stopped
        | (epoch - best_epoch >= hyper.patience)
        | (epoch >= hyper.last_epoch)
        | (train_loss < hyper.learnt)
        | ~finite,
        history=jax.tree.map(
            lambda all_, new: all_.at[carry.epoch].set(jnp.where(alive, new, jnp.nan)), carry.history, scores
        ),
    )


def _all_finite(parameters: Any) -> jax.Array:
    """Return bool ``[K]``: heads all of whose parameters are finite."""
    leaves = [
        jnp.isfinite(leaf).reshape(leaf.shape[0], -1).all(axis=1) for leaf in jax.tree.leaves(parameters)
    ]
    return jnp.stack(leaves).all(axis=0)
