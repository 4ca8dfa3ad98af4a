"""One head on one example or on one batch, against numpy and scipy in float64, Keras, and plain JAX."""

import itertools
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from featcache.errors import UnknownNameError
from featcache.heads.model import (
    ACTIVATIONS,
    BATCH_AXIS,
    HEADS,
    NORM_EPSILON,
    NORM_MOMENTUM,
    HeadArchitecture,
    Scaling,
    as_arrays,
    draw_flat,
    feature_scaling,
    form_of,
    head_kind,
)
from featcache.heads.settings import Settings
from featcache.solvers.optimizers import hyperparameters, start
from featcache.solvers.train_step import (
    HeadsProgram,
    Learners,
    TrainProgress,
    TrainRows,
    train_steps,
    transpose_kernels,
)

os.environ.setdefault("KERAS_BACKEND", "jax")  # which it asks for when it is imported
import keras

LINEAR = HeadArchitecture("linear", 3)
B, D, C = 12, 5, 3


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def rows_of(head: str, form: HeadArchitecture, parameters, x: np.ndarray) -> np.ndarray:
    """Logits ``[N, C]`` of finished parameters."""
    one = jax.vmap(partial(head_kind(head).logits, form), (None, 0))
    return np.asarray(jax.jit(one)(as_arrays(parameters), np.asarray(x, np.float32)))


# Linear -----------------------------------------------------------------------------------------------------


def test_a_linear_head_is_a_matrix_product_and_starts_at_zero(random):
    start = head_kind("linear").init(jax.random.key(0), 5, LINEAR)
    assert {name: value.shape for name, value in start.items()} == {"kernel": (5, 3), "bias": (3,)}
    assert all(not np.any(value) for value in start.values())
    kernel, bias, x = random.normal(size=(5, 3)), random.normal(size=3), random.normal(size=(1, 5))
    got = rows_of("linear", LINEAR, {"kernel": kernel, "bias": bias}, x)
    # float32 rounds each of 5 products to 6e-8 of their size, which is around 1.
    np.testing.assert_allclose(got, x @ kernel + bias, rtol=1e-5, atol=1e-6)


# Several layers, against Keras ------------------------------------------------------------------------------

HIDDEN = (16, 8)


