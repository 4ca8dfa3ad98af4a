"""Scores of answers and numbers, against scikit-learn's own and against sums done by hand."""

import numpy as np
import pytest
from sklearn import metrics

from featcache.metrics.multilabel import evaluate_multilabel, summary
from featcache.metrics.regression import evaluate_regression

NAMES = ("sea", "sky", "tree")


@pytest.fixture
def answers():
    random = np.random.default_rng(0)
    known = (random.random((80, 3)) < [0.5, 0.2, 0.8]).astype(np.float32)
    return known, np.clip(0.4 * known + 0.6 * random.random((80, 3)), 0, 1).astype(np.float32)


def test_answers_are_scored_as_scikit_learn_does(answers):
    known, probable = answers
    found = evaluate_multilabel(known, probable, classes=NAMES, split="test")
    assert (found.split, found.count, [own.name for own in found.answers]) == ("test", 80, list(NAMES))
    assert found.accuracy == pytest.approx(1 - metrics.hamming_loss(known, probable > 0.5))
    assert found.f1 == pytest.approx(metrics.f1_score(known, probable > 0.5, average="macro"))
    assert found.mean_average_precision == pytest.approx(metrics.average_precision_score(known, probable))
    losses = [metrics.log_loss(known[:, own], probable[:, own]) for own in range(3)]
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)  # scikit-learn's is in double precision
    assert [own.support for own in found.answers] == known.sum(axis=0).tolist()
    assert found.answers[1].recall == pytest.approx(metrics.recall_score(known[:, 1], probable[:, 1] > 0.5))
    low, high = found.interval
    assert low < found.accuracy < high


def test_an_answer_that_is_never_yes_has_no_average_precision(answers):
    known, probable = answers
    known[:, 1] = 0
    found = evaluate_multilabel(known, probable, classes=NAMES, split="val")
    assert found.answers[1].average_precision is None
    both = [metrics.average_precision_score(known[:, own], probable[:, own]) for own in (0, 2)]
    assert found.mean_average_precision == pytest.approx(np.mean(both))
    known[:] = 0
    assert evaluate_multilabel(known, probable, classes=NAMES, split="val").mean_average_precision is None


def test_numbers_are_scored_as_scikit_learn_does():
    random = np.random.default_rng(1)
    known = random.normal([3, -100], [1, 40], (50, 2)).astype(np.float32)
    said = known + random.normal(0, [0.5, 10], (50, 2)).astype(np.float32)
    found = evaluate_regression(known, said, classes=("age", "height"), split="test")
    assert found.mae == pytest.approx(metrics.mean_absolute_error(known, said), rel=1e-5)
    assert found.r2 == pytest.approx(metrics.r2_score(known, said), rel=1e-5)
    roots = [metrics.mean_squared_error(known[:, own], said[:, own]) ** 0.5 for own in range(2)]
    assert [own.rmse for own in found.numbers] == pytest.approx(roots, rel=1e-5)
    assert found.rmse == pytest.approx(np.mean(roots), rel=1e-5)
    assert found.numbers[1].name == "height"
    low, high = found.interval
    assert low < found.mae < high


def test_one_row_explains_nothing():
    found = evaluate_regression(np.ones((1, 1), np.float32), np.ones((1, 1)), classes=("age",), split="test")
    assert (found.r2, found.mae, found.interval) == (0.0, 0.0, (0.0, 0.0))


def test_summaries_leave_out_the_single_ones(answers):
    found = summary(evaluate_multilabel(*answers, classes=NAMES, split="test"))
    assert "answers" not in found.to_json()
    assert found.to_json()["interval"] == list(found.interval)
