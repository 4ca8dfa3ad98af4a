"""Fit heads to features: K heads of one kind in one jitted program, early stopping as a mask per head.

Everything here is arrays. The minibatch order is shared by the heads, so that K linear heads become one
matrix product; hyperparameters, seeds and row weights (folds, shots) have a leading axis K.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from featcache.compiling import cpu_options
from featcache.heads import Scaling, cross_entropy, feature_scaling, head_kind

Array: TypeAlias = Any
"""An array of jax or numpy."""


@dataclass(frozen=True)
class Program:
    """What is compiled: everything that changes the shape of the computation.

    Parameters
    ----------
    head
        Kind of head.
    classes
        Number of outputs C.
    optimizer
        ``"adam"``, ``"adamw"`` or ``"sgd"`` (with momentum 0.9).
    batch_size
        Rows per step; at most N.
    epochs
        The most epochs to run.
    standardize
        Whether features are brought to mean 0 and deviation 1 (folded into the weights afterwards).
    """

    head: str
    classes: int
    optimizer: str
    batch_size: int
    epochs: int
    standardize: bool = True


class Hyperparameters(NamedTuple):
    """Values that differ between the heads of one program, each float ``[K]`` (`seed`: uint32 ``[K]``).

    `patience` is in epochs; `min_delta` is how much the validation loss must fall to count.
    """

    learning_rate: Array
    weight_decay: Array
    label_smoothing: Array
    patience: Array
    min_delta: Array
    seed: Array


class Rows(NamedTuple):
    """Examples and how much each counts for each head: `x` ``[N, D]``, `y` int ``[N]``, `weight` ``[K, N]``."""

    x: Array
    y: Array
    weight: Array


class History(NamedTuple):
    """Mean loss and accuracy after each epoch, ``[epochs, K]``; NaN where a head had stopped."""

    train_loss: jax.Array
    val_loss: jax.Array
    val_accuracy: jax.Array


class Fitted(NamedTuple):
    """The heads at their best epoch.

    `parameters` have a leading axis K and work on raw features; `best_epoch` int ``[K]`` counts from 1 (0: no
    epoch was better than the start, the head diverged); `epochs_run` is the number of epochs of the longest.
    """

    parameters: dict[str, jax.Array]
    best_epoch: jax.Array
    epochs_run: jax.Array
    history: History


class _Carry(NamedTuple):
    epoch: jax.Array
    parameters: Any
    optimizer: Any
    best: Any
    best_loss: jax.Array
    best_epoch: jax.Array
    stopped: jax.Array
    history: History


MOST_ORDERED = 1 << 25
"""Row numbers that `batch_order` draws at most: 128 MiB."""

# Each turns gradients into steps of unit learning rate; the rate and the decay are scaled in by the program,
# because they differ between heads.
OPTIMIZERS: Mapping[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "adamw": optax.scale_by_adam,
    "sgd": lambda: optax.trace(decay=0.9),
}


def fit(program: Program, hyper: Hyperparameters, train: Rows, val: Rows) -> Fitted:
    """Fit K heads; compiled once for a program and shapes.

    Parameters
    ----------
    program
        What is compiled.
    hyper
        ``[K]`` values.
    train
        Training rows; rows of weight 0 do not count.
    val
        Rows that decide when to stop and which epoch to keep, by their mean loss. With none (``M = 0``) every
        head runs all epochs and keeps the last.

    Returns
    -------
    Fitted
        Parameters at the best epoch and the history.
    """
    order = batch_order(
        train.x.shape[0], batch_size=program.batch_size, epochs=program.epochs, seed=int(hyper.seed[0])
    )
    return run_program()(program, hyper, train, val, order)


def batch_order(rows: int, *, batch_size: int, epochs: int, seed: int) -> np.ndarray:
    """Draw the order of the rows, the same for all heads, so that one gather serves them all.

    Drawn here and not in the compiled program, where sorting random numbers takes a third of an epoch's time.

    Returns
    -------
    numpy.ndarray
        int32 ``[epochs, steps, batch]`` row numbers; the last batch is filled up with -1. Of very many rows fewer
        epochs are drawn, and used again.
    """
    size = min(batch_size, rows)
    steps = -(-rows // size)
    drawn = max(1, min(epochs, MOST_ORDERED // max(rows, 1)))
    order = np.full((drawn, steps * size), -1, np.int32)
    draw = np.random.default_rng(seed)
    for epoch in range(drawn):
        order[epoch, :rows] = draw.permutation(rows)
    return order.reshape(drawn, steps, size)


@cache
def run_program() -> Callable[..., Fitted]:
    """Return the compiled part of `fit`, which also takes `batch_order`'s result."""
    # XLA's newer emitters compile this program a third slower, and it runs no faster.
    options = cpu_options(xla_cpu_use_fusion_emitters=False)
    return jax.jit(_run_program, static_argnums=0, compiler_options=options)