def layers(form: HeadArchitecture, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters of an mlp in training, none of them special."""
    widths = (D, *form.hidden, form.outputs)
    parameters = {}
    for number, (width, units) in enumerate(itertools.pairwise(widths)):
        suffix = f"_{number}" if number < len(form.hidden) else ""
        parameters[f"kernel{suffix}"] = random.normal(size=(width, units)) / np.sqrt(width)
        parameters[f"bias{suffix}"] = random.normal(size=units)
        if form.batch_norm and suffix:
            parameters[f"scale{suffix}"] = random.uniform(0.5, 2, units)
            parameters[f"offset{suffix}"] = random.normal(size=units)
            parameters[f"mean{suffix}"] = random.normal(size=units)
            parameters[f"var{suffix}"] = random.uniform(0.5, 2, units)
    return {name: value.astype(np.float32) for name, value in parameters.items()}


def in_keras(form: HeadArchitecture, parameters: dict[str, np.ndarray]) -> "keras.Sequential":
    """Return the same network of Keras' layers, with the same weights."""
    parts, weights = [keras.layers.Input((D,))], []
    for number, units in enumerate(form.hidden):
        parts.append(keras.layers.Dense(units))
        weights += [parameters[f"kernel_{number}"], parameters[f"bias_{number}"]]
        if form.batch_norm:
            parts.append(keras.layers.BatchNormalization(epsilon=NORM_EPSILON, momentum=NORM_MOMENTUM))
            weights += [parameters[f"{name}_{number}"] for name in ("scale", "offset", "mean", "var")]
        parts.append(keras.layers.Activation(form.activation))
    network = keras.Sequential([*parts, keras.layers.Dense(form.outputs)])
    network.set_weights([*weights, parameters["kernel"], parameters["bias"]])
    return network


def in_training(
    form: HeadArchitecture, parameters, x: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, dict]:
    """Outputs ``[B, C]`` and statistics of an mlp in training, without dropout."""

    @jax.jit
    def run(parameters, x, weight):
        one = jax.vmap(
            partial(head_kind("mlp").train_logits, form),
            in_axes=(None, 0, 0, None, 0),
            axis_name=BATCH_AXIS,
        )
        uniform = jnp.zeros((len(x), form.units))
        outputs, statistics = one(parameters, x @ parameters["kernel_0"], weight, 0.0, uniform)
        return outputs, {name: values[0] for name, values in statistics.items()}

    return run(as_arrays(parameters), x, weight)


# Two float32 networks that sum in another order, through three layers of numbers around 1.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp_is_keras_dense_layers(random, activation):
    form = HeadArchitecture("mlp", C, HIDDEN, activation)
    parameters, x = layers(form, random), random.normal(size=(B, D)).astype(np.float32)
    want = in_keras(form, parameters)(x)
    np.testing.assert_allclose(rows_of("mlp", form, parameters, x), want, **CLOSE)
    np.testing.assert_allclose(in_training(form, parameters, x, np.ones(B, np.float32))[0], want, **CLOSE)
    settings = Settings(head="mlp", activation=activation, scaling="standard")
    assert form_of(settings, parameters) == form


@pytest.mark.parametrize("left_out", [0, 5])
def test_batch_normalisation_is_keras_and_leaves_out_rows_that_do_not_count(random, left_out):
    form = HeadArchitecture("mlp", C, HIDDEN, batch_norm=True)
    parameters, x = layers(form, random), random.normal(size=(B, D)).astype(np.float32)
    weight = np.r_[np.zeros(left_out), random.uniform(0.5, 2, B - left_out)].astype(np.float32)
    network = in_keras(form, parameters)
    before = np.asarray(network(x))
    want = np.asarray(network(x[left_out:], training=True))
    got, statistics = in_training(form, parameters, x, weight)
    np.testing.assert_allclose(got[left_out:], want, **CLOSE)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for number, norm in enumerate(norms):
        np.testing.assert_allclose(statistics[f"mean_{number}"], norm.moving_mean, **CLOSE)
        np.testing.assert_allclose(statistics[f"var_{number}"], norm.moving_variance, **CLOSE)
    # Finished, it is a plain mlp of Keras' network as it predicts, with the old statistics and with the new.
    plain = HeadArchitecture("mlp", C, HIDDEN)
    for kept, expected in ((parameters, before), ({**parameters, **statistics}, np.asarray(network(x)))):
        folded = head_kind("mlp").finish(form, as_arrays(kept))
        assert set(folded) == {"kernel_0", "bias_0", "kernel_1", "bias_1", "kernel", "bias"}
        np.testing.assert_allclose(rows_of("mlp", plain, folded, x), expected, **CLOSE)


def test_a_batch_without_rows_moves_no_statistics(random):
    form = HeadArchitecture("mlp", C, HIDDEN, batch_norm=True)
    parameters, x = layers(form, random), random.normal(size=(B, D)).astype(np.float32)
    outputs, statistics = in_training(form, parameters, x, np.zeros(B, np.float32))
    assert np.isfinite(outputs).all()
    for name, values in statistics.items():
        np.testing.assert_array_equal(values, parameters[name])


def test_an_mlp_starts_as_he_et_al_and_undecided():
    form = HeadArchitecture("mlp", C, (400, 300), batch_norm=True)
    begun = head_kind("mlp").init(jax.random.key(1), 200, form)
    for name, (width, units) in {"kernel_0": (200, 400), "kernel_1": (400, 300)}.items():
        assert begun[name].shape == (width, units)
        # The deviation of n numbers is known to 1 / √(2n): five times that for the smaller of the two.
        np.testing.assert_allclose(np.std(begun[name]), np.sqrt(2 / width), rtol=5 / np.sqrt(2 * 80_000))
    assert not np.any(begun["kernel"]), "all classes are equally likely"


def test_numbers_drawn_as_one_row_are_those_of_the_shape():
    draw, key = jax.random.uniform, jax.random.key(3)
    np.testing.assert_array_equal(draw_flat(draw, key, (16, 5)), draw(key, (16, 5)))


# One step, against plain JAX and by what it reveals ----------------------------------------------------------


def one_step(program: HeadsProgram, parameters, rows: TrainRows, keys: np.ndarray, **given):
    """How far a step of SGD of rate 1 went, each head's gradient ``[K, …]``; and its mean loss."""
    hyper = hyperparameters(learning_rate=[1.0] * len(keys), momentum=0.0, **given)
    heads = jax.tree.map(lambda value: jnp.stack([jnp.asarray(value)] * len(keys)), parameters)

    @jax.jit
    def run(heads, rows, keys):
        learners = Learners(
            jax.vmap(transpose_kernels)(heads),
            jax.vmap(partial(start, "sgd"))(jax.vmap(transpose_kernels)(heads)),
            jax.vmap(jax.random.key)(keys),
        )
        width = rows.x.shape[1]
        scaling = Scaling(jnp.zeros((len(keys), width)), jnp.ones((len(keys), width)))
        batches = jnp.arange(len(rows.x))[None]
        after, losses, weights = train_steps(
            program, hyper, rows, scaling, batches, TrainProgress(jnp.asarray(0), 1), learners
        )
        return jax.vmap(transpose_kernels)(after.parameters), losses / weights

    after, losses = run(heads, rows, keys)
    return {name: np.asarray(heads[name] - after[name]) for name in heads}, np.asarray(losses)


def plain_loss(form: HeadArchitecture, parameters, x, y, weight, smoothing: float) -> jax.Array:
    """Weighted cross-entropy of an mlp, written with the batch as one matrix."""
    activations = {"relu": lambda z: jnp.maximum(z, 0), "tanh": jnp.tanh}
    for number in range(len(form.hidden)):
        x = x @ parameters[f"kernel_{number}"] + parameters[f"bias_{number}"]
        if form.batch_norm:
            share = (weight > 0) / (weight > 0).sum()
            x = x - share @ x
            x = x / jnp.sqrt(share @ x**2 + 1e-3)
            x = x * parameters[f"scale_{number}"] + parameters[f"offset_{number}"]
        x = activations[form.activation](x)
    z = x @ parameters["kernel"] + parameters["bias"]
    target = np.eye(form.outputs)[y] * (1 - smoothing) + smoothing / form.outputs
    p = jnp.exp(z) / jnp.exp(z).sum(axis=1, keepdims=True)
    return -(weight @ (target * jnp.log(p)).sum(axis=1)) / weight.sum()


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "form", [HeadArchitecture("mlp", C, HIDDEN, "tanh"), HeadArchitecture("mlp", C, HIDDEN, batch_norm=True)]
)
def test_a_step_follows_the_gradient_of_plain_jax(random, form):
    parameters, x = layers(form, random), random.normal(size=(B, D)).astype(np.float32)
    y = random.integers(0, C, B)
    weight = random.uniform(0.5, 2, (2, B)).astype(np.float32)
    weight[1, :3] = 0
    program = HeadsProgram(form, "sgd", B, 1)
    got, losses = one_step(program, parameters, TrainRows(x, y, weight), np.arange(2), label_smoothing=0.1)
    plain = partial(plain_loss, form, x=x, y=y, smoothing=0.1)
    each = jax.vmap(jax.value_and_grad(lambda p, w: plain(p, weight=w)), in_axes=(None, 0))
    want_losses, want = jax.jit(each)(parameters, weight)
    np.testing.assert_allclose(losses, want_losses, rtol=1e-5)
    learnt = [name for name in want if name.split("_")[0] not in ("mean", "var")]
    for name in learnt:
        if form.batch_norm and name.startswith("bias_"):
            assert not got[name].any(), "normalisation takes it away: it stays where it is"
            continue
        # Read as the difference of numbers of up to 3, whose last digit is 2e-7.
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=2e-6, err_msg=name)


