"""One epoch of training and one evaluation, for K heads of one form on arrays.

Everything is written for one head and ``vmap``-ped; only the rows of a batch are shared.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from featcache.heads import BATCH_AXIS, Form, Scaling, feature_scaling, head_kind
from featcache.losses import LOSSES
from featcache.optimization import Array, Hyperparameters, rate, start, step


@dataclass(frozen=True)
class Program:
    """What is compiled: everything that changes the computation, not just its numbers.

    Parameters
    ----------
    form
        The heads' arrays.
    optimizer
        A key of `featcache.optimization.OPTIMIZERS`.
    batch_size
        Rows per step; at most N.
    epochs
        The most epochs to run.
    loss
        A key of `featcache.losses.LOSSES`.
    schedule
        A key of `featcache.optimization.SCHEDULES`; over `epochs`, whenever a head stops.
    monitor
        What decides when to stop and which epoch to keep: the validation ``"loss"``, or its ``"score"``
        (accuracy), where of equal scores the first counts.
    standardize
        Whether features are brought to mean 0 and deviation 1 (folded into the weights afterwards).
    clip
        Whether any head clips its gradients.
    mixup, noise
        Whether any head mixes or disturbs its features; then they cannot share one product.
    """

    form: Form
    optimizer: str
    batch_size: int
    epochs: int
    loss: str = "softmax"
    schedule: str = "constant"
    monitor: str = "loss"
    standardize: bool = True
    clip: bool = False
    mixup: bool = False
    noise: bool = False


class Rows(NamedTuple):
    """Examples: `x` ``[N, D]``, `y` ``[N]`` or ``[N, C]``, and how much each counts, `weight` ``[K, N]``."""

    x: Array
    y: Array
    weight: Array


class Learners(NamedTuple):
    """K heads in training: parameters, optimiser states, and random keys, all with a leading axis K."""

    parameters: Any
    optimizer: Any
    keys: jax.Array


def new_learners(program: Program, hyper: Hyperparameters, features: int) -> Learners:
    """Return K heads before their first step; each draws from its own seed only."""

    def one(seed: jax.Array) -> Learners:
        first, rest = jax.random.split(jax.random.key(seed))
        parameters = head_kind(program.form.head).init(first, features, program.form)
        return Learners(parameters, start(program.optimizer, parameters), rest)

    return jax.vmap(one)(jnp.asarray(hyper.seed))


def scalings(program: Program, train: Rows) -> Scaling:
    """Return each head's standardisation, ``[K, D]`` twice, by the rows that count for it."""
    if program.standardize:
        return jax.vmap(lambda weight: feature_scaling(train.x, weight))(train.weight)
    shape = (train.weight.shape[0], train.x.shape[1])
    return Scaling(jnp.zeros(shape), jnp.ones(shape))


class Progress(NamedTuple):
    """Where training is: steps done before, int; steps in one epoch and in all are known to the compiler."""

    done: jax.Array
    steps_per_epoch: int


def train_steps(
    program: Program,
    hyper: Hyperparameters,
    train: Rows,
    scaling: Scaling,
    batches: jax.Array,
    progress: Progress,
    learners: Learners,
) -> tuple[Learners, jax.Array, jax.Array]:
    """Take one step for each of ``batches [steps, B]``, row numbers of `train`, -1 for none.

    Returns
    -------
    Learners
        After the steps.
    losses, weights
        ``[K]``: weighted losses and weights summed over the steps; their quotient is the mean loss.
    """

    def one(learners: Learners, numbered: tuple[jax.Array, jax.Array]) -> tuple[Learners, Any]:
        number, batch = numbered
        weight = train.weight[:, batch] * (batch >= 0)
        update = jax.vmap(
            partial(_step, program, progress.steps_per_epoch), in_axes=(0, 0, 0, None, None, 0, None)
        )
        learners, loss = update(
            learners, hyper, scaling, train.x[batch], train.y[batch], weight, progress.done + number
        )
        return learners, (loss * weight.sum(1), weight.sum(1))

    learners, (losses, weights) = lax.scan(one, learners, (jnp.arange(len(batches)), batches))
    return learners, losses.sum(0), weights.sum(0)


