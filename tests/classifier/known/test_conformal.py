"""Prediction sets against MAPIE's, and their promise on drawn rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from featcache.classifier.known.conformal import prediction_sets, right_class_scores

GOLDEN = json.loads(Path(__file__).with_name("mapie_golden.json").read_text())


def shares(name: str) -> np.ndarray:
    return (np.array(GOLDEN[name]) / 1024).astype(np.float32)


@pytest.mark.parametrize("place", range(len(GOLDEN["levels"])))
def test_sets_are_those_of_mapie(place):
    scores = right_class_scores(shares("held"), np.array(GOLDEN["labels"]))
    got = prediction_sets(shares("further"), scores, GOLDEN["levels"][place])
    np.testing.assert_array_equal(got, np.array(GOLDEN["sets"][place], bool))


def test_too_few_rows_give_no_sets():
    p, labels = np.full((18, 2), 0.5, np.float32), np.zeros(18, int)
    assert prediction_sets(p, right_class_scores(p, labels), 0.95) is None
    more = right_class_scores(np.full((19, 2), 0.5, np.float32), np.zeros(19, int))
    assert prediction_sets(p, more, 0.95).all()


def test_sets_hold_the_right_class_as_often_as_promised():
    """Over 200 draws of 99 held-out rows the mean coverage is that of the theory: k / (n + 1) without ties."""
    random = np.random.default_rng(0)
    draws, held, further, level = 200, 99, 50, 0.9
    found = 0
    for _ in range(draws):
        p = random.dirichlet(np.full(5, 0.4), held + further).astype(np.float32)
        labels = np.array([random.choice(5, p=row / row.sum()) for row in p.astype(np.float64)])
        scores = right_class_scores(p[:held], labels[:held])
        sets = prediction_sets(p[held:], scores, level)
        found += sets[np.arange(further), labels[held:]].sum()
    # Rows of one draw share a threshold; their variance is that of the beta-binomial distribution.
    rank, count = 90, draws * further
    inflated = count / (1 + (further - 1) / (held + 2))
    assert binom.ppf(0.001, int(inflated), rank / (held + 1)) <= found * inflated / count
    assert found * inflated / count <= binom.ppf(0.999, int(inflated), rank / (held + 1))
