"""Heads that are fitted again on training and validation rows, and what tells how good they are."""

import numpy as np
import pytest
from helpers.feature_caches import feature_cache
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from featcache import train_head
from featcache.classifier import refitting
from featcache.classifier.calibration import calibrated
from featcache.classifier.classifier import Classifier
from featcache.classifier.refitting import folds_for
from featcache.heads.settings import SETTINGS, STRENGTHS
from featcache.solvers.ridge import class_targets
from featcache.sweeps.axes import read_axis

WIDTH, CLASSES = 12, 3


def rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    means = 1.2 * np.random.default_rng(9).normal(size=(CLASSES, WIDTH))
    return (means[labels] + 2 * random.normal(size=(count, WIDTH))).astype(np.float32), labels


@pytest.fixture
def cache(tmp_path):
    """120 training, 60 validation and 60 test rows."""
    x, labels = rows(240)
    return feature_cache(tmp_path / "x.h5", x, labels, ["train"] * 120 + ["val"] * 60 + ["test"] * 60)


@pytest.fixture
def joined(tmp_path):
    """The same, of which training and validation rows are one split."""
    x, labels = rows(240)
    return feature_cache(tmp_path / "joined.h5", x, labels, ["train"] * 180 + ["test"] * 60)


PLAIN = {"scaling": "none"}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"head": "logistic", "c": 0.1}, marks=pytest.mark.slow),
        {"head": "ridge", "l2": 3.0},
        {"head": "prototype"},
    ],
)
def test_the_final_head_has_learnt_from_training_and_validation_rows(cache, joined, settings):
    again = train_head(cache, output=None, **settings)
    apart = train_head(cache, output=None, refit=False, **settings)
    want = train_head(joined, output=None, refit=False, val="none", **settings)
    for name, value in want.parameters.items():
        np.testing.assert_allclose(again.parameters[name], value, rtol=1e-4, atol=1e-5)
    assert again.metrics["test"]["accuracy"] == want.metrics["test"]["accuracy"]
    if settings["head"] != "prototype":  # which nothing needs before
        for name, value in apart.parameters.items():
            np.testing.assert_allclose(again.before_refit().parameters[name], value, rtol=1e-4, atol=1e-5)
    assert again.training["refitted"] == {"images": 180, "folds": 5}
    assert "refitted" not in apart.training


