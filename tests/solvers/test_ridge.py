"""Ridge regression against scikit-learn's on float64 features.

Both are float64; results here are rounded to float32 in the end, which is 6e-8 of each number.
"""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from featcache.errors import UsageError
from featcache.solvers import ridge
from featcache.solvers.ridge import class_targets, fit_ridge

D, T = 15, 3
STRENGTHS = np.array([1e-6, 0.1, 100.0])
RANDOM = np.random.default_rng(0)
MIXING = RANDOM.normal(size=(D, D)) * np.geomspace(1e-3, 3, D)  # features that nearly repeat each other


def problem(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets, and weightings: all the rows, a fold, any weights."""
    random = np.random.default_rng(rows)
    x = (random.normal(size=(rows, D)) @ MIXING + np.linspace(-5, 20, D)).astype(np.float32)
    targets = (x @ RANDOM.normal(size=(D, T)) + random.normal(size=(rows, T)) + 3).astype(np.float32)
    weight = np.stack([np.ones(rows), np.arange(rows) % 3 > 0, random.uniform(0.1, 4, rows)])
    return x, targets, weight


MANY, FEW = problem(60), problem(9)


def assert_same(got: dict[str, np.ndarray], index: tuple[int, int], kernel, bias, rtol=1e-6) -> None:
    size = np.linalg.norm(kernel)
    assert np.linalg.norm(got["kernel"][index] - kernel) <= rtol * size
    # The bias is what is left of means of up to 20 times the kernel.
    np.testing.assert_allclose(got["bias"][index], bias, rtol=rtol, atol=30 * rtol * size)


@pytest.mark.parametrize("rows", [MANY, FEW], ids=["N >= D", "N < D"])
def test_solutions_are_scikit_learns(rows):
    x, targets, weight = rows
    got = fit_ridge(x, targets, weight, STRENGTHS, scaling="none")
    assert {name: (part.shape, part.dtype) for name, part in got.items()} == {
        "kernel": ((3, 3, D, T), np.float32),
        "bias": ((3, 3, T), np.float32),
    }
    for head, row_weight in enumerate(weight):
        for number, l2 in enumerate(STRENGTHS):
            model = Ridge(alpha=l2).fit(x.astype(float), targets.astype(float), sample_weight=row_weight)
            # A condition of 1e7 and more costs scikit-learn's Cholesky, or this, ten digits of sixteen.
            assert_same(got, (head, number), model.coef_.T, model.intercept_, rtol=1e-5 if l2 < 0.1 else 1e-6)


@pytest.mark.parametrize("rows", [MANY, FEW], ids=["N >= D", "N < D"])
def test_a_fold_is_the_rows_of_the_fold(rows):
    x, targets, weight = rows
    kept = weight[1] > 0
    other = np.where(kept[:, None], x, np.nan)
    got = fit_ridge(other, targets, weight[[1]], STRENGTHS, scaling="none")
    want = fit_ridge(x[kept], targets[kept], np.ones((1, kept.sum())), STRENGTHS, scaling="none")
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


def test_weightings_together_are_weightings_alone_each_with_strengths_of_its_own():
    x, targets, weight = MANY
    strengths = STRENGTHS * np.array([[1.0], [2.0], [3.0]])
    together = fit_ridge(x, targets, weight, strengths, scaling="standard")
    for head in range(3):
        alone = fit_ridge(x, targets, weight[[head]], strengths[head], scaling="standard")
        for name, value in alone.items():
            np.testing.assert_array_equal(together[name][head], value[0])


@pytest.mark.parametrize("rows", [MANY, FEW], ids=["N >= D", "N < D"])
def test_a_penalty_on_standardised_weights_is_scikit_learns_on_standardised_features(rows):
    x, targets, weight = rows
    got = fit_ridge(x, targets, weight, STRENGTHS, scaling="standard")
    for head, row_weight in enumerate(weight):
        scaler = StandardScaler().fit(x.astype(float), sample_weight=row_weight)
        scaled = scaler.transform(x.astype(float))
        model = Ridge(alpha=1e-6).fit(scaled, targets.astype(float), sample_weight=row_weight)
        kernel = model.coef_.T / scaler.scale_[:, None]
        assert_same(got, (head, 0), kernel, model.intercept_ - scaler.mean_ @ kernel, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_is_scikit_learns(classes):
    x = MANY[0]
    labels = np.random.default_rng(5).integers(0, classes, len(x))
    weight = 1.0 / np.bincount(labels)[labels]
    got = fit_ridge(x, class_targets(labels, classes), weight[None], [2.0], scaling="none")
    model = RidgeClassifier(alpha=2.0).fit(x.astype(float), labels, sample_weight=weight)
    outputs = x @ got["kernel"][0, 0] + got["bias"][0, 0]
    want = model.decision_function(x.astype(float))
    np.testing.assert_allclose(outputs[:, 1] if classes == 2 else outputs, want, atol=1e-5)
    np.testing.assert_array_equal(outputs.argmax(axis=1), model.predict(x.astype(float)))


def test_blocks_of_rows_add_up(monkeypatch):
    x, targets, weight = MANY
    want = fit_ridge(x, targets, weight, STRENGTHS, scaling="standard")
    monkeypatch.setattr(ridge, "BLOCK", 7 * D)  # 60 rows are eight blocks of 7 and one of 4
    got = fit_ridge(x, targets, weight, STRENGTHS, scaling="standard")
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6)


# Special features and rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [MANY, FEW], ids=["N >= D", "N < D"])
@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_constant_features_get_nothing_and_duplicates_share(rows, scaling):
    x, targets, weight = rows
    x = x.copy()
    x[:, 2], x[:, 5] = 1e4, x[:, 6]
    without = np.delete(x, 2, axis=1)
    got = fit_ridge(x, targets, weight, [0.0, 1e-9, 1.0], scaling=scaling)
    want = fit_ridge(without, targets, weight, [0.0, 1e-9, 1.0], scaling=scaling)
    assert np.isfinite(got["kernel"]).all()
    # Rounding of 1e-16 mixes the empty direction into the weakest ones, which are 1e-8 of the strongest.
    np.testing.assert_allclose(got["kernel"][:, :, 2], 0, atol=1e-7 * np.abs(got["kernel"]).max())
    np.testing.assert_allclose(got["kernel"][:, :, 5], got["kernel"][:, :, 6], rtol=1e-4, atol=1e-5)
    for l2 in range(3):
        assert_same(want, (0, l2), np.delete(got["kernel"][0, l2], 2, axis=0), got["bias"][0, l2], rtol=1e-5)


@pytest.mark.parametrize("rows", [MANY, FEW], ids=["N >= D", "N < D"])
def test_no_penalty_gives_the_smallest_least_squares_solution(rows):
    x, targets, _ = rows
    x = x.astype(np.float64)
    x[:, 5] = x[:, 6]
    got = fit_ridge(x, targets, np.ones((1, len(x))), [0.0], scaling="none")
    kernel = np.linalg.lstsq(x - x.mean(0), targets - targets.mean(0, dtype=float), rcond=1e-10)[0]
    # The Gram matrix squares the condition of 1e4, and of 1e16 as many digits are lost.
    assert_same(got, (0, 0), kernel, targets.mean(0, dtype=float) - x.mean(0) @ kernel, rtol=1e-4)


def test_a_class_without_rows_one_row_or_none():
    x, _, _ = MANY
    labels = np.arange(len(x)) % 2
    weight = np.zeros((3, len(x)))
    weight[0], weight[1, 4] = 1, 1
    got = fit_ridge(x, class_targets(labels, 3), weight, [0.0, 1.0], scaling="standard")
    np.testing.assert_array_equal(got["kernel"][0, :, :, 2], 0)  # never seen: always -1
    np.testing.assert_array_equal(got["bias"][0, :, 2], -1)
    np.testing.assert_array_equal(got["kernel"][1], 0)
    np.testing.assert_array_equal(got["bias"][1], [[1, -1, -1]] * 2)
    assert not np.any(got["kernel"][2])
    assert not np.any(got["bias"][2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rows", [MANY, FEW], ids=["N >= D", "N < D"])
def test_rows_that_are_not_finite_spoil_their_weightings_only(rows, value):
    x, targets, weight = rows
    x = x.copy()
    x[3, 1] = value
    weight = weight.copy()
    weight[1, 3] = 0
    with np.errstate(invalid="ignore"):
        got = fit_ridge(x, targets, weight, STRENGTHS, scaling="none")
    for part in got.values():
        assert np.isnan(part[[0, 2]]).all()
        assert np.isfinite(part[1]).all()


# Arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": MANY[0][0]},
            r"x \(15,\) and targets \(60, 3\): expected \[rows, features\] and \[rows, outputs\]",
        ),
        ({"targets": MANY[1][:, 0]}, r"targets \(60,\): expected"),
        ({"weight": np.ones(60)}, r"weight \(60,\): expected \[weightings, 60\], because x has 60 rows"),
        ({"l2": np.ones((2, 4))}, r"l2 \(2, 4\): expected \[strengths\] or \[3, strengths\], as weight"),
        ({"l2": 1.0}, r"l2 \(\): expected"),
        ({"l2": [-1.0]}, "l2: expected finite numbers of at least 0"),
        ({"weight": -MANY[2]}, "weight: expected finite numbers of at least 0"),
    ],
)
def test_arguments_that_cannot_work_are_refused(change, message):
    given = {"x": MANY[0], "targets": MANY[1], "weight": MANY[2], "l2": STRENGTHS} | change
    with pytest.raises(UsageError, match=message):
        fit_ridge(**given, scaling="none")


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0.0, 1.0], [[0, 1]]])
def test_labels_of_no_class_are_refused(labels):
    with pytest.raises(UsageError, match="classes=3: expected integers of 0 to classes - 1"):
        class_targets(labels, 3)
