"""Temperatures against scipy's optimiser, thresholds against slow loops and scipy's intervals."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from scipy.stats import binomtest

from featcache.calibration import (
    COLDEST,
    HOTTEST,
    calibrate,
    fit_temperature,
    fit_temperatures,
    least_rows,
    reject_threshold,
    wilson_lower,
)
from featcache.errors import DataError, UsageError
from featcache.outputs import class_probabilities


def case(
    count: int = 300, classes: int = 4, sharpness: float = 3.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, and logits that claim `sharpness` times as much."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(count, classes))
    labels = np.array([random.choice(classes, p=p) for p in softmax(logits, axis=1)])
    return sharpness * logits, labels


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, beta: float) -> float:
    return float(-log_softmax(beta * logits, axis=1)[np.arange(len(labels)), labels].mean())


def best_temperature(loss) -> float:
    """Of a loss of β = 1 / T."""
    found = minimize_scalar(
        loss, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-9}
    )
    return 1 / found.x  # pyright: ignore[reportAttributeAccessIssue]


# The temperature --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 3.0, 15.0])
def test_the_temperature_makes_the_labels_most_likely(sharpness):
    logits, labels = case(sharpness=sharpness)
    want = best_temperature(lambda beta: negative_log_likelihood(logits, labels, beta))
    # A minimum is flat: golden sections find it to the root of the rounding of its value, about 1e-8.
    np.testing.assert_allclose(fit_temperature(logits, labels), want, rtol=1e-6)


def test_overconfident_logits_are_cooled_to_what_they_were_drawn_from():
    logits, labels = case(count=4000)
    # 4000 rows of four classes: the standard error of the temperature is about 3 %.
    assert fit_temperature(logits, labels) == pytest.approx(3.0, rel=0.1)


def test_many_heads_at_once_get_what_each_gets_alone():
    logits, labels = case(count=60)
    heads = np.stack([logits * scale for scale in (1e-4, 0.3, 1.0, 7.0, 1e4)] + [logits[::-1]])
    together = fit_temperatures(heads, labels)
    np.testing.assert_allclose(together, [fit_temperature(head, labels) for head in heads], rtol=1e-10)
    # The temperature of a multiple is that multiple, up to the bounds.
    np.testing.assert_allclose(together[[1, 3]] / together[2], [0.3, 7.0], rtol=1e-9)
    assert together[[0, 4]].tolist() == [COLDEST, HOTTEST]


def test_worse_than_chance_is_as_hot_as_may_be():
    logits, labels = case()
    assert fit_temperature(-logits, labels) == HOTTEST


@pytest.mark.parametrize("count", [2, 20, 500])
def test_a_head_that_is_always_right_is_as_sure_as_its_rows_allow(count):
    random = np.random.default_rng(count)
    labels = random.integers(0, 3, count)
    logits = random.normal(size=(count, 3)) + 9 * np.eye(3)[labels]
    assert (logits.argmax(1) == labels).all()

    def smoothed(beta: float) -> float:
        doubt = 1 / (count + 2)
        log_p = log_softmax(beta * logits, axis=1)
        mine = np.eye(3)[labels] > 0
        return float(-((1 - doubt) * log_p[mine] + doubt * log_p[~mine].reshape(count, 2).mean(1)).mean())

    np.testing.assert_allclose(fit_temperature(logits, labels), best_temperature(smoothed), rtol=1e-6)


def test_more_rows_that_are_right_allow_more_confidence():
    logits, labels = 5 * np.eye(3), np.arange(3)
    temperatures = [fit_temperature(np.tile(logits, (n, 1)), np.tile(labels, n)) for n in (1, 10, 100, 1000)]
    assert temperatures == sorted(temperatures, reverse=True)
    sure = softmax(logits / temperatures[1], axis=1).max()
    assert sure == pytest.approx(31 / 32)  # Laplace's rule of succession on 30 rows


@pytest.mark.parametrize("count", [0, 1])
def test_one_row_says_nothing(count):
    logits, labels = case(count=5)
    assert fit_temperature(logits[:count], labels[:count]) == 1.0


def test_logits_that_are_all_the_same_have_no_temperature():
    assert fit_temperature(np.full((9, 3), 2.5), np.arange(9) % 3) == 1.0


def test_a_class_without_training_rows_changes_nothing():
    logits, labels = case()
    impossible = np.insert(logits, 2, -np.inf, axis=1)
    moved = np.where(labels >= 2, labels + 1, labels)
    want = fit_temperature(logits, labels)
    assert fit_temperature(impossible, moved) == pytest.approx(want, rel=1e-9)
    # A row of that class is lost at any temperature.
    lost = np.append(moved, 2), np.append(impossible, impossible[:1], axis=0)
    assert fit_temperature(lost[1], lost[0]) == pytest.approx(want, rel=1e-9)
    right = np.where(np.eye(4)[[0, 1, 3]] > 0, 3.0, [[0.0, 0.0, -np.inf, 0.0]] * 3)
    assert fit_temperature(right, np.array([0, 1, 3])) == pytest.approx(
        fit_temperature(3.0 * np.eye(3), np.arange(3)), rel=1e-9
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_sigmoids_share_a_temperature(classes):
    logits, labels = case(classes=classes)
    outputs = logits[:, 1:] - logits[:, :1] if classes == 2 else logits
    yes = labels[:, None] == (np.arange(classes) if classes > 2 else 1)

    def loss(beta: float) -> float:
        return float(-np.log(expit(np.where(yes, beta, -beta) * outputs)).mean())

    got = fit_temperature(outputs, labels, loss="sigmoid")
    np.testing.assert_allclose(got, best_temperature(loss), rtol=1e-6)
    if classes == 2:
        np.testing.assert_allclose(got, fit_temperature(logits, labels), rtol=1e-9)


def test_a_sigmoid_that_says_never_is_no_row_to_learn_from_where_it_is_wrong():
    logits, labels = case(classes=2)
    outputs = logits[:, 1:] - logits[:, :1]
    never = np.append(outputs, [[-np.inf]], axis=0)
    want = fit_temperature(outputs, labels, loss="sigmoid")
    assert fit_temperature(never, np.append(labels, 1), loss="sigmoid") == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_of_a_diverged_head_are_refused(bad):
    logits, labels = case()
    logits[7, 1] = bad
    with pytest.raises(DataError, match="a logit is NaN or infinite; the head has diverged"):
        fit_temperature(logits, labels)


# What it is good for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_calibration_brings_confidence_to_accuracy_on_other_rows_too(loss):
    logits, labels = case(count=2000, classes=2)
    outputs = logits if loss == "softmax" else logits[:, 1:] - logits[:, :1]
    found = calibrate(outputs[:1000], labels[:1000], classes=2, loss=loss)
    assert found.count == 1000
    assert found.error_after < 0.05 < found.error_before
    before, after = (
        class_probabilities(loss, outputs[1000:] / divisor, 2) for divisor in (1.0, found.temperature)
    )
    right = (before.argmax(1) == labels[1000:]).mean()
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
    # 1000 rows, right in 8 of 10: a standard error of 0.013 of the accuracy.
    assert abs(after.max(1).mean() - right) < 3 * 0.013 < before.max(1).mean() - right
    assert json.loads(json.dumps(found.to_json()))["temperature"] == found.temperature


def test_without_validation_rows_nothing_can_be_calibrated():
    with pytest.raises(
        DataError, match="no validation rows to calibrate with; train with a validation split"
    ):
        calibrate(np.zeros((0, 3)), np.zeros(0, int), classes=3)
    with pytest.raises(DataError, match="no validation rows to choose a confidence by"):
        reject_threshold(np.zeros((0, 3)), np.zeros(0, int))


# "Unknown" --------------------------------------------------------------------------------------------------


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
    logits, labels = case(sharpness=1.0)
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
        return reject_threshold(np.tile([0.9, 0.1], (count, 1)), labels)  # 0.99 by default

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


@pytest.mark.parametrize("coverage", [0.1, 0.5, 1.0])
def test_a_coverage_can_be_asked_for_instead(coverage):
    logits, labels = case(sharpness=1.0)
    probabilities = softmax(logits, axis=1)
    got = reject_threshold(probabilities, labels, coverage=coverage)
    confidence = np.sort(probabilities.max(1))[::-1]
    assert got.threshold == confidence[round(300 * coverage) - 1]
    assert got.coverage == pytest.approx(coverage)
    assert got.accuracy is not None
    assert got.lower < got.accuracy


def test_rows_of_one_confidence_are_accepted_together():
    probabilities = np.tile([0.7, 0.3], (10, 1))
    got = reject_threshold(probabilities, np.arange(10) % 2, coverage=0.1)
    assert (got.accepted, got.accuracy) == (10, 0.5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"accuracy": 0.9, "coverage": 0.5}, "accuracy 0.9 and coverage 0.5: expected one of them"),
        ({"accuracy": 1.0}, "accuracy 1.0 at level 0.95: expected both above 0 and below 1"),
        ({"coverage": 0.0}, "coverage 0.0 at level"),
        ({"accuracy": 0.9, "level": 1.0}, "accuracy 0.9 at level 1.0"),
    ],
)
def test_shares_outside_0_and_1_are_refused(given, text):
    with pytest.raises(UsageError, match=text):
        reject_threshold(np.array([[0.6, 0.4]]), np.array([0]), **given)
