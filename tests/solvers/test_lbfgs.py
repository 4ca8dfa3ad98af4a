"""The parts of L-BFGS that need no regression: line search and inverse Hessian."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from featcache.solvers.lbfgs import (
    SLOPE_LEFT,
    SUFFICIENT_DECREASE,
    LineSearchPoint,
    descent_direction,
    dot,
    empty_history,
    line_search,
    remember,
)

# A parabola and one loss, a / 2 · (s - m)² + log(1 + exp(b · (s - t))): a, m, b, t of five problems.
FUNCTIONS = np.array(
    [
        [1.0, 1.3, 0.0, 0.0],
        [100.0, 0.01, 0.0, 0.0],  # a step of 1 is far too long
        [1e-3, 900.0, 0.0, 0.0],  # and far too short
        [1e-3, 50.0, 3.0, 20.0],  # flat, then a slope: Newton's step jumps far beyond
        [1e-6, 0.0, -9.0, 0.5],  # a loss that is won by any long step
    ],
    np.float32,
)


def trial(functions, steps) -> LineSearchPoint:
    a, m, b, t = jnp.asarray(functions).T
    chance = jax.nn.sigmoid(b * (steps - t))
    return LineSearchPoint(
        a / 2 * (steps - m) ** 2 + jnp.logaddexp(0.0, b * (steps - t)),
        a * (steps - m) + b * chance,
        a + b * b * chance * (1 - chance),
    )


def search(functions):
    start = trial(functions, jnp.zeros(len(functions)))
    return line_search(partial(trial, functions), start.value, start.slope, jnp.ones(len(functions), bool))


def test_a_found_step_satisfies_the_strong_wolfe_conditions():
    steps = search(FUNCTIONS)
    start, end = trial(FUNCTIONS, 0 * steps), trial(FUNCTIONS, steps)
    assert (start.slope < 0).all()
    assert (steps > 0).all()
    # The search allows for the rounding of a float32 sum, a millionth of the value.
    bound = start.value + SUFFICIENT_DECREASE * steps * start.slope + 1e-6 * abs(start.value)
    assert (end.value <= bound).all()
    assert (abs(end.slope) <= SLOPE_LEFT * abs(start.slope)).all()


def test_a_step_depends_on_no_other_problem():
    alone = [search(FUNCTIONS[[number]])[0] for number in range(len(FUNCTIONS))]
    np.testing.assert_allclose(search(FUNCTIONS), alone, rtol=1e-5)  # other fusions round in another order


def test_without_a_lower_value_there_is_no_step():
    # The first grows all the way, as rounding may make one look near its minimum.
    assert search(np.array([[1.0, -2.0, 0.0, 0.0]], np.float32)) == 0
    assert search(np.array([[np.nan, 1.0, 0.0, 0.0]], np.float32)) == 0


def test_problems_that_are_not_active_cost_no_trial():
    calls = []

    def counted(steps):
        jax.debug.callback(lambda: calls.append(1))
        return LineSearchPoint((steps - 1) ** 2, 2 * (steps - 1), 2 * jnp.ones_like(steps))

    line_search(counted, jnp.ones(2), -2 * jnp.ones(2), jnp.zeros(2, bool))
    jax.effects_barrier()
    assert not calls


@pytest.mark.parametrize("length", [3, 8])
def test_descent_is_that_of_the_bfgs_matrix(length):
    """Against the matrix itself, updated by the m last pairs (Nocedal and Wright, equation 7.16), in float64."""
    random = np.random.default_rng(0)
    hessian = np.diag(np.linspace(1, 5, 6)) + 0.5
    gradient = random.normal(size=6)
    history = empty_history(jnp.asarray(gradient, jnp.float32)[None], length)
    pairs = []
    for _ in range(5):  # more than the shorter history holds
        step = random.normal(size=6)
        pairs.append((step, hessian @ step))
        history = remember(history, *(jnp.asarray(part, jnp.float32)[None] for part in pairs[-1]))
    step, change = pairs[-1]
    inverse = np.eye(6) * (step @ change) / (change @ change)
    for step, change in pairs[-length:]:
        rho = 1 / (step @ change)
        left = np.eye(6) - rho * np.outer(step, change)
        inverse = left @ inverse @ left.T + rho * np.outer(step, step)
    got = descent_direction(history, jnp.asarray(gradient, jnp.float32)[None])[0]
    # A few dozen float32 operations.
    np.testing.assert_allclose(got, -inverse @ gradient, rtol=2e-5, atol=2e-5)


def test_a_step_of_nothing_teaches_nothing():
    gradient = jnp.array([[3.0, 4.0], [0.3, 0.4]])
    history = empty_history(gradient, 2)
    # The first step has the length 1 at most.
    np.testing.assert_allclose(descent_direction(history, gradient), [[-0.6, -0.8], [-0.3, -0.4]], rtol=1e-6)
    after = remember(history, 0 * gradient, 0 * gradient)
    np.testing.assert_array_equal(descent_direction(after, gradient), descent_direction(history, gradient))
    np.testing.assert_allclose(dot(gradient, gradient), [25, 0.25], rtol=1e-6)
