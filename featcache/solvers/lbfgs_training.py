"""L-BFGS over all rows at once, for K heads of any architecture: an epoch is one iteration.

`featcache.solvers.lbfgs` gives the directions and both line searches. That of `featcache.solvers.logistic` needs a
function that is convex along a line, and its curvature there, which costs nothing where logits are linear in the step.
An ``mlp`` is not convex, and each look at its loss is a pass over all rows: here steps are halved, and one that shows
no positive curvature is not remembered.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from featcache.heads.model import Scaling
from featcache.solvers.lbfgs import (
    CurvatureHistory,
    backtrack,
    descent_direction,
    dot,
    empty_history,
    remember,
    scale_each,
)
from featcache.solvers.optimizers import Hyperparameters
from featcache.solvers.train_step import HeadsProgram, Learners, TrainRows, total_loss

REMEMBERED = 10
"""Steps that the inverse Hessian is made of."""


class LbfgsState(NamedTuple):
    """State of K heads with P parameters: curvature history, loss ``[K]`` and gradient ``[K, P]`` at the parameters."""

    history: CurvatureHistory
    value: jax.Array
    gradient: jax.Array


class _Problem(NamedTuple):
    """The objective of K heads, ``[K, P] -> [K]``, and the inverse of flattening, ``[K, P]`` to parameters."""

    values: Any
    parameters: Any


def _problem(
    program: HeadsProgram, hyper: Hyperparameters, train: TrainRows, scaling: Scaling, learners: Learners
) -> _Problem:
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], learners.parameters))[1]
    x, weight = train.x, train.weight
    if program.shared:
        x, weight = (x - scaling.mean) / scaling.deviation, weight[0]
    loss = partial(
        total_loss, program, hyper, scaling, x=jnp.asarray(x), y=train.y, weight=weight, keys=learners.keys
    )

    def values(flat: jax.Array) -> jax.Array:
        parameters = jax.vmap(unravel)(flat)
        kernels = [leaf for leaf in jax.tree.leaves(parameters) if leaf.ndim > 2]
        # Half the square: its gradient is the coupled decay of the other optimisers.
        decay = 0.5 * hyper.weight_decay * sum(dot(kernel, kernel) for kernel in kernels)
        return loss(parameters)[1][0] + decay

    return _Problem(values, jax.vmap(unravel))


def _flat(parameters: Any) -> jax.Array:
    return jax.vmap(lambda one: ravel_pytree(one)[0])(parameters)


def _with_gradient(problem: _Problem, flat: jax.Array) -> tuple[jax.Array, jax.Array]:
    def total(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = problem.values(flat)
        return jnp.sum(values), values  # each depends on its own numbers only

    gradient, values = jax.grad(total, has_aux=True)(flat)
    return values, gradient


def init_state(
    program: HeadsProgram, hyper: Hyperparameters, train: TrainRows, scaling: Scaling, learners: Learners
) -> Learners:
    """Return K heads with the initial state for `iterate`."""
    problem = _problem(program, hyper, train, scaling, learners)
    value, gradient = _with_gradient(problem, _flat(learners.parameters))
    return learners._replace(optimizer=LbfgsState(empty_history(gradient, REMEMBERED), value, gradient))


def iterate(
    program: HeadsProgram, hyper: Hyperparameters, train: TrainRows, scaling: Scaling, learners: Learners
) -> tuple[Learners, jax.Array]:
    """Take one step of each head, and return the losses ``[K]`` after it, decay included."""
    problem = _problem(program, hyper, train, scaling, learners)
    flat, state = _flat(learners.parameters), learners.optimizer
    direction = descent_direction(state.history, state.gradient)
    slope = dot(direction, state.gradient)
    # Rounding may make it a direction of ascent: steepest descent then.
    direction = jnp.where((slope < 0)[:, None], direction, -state.gradient)
    slope = jnp.minimum(slope, dot(direction, state.gradient))
    step = backtrack(lambda size: problem.values(flat + scale_each(size, direction)), state.value, slope)
    step = scale_each(step, direction)
    value, gradient = _with_gradient(problem, flat + step)
    history = remember(state.history, step, gradient - state.gradient)
    return Learners(
        problem.parameters(flat + step), LbfgsState(history, value, gradient), learners.keys
    ), value
