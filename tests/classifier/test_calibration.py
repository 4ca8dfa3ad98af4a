"""Temperatures against scipy's optimiser; what is fitted and what is left alone."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from featcache.classifier.calibration import (
    COLDEST,
    HOTTEST,
    PRIOR_DEVIATION,
    Calibration,
    calibrate,
    calibrated,
    fit_temperature,
)
from featcache.classifier.rejection import reject_threshold
from featcache.errors import DataError, UsageError
from featcache.heads.probabilities import class_probabilities
from featcache.metrics.classification import expected_calibration_error


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


def test_the_temperature_of_a_multiple_is_that_multiple_up_to_the_bounds():
    logits, labels = case(count=60)
    own = fit_temperature(logits, labels)
    found = [fit_temperature(logits * scale, labels) for scale in (0.3, 7.0)]
    np.testing.assert_allclose(found, [0.3 * own, 7.0 * own], rtol=1e-9)
    bounds = [fit_temperature(logits * scale, labels) for scale in (1e-4, 1e4)]
    assert bounds == [COLDEST, HOTTEST]


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


# What a classifier keeps ------------------------------------------------------------------------------------


def test_overconfident_logits_get_a_temperature_and_a_threshold_of_calibrated_probabilities():
    logits, labels = case(count=1000)
    found = calibrated(logits, labels, classes=4, accuracy=0.8)
    assert found.temperature == fit_temperature(logits, labels, deviation=PRIOR_DEVIATION)
    probabilities = softmax(logits / found.temperature, axis=1)
    assert (found.error_before, found.error_after) == pytest.approx(
        (
            expected_calibration_error(labels, softmax(logits, axis=1)),
            expected_calibration_error(labels, probabilities),
        ),
        abs=1e-4,  # a confidence at the edge of a bin may round into the next: float32 here, float64 there
    )
    want = reject_threshold(probabilities, labels, accuracy=0.8)
    assert want.threshold is not None
    assert found.threshold == pytest.approx(want.threshold, rel=1e-6)
    assert found.note is None
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_logits_that_are_calibrated_are_mostly_left_as_they_are():
    # Labels are drawn from these logits. The true temperature is 1; 5 % of all draws are promised to say otherwise.
    changed = 0
    for seed in range(100):
        logits, labels = case(count=100, sharpness=1.0, seed=seed)
        found = calibrated(logits, labels, classes=4)
        assert found.temperature == 1 or found.error_after != found.error_before
        changed += found.temperature != 1
    assert changed <= 12  # 5 and three deviations of 2.2


def test_without_rows_nothing_is_calibrated_which_is_said():
    logits, labels = case(count=10)
    nothing = calibrated(logits[:0], labels[:0], classes=4)
    assert nothing == Calibration(note="no rows were held out to calibrate with")


@pytest.mark.parametrize("count", [5, 49, 50, 1000])
def test_a_temperature_is_pulled_to_one_by_what_is_known_of_heads(count):
    logits, labels = case(count=count, sharpness=3.0)

    def loss(beta: float) -> float:
        return count * negative_log_likelihood(logits, labels, beta) + np.log(beta) ** 2 / (
            2 * PRIOR_DEVIATION**2
        )

    got = fit_temperature(logits, labels, deviation=PRIOR_DEVIATION)
    # Golden sections find the place of a flat minimum to the root of the rounding of its value.
    np.testing.assert_allclose(got, best_temperature(loss), rtol=1e-5)


def test_few_rows_that_happen_to_be_right_hardly_raise_the_confidence():
    # Well calibrated, 85 % right in the mean: of draws of 50 rows, those in which 48 are.
    random = np.random.default_rng(0)
    logits = np.log(np.stack([np.full(4000, 0.85), np.full(4000, 0.15)], axis=1)) + random.normal(
        0, 0.3, (4000, 2)
    )
    labels = (random.random(4000) > softmax(logits, axis=1)[:, 0]).astype(int)
    wrong, right = (np.flatnonzero(labels == label) for label in (1, 0))
    lucky = np.concatenate([wrong[:2], right[:48]])
    likeliest = fit_temperature(logits[lucky], labels[lucky])
    found = calibrated(logits[lucky], labels[lucky], classes=2).temperature
    lost = [
        negative_log_likelihood(logits, labels, 1 / t) - negative_log_likelihood(logits, labels, 1)
        for t in (likeliest, found)
    ]
    assert likeliest < 0.6
    assert lost[1] < 0.6 * lost[0]


def test_why_there_is_no_threshold_is_said():
    logits, labels = case(count=100)
    few, hard = (str(calibrated(logits, labels, classes=4, accuracy=a).note) for a in (0.99, 0.97))
    assert few == "100 rows are too few to show that 99 % are right; 268 without a mistake would do"
    assert "not even the surest of 100 rows show that 97 % are right; ask for a lower" in hard


def test_a_class_that_was_never_seen_spoils_no_temperature():
    logits, labels = case(count=300)
    unseen = np.concatenate([logits, np.full((300, 1), -np.inf)], axis=1)
    want = calibrated(logits, labels, classes=4)
    assert calibrated(unseen, labels, classes=5) == want
    labels = np.where(np.arange(300) < 3, 4, labels)  # and three rows are of it
    assert np.isfinite(calibrated(unseen, labels, classes=5).temperature)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([0, 1, -1]), "labels reach from -1 to 1; expected numbers of the 2 classes, 0 to 1"),
        (np.array([0, 1, 2]), "labels reach from 0 to 2"),
        (np.array([0.0, 1.0, 1.0]), "labels are float64 of shape"),
        (np.array([0, 1]), "one for each of the 3 rows"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, says):
    with pytest.raises(UsageError, match=says):
        calibrated(np.zeros((3, 2), np.float32), labels, classes=2)
