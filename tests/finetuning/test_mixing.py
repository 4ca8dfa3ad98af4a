"""Features that are mixed and disturbed, against numpy with the numbers that the heads' keys draw."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, chisquare, kstest

from featcache.heads.model import HeadArchitecture
from featcache.solvers.optimizers import hyperparameters
from featcache.solvers.train_loop import batch_order, fit
from featcache.solvers.train_step import HeadsProgram, TrainRows, _mixing

N, D, C = 60, 20, 3
RNG = np.random.default_rng(2)
# Features differ in size and offset.
X = (RNG.normal(size=(N, D)) * np.linspace(0.5, 3, D) + np.linspace(-2, 4, D)).astype(np.float32)
Y = np.arange(N) % C

# Four heads: as the rows are, mixed, disturbed, both. Some rows do not count.
MIXUP, NOISE, SEEDS = [0.0, 0.4, 0.0, 2.0], [0.0, 0.0, 0.7, 0.3], [3, 4, 5, 6]
COUNTS = np.where(np.arange(N) % 3 == 0, 0.0, 1.0 + np.arange(N) % 2)


@cache
def disturbed(shared: bool) -> dict[str, np.ndarray]:
    """Parameters ``[K, …]`` after one step of rate 1 from zero, of all rows: the gradient.

    Shared features are standardised once for all heads; mixed is what is made of them.
    """
    program = HeadsProgram(
        HeadArchitecture("linear", C), "sgd", N, 1, mixup=not shared, noise=True, shared=shared
    )
    values = hyperparameters(learning_rate=1.0, momentum=0.0, mixup=MIXUP, noise=NOISE, seed=SEEDS)
    weight = np.tile(np.float32(COUNTS), (1 if shared else 4, 1))
    nothing = TrainRows(X[:0], Y[:0], np.zeros((4, 0), np.float32))
    fitted = fit(program, values, TrainRows(X, Y, weight), nothing)
    return {name: np.asarray(value, np.float64) for name, value in fitted.parameters.items()}


def mixed_by_hand(head: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of the rows, in numpy but for what is drawn by the head's keys."""
    _, key = jax.random.split(jax.random.key(SEEDS[head]))
    _, noise_key, mix_key = jax.random.split(jax.random.fold_in(key, 0), 3)
    share_key, other_key = jax.random.split(mix_key)
    counting = np.flatnonzero(COUNTS[order])
    other = counting[(np.asarray(jax.random.uniform(other_key, (N,))) * len(counting)).astype(int)]
    alpha = MIXUP[head]
    gammas = np.exp(np.asarray(jax.random.loggamma(share_key, alpha or 1, (2,)), np.float64))
    share = gammas[0] / gammas.sum() if alpha else 1.0
    mean = np.average(X, axis=0, weights=COUNTS)
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=COUNTS))
    noise = NOISE[head] * np.asarray(jax.random.normal(noise_key, (N, D)))
    x, target = (X[order] - mean) / deviation + noise, np.eye(C)[Y[order]]
    # Only rows that count are partners.
    x, target = (share * rows + (1 - share) * rows[other] for rows in (x, target))
    return x, target


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    ("head", "shared"), [(0, False), (1, False), (2, False), (3, False), (0, True), (2, True)]
)
def test_features_are_mixed_and_disturbed_as_by_hand(head, shared):
    order = batch_order(N, batch_size=N, epochs=1, seed=SEEDS[0])[0, 0]
    x, target = mixed_by_hand(head, order)
    weight = COUNTS[order] / COUNTS.sum()
    slope = weight[:, None] * (1 / C - target)  # all classes are equally likely at the start
    kernel, bias = (disturbed(shared)[name][head] for name in ("kernel", "bias"))
    deviation = np.sqrt(np.average((X - np.average(X, axis=0, weights=COUNTS)) ** 2, axis=0, weights=COUNTS))
    mean = np.average(X, axis=0, weights=COUNTS)
    # float32 sums of 60 numbers of around 1.
    np.testing.assert_allclose(kernel * deviation[:, None], -x.T @ slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias + mean @ kernel, -slope.sum(0), rtol=1e-4, atol=1e-5)


def test_shares_are_of_a_beta_distribution_and_partners_any_row_that_counts():
    alpha, draws = np.repeat(np.float32([0.2, 2.0]), 1000), jnp.asarray(COUNTS, jnp.float32)
    keys = jax.random.split(jax.random.key(0), len(alpha))
    mixing = jax.vmap(lambda alpha, key: _mixing(hyperparameters()._replace(mixup=alpha), draws, key))
    shares, others = (np.asarray(values) for values in jax.jit(mixing)(alpha, keys))
    for own, values in zip((0.2, 2.0), np.split(shares, 2), strict=True):
        # One in a thousand such draws would fail, and this one is always the same.
        assert kstest(values, beta(own, own).cdf).pvalue > 1e-3
    counts = np.bincount(others.ravel(), minlength=N)
    assert not counts[COUNTS == 0].any()
    assert chisquare(counts[COUNTS > 0]).pvalue > 1e-3
