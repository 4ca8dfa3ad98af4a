"""Choosing and comparing, against scipy and by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_1samp

from featcache.metrics.comparison import compare, mean_interval, seed_scores
from featcache.sweeps.leaderboard import leaderboard_entries


def result(accuracy: float | None, loss: float | None = 0.5, epoch: int = 3) -> dict:
    return {"val_accuracy": accuracy, "val_loss": loss, "best_epoch": epoch}


def test_the_best_mean_wins_and_the_lower_loss_of_equals():
    ranked = leaderboard_entries(
        [
            ("lucky", result(0.95)),
            ("lucky", result(0.75)),
            ("steady", result(0.9, 0.4, epoch=4)),
            ("steady", result(0.88, 0.4, epoch=8)),
            ("equal", result(0.89, 0.3)),
            ("equal", result(0.89, 0.3)),
        ]
    )
    assert [s.key for s in ranked] == ["equal", "steady", "lucky"]
    steady = ranked[1]
    assert steady.accuracy == pytest.approx(0.89)
    assert steady.deviation == pytest.approx(np.std([0.9, 0.88], ddof=1))
    assert (steady.trials, steady.best_epoch) == (2, 6)


def test_a_configuration_of_which_one_head_diverged_comes_last():
    ranked = leaderboard_entries(
        [("good", result(0.6)), ("half", result(0.99)), ("half", result(None, None))]
    )
    assert [s.key for s in ranked] == ["good", "half"]


def test_paired_comparison_is_mcnemars_test():
    random = np.random.default_rng(0)
    first, second = random.random(400) < 0.9, random.random(400) < 0.8
    found = compare(first, second)
    better, worse = (first & ~second).sum(), (~first & second).sum()
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.p_value == pytest.approx(binomtest(better, better + worse).pvalue)
    # Bonett and Price, written out: one more row won by each.
    won, lost = (better + 1) / 402, (worse + 1) / 402
    half = norm.ppf(0.975) * np.sqrt((won + lost - (won - lost) ** 2) / 402)
    np.testing.assert_allclose(found.interval, (won - lost - half, won - lost + half), rtol=1e-9)
    assert found.told_apart


def test_equal_heads_are_not_told_apart():
    same = np.random.default_rng(0).random(100) < 0.7
    found = compare(same, same)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert found.interval[0] == -found.interval[1] < 0, (
        "that no row tells them apart does not make it certain"
    )
    assert not found.told_apart


def test_four_rows_of_a_hundred_do_not_tell_heads_apart():
    first = np.ones(100)
    second = np.where(np.arange(100) < 4, 0.0, 1.0)
    found = compare(first, second)
    assert found.p_value == pytest.approx(0.125)
    assert not found.told_apart


def test_differences_without_bounds_have_students_interval():
    first = np.random.default_rng(3).normal(1.0, 30.0, 40)
    found = compare(first, np.zeros(40), bounded=False)
    want = ttest_1samp(first, 0).confidence_interval(0.95)
    np.testing.assert_allclose(found.interval, (want.low, want.high), rtol=1e-9)


def test_the_spread_is_over_seeds_and_the_interval_over_rows():
    random = np.random.default_rng(1)
    right = (random.random((5, 300)) < 0.8).astype(float)
    found = seed_scores(right)
    assert found.values == pytest.approx(right.mean(axis=1))
    assert (found.mean, found.deviation) == pytest.approx((right.mean(), right.mean(axis=1).std(ddof=1)))
    assert found.interval[0] < found.mean < found.interval[1]
    assert found.count == 300


def test_one_seed_that_is_always_right_is_not_certain():
    found = seed_scores(np.ones((1, 50)))
    assert (found.mean, found.deviation) == (1.0, 0.0)
    assert found.interval == pytest.approx((50 / (50 + 1.96**2), 1.0), abs=1e-3)  # Wilson's


def test_an_interval_of_one_value_is_that_value():
    assert mean_interval(np.array([0.25])) == (0.25, 0.25)
