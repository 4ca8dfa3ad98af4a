"""Scalings of features: rows of unit length, and deviations that few rows cannot distort."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.feature_caches import CLASSES, photos
from sklearn.preprocessing import normalize

from featcache.heads import feature_table
from featcache.heads.feature_table import ArrayTable, FeatureRows, StreamedTable, unit_rows
from featcache.heads.fitted_head import FittedHead
from featcache.heads.nearest import prototype_scores, prototypes
from featcache.heads.scaling import PRIOR_ROWS, divisors, unit_length
from featcache.heads.settings import FITTED, Settings
from featcache.solvers.fit import fit_heads

HEADS = [pytest.param(head, marks=pytest.mark.slow if head in ("mlp", "ridge") else ()) for head in FITTED]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("xp", [np, jnp])
def test_rows_of_unit_length_are_scikit_learns(xp, random):
    x = (
        random.normal(size=(20, 7)).astype(np.float32)
        * np.geomspace(1e-12, 1e30, 20, dtype=np.float32)[:, None]
    )
    x[3] = 0
    got = unit_length(xp.asarray(x), xp)
    assert got.dtype == np.float32
    # Roundings of a division, a sum of seven squares and a root, each within half a unit of 6e-8.
    np.testing.assert_allclose(got, normalize(x.astype(np.float64)), rtol=1e-6, atol=1e-12)


def test_a_table_of_unit_rows_is_the_same_in_memory_and_read_in_blocks(random):
    x = random.normal(size=(20, 7)).astype(np.float32)
    rows = np.array([3, 3, 19, -1])
    streamed = unit_rows(StreamedTable(lambda numbers: x[numbers], 20, 7))
    np.testing.assert_array_equal(streamed.take(rows), unit_rows(ArrayTable(x)).take(rows))
    np.testing.assert_allclose(np.linalg.norm(streamed.take(rows), axis=1), 1, rtol=1e-6)


def test_halves_are_widened_and_brought_to_length_1_strip_by_strip(random, monkeypatch):
    monkeypatch.setattr(feature_table, "_STRIP", 6)
    x = np.concatenate([random.normal(size=(19, 7)), np.zeros((1, 7))]).astype(np.float16)
    rows = np.arange(20)
    plain = StreamedTable(lambda numbers: x[numbers], 20, 7)
    np.testing.assert_array_equal(plain.take(rows), x.astype(np.float32))
    streamed, wide = unit_rows(plain).take(rows), x.astype(np.float32)
    np.testing.assert_array_equal(streamed, unit_length(wide))  # row by row: strips change no bit
    np.testing.assert_array_equal(unit_rows(ArrayTable(wide)).take(rows), streamed)


def test_deviations_go_from_the_common_one_to_each_features_own():
    variance, level = np.array([1.0, 4.0, 0.0]), np.zeros(3)
    common = 5 / 3
    for rows in (1.0, PRIOR_ROWS, 1e9):
        want = np.sqrt([(rows * v + PRIOR_ROWS * common) / (rows + PRIOR_ROWS) for v in variance])
        np.testing.assert_allclose(divisors("unit", variance, level, rows), want, rtol=1e-12)
    np.testing.assert_allclose(divisors("unit", variance, level, 1e12)[:2], [1, 2], rtol=1e-6)
    np.testing.assert_allclose(divisors("standard", variance, level, 1.0), [1, 2, 1])
    # One row, or rows that are all the same: nothing is divided by 0.
    np.testing.assert_array_equal(divisors("unit", np.zeros(3), level, 1.0), 1)


def logits_of(settings: Settings, parameters, x: np.ndarray) -> np.ndarray:
    return FittedHead(settings, parameters, CLASSES, "multiclass").logits(x)


@pytest.mark.one_by_default
@pytest.mark.parametrize("head", HEADS)
def test_no_head_falls_below_nearest_class_means_with_few_rows_of_each_class(head, random):
    test, known = photos(random, 500)
    nothing = FeatureRows(ArrayTable(test[:0]), known[:0], np.ones((1, 0), np.float32))
    settings = Settings(head=head, epochs=300)
    scores = {"head": [], "means": []}
    for shots in (1, 1, 1, 5, 5):
        x, labels = photos(random, shots * CLASSES)
        train = FeatureRows(ArrayTable(x), labels, np.ones((1, len(x)), np.float32))
        (fit,) = fit_heads([settings], train, nothing, classes=CLASSES)
        means = prototypes(x, labels, classes=CLASSES, metric="cosine")
        for name, raw in (
            ("head", logits_of(settings, fit.parameters, test)),
            ("means", prototype_scores(means, test, metric="cosine")[0]),
        ):
            scores[name].append(np.mean(raw.argmax(axis=1) == known))
    # One standard error of five draws whose accuracies scatter by about 0.04. Adam's first steps are as large for
    # features that say nothing, of which these have more than a network's.
    allowed = 0.05 if head == "linear" else 0.02
    assert np.mean(scores["head"]) > np.mean(scores["means"]) - allowed


@pytest.mark.one_by_default
@pytest.mark.parametrize("head", HEADS)
def test_how_loud_an_image_is_does_not_matter_to_rows_of_unit_length(head, random):
    x, labels = photos(random, 40)
    train = FeatureRows(ArrayTable(x), labels, np.ones((1, len(x)), np.float32))
    nothing = FeatureRows(ArrayTable(x[:0]), labels[:0], np.ones((1, 0), np.float32))
    for scaling, same in (("unit", True), ("standard", False)):
        settings = Settings(head=head, epochs=5, scaling=scaling)
        (fit,) = fit_heads([settings], train, nothing, classes=CLASSES)
        quiet, loud = (logits_of(settings, fit.parameters, factor * x) for factor in (1, 8))
        assert np.allclose(quiet, loud, atol=1e-5) == same
