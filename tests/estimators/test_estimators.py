"""Heads as scikit-learn estimators: scikit-learn's own checks, its models as oracles, its tools around them."""

import logging
import pickle
import subprocess
import sys
from dataclasses import fields

import jax
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import make_blobs, make_regression
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from featcache import HeadClassifier, HeadRegressor
from featcache.core.schema import Setting
from featcache.errors import DataError, UsageError
from featcache.estimators.base import ENOUGH_HELD_OUT
from featcache.heads.settings import HEADS, Settings

FEW = {"epochs": 30, "learning_rate": 0.02}

# Overlapping classes whose features have means and deviations of their own.
X, NUMBERS = make_blobs(150, n_features=6, centers=3, cluster_std=6.0, random_state=0)
X = X * [1, 10, 0.1, 1, 1, 1] + [0, 100, 0, -5, 0, 0]
Y = np.array(["ant", "bee", "cat"])[NUMBERS]
SCALED = StandardScaler().fit_transform(X)
ANSWERS = np.stack([NUMBERS > 0, NUMBERS < 2], axis=1).astype(int)


# scikit-learn's own checks ----------------------------------------------------------------------------------

BY_ROUNDING = (
    "compares with a tolerance of 1e-7, and heads are float32; "
    "test_a_weight_of_two_is_a_row_given_twice does with 1e-4"
)


def expected_failures(estimator: HeadClassifier | HeadRegressor) -> dict[str, str]:
    """Only one check; ridge passes it too, because it is solved in float64."""
    if estimator.head == "ridge":
        return {}
    reason = "k neighbours are k rows, whatever they weigh" if estimator.head == "knn" else BY_ROUNDING
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(
    [
        HeadClassifier(head="ridge"),
        HeadClassifier(head="knn", neighbours=5),
        HeadClassifier(head="prototype"),
        HeadRegressor(),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# Each compiles a dozen shapes for some seconds: the default run has these heads in the tests below.
@pytest.mark.slow
@pytest.mark.usefixtures("compiled_in_haste")
@parametrize_with_checks(
    [
        HeadClassifier(**FEW),
        HeadClassifier(head="mlp", hidden=(16,), **FEW),
        HeadClassifier(head="logistic"),
        HeadClassifier(loss="sigmoid", **FEW),
        HeadRegressor(head="linear", epochs=200, learning_rate=0.05),
        HeadRegressor(head="mlp", hidden=(16,), epochs=100, learning_rate=0.03),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_checks_of_heads_that_take_longer(estimator, check):
    check(estimator)


# Numbers ----------------------------------------------------------------------------------------------------


def test_logistic_is_scikit_learns():
    ours = HeadClassifier(head="logistic", c=0.3).fit(X, Y)
    theirs = LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(SCALED, Y)
    # Both stop at a tolerance; float32 against float64.
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(SCALED), atol=2e-4)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert ours.score(X, Y) == theirs.score(SCALED, Y)


@pytest.mark.parametrize("scaling", ["standard", "none"])
def test_ridge_is_scikit_learns(scaling):
    x = X if scaling == "standard" else SCALED
    ours = HeadClassifier(head="ridge", l2=3.0, scaling=scaling).fit(x, Y)
    theirs = RidgeClassifier(alpha=3.0).fit(SCALED, Y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(SCALED), atol=1e-4)
    assert ours.predict(x).tolist() == theirs.predict(SCALED).tolist()


def test_knn_is_scikit_learns_with_one_vote_more():
    ours = HeadClassifier(head="knn", neighbours=7, metric="euclidean").fit(X, Y)
    votes = 7 * KNeighborsClassifier(7).fit(X, Y).predict_proba(X)
    # One vote is spread over the classes. Of a tie ours goes to the nearest row's class, by 1e-6 of the votes.
    np.testing.assert_allclose(ours.predict_proba(X), (votes / 7 + 1 / 24) / (1 + 3 / 24), atol=1e-5)


def test_prototype_is_scikit_learns_nearest_centroid():
    ours = HeadClassifier(head="prototype", metric="euclidean").fit(X, Y)
    assert ours.predict(X).tolist() == NearestCentroid().fit(X, Y).predict(X).tolist()


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_linear_head_ends_where_logistic_regression_without_a_penalty_is(loss):
    two = NUMBERS > 0
    ours = HeadClassifier(loss=loss, learning_rate=0.1, schedule="cosine", batch_size=256, epochs=600)
    theirs = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(SCALED, two)
    # Where 600 steps of Adam end: log-odds of up to 20.
    want = theirs.decision_function(SCALED)
    np.testing.assert_allclose(ours.fit(X, two).decision_function(X), want, atol=0.05)
    np.testing.assert_allclose(ours.predict_proba(X)[:, 1], theirs.predict_proba(SCALED)[:, 1], atol=2e-3)


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("head", ["ridge", "linear"])
def test_regressors_are_ridge_regressions(head, targets):
    x, y = make_regression(150, 6, n_targets=targets, noise=20.0, bias=1e4, random_state=1)
    ours = HeadRegressor(head=head, l2=5.0, learning_rate=0.1, schedule="cosine", batch_size=256, epochs=300)
    theirs = Ridge(alpha=5.0 if head == "ridge" else 0.0).fit(StandardScaler().fit_transform(x), y)
    want = theirs.predict(StandardScaler().fit_transform(x))
    got = ours.fit(x, y).predict(x)
    assert (got.shape, got.dtype) == (want.shape, np.float64)
    # Of a deviation of some 100: float32, and where descent ends.
    np.testing.assert_allclose(got, want, atol=0.01 if head == "ridge" else 0.5)
    assert ours.score(x, y) == pytest.approx(theirs.score(StandardScaler().fit_transform(x), y), abs=1e-4)


def test_an_mlp_learns_what_no_linear_head_can():
    x = np.random.default_rng(0).uniform(-1, 1, (150, 6))
    y = x[:, 0] * x[:, 1] > 0
    mlp = HeadClassifier(head="mlp", hidden=(16,), learning_rate=0.02, epochs=150)
    assert mlp.fit(x, y).score(x, y) > 0.9 > 0.7 > HeadClassifier(head="ridge").fit(x, y).score(x, y)
    assert mlp.predict(x).dtype == bool
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mlp)).predict_proba(x), mlp.predict_proba(x))


