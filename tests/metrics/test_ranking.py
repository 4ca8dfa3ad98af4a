"""Curves, their areas and intervals, against scikit-learn and slow loops."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from featcache.metrics.classification import expected_calibration_error, reliability
from featcache.metrics.intervals import f1_interval, wilson_interval
from featcache.metrics.ranking import rank


def case(seed: int, count: int = 300, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a class, and scores that tell them badly; with few `levels` many are tied."""
    random = np.random.default_rng(seed)
    known = random.random(count) < 0.3
    scores = random.normal(size=count) + known
    return known, scores if levels is None else np.round(scores * levels) / levels


@pytest.mark.parametrize("levels", [None, 2, 1])
@pytest.mark.parametrize("seed", range(3))
def test_areas_and_curves_are_those_of_scikit_learn(seed, levels):
    known, scores = case(seed, levels=levels)
    got = rank(known, scores)
    assert got.average_precision == pytest.approx(sklearn.average_precision_score(known, scores))
    assert got.roc_area == pytest.approx(sklearn.roc_auc_score(known, scores))
    precision, recall, thresholds = sklearn.precision_recall_curve(known, scores)
    np.testing.assert_array_equal(got.thresholds, thresholds[::-1])
    np.testing.assert_allclose(got.precision, precision[:-1][::-1])
    np.testing.assert_allclose(got.recall, recall[:-1][::-1])
    false, true, _ = sklearn.roc_curve(known, scores, drop_intermediate=False)
    np.testing.assert_allclose(got.false_positive_rate, false[1:])
    np.testing.assert_allclose(got.recall, true[1:])
    grid = np.linspace(0, 1, 11)
    np.testing.assert_allclose(got.recall_at(grid), np.interp(grid, false, true))
    want = [max(p for p, r in zip(precision[:-1], recall[:-1], strict=True) if r >= g - 1e-9) for g in grid]
    np.testing.assert_allclose(got.precision_from(grid), want)


def test_what_cannot_be_told_is_none():
    every, none, scores = np.ones(3, bool), np.zeros(3, bool), np.array([0.2, 0.4, 0.1])
    assert rank(none, scores).average_precision is rank(none, scores).average_precision_interval is None
    assert rank(none, scores).roc_area is rank(every, scores).roc_area is None
    assert rank(every, scores).average_precision == 1
    assert rank(every[:1], scores[:1]).average_precision == 1


def test_equal_scores_tell_nothing_and_their_order_does_not_count():
    known = np.array([True, False, False, True])
    for order in ([0, 1, 2, 3], [1, 2, 0, 3]):
        got = rank(known[order], np.zeros(4))
        assert (got.average_precision, got.roc_area, len(got.thresholds)) == (0.5, 0.5, 1)


def test_the_interval_of_the_average_precision_is_that_of_a_share_of_the_class():
    known, scores = case(0)
    got = rank(known, scores)
    value, low_high = got.average_precision, got.average_precision_interval
    assert value is not None
    assert low_high == wilson_interval(value * known.sum(), known.sum())
    perfect = rank(known, known.astype(float)).average_precision_interval
    assert perfect is not None
    assert 0.9 < perfect[0] < perfect[1] == 1


def test_the_interval_of_f1_holds_the_truth_as_often_as_it_says():
    """Of rows that have and are said to have a class with known shares, drawn 4,000 times."""
    random, shares = np.random.default_rng(0), [0.2, 0.05, 0.08, 0.67]
    truth = 2 * 0.2 / (2 * 0.2 + 0.05 + 0.08)
    held = 0
    for right, missed, false, _ in random.multinomial(200, shares, size=4000):
        interval = f1_interval(int(right), int(right + missed), int(right + false))
        assert interval is not None
        assert interval[0] <= 2 * right / (2 * right + missed + false) <= interval[1]
        held += interval[0] <= truth <= interval[1]
    assert 0.94 < held / 4000 < 0.965
    assert f1_interval(0, 0, 0) is None
    assert f1_interval(5, 5, 5)[1] == 1  # pyright: ignore[reportOptionalSubscript]


def test_reliability_is_that_of_scikit_learn():
    from sklearn.calibration import calibration_curve

    random = np.random.default_rng(3)
    probabilities = random.dirichlet(np.ones(4) / 2, size=500)
    labels = np.array([random.choice(4, p=row) for row in probabilities])
    got = reliability(labels, probabilities)
    right = probabilities.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=15)
    np.testing.assert_allclose([each.accuracy for each in got], accuracy)
    np.testing.assert_allclose([each.confidence for each in got], confidence)
    assert sum(each.count for each in got) == 500
    assert all(each.low <= each.confidence <= each.high for each in got)
    gap = sum(each.count * abs(each.accuracy - each.confidence) for each in got) / 500
    np.testing.assert_allclose(expected_calibration_error(labels, probabilities), gap)