def _run_program(
    program: Program, hyper: Hyperparameters, train: Rows, val: Rows, order: jax.Array | np.ndarray
) -> Fitted:
    head = head_kind(program.head)
    order = jnp.asarray(order)
    start = _initial(program, hyper, train)
    scaling = _scaling(program, train)
    epoch = partial(_train_epoch, program, hyper, train, scaling)
    judged = val.weight.sum(axis=1) > 0

    def running(carry: _Carry) -> jax.Array:
        return (carry.epoch < program.epochs) & ~jnp.all(carry.stopped)

    def advance(carry: _Carry) -> _Carry:
        batches = order[carry.epoch % len(order)]
        parameters, optimizer, loss = epoch(batches, carry.parameters, carry.optimizer)
        val_loss, val_accuracy = _evaluate(program, parameters, scaling, val)
        scores = History(loss, val_loss, val_accuracy)
        return _judge(hyper, carry, parameters, optimizer, scores, judged)

    end = lax.while_loop(running, advance, start)
    folded = jax.vmap(head.fold)(end.best, scaling)
    return Fitted(folded, end.best_epoch, end.epoch, end.history)


def _initial(program: Program, hyper: Hyperparameters, train: Rows) -> _Carry:
    heads = len(hyper.seed)
    keys = jax.vmap(jax.random.key)(hyper.seed)
    parameters = jax.vmap(lambda key: head_kind(program.head).init(key, train.x.shape[1], program.classes))(
        keys
    )
    empty = jnp.full((program.epochs, heads), jnp.nan)
    return _Carry(
        epoch=jnp.zeros((), jnp.int32),
        parameters=parameters,
        optimizer=jax.vmap(OPTIMIZERS[program.optimizer]().init)(parameters),
        best=parameters,
        best_loss=jnp.full(heads, jnp.inf),
        best_epoch=jnp.zeros(heads, jnp.int32),
        stopped=jnp.zeros(heads, bool),
        history=History(empty, empty, empty),
    )


def _scaling(program: Program, train: Rows) -> Scaling:
    if program.standardize:
        return jax.vmap(lambda weight: feature_scaling(train.x, weight))(train.weight)
    shape = (train.weight.shape[0], train.x.shape[1])
    return Scaling(jnp.zeros(shape), jnp.ones(shape))


def _train_epoch(
    program: Program,
    hyper: Hyperparameters,
    train: Rows,
    scaling: Scaling,
    batches: jax.Array,
    parameters: Any,
    optimizer: Any,
) -> tuple[Any, Any, jax.Array]:
    """One pass over ``batches [steps, B]``; returns parameters, optimiser state and mean loss ``[K]``."""

    def step(carry: tuple[Any, Any], batch: jax.Array) -> tuple[tuple[Any, Any], tuple[jax.Array, jax.Array]]:
        x, y = train.x[batch], train.y[batch]
        weight = train.weight[:, batch] * (batch >= 0)
        update = jax.vmap(partial(_step, program), in_axes=(0, 0, 0, 0, None, None, 0))
        parameters, optimizer, loss = update(*carry, hyper, scaling, x, y, weight)
        return (parameters, optimizer), (loss * weight.sum(1), weight.sum(1))

    (parameters, optimizer), (losses, weights) = lax.scan(step, (parameters, optimizer), batches)
    return parameters, optimizer, losses.sum(0) / jnp.maximum(weights.sum(0), 1.0)