@pytest.mark.parametrize("head", [head for head in HEADS if head not in ("knn", "mlp")])
def test_a_weight_of_two_is_a_row_given_twice(head):
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    model = HeadClassifier(head=head, batch_size=256, **FEW)  # one batch of all rows, in whatever order
    want = model.fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight)).predict_proba(X)
    np.testing.assert_allclose(model.fit(X, Y, sample_weight=weight).predict_proba(X), want, atol=1e-4)


def test_any_number_of_labels():
    model = HeadClassifier(loss="sigmoid", learning_rate=0.3, schedule="cosine", batch_size=256, epochs=600)
    alone = [LogisticRegression(C=np.inf, max_iter=1000).fit(SCALED, column) for column in ANSWERS.T]
    want = np.stack([one.predict_proba(SCALED)[:, 1] for one in alone], axis=1)
    probabilities = model.fit(X, ANSWERS).predict_proba(X)
    np.testing.assert_allclose(probabilities, want, atol=5e-3)  # where 600 steps of Adam end
    np.testing.assert_array_equal(model.predict(X), (probabilities > 0.5).astype(int))
    assert model.classes_.tolist() == [0, 1]
    again = model.fit(X, csr_array(ANSWERS)).predict_proba(X)
    np.testing.assert_array_equal(again, probabilities)


# Parameters and fitted state --------------------------------------------------------------------------------


def test_parameters_are_the_settings_with_their_defaults():
    known = {field.name: field.default for field in fields(Settings)}
    del known["views"]  # of an array's rows there is one
    known["scaling"] = "standard"  # an array may hold anything, not only a network's features
    own = HeadClassifier().get_params()
    assert own.pop("val_fraction") is None  # by the number of rows
    assert own == {name: value for name, value in known.items() if name != "val_fraction"}
    regressor = HeadRegressor().get_params()
    assert (regressor.pop("head"), regressor.pop("val_fraction")) == ("ridge", None)
    assert regressor.items() <= known.items()


@pytest.mark.parametrize("head", [head for head in HEADS if head != "mlp"])
def test_fitted_heads_are_pickled_as_numpy_and_give_the_same(head):
    model = HeadClassifier(head=head, batch_size=256, **FEW).fit(X, Y)
    data = pickle.dumps(model)
    assert b"featcache.estimators" not in data  # so that it is read after the file has moved
    assert b"jax" not in data
    np.testing.assert_array_equal(pickle.loads(data).predict_proba(X), model.predict_proba(X))


