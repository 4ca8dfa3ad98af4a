"""Scores against scikit-learn, scipy and slow loops."""

import json

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binom, binomtest
from sklearn import metrics as sklearn

from featcache.metrics.classification import evaluate, expected_calibration_error, score
from featcache.metrics.intervals import share_interval, wilson_interval


def case(count: int = 400, classes: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are right about half of the time; no two are equal."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, softmax(logits, axis=1)


def test_scores_are_those_of_scikit_learn():
    labels, probabilities = case()
    got = score(labels, probabilities, split="test")
    assert (got.split, got.count) == ("test", 400)
    assert got.accuracy == sklearn.accuracy_score(labels, probabilities.argmax(1))
    assert got.top5 == sklearn.top_k_accuracy_score(labels, probabilities, k=5)
    # float64 on both sides.
    np.testing.assert_allclose(got.loss, sklearn.log_loss(labels, probabilities), rtol=1e-12)


@pytest.mark.parametrize(("classes", "given"), [(2, False), (5, False), (6, True)])
def test_top5_is_given_where_it_says_something(classes, given):
    labels, probabilities = case(classes=classes)
    assert (score(labels, probabilities, split="val").top5 is not None) == given


def test_a_certain_mistake_costs_much_but_not_infinitely_much():
    got = score(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), split="test")
    np.testing.assert_allclose(got.loss, -np.log(1e-12) / 2)


def test_class_scores_and_confusion_are_those_of_scikit_learn():
    labels, probabilities = case(classes=4)
    labels[labels == 3] = 0  # a class that no row has
    probabilities[:, 1] = 0  # and one that is never predicted
    names = ("ant", "bee", "cat", "dog")
    got = evaluate(labels, probabilities, classes=names, split="val")
    predicted, every = probabilities.argmax(1), [0, 1, 2, 3]
    np.testing.assert_array_equal(got.confusion, sklearn.confusion_matrix(labels, predicted, labels=every))
    assert got.confusion.sum() == got.count
    want = sklearn.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    for position, column in enumerate(("precision", "recall", "f1", "support")):
        np.testing.assert_array_equal([getattr(c, column) for c in got.classes], want[position])
    assert [c.name for c in got.classes] == list(names)
    assert (got.classes[3].support, got.classes[1].precision) == (0, 0.0)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("seed", range(3))
def test_scores_over_all_classes_are_those_of_scikit_learn_under_its_names(seed):
    labels, probabilities = case(classes=7, seed=seed)
    labels[labels == 3] = 0  # a class that no row has
    probabilities[:, 5] = 0  # one that is never predicted
    labels[labels == 6], probabilities[:, 6] = 0, 0  # and one that is neither
    predicted = probabilities.argmax(1)
    got = evaluate(labels, probabilities, classes=tuple("abcdefg"), split="val")
    # Another order of the same sums.
    want = sklearn.f1_score(labels, predicted, average="macro", zero_division=0)
    np.testing.assert_allclose(got.f1_macro, want, rtol=1e-12)
    want = sklearn.balanced_accuracy_score(labels, predicted)
    np.testing.assert_allclose(got.balanced_accuracy, want, rtol=1e-12)
    assert {"f1_macro", "balanced_accuracy"} <= {*sklearn.get_scorer_names()}, "the names that people know"
    assert {"f1_macro", "balanced_accuracy"} <= got.to_json().keys()


def test_each_class_has_the_interval_of_its_recall():
    labels, probabilities = case(classes=4)
    labels[labels == 3] = 0
    got = evaluate(labels, probabilities, classes=("ant", "bee", "cat", "dog"), split="val")
    for own in got.classes[:3]:
        want = binomtest(round(own.recall * own.support), own.support).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(own.recall_interval, (want.low, want.high), rtol=1e-9)
    assert got.classes[3].recall_interval is None, "no row has it"
    assert wilson_interval(0, 4)[0] == 0
    assert wilson_interval(4, 4)[1] == 1


