"""Checks of features: each on features that it must find, and on features that it must not."""

import re

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from featcache.checks.features import (
    LEAST_ROWS,
    below_floor,
    chance_level,
    check_features,
    find_collapsed,
    statistics_floor,
)
from featcache.checks.rows import Finding


def features(
    count: int = 300, width: int = 40, *, classes: int = 5, apart: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Positive features as a pooled network gives them, and labels that they tell `apart`, or not at all."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    centres = random.gamma(1.0, size=(classes, width))
    noise = random.gamma(1.0, size=(count, width))
    return (apart * centres[labels] + noise).astype(np.float32), labels


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


# Nearest neighbours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_features_that_separate_classes_are_well(classes):
    assert chance_level(*features(classes=classes)) == []


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_shuffled_labels_are_found(classes):
    x, labels = features(classes=classes)
    found = chance_level(x, np.random.default_rng(1).permutation(labels))
    assert codes(found) == ["chance-level"]
    assert "training rows tell their class in" in found[0].message
    assert "check whether labels are shuffled, and whether the preprocessing" in found[0].message


def test_most_shuffles_are_found_and_a_little_knowledge_is_enough():
    x, labels = features(apart=0.0)
    random = np.random.default_rng(2)
    # 0.7 % of shuffles may pass; 2 or more of 40 with a probability of 3 %.
    assert sum(bool(chance_level(x, random.permutation(labels))) for _ in range(40)) >= 39
    # One label in three is right: far from useful, and yet no shuffle.
    x, labels = features(apart=1.0)
    known = random.random(300) < 1 / 3
    assert chance_level(x, np.where(known, labels, random.permutation(labels))) == []


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_a_class_that_is_nearly_all_does_not_make_guessing_look_good(apart):
    # Always "class 0" is right in 90 %; knowledge of the others makes the difference.
    x, labels = features(count=3000, apart=apart)
    kept = np.flatnonzero((labels == 0) | (np.arange(3000) % 36 == 0))
    assert np.mean(labels[kept] == 0) > 0.88
    assert codes(chance_level(x[kept], labels[kept])) == ([] if apart else ["chance-level"])


def test_what_guessing_reaches_is_what_permutations_reach():
    x, labels = features(apart=0.0, classes=3)
    labels = np.where(labels == 2, labels, 0)  # two thirds and one third
    (found,) = chance_level(x, labels)
    given = re.search(r"in ([\d.]+) %, where guessing does in ([\d.]+) % ± ([\d.]+) %", found.message)
    assert given is not None
    accuracy, chance, spread = (float(number) / 100 for number in given.groups())
    weights = np.where(labels == 2, np.sum(labels == 0) / np.sum(labels == 2), 1.0)
    predicted = weighted_votes_left_out(x, labels, weights)
    assert accuracy == pytest.approx(np.mean(predicted == labels), abs=6e-4)
    random = np.random.default_rng(0)
    guesses = [np.mean(random.permutation(predicted) == labels) for _ in range(4000)]
    # The message has one digit; a deviation of 4000 draws is good to 1.1 %.
    assert chance == pytest.approx(np.mean(guesses), abs=2e-3)
    assert spread == pytest.approx(3 * np.std(guesses), rel=0.05)


def weighted_votes_left_out(x: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    rows = np.argsort(-near, axis=1)[:, :5]
    votes = [np.bincount(labels[row], weights[row], labels.max() + 1) for row in rows]
    return np.argmax(votes, axis=1)


def test_of_many_rows_a_seed_draws_some():
    x, labels = features(count=800)
    shuffled = np.random.default_rng(3).permutation(labels)
    one, again, other = (chance_level(x, shuffled, most_rows=200, seed=seed)[0] for seed in (0, 0, 1))
    assert "neighbours of 200 training rows" in one.message
    assert one == again != other
    assert chance_level(x, labels, most_rows=200) == []


def test_too_few_rows_and_one_class_say_nothing():
    x, labels = features(count=LEAST_ROWS, apart=0.0)
    assert codes(chance_level(x, labels)) == ["chance-level"]
    assert chance_level(x[1:], labels[1:]) == []
    assert chance_level(x, np.full(LEAST_ROWS, 3)) == []
    assert chance_level(x, np.arange(LEAST_ROWS) // (LEAST_ROWS - 1)) == []  # the second class has one row


def test_neighbours_that_are_always_of_one_class_are_not_better_than_guessing():
    x, labels = features(count=40, width=6, apart=0.0, classes=2)
    x, labels = x + 9, np.zeros_like(labels)
    # Two rows in opposite directions, far from each other and from all the rest.
    x[[5, 6]], labels[[5, 6]] = np.array([[9, -9, 0, 0, 0, 0], [-9, 9, 0, 0, 0, 0]]), 1
    (found,) = chance_level(x, labels)
    assert "tell their class in 95.0 %, where guessing does in 95.0 % ± 0.0 %" in found.message


# Collapsed features -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_ordinary_features_have_not_collapsed(dtype):
    x, _ = features()
    x[:, :19] = 0  # not quite half of them dead
    assert find_collapsed((400 + 3 * x).astype(dtype)) == []  # whose squares are beyond float16
    assert find_collapsed(x[:1]) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_found_and_nothing_else_is_said(bad):
    x, labels = features()
    x[[7, 30], 2] = bad
    (found,) = check_features(x, labels)
    assert found.code == "not-finite"
    assert "2 of 300 training rows hold NaN or infinity, first row 7; extract again" in found.message


@pytest.mark.parametrize("value", [0.0, 3.0, 1e4])
def test_rows_that_are_all_the_same_are_found(value):
    x = np.full((50, 40), value, np.float32)
    (found,) = check_features(x, np.arange(50) % 5)
    assert found.code == "same-rows"
    assert "all 50 training rows are nearly the same" in found.message


def test_rows_that_differ_by_rounding_only_are_the_same():
    noise = np.random.default_rng(0).normal(size=(50, 40))
    one = 1 + np.arange(40)
    assert codes(find_collapsed((one * (1 + 1e-5 * noise)).astype(np.float32))) == ["same-rows"]
    assert find_collapsed((one * (1 + 1e-3 * noise)).astype(np.float32)) == []


def test_features_that_are_mostly_constant_are_counted():
    x, labels = features()
    x[:, ::2] = np.linspace(0, 50, 20) * (1 + 1e-7 * np.random.default_rng(0).normal(size=(300, 1)))
    x[:, 1] = 0
    (found,) = check_features(x, labels)
    assert found.code == "constant-features"
    assert "21 of 40 features are constant over 300 training rows" in found.message
    assert find_collapsed(x[: LEAST_ROWS - 1]) == [], "a few rows say nothing of that"
    x[0, 0] += 1  # one row is enough for a feature to say something
    assert find_collapsed(x) == []


def test_all_rows_are_looked_at_for_nan_and_some_for_the_rest():
    x, _ = features()
    x[:, :25] = 1
    assert "over 50 training rows" in find_collapsed(x, most_rows=50)[0].message
    x[299, 0] = np.nan
    assert "first row 299" in find_collapsed(x, most_rows=50)[0].message


def test_good_features_have_no_findings_and_shuffled_ones_do():
    x, labels = features()
    assert check_features(x, labels) == []
    assert codes(check_features(x, np.random.default_rng(1).permutation(labels))) == ["chance-level"]


# The floor --------------------------------------------------------------------------------------------------


def statistics(apart: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three colours around 100 and a file size in bytes, of training and validation images."""
    x, labels = features(count=240, width=4, classes=3, apart=apart, seed=5)
    x = x * np.array([20, 20, 20, 1e5]) + np.array([100, 100, 100, 1e6])
    return x[:180], labels[:180], x[180:], labels[180:]


def test_the_floor_is_the_best_of_three_simple_classifiers():
    train, labels, val, val_labels = statistics(apart=1.0)
    scaler = StandardScaler().fit(train)
    oracles = (NearestCentroid(), KNeighborsClassifier(5, algorithm="brute"))
    fitted = [oracle.fit(scaler.transform(train), labels) for oracle in oracles]
    want = max(oracle.score(scaler.transform(val), val_labels) for oracle in fitted)
    got = statistics_floor(train, labels, val, val_labels, classes=3)
    # Of two classes with two votes each scikit-learn takes the first, featcache the nearest: three rows of 60.
    assert got == pytest.approx(want, abs=0.05)
    assert got > 0.5


def test_statistics_that_say_nothing_leave_the_largest_class():
    train, labels, val, val_labels = statistics(apart=0.0)
    labels, val_labels = np.where(labels == 1, 1, 0), np.where(val_labels == 1, 1, 0)
    constant = np.ones_like(train), np.ones_like(val)
    got = statistics_floor(constant[0], labels, constant[1], val_labels, classes=2)
    assert got == max(np.mean(val_labels == 0), np.mean(val_labels == 1))
    assert statistics_floor(train, labels, val, val_labels, classes=2) >= np.mean(val_labels == 0)


def test_a_head_that_is_no_better_than_the_floor_is_found():
    assert below_floor(0.8, 0.79) == []
    (found,) = below_floor(0.512, 0.534)
    assert found.code == "below-floor"
    assert "the head is right in 51.2 % of the validation rows, and simple statistics" in found.message
    assert "in 53.4 %: the features add nothing" in found.message
    assert codes(below_floor(0.5, 0.5)) == ["below-floor"]
    assert codes(below_floor(0.5, 0.5, count=8)) == ["below-floor"]
    assert below_floor(0.5, 0.5, count=7) == []