def test_a_refitted_head_stops_at_the_epoch_that_validation_chose(cache, joined):
    own = {"learning_rate": 0.02, "batch_size": 256}  # one batch: no order to differ in
    again = train_head(cache, output=None, **own)
    best = again.training["best_epoch"]
    assert best < again.training["epochs"]
    same = train_head(joined, output=None, refit=False, val="none", epochs=best, **own)
    np.testing.assert_allclose(again.parameters["kernel"], same.parameters["kernel"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("enough", "folds"), [(1, 1), (36, 1), (37, 2), (180, 5), (10_000, 5)])
def test_of_many_rows_the_first_folds_that_are_enough_calibrate(cache, monkeypatch, enough, folds):
    monkeypatch.setattr(refitting, "CALIBRATING_ROWS", enough)
    classifier = train_head(cache, output=None, head="linear", epochs=2, batch_size=256)
    held = folds_for(cache, np.arange(180), group_by=None, seed=0)
    assert classifier.training["refitted"] == {"images": 180, "folds": folds}
    assert classifier.calibration.count == np.sum(held < folds)


def test_outputs_for_folds_that_a_head_has_not_seen_calibrate_it(cache):
    classifier = train_head(cache, output=None, head="logistic", c=10.0, **PLAIN)
    pool = np.arange(180)
    folds = folds_for(cache, pool, group_by=None, seed=0)
    assert folds is not None
    x, labels = cache.features(pool).astype(np.float64), cache.labels[pool]
    oracle = LogisticRegression(C=10.0, tol=1e-8, max_iter=5000)
    told = cross_val_predict(oracle, x, labels, cv=PredefinedSplit(folds), method="predict_log_proba")
    want = calibrated(told, labels, classes=CLASSES)
    assert want.temperature > 1.02, "else nothing was calibrated"
    assert classifier.calibration.count == 180
    # Both stop where the gradient is small; the temperature moves with the size of the logits.
    assert classifier.calibration.temperature == pytest.approx(want.temperature, rel=2e-3)


@pytest.mark.parametrize(("count", "wrong", "seed"), [(180, 0.2, 2), (210, 0.2, 3)])
@pytest.mark.slow
def test_a_strength_is_chosen_by_folds_as_scikit_learn_does(tmp_path, count, wrong, seed):
    x, labels = rows(count + 60)
    random = np.random.default_rng(seed)
    labels = np.where(random.random(len(x)) < wrong, random.integers(0, CLASSES, len(x)), labels)
    cache = feature_cache(
        tmp_path / "x.h5", x, labels, ["train"] * 120 + ["val"] * (count - 120) + ["test"] * 60
    )
    pool = np.arange(count)
    times = 3 if count <= 200 else 1
    splits = [PredefinedSplit(folds_for(cache, pool, group_by=None, seed=seed)) for seed in range(times)]
    folds = splits[0]
    x, labels = cache.features(pool).astype(np.float64), cache.labels[pool]
    heads = [LogisticRegression(C=c, tol=1e-8, max_iter=5000) for c in STRENGTHS["logistic"][1]]
    told = np.array(
        [
            [cross_val_predict(own, x, labels, cv=cv, method="predict_log_proba") for cv in splits]
            for own in heads
        ]
    )
    losses = -told[:, :, pool, labels].mean(axis=1)
    right = (told.argmax(axis=3) == labels).sum(axis=(1, 2))
    # The strongest penalty within a standard error of the least loss, of the differences on the same rows.
    more = losses - losses[losses.mean(axis=1).argmin()]
    within = more.mean(axis=1) <= more.std(axis=1, ddof=1) / np.sqrt(count)
    # Halfway to the strongest that has the most rows right, on a grid of equal factors.
    want = heads[(int(within.argmax()) + int(right.argmax())) // 2]
    assert want.C < heads[int(within.argmax())].C, "else the rows that are right change nothing"
    chosen = train_head(cache, output=None, head="logistic", **PLAIN)
    assert chosen.training["c"] == want.C
    raw = cache.features(np.arange(count, count + 60))
    want = want.fit(x, labels).predict_log_proba(raw)
    uncalibrated = train_head(cache, output=None, head="logistic", calibrate=False, **PLAIN)
    np.testing.assert_allclose(log_softmax(uncalibrated.logits(raw), axis=1), want, atol=5e-3)

    def loss(alpha: float) -> float:
        told = cross_val_predict(Ridge(alpha), x, class_targets(labels, CLASSES), cv=folds)
        rows = -log_softmax(told, axis=1)[pool, labels]
        return float(np.mean([rows[test].mean() for _, test in folds.split()]))

    chosen = train_head(cache, output=None, head="ridge", **PLAIN)
    assert chosen.training["l2"] == min(STRENGTHS["ridge"][1], key=loss)


def test_what_is_tried_is_the_grid_of_a_sweep():
    for name, strengths in STRENGTHS.values():
        assert sorted(strengths) == list(read_axis(name, SETTINGS[name].grid).values)


def test_too_few_rows_have_no_folds(tmp_path):
    x, labels = rows(14)
    few = feature_cache(tmp_path / "few.h5", x, labels, ["train"] * 8 + ["test"] * 6)
    classifier = train_head(few, output=None, head="logistic", val="none")
    assert classifier.training["c"] == 1.0
    assert classifier.calibration.note == "no rows were held out to calibrate with"


def test_both_heads_are_saved_and_damage_to_either_is_found(cache, tmp_path):
    made = train_head(cache, output=tmp_path / "head", head="logistic", c=1.0)
    loaded = Classifier.load(tmp_path / "head")
    for one, other in ((made, loaded), (made.before_refit(), loaded.before_refit())):
        np.testing.assert_array_equal(one.parameters["kernel"], other.parameters["kernel"])
    assert loaded.before_refit().judged is None
    assert np.abs(loaded.parameters["kernel"] - loaded.before_refit().parameters["kernel"]).max() > 1e-3


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    ("given", "head"),
    [
        ({}, "logistic"),
        ({"c": 0.1, "class_weights": {"bee": 2}}, "logistic"),
        ({"learning_rate": 0.01, "patience": 2}, "linear"),
        ({"epochs": 3}, "linear"),
        ({"head": "linear", "epochs": 3}, "linear"),
    ],
)
def test_the_head_that_nobody_named_suits_the_rows_and_what_was_said(cache, given, head):
    made = train_head(cache, output=None, calibrate=False, **given)
    assert made.head == head
    if head == "logistic":
        same = train_head(cache, output=None, calibrate=False, head="logistic", **given)
        np.testing.assert_array_equal(made.parameters["kernel"], same.parameters["kernel"])
