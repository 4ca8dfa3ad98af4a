"""Thresholds against slow loops and scipy's intervals."""

import json

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest

from featcache.classifier.rejection import reject_threshold, rejection_at
from featcache.errors import DataError, UsageError
from featcache.metrics.intervals import least_rows, wilson_lower


def case(count: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, and these logits."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(count, classes))
    return logits, np.array([random.choice(classes, p=p) for p in softmax(logits, axis=1)])


@pytest.mark.parametrize(("right", "count"), [(0, 5), (3, 4), (50, 50), (970, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.995])
def test_the_lower_bound_is_wilsons(right, count, level):
    interval = binomtest(right, count, alternative="greater").proportion_ci(level, method="wilson")
    got = wilson_lower(np.array([right]), np.array([count]), level)
    np.testing.assert_allclose(got, interval.low, rtol=1e-12, atol=1e-15)


def threshold_by_a_slow_loop(probabilities, labels, accuracy, level) -> float | None:
    found = None
    for threshold in sorted(set(probabilities.max(1)), reverse=True):
        accepted = probabilities.max(1) >= threshold
        right = int((probabilities.argmax(1) == labels)[accepted].sum())
        test = binomtest(right, int(accepted.sum()), alternative="greater")
        low = test.proportion_ci(level, method="wilson").low if level > 0.5 else right / accepted.sum()
        if low >= accuracy - 1e-12:
            found = float(threshold)
    return found


@pytest.mark.parametrize("accuracy", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_threshold_is_the_smallest_confidence_that_reaches_the_accuracy(accuracy, level):
    logits, labels = case()
    probabilities = np.round(softmax(logits, axis=1), 2)  # many equal confidences
    got = reject_threshold(probabilities, labels, accuracy=accuracy, level=level)
    assert got.threshold == threshold_by_a_slow_loop(probabilities, labels, accuracy, level)
    assert got.threshold is not None
    assert got.accuracy is not None
    accepted = probabilities.max(1) >= got.threshold
    assert (got.accepted, got.count) == (accepted.sum(), 300)
    assert got.coverage == accepted.mean()
    assert got.accuracy == (probabilities.argmax(1) == labels)[accepted].mean()
    assert accuracy <= got.lower <= got.accuracy


def test_few_rows_promise_no_high_accuracy_though_all_are_right():
    def surest(count: int):
        labels = np.zeros(count, int)
        return reject_threshold(np.tile([0.9, 0.1], (count, 1)), labels, accuracy=0.99)

    assert least_rows(0.99) == 268
    assert surest(268).threshold == 0.9
    nothing = surest(267)
    assert (nothing.threshold, nothing.accepted, nothing.coverage, nothing.accuracy) == (None, 0, 0, None)
    assert json.loads(json.dumps(nothing.to_json()))["threshold"] is None
    assert [least_rows(0.9), least_rows(0.5, level=0.5)] == [25, 1]


def test_the_promise_is_kept_about_as_often_as_it_says():
    # Calibrated confidences between 0.5 and 1; the true accuracy above a threshold is their mean there.
    random = np.random.default_rng(0)
    population = 0.5 + 0.5 * random.beta(5, 1, 50_000)
    broken = 0
    for _ in range(200):
        confidence = random.choice(population, 500)
        labels = (random.random(500) > confidence).astype(int)
        found = reject_threshold(np.stack([confidence, 1 - confidence], axis=1), labels, accuracy=0.95)
        if found.threshold is not None:
            broken += population[population >= found.threshold].mean() < 0.95
    # 5 % of 200 promised: 10, with a deviation of 3. Counted without a bound, about half would be broken.
    assert broken <= 20


def test_rows_of_one_confidence_are_accepted_together():
    probabilities = np.tile([0.7, 0.3], (10, 1))
    got = reject_threshold(probabilities, np.arange(10) % 2, accuracy=0.2)
    assert (got.accepted, got.accuracy) == (10, 0.5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"accuracy": 1.0}, "accuracy 1.0 at level 0.95: expected both above 0 and below 1"),
        ({"accuracy": 0.0}, "accuracy 0.0 at level"),
        ({"accuracy": 0.9, "level": 1.0}, "accuracy 0.9 at level 1.0"),
    ],
)
def test_shares_outside_0_and_1_are_refused(given, text):
    with pytest.raises(UsageError, match=text):
        reject_threshold(np.array([[0.6, 0.4]]), np.array([0]), **given)


def test_without_rows_there_is_nothing_to_choose_by():
    with pytest.raises(DataError, match="no validation rows to choose a confidence by"):
        reject_threshold(np.zeros((0, 3)), np.zeros(0, int))


def test_a_threshold_on_its_own_rows_gives_what_was_promised_and_on_others_what_is_true():
    logits, labels = case()
    probabilities = softmax(logits, axis=1)
    chosen = reject_threshold(probabilities, labels, accuracy=0.8)
    assert chosen.threshold is not None
    assert rejection_at(chosen.threshold, probabilities, labels) == chosen
    others, truth = (values[200:] for values in (probabilities, labels))
    got = rejection_at(chosen.threshold, others, truth)
    sure = [row for row in range(100) if max(others[row]) >= chosen.threshold]
    assert (got.accepted, got.coverage) == (len(sure), len(sure) / 100)
    assert got.accuracy == sum(np.argmax(others[row]) == truth[row] for row in sure) / len(sure)
    none = rejection_at(1.1, others, truth)
    assert (none.accepted, none.coverage, none.accuracy, none.lower) == (0, 0, None, 0)