def test_dropout_drops_its_share_and_grows_the_rest():
    # Hidden units are 1 (their bias) before dropout. Of one row, the slope of the squared error −1 of the zero
    # output by the last kernel is −2 times the unit: what a step reveals is the unit after dropout.
    units, shares = 2000, np.array([0.0, 0.1, 0.5, 0.9])
    form = HeadArchitecture("mlp", 1, (units,))
    parameters = {
        "kernel_0": np.zeros((1, units), np.float32),
        "bias_0": np.ones(units, np.float32),
        "kernel": np.zeros((units, 1), np.float32),
        "bias": np.zeros(1, np.float32),
    }
    rows = TrainRows(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32), np.ones((4, 1), np.float32))
    program = HeadsProgram(form, "sgd", 1, 1, loss="squared")
    moved, _ = one_step(program, parameters, rows, np.arange(4), dropout=shares)
    after = moved["kernel"][:, :, 0] / -2
    for share, own in zip(shares, after, strict=True):
        np.testing.assert_allclose(own[own != 0], 1 / (1 - share), rtol=1e-5)
        # Five deviations of a binomial of 2,000 units.
        assert abs(np.mean(own == 0) - share) <= 5 * np.sqrt(share * (1 - share) / units)
    # Heads draw from keys of their own: two that drop a half each drop about a quarter together, not a half.
    again, _ = one_step(program, parameters, rows, np.array([5, 6, 5, 6]), dropout=0.5)
    dropped = again["kernel"][:, :, 0] == 0
    np.testing.assert_array_equal(dropped[0], dropped[2])
    assert abs(np.mean(dropped[0] & dropped[1]) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / units)


