"""Losses against those of Keras and optax, and, where outputs are huge, against float64."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, log_softmax, softmax

from featcache.heads.losses import LOSSES, binary_cross_entropy, cross_entropy, squared_error

os.environ.setdefault("KERAS_BACKEND", "jax")  # which it asks for when it is imported
import keras

B, C = 12, 5
RNG = np.random.default_rng(3)
OUTPUTS = (4 * RNG.normal(size=(B, C))).astype(np.float32)
LABELS = RNG.integers(0, C, B)
ANSWERS = RNG.integers(0, 2, (B, C)).astype(np.float32)
NUMBERS = RNG.normal(size=(B, C)).astype(np.float32)
SMOOTHING = (0.0, 0.1, 0.5)

# Float32 keeps 6e-8 of a number, and a loss is a handful of sums of numbers of up to 20.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def classes_first(name: str, targets: np.ndarray, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """Losses ``[B]`` of all examples at once, and their gradients ``[B, C]``."""
    outputs, targets = jnp.asarray(OUTPUTS).T, jnp.moveaxis(jnp.asarray(targets), 0, -1)

    @jax.jit
    def both(outputs):
        value = LOSSES[name].value
        gradient = jax.grad(lambda z: value(z, targets, smoothing).sum())(outputs)
        return value(outputs, targets, smoothing), gradient.T

    return both(outputs)


def with_gradients(loss) -> tuple[np.ndarray, np.ndarray]:
    """Losses ``[B]`` and gradients ``[B, C]`` of a function of outputs ``[B, C]``, which the examples are summed of."""
    return loss(OUTPUTS), jax.grad(lambda z: loss(z).sum())(OUTPUTS)


def one_hot(smoothing: float) -> np.ndarray:
    return np.eye(C, dtype=np.float32)[LABELS] * (1 - smoothing) + smoothing / C


KERAS = {
    "softmax": lambda z, s: keras.losses.categorical_crossentropy(
        np.eye(C, dtype=np.float32)[LABELS], z, from_logits=True, label_smoothing=s
    ),
    "sigmoid": lambda z, s: keras.losses.binary_crossentropy(ANSWERS, z, from_logits=True, label_smoothing=s),
    "squared": lambda z, s: keras.losses.mean_squared_error(NUMBERS, z),
}
OPTAX = {
    "softmax": lambda z, s: optax.softmax_cross_entropy(z, one_hot(s)),
    "sigmoid": lambda z, s: optax.sigmoid_binary_cross_entropy(z, ANSWERS * (1 - s) + s / 2).mean(axis=1),
    "squared": lambda z, s: optax.squared_error(z, NUMBERS).mean(axis=1),
}
TARGETS = {"softmax": LABELS, "sigmoid": ANSWERS, "squared": NUMBERS}


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reference", [KERAS, OPTAX], ids=["keras", "optax"])
def test_values_and_gradients_are_those_of(reference, name, smoothing):
    got = classes_first(name, TARGETS[name], smoothing)
    want = with_gradients(lambda z: reference[name](z, smoothing))
    for own, other in zip(got, want, strict=True):
        np.testing.assert_allclose(own, other, **CLOSE)


@pytest.mark.parametrize("name", LOSSES)
def test_examples_side_by_side_are_the_examples_one_by_one(name):
    targets = TARGETS[name]
    together = classes_first(name, targets, 0.1)[0]
    scores = LOSSES[name].score(jnp.asarray(OUTPUTS).T, jnp.moveaxis(jnp.asarray(targets), 0, -1))
    for row in range(B):
        one = (jnp.asarray(OUTPUTS[row]), jnp.asarray(targets[row]))
        np.testing.assert_allclose(LOSSES[name].value(*one, 0.1), together[row], **CLOSE)
        np.testing.assert_allclose(LOSSES[name].score(*one), scores[row], **CLOSE)


def test_axes_behind_the_classes_are_all_examples():
    # [C, 3, 4] as [C, 12]: heads or views may stand there too.
    outputs, labels = jnp.asarray(OUTPUTS).T, jnp.asarray(LABELS)
    cube = cross_entropy(outputs.reshape(C, 3, 4), labels.reshape(3, 4), 0.1)
    np.testing.assert_array_equal(cube.reshape(-1), cross_entropy(outputs, labels, 0.1))


def test_one_output_is_a_binary_question():
    z, answers = OUTPUTS[:, :1], ANSWERS[:, :1]
    got = binary_cross_entropy(jnp.asarray(z.T), jnp.asarray(answers.T))
    p = expit(z[:, 0].astype(np.float64))
    want = -np.log(np.where(answers[:, 0] > 0, p, 1 - p))
    np.testing.assert_allclose(got, want, **CLOSE)


# Where every head starts, and far away ----------------------------------------------------------------------


def test_slopes_at_zero_are_those_of_undecided_outputs():
    zero = jnp.zeros(C)
    for label in range(C):
        slope = jax.grad(cross_entropy)(zero, jnp.asarray(label))
        np.testing.assert_allclose(slope, np.full(C, 1 / C) - np.eye(C)[label], rtol=1e-6)
    for answer in (0.0, 1.0):
        slope = jax.grad(binary_cross_entropy)(zero, jnp.full(C, answer))
        # σ(0) − t, shared by C questions.
        np.testing.assert_allclose(slope, np.full(C, (0.5 - answer) / C), rtol=1e-6)
        slope = jax.grad(squared_error)(zero, jnp.full(C, answer))
        np.testing.assert_allclose(slope, np.full(C, -2 * answer / C), rtol=1e-6)


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_values_and_slopes_of_huge_outputs_are_those_of_float64(size, smoothing):
    z = np.array([size, 0.0, 1.0])
    for label in range(3):
        target = np.eye(3)[label] * (1 - smoothing) + smoothing / 3
        own = jax.value_and_grad(cross_entropy)(jnp.asarray(z, jnp.float32), jnp.asarray(label), smoothing)
        want = -np.sum(target * log_softmax(z)), softmax(z) - target
        for got, expected in zip(own, want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    answers = np.array([0.0, 1.0, 1.0])
    target = answers * (1 - smoothing) + smoothing / 2
    own = jax.value_and_grad(binary_cross_entropy)(
        jnp.asarray(z, jnp.float32), jnp.asarray(answers), smoothing
    )
    want = np.mean(np.logaddexp(0, z) - z * target), (expit(z) - target) / 3
    for got, expected in zip(own, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    own = jax.value_and_grad(squared_error)(jnp.asarray(z, jnp.float32), jnp.asarray(answers))
    want = np.mean((z - answers) ** 2), 2 * (z - answers) / 3
    for got, expected in zip(own, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_cross_entropy_of_outputs_of_any_size_is_finite():
    got = cross_entropy(jnp.array([1e30, -1e30, 0.0]), jnp.asarray(1))
    np.testing.assert_allclose(got, 2e30, rtol=1e-6)


# Scores -----------------------------------------------------------------------------------------------------


def test_scores_are_better_when_larger():
    z = jnp.asarray(OUTPUTS)
    right = jax.vmap(LOSSES["softmax"].score)(z, jnp.asarray(LABELS))
    np.testing.assert_array_equal(right, OUTPUTS.argmax(axis=1) == LABELS)
    right = jax.vmap(LOSSES["sigmoid"].score)(z, jnp.asarray(ANSWERS))
    np.testing.assert_allclose(right, np.mean((OUTPUTS > 0) == (ANSWERS > 0), axis=1), rtol=1e-6)
    negative = jax.vmap(LOSSES["squared"].score)(z, jnp.asarray(NUMBERS))
    np.testing.assert_allclose(negative, -np.mean((OUTPUTS - NUMBERS) ** 2, axis=1), **CLOSE)


def test_an_undecided_output_is_a_no():
    assert LOSSES["sigmoid"].score(jnp.zeros(2), jnp.array([0.0, 1.0])) == 0.5
    # Of equal logits the first class counts, as in numpy.
    assert [float(LOSSES["softmax"].score(jnp.zeros(2), jnp.asarray(label))) for label in (0, 1)] == [1, 0]