def mean_loss(losses: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the quotient of `train_steps`' sums, ``[K]``."""
    return losses / jnp.maximum(weights, 1e-9)


def _step(
    program: Program,
    steps_per_epoch: int,
    learner: Learners,
    hyper: Hyperparameters,
    scaling: Scaling,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array,
    number: jax.Array,
) -> tuple[Learners, jax.Array]:
    """One step of one head on ``x [B, D]``."""
    key = jax.random.fold_in(learner.keys, number)
    loss = partial(_mean_loss, program, hyper, scaling, x=x, y=y, weight=weight, key=key)
    (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(learner.parameters)
    learning_rate = rate(
        program.schedule, hyper, number, steps_per_epoch=steps_per_epoch, epochs=program.epochs
    )
    parameters, optimizer = step(
        program.optimizer,
        learner.parameters,
        learner.optimizer,
        gradients,
        hyper,
        learning_rate,
        clip=program.clip,
    )
    return Learners({**parameters, **statistics}, optimizer, learner.keys), value


def _mean_loss(
    program: Program,
    hyper: Hyperparameters,
    scaling: Scaling,
    parameters: Any,
    *,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted mean loss of one head on a batch, and the statistics that its hidden layers take of it."""
    head, form, value = head_kind(program.form.head), program.form, LOSSES[program.loss].value
    drop_key, noise_key, mix_key = jax.random.split(key, 3)
    if program.noise:
        x = x + hyper.noise * scaling.deviation * jax.random.normal(noise_key, x.shape)
    share = jnp.ones(())
    other = jnp.arange(len(x))
    if program.mixup:
        share, other = _mixing(hyper, weight, mix_key)
        x = share * x + (1 - share) * x[other]
    scaled = head.scale(form, parameters, scaling)
    uniform = jax.random.uniform(drop_key, (len(x), form.units))
    outputs, statistics = jax.vmap(
        partial(head.train_logits, form), in_axes=(None, 0, 0, None, 0), axis_name=BATCH_AXIS
    )(scaled, x, weight, hyper.dropout, uniform)
    losses = jax.vmap(value, in_axes=(0, 0, None))(outputs, y, hyper.label_smoothing)
    if program.mixup:
        losses = share * losses + (1 - share) * jax.vmap(value, in_axes=(0, 0, None))(
            outputs, y[other], hyper.label_smoothing
        )
    mean = jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1e-9)
    return mean, {name: lax.stop_gradient(values[0]) for name, values in statistics.items()}


def _mixing(hyper: Hyperparameters, weight: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the share of the first partner, and the row numbers ``[B]`` of the second ones.

    Only rows that count are partners: another's features must not leak into a fold or a shot.
    """
    share_key, other_key = jax.random.split(key)
    alpha = jnp.maximum(hyper.mixup, 1e-3)
    share = jnp.where(hyper.mixup > 0, jax.random.beta(share_key, alpha, alpha), 1.0)
    counting = jnp.where(weight > 0, 0.0, -jnp.inf)
    other = jax.random.categorical(other_key, jnp.broadcast_to(counting, (len(weight), len(weight))))
    return share, other


def evaluate(
    program: Program, parameters: Any, scaling: Scaling, val: Rows
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return weighted loss, weighted score, and weight of every head, each summed over rows, ``[K]``."""
    head, form, loss = head_kind(program.form.head), program.form, LOSSES[program.loss]

    def one(parameters: Any, scaling: Scaling, weight: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        finished = head.finish(form, head.scale(form, parameters, scaling))
        outputs = jax.vmap(partial(head.logits, form), in_axes=(None, 0))(finished, val.x)
        losses = jax.vmap(loss.value, in_axes=(0, 0, None))(outputs, val.y, 0.0)
        # A row that does not count may be infinite.
        counted = jnp.where(weight > 0, losses * weight, 0.0)
        return jnp.sum(counted), jnp.sum(jax.vmap(loss.score)(outputs, val.y) * weight), jnp.sum(weight)

    if not val.x.shape[0]:
        nothing = jnp.zeros(val.weight.shape[0])
        return nothing, nothing, nothing
    return jax.vmap(one)(parameters, scaling, val.weight)
