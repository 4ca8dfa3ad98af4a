"""Heads as functions of JAX arrays give what the heads give that predictions are made with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from featcache.classifier.known.familiarity import distance_function, distance_to, sample_of
from featcache.heads.inference import outputs
from featcache.heads.nearest import TIE, prototypes
from featcache.heads.settings import Settings
from featcache.heads.task_types import TASK_TYPES
from featcache.heads.traceable import logits_function

M, Q, D, C = 150, 70, 24, 4


def problem(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes; nobody's neighbours are tied."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, C, count)
    centres = np.random.default_rng(7).normal(size=(C, D))
    return (0.5 + centres[labels] + 2 * random.normal(size=(count, D))).astype(np.float32), labels


X, Y = problem(M, seed=0)
QUERY, _ = problem(Q, seed=1)

# Both are float32 of numbers near 10, added in another order.
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


def both(settings: Settings, parameters: dict, query: np.ndarray = QUERY) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs as a compiled function gives them, and as predictions have them."""
    single = {name: np.asarray(value)[None] for name, value in parameters.items()}
    compiled = jax.jit(logits_function(settings, parameters, classes=C))
    return np.asarray(compiled(query)), outputs(settings, single, query, classes=C)[0]


def neighbours(many: int, weight: np.ndarray | None = None, labels: np.ndarray = Y) -> dict[str, np.ndarray]:
    weight = np.ones(len(X), np.float32) if weight is None else weight
    return {"features": X, "labels": labels.astype(np.int32), "weight": weight, "neighbours": np.int32(many)}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("temperature", [None, 0.07, 2.0])
@pytest.mark.parametrize("many", [1, 8, 500])
def test_nearest_neighbours(metric, temperature, many):
    settings = Settings(head="knn", metric=metric, temperature=temperature, neighbours=many)
    traced, known = both(settings, neighbours(many))
    np.testing.assert_allclose(traced, known, **CLOSE)


def test_absent_and_light_rows_vote_as_they_do_elsewhere():
    weight = np.random.default_rng(2).choice([0.0, 0.5, 1.0], len(X)).astype(np.float32)
    traced, known = both(Settings(head="knn", neighbours=9), neighbours(9, weight))
    np.testing.assert_allclose(traced, known, **CLOSE)


def test_of_classes_with_equal_votes_the_one_with_the_nearest_row_wins():
    # Two rows vote, one for each of two classes, wherever these differ: all but the nearest row is a tie.
    traced, known = both(Settings(head="knn", neighbours=2), neighbours(2))
    np.testing.assert_allclose(traced, known, **CLOSE)
    shares = np.exp(known)
    tied = np.sort(shares, axis=1)[:, -1] - np.sort(shares, axis=1)[:, -2] < 2 * TIE
    assert tied.sum() > 20  # so that the rule was needed
    assert (traced.argmax(axis=1) == known.argmax(axis=1)).all()
    nearest = both(Settings(head="knn", neighbours=1), neighbours(1))[1].argmax(axis=1)
    assert (traced[tied].argmax(axis=1) == nearest[tied]).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_prototypes_and_a_class_without_rows(metric):
    found = prototypes(X, np.where(Y == 3, 2, Y), classes=C, metric=metric)
    single = {name: value[0] for name, value in found.items()}
    traced, known = both(Settings(head="prototype", metric=metric), single)
    assert (known[:, 3] == -np.inf).all()
    np.testing.assert_allclose(traced, known, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("scaling", ["unit", "standard"])
def test_hidden_layers(scaling):
    draw = np.random.default_rng(3)
    shapes = {"kernel_0": (D, 16), "bias_0": (16,), "kernel": (16, C), "bias": (C,)}
    drawn = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    settings = Settings(head="mlp", hidden=(16,), scaling=scaling, activation="gelu")
    traced, known = both(settings, drawn)
    np.testing.assert_allclose(traced, known, rtol=1e-5, atol=1e-4)


def test_a_row_of_zeros_is_near_to_nothing():
    zeros = np.zeros((2, D), np.float32)
    traced, known = both(Settings(head="knn", neighbours=3), neighbours(3), zeros)
    np.testing.assert_allclose(traced, known, **CLOSE)


@pytest.mark.parametrize(
    ("task", "loss", "width"),
    [
        ("classes", "softmax", C),
        ("classes", "sigmoid", C),
        ("classes", "sigmoid", 1),
        ("answers", "sigmoid", C),
        ("numbers", "squared", C),
    ],
)
def test_outputs_become_values_as_in_numpy(task, loss, width):
    raw = np.random.default_rng(4).normal(scale=30, size=(50, width)).astype(np.float32)
    raw[0, 0] = -np.inf if loss == "softmax" else -1000.0
    values = TASK_TYPES[task].values
    classes = 2 if width == 1 else C
    traced = jax.jit(lambda x: values(loss, x, classes, jnp))(raw)
    # A float32's rounding of numbers up to 1.
    np.testing.assert_allclose(traced, values(loss, raw, classes), rtol=0, atol=3e-7)


@pytest.mark.parametrize("rows", [1, 2, 60])
def test_the_distance_to_what_was_seen(rows):
    sample = sample_of(X[:rows])
    known = distance_to(sample, QUERY)
    traced = jax.jit(distance_function(sample))(QUERY)
    np.testing.assert_allclose(traced, known, rtol=0, atol=2e-6)
    maps = QUERY.reshape(len(QUERY), 1, 1, D).repeat(2, axis=1)
    np.testing.assert_allclose(jax.jit(distance_function(sample))(maps), known, rtol=0, atol=2e-6)
