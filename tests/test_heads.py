"""One head on one example, against numpy and scipy in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from featcache.errors import UnknownNameError
from featcache.heads import HEADS, Form, Scaling, as_arrays, feature_scaling, head_kind
from featcache.losses import cross_entropy

LINEAR = Form("linear", 3)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_linear_head_is_a_matrix_product_and_starts_at_zero(random):
    head = head_kind("linear")
    start = head.init(jax.random.key(0), 5, LINEAR)
    assert {name: value.shape for name, value in start.items()} == {"kernel": (5, 3), "bias": (3,)}
    assert all(not np.any(value) for value in start.values())
    kernel, bias, x = random.normal(size=(5, 3)), random.normal(size=3), random.normal(size=5)
    got = head.logits(LINEAR, as_arrays({"kernel": kernel, "bias": bias}), jnp.asarray(x, jnp.float32))
    # float32 rounds each of 5 products to 6e-8 of their size, which is around 1.
    np.testing.assert_allclose(got, x @ kernel + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_that_of_the_smoothed_target(random, smoothing):
    logits = random.normal(size=6) * 4
    target = np.full(6, smoothing / 6)
    target[2] += 1 - smoothing
    want = -np.sum(target * log_softmax(logits))
    got = cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(2), smoothing)
    np.testing.assert_allclose(got, want, rtol=1e-5)  # float32


def test_cross_entropy_of_huge_logits_is_finite():
    got = cross_entropy(jnp.array([1e30, -1e30, 0.0]), jnp.asarray(1))
    assert np.isfinite(got)
    np.testing.assert_allclose(got, 2e30, rtol=1e-6)


def test_folded_logits_are_the_standardised_ones(random):
    head = HEADS["linear"]
    x = random.normal(5, 3, (40, 8))
    scaling = Scaling(jnp.asarray(x.mean(0), jnp.float32), jnp.asarray(x.std(0), jnp.float32))
    parameters = as_arrays({"kernel": random.normal(size=(8, 3)), "bias": random.normal(size=3)})
    raw = jax.vmap(partial(head.logits, LINEAR), (None, 0))(
        head.scale(LINEAR, parameters, scaling), jnp.asarray(x, jnp.float32)
    )
    kernel, bias = (np.asarray(parameters[name], np.float64) for name in ("kernel", "bias"))
    want = (x - x.mean(0)) / x.std(0) @ kernel + bias
    # Folding subtracts numbers of size mean / deviation = 2 per feature: a few units of float32's last place.
    np.testing.assert_allclose(raw, want, rtol=1e-5, atol=1e-5)


def test_scaling_is_the_mean_and_deviation_of_the_weighted_rows(random):
    x = random.normal(3, 2, (50, 4))
    weight = (np.arange(50) < 30).astype(np.float32)
    scaling = feature_scaling(jnp.asarray(x, jnp.float32), jnp.asarray(weight))
    np.testing.assert_allclose(scaling.mean, x[:30].mean(0), rtol=1e-5)
    np.testing.assert_allclose(scaling.deviation, x[:30].std(0), rtol=1e-5)


def test_scaling_keeps_the_digits_of_a_small_spread_on_a_large_mean(random):
    x = (1000 + random.normal(0, 0.1, (2000, 1))).astype(np.float32)
    scaling = feature_scaling(jnp.asarray(x), jnp.ones(len(x)))
    # E[x²] - E[x]² would be the difference of two numbers of 1e6, which float32 knows to 0.06; it is 0.01.
    np.testing.assert_allclose(scaling.deviation, x.astype(np.float64).std(0), rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3, 12345.678])
def test_a_constant_feature_gets_deviation_one(value):
    scaling = feature_scaling(jnp.full((64, 1), value), jnp.ones(64))
    np.testing.assert_array_equal(scaling.deviation, [1.0])
    np.testing.assert_allclose(scaling.mean, [value], rtol=1e-6)


def test_an_unknown_head_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no head 'liner'; did you mean 'linear'\?"):
        head_kind("liner")
