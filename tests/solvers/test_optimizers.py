"""Optimisers, schedules and clipping, against optax over many steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from featcache.errors import UsageError
from featcache.solvers.optimizers import (
    NEUTRAL,
    OPTIMIZERS,
    SCHEDULES,
    Hyperparameters,
    hyperparameters,
    rate,
    start,
    step,
)

K, STEPS_PER_EPOCH, EPOCHS = 3, 4, 10
STEPS = STEPS_PER_EPOCH * EPOCHS
RNG = np.random.default_rng(0)

# Steps ------------------------------------------------------------------------------------------------------

HYPER = hyperparameters(
    learning_rate=[0.3, 0.05, 0.01],
    weight_decay=[0.0, 0.1, 1.0],
    momentum=[0.0, 0.5, 0.9],
    warmup=[0.0, 2.0, 1.5],
    end=[0.1, 0.5, 0.01],
    power=[1.0, 2.0, 3.0],
)
START = {"kernel": RNG.normal(size=(4, 3)).astype(np.float32), "bias": np.ones(3, np.float32)}
PULL = {"kernel": RNG.normal(size=(4, 3)).astype(np.float32), "bias": np.full(3, -2, np.float32)}


def loss(parameters) -> jax.Array:
    """Something curved, with a place to go to for every number."""
    apart = jax.tree.map(lambda p, to: jnp.sum(jnp.log(jnp.cosh(p - to))), parameters, PULL)
    return sum(jax.tree.leaves(apart), jnp.zeros(()))


def one(hyper: Hyperparameters, head: int) -> Hyperparameters:
    return jax.tree.map(lambda values: values[head], hyper)


@jax.jit
def ours_all(hyper: Hyperparameters, clip_at: jax.Array):
    """Parameters of K heads after each step, for every optimiser and schedule that are compared."""

    def descend(optimizer: str, schedule: str, clip: bool, hyper: Hyperparameters):
        def advance(carry, number):
            parameters, state = carry
            at = rate(schedule, hyper, number, steps_per_epoch=STEPS_PER_EPOCH, epochs=EPOCHS)
            carry = step(
                optimizer, parameters, state, jax.grad(loss)(parameters), hyper, at, number, clip=clip
            )
            return carry, carry[0]

        first = jax.tree.map(jnp.asarray, START)
        return lax.scan(advance, (first, start(optimizer, first)), jnp.arange(STEPS))[1]

    clipped = hyper._replace(clip=clip_at)
    return {
        name: jax.vmap(lambda own, name=name: descend(*name, own))(clipped if name[2] else hyper)
        for name in COMPARED
    }


COMPARED = (
    ("adam", "cosine", False),
    ("adamw", "polynomial", False),
    ("sgd", "exponential", False),
    ("nesterov", "constant", False),
    ("adam", "constant", True),
    ("sgd", "cosine", True),
)
CLIP_AT = np.array([0.5, 1.5, np.inf], np.float32)


@pytest.fixture(scope="module")
def ours():
    return jax.tree.map(np.asarray, ours_all(HYPER, CLIP_AT))


KERNELS = {"kernel": True, "bias": False}
TRANSFORMS = {
    "adam": lambda schedule, hyper: optax.adam(schedule),
    "adamw": lambda schedule, hyper: optax.adamw(schedule, weight_decay=hyper.weight_decay, mask=KERNELS),
    "sgd": lambda schedule, hyper: optax.sgd(schedule, momentum=hyper.momentum),
    "nesterov": lambda schedule, hyper: optax.sgd(schedule, momentum=hyper.momentum, nesterov=True),
}


@jax.jit
def optaxs_all(hyper: Hyperparameters, clip_at: jax.Array, rates):
    """The same by optax; decay is added to the gradient of kernels but for adamw, after clipping."""

    def descend(optimizer: str, clip: bool, hyper: Hyperparameters, clip_at: jax.Array, rates: jax.Array):
        parts = [optax.clip_by_global_norm(clip_at)] if clip else []
        if optimizer != "adamw":
            parts.append(optax.masked(optax.add_decayed_weights(hyper.weight_decay), KERNELS))
        steps = optax.chain(*parts, TRANSFORMS[optimizer](lambda number: rates[number], hyper))

        def advance(carry, _):
            parameters, state = carry
            updates, state = steps.update(jax.grad(loss)(parameters), state, parameters)
            carry = (optax.apply_updates(parameters, updates), state)
            return carry, carry[0]

        first = jax.tree.map(jnp.asarray, START)
        return lax.scan(advance, (first, steps.init(first)), None, STEPS)[1]

    return {
        name: jax.vmap(lambda *own, name=name: descend(name[0], name[2], *own))(
            hyper, clip_at, rates[name[1]]
        )
        for name in COMPARED
    }


@pytest.fixture(scope="module")
def optaxs(optaxs_rates):
    return jax.tree.map(np.asarray, optaxs_all(HYPER, CLIP_AT, optaxs_rates))


@pytest.mark.parametrize("compared", COMPARED, ids=lambda name: "-".join(map(str, name)))
def test_heads_take_optaxs_steps(ours, optaxs, compared):
    for name, values in optaxs[compared].items():
        # Other orders of the same float32 operations, 40 times over; Adam divides small numbers by their own size.
        np.testing.assert_allclose(ours[compared][name], values, rtol=1e-5, atol=2e-6, err_msg=name)


# Schedules --------------------------------------------------------------------------------------------------

LAST = STEPS - 1


def reference_schedule(schedule: str, hyper: Hyperparameters) -> optax.Schedule:
    """The same in optax: from the end of the warm-up to the last step; warm-up reaches the rate in its last step."""
    top, end = float(hyper.learning_rate), float(hyper.end)
    warm = float(hyper.warmup) * STEPS_PER_EPOCH
    after = {
        "constant": optax.constant_schedule(top),
        "cosine": optax.cosine_decay_schedule(top, LAST - warm, alpha=end),
        "exponential": optax.exponential_decay(top, LAST - warm, end),
        "polynomial": optax.polynomial_schedule(top, end * top, float(hyper.power), LAST - warm),
    }[schedule]
    grow = optax.linear_schedule(0.0, top, warm or 1)
    return lambda number: jnp.where(number < warm, grow(number + 1), after(jnp.maximum(number - warm, 0)))


@pytest.fixture(scope="module")
def optaxs_rates() -> dict[str, np.ndarray]:
    """Learning rates ``[K, steps]`` of each schedule."""

    @jax.jit
    def run(numbers):
        return {
            name: jnp.stack(
                [jax.vmap(reference_schedule(name, one(HYPER, head)))(numbers) for head in range(K)]
            )
            for name in SCHEDULES
        }

    return jax.tree.map(np.asarray, run(jnp.arange(STEPS)))


@partial(jax.jit, static_argnums=(0, 2, 3))
def rates(schedule: str, hyper: Hyperparameters, steps: int, epochs: int) -> jax.Array:
    """Ours, ``[K, steps · epochs]``."""
    numbers = jnp.arange(steps * epochs)
    return jax.vmap(lambda own: rate(schedule, own, numbers, steps_per_epoch=steps, epochs=epochs))(hyper)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_are_optaxs_at_every_step(optaxs_rates, schedule):
    got = rates(schedule, HYPER, STEPS_PER_EPOCH, EPOCHS)
    # Powers and cosines of float32 differ in the last digits.
    np.testing.assert_allclose(got, optaxs_rates[schedule], rtol=1e-5, atol=1e-8)
    top = HYPER.learning_rate
    np.testing.assert_allclose(got.max(axis=1), top, rtol=1e-6)  # what is asked for, and not more
    np.testing.assert_allclose(got[:, -1], top if schedule == "constant" else top * HYPER.end, rtol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("warmup", "steps", "epochs"), [(0, 1, 1), (99, 2, 3), (1, 1, 1), (0.1, 3, 2)])
def test_rates_of_a_short_training_are_between_0_and_what_is_asked_for(schedule, warmup, steps, epochs):
    [got] = np.asarray(
        rates(schedule, hyperparameters(learning_rate=0.2, warmup=warmup, end=0.1), steps, epochs)
    )
    assert np.isfinite(got).all()
    assert (got > 0).all()
    assert (got <= 0.2 * (1 + 1e-6)).all()
    if warmup == 99:
        # Still growing when it ends: (n + 1) / (99 epochs · 2 steps).
        np.testing.assert_allclose(got, 0.2 * np.arange(1, 7) / 198, rtol=1e-6)


# Decay and clipping -----------------------------------------------------------------------------------------

NORMED = {
    "kernel_0": np.ones((2, 2), np.float32),
    "bias_0": np.ones(2, np.float32),
    "scale_0": np.ones(2, np.float32),
    "offset_0": np.ones(2, np.float32),
    "kernel": np.ones((2, 1), np.float32),
    "bias": np.ones(1, np.float32),
}


@partial(jax.jit, static_argnums=(0, 4))
def _after_one_step(optimizer: str, parameters, gradients, hyper: Hyperparameters, clip: bool):
    state = start(optimizer, parameters)
    return step(
        optimizer, parameters, state, gradients, hyper, hyper.learning_rate, jnp.asarray(0), clip=clip
    )[0]


def after_one_step(optimizer: str, gradients, **given: float):
    hyper = one(hyperparameters(learning_rate=0.1, **given), 0)
    return jax.tree.map(np.asarray, _after_one_step(optimizer, NORMED, gradients, hyper, "clip" in given))


NO_GRADIENT = jax.tree.map(np.zeros_like, NORMED)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_only_kernels_decay(optimizer):
    for name, values in after_one_step(optimizer, NO_GRADIENT, weight_decay=0.5).items():
        if name.startswith("kernel"):
            assert (values < 1).all(), name
        else:
            np.testing.assert_array_equal(values, 1, err_msg=name)


def test_adamw_decays_by_the_rate_alone_and_adam_through_its_moments():
    # adamw: p − rate · decay · p. adam: the decay is all of the gradient, whose size it divides away.
    decoupled, coupled = (
        float(after_one_step(name, NO_GRADIENT, weight_decay=0.5)["kernel"][0, 0])
        for name in ("adamw", "adam")
    )
    assert decoupled == pytest.approx(1 - 0.1 * 0.5)
    assert coupled == pytest.approx(1 - 0.1)


@pytest.mark.parametrize(("size", "clip"), [(0.1, 9.0), (0.1, np.inf)])
def test_a_gradient_within_the_clip_is_left_alone(size, clip):
    gradients = jax.tree.map(lambda p: np.float32(size) * p, NORMED)
    want = after_one_step("sgd", gradients)
    for name, values in after_one_step("sgd", gradients, clip=clip).items():
        np.testing.assert_array_equal(values, want[name])


def test_a_gradient_too_large_to_be_measured_moves_nothing():
    # Its square is beyond float32: the norm is infinite, and what is left of the gradient is 0.
    gradients = jax.tree.map(lambda p: np.float32(1e30) * p, NORMED)
    for name, values in after_one_step("sgd", gradients, clip=1.0).items():
        np.testing.assert_array_equal(values, NORMED[name])


# Values of many heads ---------------------------------------------------------------------------------------


def test_a_number_is_every_heads_and_what_is_absent_is_neutral():
    got = hyperparameters(learning_rate=[0.1, 0.2], momentum=0.5)
    np.testing.assert_array_equal(got.learning_rate, np.float32([0.1, 0.2]))
    np.testing.assert_array_equal(got.momentum, np.float32([0.5, 0.5]))
    for name in set(NEUTRAL) - {"learning_rate", "momentum"}:
        np.testing.assert_array_equal(getattr(got, name), np.float32([NEUTRAL[name]] * 2), err_msg=name)
    assert got.seed.dtype == np.uint32


def test_values_that_are_no_hyperparameters_or_of_other_numbers_of_heads():
    with pytest.raises(UsageError, match=r"no hyperparameter 'momentun'; did you mean 'momentum'\?"):
        hyperparameters(momentun=0.9)
    with pytest.raises(
        UsageError, match="momentum: other numbers of values than 3; give one value, or one for each"
    ):
        hyperparameters(learning_rate=[1, 2, 3], momentum=[0.1, 0.2])