# Standardisation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_folded_logits_are_the_standardised_ones(random, head):
    form = HeadArchitecture(head, C, HIDDEN if head == "mlp" else ())
    x = random.normal(5, 3, (40, D))
    scaling = Scaling(jnp.asarray(x.mean(0), jnp.float32), jnp.asarray(x.std(0), jnp.float32))
    parameters = (
        layers(form, random)
        if form.hidden
        else {
            "kernel": random.normal(size=(D, C)).astype(np.float32),
            "bias": random.normal(size=C).astype(np.float32),
        }
    )
    raw = rows_of(head, form, HEADS[head].scale(form, as_arrays(parameters), scaling), x)
    want = (x - x.mean(0)) / x.std(0)
    for number in range(len(form.hidden)):
        want = np.maximum(want @ parameters[f"kernel_{number}"] + parameters[f"bias_{number}"], 0)
    want = want @ parameters["kernel"] + parameters["bias"]
    # Folding subtracts numbers of size mean / deviation = 2 per feature: a few units of float32's last place.
    np.testing.assert_allclose(raw, want, rtol=1e-5, atol=1e-5)


SCALING = jax.jit(partial(feature_scaling, scaling="standard"))


@pytest.mark.parametrize("size", [1.0, 1e-3, 300.0])
def test_scaling_is_the_mean_and_deviation_of_the_weighted_rows(random, size):
    x = random.normal(3, 2, (50, 4))
    weight = random.integers(0, 3, 50) * size
    scaling = SCALING(np.asarray(x, np.float32), np.asarray(weight, np.float32))
    mean = np.average(x, axis=0, weights=weight)
    np.testing.assert_allclose(scaling.mean, mean, rtol=1e-5)
    variance = np.average((x - mean) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(scaling.deviation, np.sqrt(variance), rtol=1e-5)


def test_scaling_keeps_the_digits_of_a_small_spread_on_a_large_mean(random):
    x = (1000 + random.normal(0, 0.1, (2000, 1))).astype(np.float32)
    scaling = SCALING(x, np.ones(len(x), np.float32))
    # E[x²] - E[x]² would be the difference of two numbers of 1e6, which float32 knows to 0.06; it is 0.01.
    np.testing.assert_allclose(scaling.deviation, x.astype(np.float64).std(0), rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3, 12345.678])
def test_a_constant_feature_gets_deviation_one(value):
    scaling = SCALING(np.full((64, 1), value, np.float32), np.ones(64, np.float32))
    np.testing.assert_array_equal(scaling.deviation, [1.0])
    np.testing.assert_allclose(scaling.mean, [value], rtol=1e-6)


def test_an_unknown_head_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no head 'liner'; did you mean 'linear'\?"):
        head_kind("liner")
