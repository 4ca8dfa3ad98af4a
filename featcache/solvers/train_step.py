"""Train steps and the evaluation of K heads of one architecture on arrays.

Everything is written for one head and ``vmap``-ped over K; only the rows of a batch are shared. Shapes: K heads, N
rows, B rows of a batch, D features, C outputs, H columns of the first kernel (C of a linear head).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from featcache.heads.losses import LOSSES
from featcache.heads.model import BATCH_AXIS, HeadArchitecture, Scaling, draw_flat, feature_scaling, head_kind
from featcache.solvers.optimizers import OPTIMIZERS, Array, Hyperparameters, rate, start, step


@dataclass(frozen=True)
class HeadsProgram:
    """What a compiled train step depends on: everything that changes the computation, not just its numbers.

    Parameters
    ----------
    form
        The heads' architecture.
    optimizer
        A key of `featcache.solvers.optimizers.OPTIMIZERS`, or ``"lbfgs"``: see `featcache.solvers.lbfgs_training`.
    batch_size
        Rows per step; at most N.
    epochs
        The most epochs to run.
    loss
        A key of `featcache.heads.losses.LOSSES`.
    schedule
        A key of `featcache.solvers.optimizers.SCHEDULES`; over `epochs`, whenever a head stops.
    monitor
        What decides when to stop and which epoch to keep: the validation ``"loss"``, or its ``"score"``
        (accuracy), where of equal scores the first counts.
    scaling
        How features are scaled; what is done to each of them is folded into the weights afterwards. Rows are of unit
        length already where it is ``"unit"``.
    clip
        Whether any head clips its gradients.
    mixup, noise
        Whether any head mixes or disturbs its features; disturbed, they cannot share one product.
    shared
        Whether all heads have the same rows: `TrainRows.weight` is ``[1, N]`` then, and features are standardised once
        a batch, not once a head.
    """

    form: HeadArchitecture
    optimizer: str
    batch_size: int
    epochs: int
    loss: str = "softmax"
    schedule: str = "constant"
    monitor: str = "loss"
    scaling: str = "standard"
    clip: bool = False
    mixup: bool = False
    noise: bool = False
    shared: bool = False

    @property
    def by_head(self) -> int | None:
        """The ``vmap`` axis of what `shared` heads have in common."""
        return None if self.shared else 0


class TrainRows(NamedTuple):
    """Examples: `x` ``[N, D]``, `y` ``[N]`` or ``[N, C]``, and how much each counts, `weight` ``[K, N]``.

    `weight` is ``[1, N]`` where the heads share it (see `HeadsProgram`).
    """

    x: Array
    y: Array
    weight: Array


def finite_rows(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``[N, D]`` and row weights ``[K, N]`` in which a row that is not finite reaches no other head.

    0 · NaN is NaN: a row that holds NaN or infinity would reach heads that it does not count for, through the sums
    over a batch. Its features are replaced by another row's, and its weight by NaN for the heads that it counts for,
    which ends their training at once.
    """
    # A row's sum is not finite if one of its values is not, and is cheap; large values may overflow it as well.
    with np.errstate(invalid="ignore", over="ignore"):
        suspects = np.flatnonzero(~np.isfinite(x.sum(axis=1)))
    bad = suspects[~np.isfinite(x[suspects]).all(axis=1)]
    if not len(bad):
        return x, weight
    x, weight = x.copy(), np.array(weight, np.float32)
    good = np.setdiff1d(np.arange(len(x)), bad)
    x[bad] = x[good[0]] if len(good) else 0.0
    weight[:, bad] = np.where(weight[:, bad] > 0, np.nan, 0.0)
    return x, weight


class Learners(NamedTuple):
    """K heads in training: parameters, optimiser states, and random keys, all with a leading axis K.

    Matrices are transposed, ``[K, C, D]``: the layout in which the gradient's product yields them (see `_products`), so
    that the optimiser transposes nothing.
    """

    parameters: Any
    optimizer: Any
    keys: jax.Array


def new_learners(program: HeadsProgram, hyper: Hyperparameters, features: int) -> Learners:
    """Return K heads before their first step; each draws from its own seed only."""

    def one(seed: jax.Array) -> Learners:
        first, rest = jax.random.split(jax.random.key(seed))
        parameters = transpose_kernels(head_kind(program.form.head).init(first, features, program.form))
        state = start(program.optimizer, parameters) if program.optimizer in OPTIMIZERS else ()
        return Learners(parameters, state, rest)

    return jax.vmap(one)(jnp.asarray(hyper.seed))


def transpose_kernels(parameters: Any) -> Any:
    """Return parameters with their matrices transposed; done twice, it changes nothing."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, -1, -2) if leaf.ndim > 1 else leaf, parameters)


def scalings(program: HeadsProgram, train: TrainRows) -> Scaling:
    """Return each head's standardisation, ``[K, D]`` twice (``[D]`` where shared), by the rows that count for it."""
    if program.scaling == "none":
        shape = (train.x.shape[1],) if program.shared else (train.weight.shape[0], train.x.shape[1])
        return Scaling(jnp.zeros(shape), jnp.ones(shape))
    counting = jnp.where(train.weight > 0, train.weight, 0.0)  # NaN: see `finite_rows`
    if program.shared:
        return feature_scaling(train.x, counting[0], program.scaling)
    return jax.vmap(lambda weight: feature_scaling(train.x, weight, program.scaling))(counting)