def _step(
    program: Program,
    parameters: Any,
    optimizer: Any,
    hyper: Hyperparameters,
    scaling: Scaling,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array,
) -> tuple[Any, Any, jax.Array]:
    """One step of one head on ``x [B, D]``."""
    loss, gradients = jax.value_and_grad(
        lambda p: _mean_loss(program, p, scaling, x, y, weight, hyper.label_smoothing)
    )(parameters)
    decayed = jax.tree.map(lambda p: hyper.weight_decay * p if p.ndim > 1 else jnp.zeros_like(p), parameters)
    if program.optimizer != "adamw":  # coupled decay: part of the loss's gradient
        gradients = jax.tree.map(jnp.add, gradients, decayed)
    steps, optimizer = OPTIMIZERS[program.optimizer]().update(gradients, optimizer, parameters)
    if program.optimizer == "adamw":
        steps = jax.tree.map(jnp.add, steps, decayed)
    return (
        jax.tree.map(lambda p, s: p - hyper.learning_rate * s, parameters, steps),
        optimizer,
        loss,
    )


def _mean_loss(
    program: Program,
    parameters: Any,
    scaling: Scaling,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array,
    smoothing: jax.Array | float,
) -> jax.Array:
    head = head_kind(program.head)
    folded = head.fold(parameters, scaling)
    logits = jax.vmap(head.logits, in_axes=(None, 0))(folded, x)
    losses = jax.vmap(cross_entropy, in_axes=(0, 0, None))(logits, y, smoothing)
    return jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1e-9)


def _evaluate(program: Program, parameters: Any, scaling: Scaling, val: Rows) -> tuple[jax.Array, jax.Array]:
    """Return mean loss and accuracy of every head, each ``[K]``; NaN where there are no rows."""
    head = head_kind(program.head)

    def one(parameters: Any, scaling: Scaling, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = jax.vmap(head.logits, in_axes=(None, 0))(head.fold(parameters, scaling), val.x)
        losses = jax.vmap(cross_entropy)(logits, val.y)
        share = weight / jnp.sum(weight)
        return jnp.sum(losses * share), jnp.sum((jnp.argmax(logits, -1) == val.y) * share)

    if not val.x.shape[0]:
        nothing = jnp.full(val.weight.shape[0], jnp.nan)
        return nothing, nothing
    return jax.vmap(one)(parameters, scaling, val.weight)


def _judge(
    hyper: Hyperparameters, carry: _Carry, parameters: Any, optimizer: Any, scores: History, judged: jax.Array
) -> _Carry:
    """Keep what got better, stop what has not for `patience` epochs.

    A stopped head goes on in vain until the last one stops: only its best epoch counts, and masking every
    array would cost more than it saves. A head that is not `judged` (bool ``[K]``: it has validation rows) gets
    better with every finite epoch.
    """
    epoch = carry.epoch + 1
    # The loss is that of the epoch's steps, so its parameters may be infinite already when it is not.
    finite = jnp.isfinite(scores.train_loss) & _all_finite(parameters)
    improved = ~judged | (scores.val_loss < carry.best_loss - hyper.min_delta)
    better = improved & ~carry.stopped & finite

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    best_epoch = jnp.where(better, epoch, carry.best_epoch)
    alive = ~carry.stopped
    return carry._replace(
        epoch=epoch,
        parameters=parameters,
        optimizer=optimizer,
        best=jax.tree.map(keep, parameters, carry.best),
        best_loss=jnp.where(better, scores.val_loss, carry.best_loss),
        best_epoch=best_epoch,
        stopped=carry.stopped | (epoch - best_epoch >= hyper.patience) | ~finite,
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