def test_an_evaluation_is_plain_json():
    labels, probabilities = case(classes=3)
    value = evaluate(labels, probabilities, classes=("a", "b", "c"), split="test").to_json()
    again = json.loads(json.dumps(value, allow_nan=False))
    assert again["confusion"] == sklearn.confusion_matrix(labels, probabilities.argmax(1)).tolist()
    assert [c["name"] for c in again["classes"]] == ["a", "b", "c"]
    assert again["interval"][0] < again["accuracy"] < again["interval"][1]


# Calibration ------------------------------------------------------------------------------------------------


def calibration_error_by_a_slow_loop(labels, probabilities, bins) -> float:
    total = 0.0
    for low in range(bins):
        inside = [
            (row.argmax() == label, row.max())
            for label, row in zip(labels, probabilities, strict=True)
            if low <= row.max() * bins < low + 1 or (low == bins - 1 and row.max() == 1)
        ]
        if inside:
            accuracy = sum(right for right, _ in inside) / len(inside)
            confidence = sum(sure for _, sure in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_that_of_a_slow_loop(bins):
    labels, probabilities = case(classes=3)
    probabilities[:10] = np.eye(3)[labels[:10]]  # confidence of exactly 1 belongs to the last bin
    got = expected_calibration_error(labels, probabilities, bins)
    np.testing.assert_allclose(got, calibration_error_by_a_slow_loop(labels, probabilities, bins), rtol=1e-12)


def test_a_sure_and_right_classifier_is_calibrated_and_a_sure_and_wrong_one_is_not():
    labels = np.array([0, 1, 1, 0])
    assert expected_calibration_error(labels, np.eye(2)[labels]) == 0
    assert expected_calibration_error(labels, np.eye(2)[1 - labels]) == 1
    # Confident by 0.7 and right in 3 of 4: a gap of 0.05.
    probabilities = np.where(np.eye(2)[[0, 1, 1, 1]] > 0, 0.7, 0.3)
    np.testing.assert_allclose(expected_calibration_error(labels, probabilities), 0.05, rtol=1e-6)


# Intervals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("right", "count"), [(60, 100), (50, 50), (0, 7), (9, 30)])
def test_an_accuracy_has_wilsons_interval(right, count, level):
    want = binomtest(right, count).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(
        share_interval(np.arange(count) < right, level), (want.low, want.high), rtol=1e-9, atol=1e-12
    )


def test_shares_that_vary_less_than_right_and_wrong_count_as_more_rows():
    # Half the variance of rows that are 0 or 1 with the same mean: .25 and .75 against their mean of a half.
    values = np.repeat([0.5 - 0.5**1.5, 0.5 + 0.5**1.5], 20)
    want = binomtest(40, 80).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(share_interval(values), (want.low, want.high), rtol=1e-9)
    alike = share_interval(np.full(40, 0.5))
    assert alike[0] < 0.4 < 0.6 < alike[1], "rows that are all alike do not make it certain"


@pytest.mark.parametrize("count", [20, 50, 100, 300])
def test_accuracies_are_in_their_interval_in_95_of_100_data_sets(count):
    # Over accuracies from a half to .98, by the binomial distribution itself; the worst of them is a little lower.
    truths = np.linspace(0.5, 0.98, 97)
    ends = np.array([share_interval(np.arange(count) < right) for right in range(count + 1)])
    holds = (ends[:, :1] <= truths) & (truths <= ends[:, 1:])
    covered = (binom.pmf(np.arange(count + 1)[:, None], count, truths) * holds).sum(axis=0)
    assert 0.94 < covered.mean() < 0.965
    assert covered.min() > 0.89


def test_accuracies_over_seeds_are_in_their_interval_in_92_to_98_of_100_data_sets():
    random = np.random.default_rng(0)
    for count, hard in ((20, 0.6), (100, 0.6), (300, 0.3)):
        # A row's chance differs, and its five seeds share it; 400 sets tell a share of 95 % to 1.1 %.
        sets = random.binomial(5, random.beta(9, hard, (400, count))) / 5
        ends = np.array([share_interval(own) for own in sets])
        truth = 9 / (9 + hard)
        assert 0.92 <= np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])) <= 0.98
