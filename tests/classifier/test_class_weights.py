"""Weights by class from end to end: what a head learns with them, in every place that takes them."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from featcache import Classifier, HeadClassifier, sweep, train_head
from featcache.cli.app import app
from featcache.errors import DataError, UsageError
from featcache.finetuning.settings import tune_settings
from featcache.finetuning.setup import _row_weights
from featcache.heads.feature_table import ArrayTable, FeatureRows
from featcache.heads.settings import Settings
from featcache.solvers.fit import fit_heads

RNG = np.random.default_rng(7)
X = RNG.normal(size=(90, 5)).astype(np.float32)
Y = (X @ RNG.normal(size=(5, 3)) + RNG.normal(size=(90, 3))).argmax(axis=1)
PLAIN = {"refit": False, "calibrate": False}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    features, labels = blobs(120)
    place = tmp_path_factory.mktemp("weights") / "a.h5"
    return feature_cache(place, features, labels, ["train"] * 90 + ["val"] * 30)


@pytest.mark.parametrize("weights", [{"ant": 5.0, "cat": 0.25}, {1: 3}, {"bee": 0, "ant": 2}])
def test_a_head_is_that_of_scikit_learn_with_these_weights(cache, weights):
    own = train_head(
        cache, output=None, head="logistic", c=0.7, scaling="none", class_weights=weights, **PLAIN
    )
    told = {
        key if isinstance(key, int) else cache.classes.index(key): value for key, value in weights.items()
    }
    rows, everything = cache.rows_of("train"), np.arange(len(cache))
    x, y = cache.features(rows), cache.labels[rows]
    known = LogisticRegression(
        C=0.7, class_weight={**dict.fromkeys(range(3), 1), **told}, tol=1e-8, max_iter=9999
    )
    want = known.fit(x, y).predict_proba(cache.features(everything))
    np.testing.assert_allclose(own.values(cache.features(everything)), want, atol=1e-3)
    plain = (
        LogisticRegression(C=0.7, tol=1e-8, max_iter=9999).fit(x, y).predict_proba(cache.features(everything))
    )
    assert np.abs(plain - want).max() > 0.005, "the weights matter"


@pytest.mark.parametrize("settings", [{"head": "logistic"}, {"head": "ridge"}], ids=["logistic", "ridge"])
def test_a_class_of_weight_two_is_one_whose_rows_are_there_twice(settings):
    twice = np.concatenate([np.arange(90), np.flatnonzero(Y == 1)])
    weighted = HeadClassifier(**settings, class_weights={1: 2}).fit(X, Y).predict_proba(X)
    doubled = HeadClassifier(**settings).fit(X[twice], Y[twice]).predict_proba(X)
    np.testing.assert_allclose(weighted, doubled, atol=1e-4)
    assert np.abs(weighted - HeadClassifier(**settings).fit(X, Y).predict_proba(X)).max() > 0.005


@pytest.mark.one_by_default
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_heads_by_descent_learn_as_with_such_weights_of_rows(head):
    own = HeadClassifier(head=head, hidden=(4,), epochs=4, learning_rate=0.01, val_fraction=0)
    weighted = clone(own).set_params(class_weights={0: 3, 2: 0.5}).fit(X, Y)
    rows = own.fit(X, Y, sample_weight=np.array([3, 1, 0.5])[Y])
    np.testing.assert_array_equal(weighted.predict_proba(X), rows.predict_proba(X))
    assert weighted.settings_.class_weights == "0=3,2=0.5"


def test_an_estimator_names_classes_as_scikit_learn_does():
    for y in (Y + 4, (Y + 4).astype(float), np.array(["x", "y", "z"])[Y]):
        classes = np.unique(y)
        own = HeadClassifier(head="logistic", class_weights={classes[2]: 4}).fit(X, y)
        rows = HeadClassifier(head="logistic").fit(X, y, sample_weight=np.array([1, 1, 4])[Y])
        np.testing.assert_allclose(own.predict_proba(X), rows.predict_proba(X), atol=1e-6)
        with pytest.raises(UsageError, match="class_weights: no class 1; known: "):
            clone(own).set_params(class_weights={1: 2}).fit(X, y)
    two = HeadClassifier(head="logistic", class_weights={True: 2}).fit(X, Y > 0)
    assert two.settings_.class_weights == "True=2"


def test_settings_of_a_saved_classifier_are_read_back(cache, tmp_path):
    made = train_head(
        cache, output=tmp_path / "c", head="logistic", class_weights={"cat": 2, "ant": 0.5}, **PLAIN
    )
    again = Classifier.load(tmp_path / "c")
    assert again.settings == made.settings
    assert again.settings.class_weights == "ant=0.5,cat=2"
    names = [f"class number {number} of a flower market" for number in range(200)]
    many = feature_cache(
        tmp_path / "b.h5", RNG.normal(size=(200, 4)), list(range(200)), ["train"] * 200, classes=names
    )
    weights = dict.fromkeys(names, 2.0)
    train_head(many, output=tmp_path / "d", head="ridge", l2=1.0, class_weights=weights, **PLAIN)
    assert Classifier.load(tmp_path / "d").settings.class_weights.count("=2") == 200


def test_the_command_takes_them_as_text(cache, tmp_path):
    run = CliRunner().invoke(app, ["train-head", str(cache.path), "-o", str(tmp_path / "c"), "--head", "ridge",
        "--l2", "1", "--no-calibrate", "--no-refit", "--class-weights", "cat=5,bee=0.5"])  # fmt: skip
    assert run.exit_code == 0, run.output
    assert Classifier.load(tmp_path / "c").settings.class_weights == "bee=0.5,cat=5"


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        ({"cat": 5}, {"cat=5"}),
        (["none", {"cat": 5}, {0: 2}], {"none", "cat=5", "ant=2"}),
        ("none,cat=5,bee=2;ant=2,balanced", {"none", "bee=2,cat=5", "ant=2", "balanced"}),
    ],
)
def test_a_sweep_compares_them(cache, tmp_path, given, tried):
    options = {"head": "ridge", "l2": 1.0, "calibrate": False, "refit": False}
    found = sweep(cache, output=tmp_path / "s", class_weights=given, **options)
    assert {entry.key.settings.class_weights for entry in found.leaderboard} == tried
    assert sweep(cache, output=tmp_path / "s", class_weights=given, **options).fitted == 0, (
        "known by their names"
    )


def test_what_no_class_is_called_is_refused(cache, tmp_path):
    for call in (train_head, sweep):
        with pytest.raises(UsageError, match=r"class_weights: no class 'bees'; did you mean 'bee'\?"):
            call(cache, output=tmp_path / "x", class_weights={"bees": 5})
    with pytest.raises(
        UsageError, match="class_weights 5: expected none, balanced, or a weight for each class"
    ):
        train_head("missing.h5", class_weights=5)  # type: ignore


def test_rows_of_classes_that_weigh_nothing_cannot_be_learnt():
    part = FeatureRows(ArrayTable(X), np.zeros(90, int), np.ones((1, 90), np.float32))
    nothing = FeatureRows(ArrayTable(X[:0]), Y[:0], np.ones((1, 0), np.float32))
    with pytest.raises(
        DataError, match=r"of classes that weigh 0 \(a=0\); give one of them a weight above 0"
    ):
        fit_heads([Settings(class_weights="a=0")], part, nothing, classes=3, names=("a", "b", "c"))


def test_fine_tuning_weighs_rows_by_their_class(cache):
    start = train_head(cache, output=None, head="ridge", l2=1.0, **PLAIN)
    told = tune_settings(start, cached=False, class_weights={"cat": 5, 0: 2})
    assert told.to_json()["class_weights"] == "ant=2,cat=5"
    with pytest.raises(UsageError, match="no class 'dog'"):
        tune_settings(start, cached=False, class_weights={"dog": 5})
    labels, train = np.array([0, 1, 2, 1]), np.array([0, 1, 2])
    assert _row_weights("b=3,c=0", labels, train, ("a", "b", "c")).tolist() == [1, 3, 0, 3]
    assert _row_weights("none", labels, train, ("a", "b", "c")).tolist() == [1, 1, 1, 1]