def test_jax_is_imported_by_the_first_fit_only():
    code = (
        "import sys; import featcache.estimators as e; e.HeadClassifier().get_params(); e.FeatureExtractor();"
        "assert 'sklearn' in sys.modules; assert 'jax' not in sys.modules, 'jax'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("rows", "share", "held"),
    [(150, None, 0), (5 * ENOUGH_HELD_OUT, None, ENOUGH_HELD_OUT), (150, 0.2, 30), (250, 0.0, 0)],
)
def test_rows_are_held_out_when_asked_or_when_they_are_many(rows, share, held):
    repeated = np.resize(np.arange(150), rows)
    x = X[repeated] + np.arange(rows)[:, None] * 1e-3
    model = HeadClassifier(val_fraction=share, patience=2, batch_size=256, **FEW).fit(x, Y[repeated])
    assert np.isfinite(model.val_loss_) == np.isfinite(model.val_score_) == (held > 0)
    # A share of each of three classes, rounded.
    assert model._held_out(model.settings_, x, NUMBERS[repeated]).sum() == pytest.approx(held, abs=1)
    assert 1 <= model.best_epoch_ <= model.n_iter_ <= 30
    assert len(model.history_["val_loss"]) == model.n_iter_


def test_held_out_rows_are_stratified_and_equal_rows_stay_together():
    x, classes = np.repeat(X, 2, axis=0).astype(np.float32), np.repeat(NUMBERS, 2)
    model = HeadClassifier(val_fraction=0.2)
    held = model._held_out(Settings(), x, classes)
    np.testing.assert_allclose(np.bincount(classes[held]) / np.bincount(classes), 0.2, atol=0.01)
    # But for the pair on the border of each class.
    assert (held[::2] != held[1::2]).sum() <= 3


# scikit-learn's tools ---------------------------------------------------------------------------------------


def test_in_a_pipeline_a_grid_and_folds():
    model = make_pipeline(StandardScaler(), HeadClassifier(batch_size=256, epochs=30))
    search = GridSearchCV(model, {"headclassifier__learning_rate": [1e-5, 0.05]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"headclassifier__learning_rate": 0.05}
    want = cross_val_score(LogisticRegression(), SCALED, Y, cv=3).mean()
    assert search.best_score_ == pytest.approx(want, abs=0.05)


@pytest.mark.parametrize("head", ["linear", "logistic"])
def test_folds_of_almost_one_size_and_other_numbers_compile_nothing_again(head, caplog):
    model = HeadClassifier(head=head, batch_size=64, **FEW)
    x = np.hstack([X, X**2])  # of a width that no other test has compiled

    def compiled(rows: int) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="jax"), jax.log_compiles():
            model.fit(x[:rows], Y[:rows]).predict(x[rows:])
        return [record.message for record in caplog.records if "ompil" in record.message]

    assert compiled(100)
    model.set_params(learning_rate=0.1, weight_decay=1e-3, seed=3, c=7.0)
    assert compiled(101) == []


# Refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "y", "error", "says"),
    [
        (HeadClassifier(head="forest"), Y, UsageError, "no head 'forest'"),
        (HeadClassifier(learning_rate=-1.0), Y, UsageError, "learning_rate -1.0: expected above 0"),
        (HeadClassifier(loss="squared"), Y, UsageError, "loss 'squared' is for regression"),
        (HeadClassifier(head="knn"), ANSWERS, UsageError, "use head='linear' or 'mlp' with loss='sigmoid'"),
        (HeadClassifier(), ANSWERS, UsageError, r"y \[N, 2\] holds multilabel targets"),
        (HeadClassifier(), Y[NUMBERS * 0], DataError, r"have one class \(.*\); a classifier needs two"),
        (HeadRegressor(head="knn"), NUMBERS, UsageError, "no head 'knn' predicts numbers; .*ridge"),
        (
            HeadClassifier(learning_rate=1e38, optimizer="sgd"),
            Y,
            UsageError,
            "learning_rate 1e.38: expected at most",
        ),
        (HeadClassifier(epochs="10"), Y, UsageError, "epochs '10': expected a whole number"),
        (HeadClassifier(hidden="ab"), Y, UsageError, "hidden .*: expected a list of whole numbers"),
    ],
)
def test_what_cannot_be_fitted(model, y, error, says):
    with pytest.raises(error, match=says):
        model.fit(X, y)


def test_what_diverges_at_once_is_told(monkeypatch):
    monkeypatch.setattr(Setting, "require_sensible", lambda self, value: None)
    with pytest.raises(DataError, match="training diverged at once"):
        HeadClassifier(learning_rate=1e38, optimizer="sgd").fit(X, Y)


def test_negative_weights_are_refused():
    with pytest.raises(UsageError, match="sample_weight holds -1: expected 0"):
        HeadClassifier().fit(X, Y, sample_weight=np.where(NUMBERS == 0, -1, 1))