def for_raw_features(program: HeadsProgram, parameters: Any, scaling: Scaling) -> dict[str, jax.Array]:
    """Return one head's parameters for raw features, without those that only training needs."""
    head, form = head_kind(program.form.head), program.form
    return head.finish(form, head.scale(form, transpose_kernels(parameters), scaling))


class TrainProgress(NamedTuple):
    """Position in training: steps `done` before, an int scalar; steps of one epoch, known to the compiler."""

    done: jax.Array
    steps_per_epoch: int


def train_steps(
    program: HeadsProgram,
    hyper: Hyperparameters,
    train: TrainRows,
    scaling: Scaling,
    batches: jax.Array,
    progress: TrainProgress,
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
        # x [B, D] is read once for all heads; weight is [K, B], or [1, B] where shared. Row number -1 reads the last
        # row, with the weight 0.
        weight = train.weight[:, batch] * (batch >= 0)
        total = jnp.broadcast_to(weight.sum(1), hyper.seed.shape)
        x = train.x[batch]
        if program.shared:
            weight, x = weight[0], (x - scaling.mean) / scaling.deviation
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(learners.keys, progress.done + number)
        loss_of = partial(
            total_loss, program, hyper, scaling, x=x, y=train.y[batch], weight=weight, keys=keys
        )
        # L = Σ_k ℓ_k(θ_k) and no ℓ_j depends on another head's θ_k, so ∂L/∂θ_k = ∂ℓ_k/∂θ_k: one backward pass of the
        # sum gives every head's own gradient, with one matrix product for all heads instead of K small ones.
        gradients, (loss, statistics) = jax.grad(loss_of, has_aux=True)(learners.parameters)
        update = jax.vmap(partial(_step, program, progress.steps_per_epoch), in_axes=(0, 0, 0, 0, None))
        learners = update(learners, hyper, gradients, statistics, progress.done + number)
        # ℓ_k is the mean Σ_i w_ki·ℓ_ki / Σ_i w_ki; times Σ_i w_ki it can be summed over batches of different weight.
        return learners, (loss * total, total)

    learners, (losses, weights) = lax.scan(one, learners, (jnp.arange(len(batches)), batches))
    return learners, losses.sum(0), weights.sum(0)


def mean_loss(losses: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the quotient of `train_steps`' sums, ``[K]``."""
    return losses / jnp.maximum(weights, 1e-9)


def _step(
    program: HeadsProgram,
    steps_per_epoch: int,
    learner: Learners,
    hyper: Hyperparameters,
    gradients: Any,
    statistics: Any,
    number: jax.Array,
) -> Learners:
    """One step of one head."""
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
        number,
        clip=program.clip,
    )
    return Learners({**parameters, **transpose_kernels(statistics)}, optimizer, learner.keys)


def total_loss(
    program: HeadsProgram,
    hyper: Hyperparameters,
    scaling: Scaling,
    parameters: Any,
    *,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array,
    keys: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Return the sum of the heads' losses, whose gradient by one head's parameters is that of its own loss.

    Also returns the losses ``[K]`` and the statistics that hidden layers take of the batch.
    """
    form, own = program.form, program.by_head
    parameters = jax.vmap(transpose_kernels)(parameters)
    if not program.shared:  # shared features are standardised already
        # Head k has its own mean μ and deviation σ. ((x − μ) / σ) @ W = x @ (W / σ) − (μ / σ) @ W: with these in the
        # kernels [K, D, H] and biases all heads read the same raw x [B, D], and no copy [K, B, D] is made. The gradient
        # goes through this, so that training is still that on standardised features.
        parameters = jax.vmap(partial(head_kind(form.head).scale, form))(parameters, scaling)
    draws = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    products = _products(program, hyper, scaling, parameters[form.first], x, draws[:, 1])
    mean = jax.vmap(partial(_mean_loss, program), in_axes=(0, 0, 0, None, own, 0, 0))
    losses, statistics = mean(hyper, parameters, products, y, weight, draws[:, 0], draws[:, 2])
    return jnp.sum(losses), (losses, statistics)


def _products(
    program: HeadsProgram,
    hyper: Hyperparameters,
    scaling: Scaling,
    kernels: jax.Array,
    x: jax.Array,
    keys: jax.Array,
) -> jax.Array:
    """Return the products of kernels ``[K, D, H]`` with features ``[B, D]``: ``[K, H, B]``.

    Rows come last, here and until the loss, because arithmetic is vectorised over the last axis and a head has few
    outputs.
    """
    if not program.noise:
        # One product P [K·H, B] = R [K·H, D] × xᵀ [D, B], with the kernels' rows R as `Learners` keeps them: this
        # transposition and that in `total_loss` cancel. Its gradient ∂L/∂R = ∂L/∂P [K·H, B] × x [B, D] has the
        # parameters' layout [K, H, D] again. The product that vmap would write copies all kernels transposed, at
        # every step.
        heads, width, columns = kernels.shape
        rows = jnp.swapaxes(kernels, 1, 2).reshape(heads * columns, width)
        return (rows @ x.T).reshape(heads, columns, -1)

    def disturbed(
        hyper: Hyperparameters, deviation: jax.Array, kernel: jax.Array, key: jax.Array
    ) -> jax.Array:
        return kernel.T @ (x + hyper.noise * deviation * draw_flat(jax.random.normal, key, x.shape)).T

    # Each head has its own noise, hence K different x [B, D] and K products. Noise is in units of a feature's
    # deviation: 1 where x is standardised already.
    unit = jnp.ones(()) if program.shared else scaling.deviation
    return jax.vmap(disturbed, in_axes=(0, program.by_head, 0, 0))(hyper, unit, kernels, keys)


def _mean_loss(
    program: HeadsProgram,
    hyper: Hyperparameters,
    parameters: Any,
    products: jax.Array,
    y: jax.Array,
    weight: jax.Array,
    drop_key: jax.Array,
    mix_key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted mean loss of one head on a batch, of its products ``[H, B]``, and its hidden layers' statistics."""
    form, value = program.form, LOSSES[program.loss].value
    share = jnp.ones(())
    other = jnp.arange(len(weight))
    if program.mixup:
        # (s·x_i + (1 − s)·x_j) @ W = s·(x_i @ W) + (1 − s)·(x_j @ W): mixing the products [H, B] mixes the features
        # [B, D], without another matrix product.
        share, other = _mixing(hyper, weight, mix_key)
        products = share * products + (1 - share) * products[:, other]
    uniform = draw_flat(jax.random.uniform, drop_key, (len(weight), form.units))
    outputs, statistics = jax.vmap(
        partial(head_kind(form.head).train_logits, form),
        in_axes=(None, 1, 0, None, 0),
        out_axes=(1, 0),
        axis_name=BATCH_AXIS,
    )(parameters, products, weight, hyper.dropout, uniform)
    losses = value(outputs, _targets(y), hyper.label_smoothing)
    if program.mixup:
        # Cross-entropies are linear in the target, so this is the loss of the mixed target; a squared error differs
        # from it by a constant, and has the same gradient.
        losses = share * losses + (1 - share) * value(outputs, _targets(y[other]), hyper.label_smoothing)
    mean = jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1e-9)
    return mean, {name: lax.stop_gradient(values[0]) for name, values in statistics.items()}


def _targets(y: jax.Array) -> jax.Array:
    """Return labels ``[B]`` unchanged, and several targets for each example ``[B, C]`` as ``[C, B]``."""
    return jnp.moveaxis(y, 0, -1)


def _mixing(hyper: Hyperparameters, weight: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the share of the first partner, and the row numbers ``[B]`` of the second ones.

    Only rows that count are partners: another's features must not leak into a fold or a shot.
    """
    share_key, other_key = jax.random.split(key)
    alpha = jnp.maximum(hyper.mixup, 1e-3)
    # The share of two Gamma(α) is Beta(α, α); jax.random.beta compiles its sampler twice.
    beta = jax.nn.softmax(jax.random.loggamma(share_key, alpha, (2,)))[0]
    share = jnp.where(hyper.mixup > 0, beta, 1.0)
    # With c_r rows that count up to row r, the n-th of them (n from 0) is the number of rows r with c_r ≤ n; n is drawn
    # uniformly. A categorical distribution would draw a number for each pair of rows, [B, B].
    counted = jnp.cumsum(weight > 0)
    place = jnp.floor(jax.random.uniform(other_key, weight.shape) * counted[-1])
    other = jnp.sum(counted[None] <= jnp.minimum(place, counted[-1] - 1)[:, None], axis=1)
    return share, other


def evaluate(
    program: HeadsProgram, parameters: Any, scaling: Scaling, val: TrainRows
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return weighted loss, weighted score, and weight of every head, each summed over rows, ``[K]``."""
    logits, loss = head_kind(program.form.head).logits, LOSSES[program.loss]

    def one(parameters: Any, scaling: Scaling, weight: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        finished = for_raw_features(program, parameters, scaling)
        outputs = jax.vmap(partial(logits, program.form), in_axes=(None, 0), out_axes=1)(finished, val.x)
        losses = loss.value(outputs, _targets(val.y), 0.0)
        judged = jnp.stack([losses, loss.score(outputs, _targets(val.y))])
        # A row that does not count may be infinite.
        counted = jnp.sum(jnp.where(weight > 0, judged * weight, 0.0), axis=1)
        return counted[0], counted[1], jnp.sum(weight)

    if not val.x.shape[0]:
        nothing = jnp.zeros(val.weight.shape[0])
        return nothing, nothing, nothing
    return jax.vmap(one, in_axes=(0, program.by_head, 0))(parameters, scaling, val.weight)
