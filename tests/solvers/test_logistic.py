"""Logistic regression against scikit-learn, in its units: float32 here, float64 with a tolerance of 1e-10 there.

All tests share a few shapes, because compiling a program takes longer than running it.
"""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from featcache.errors import UsageError
from featcache.solvers import logistic
from featcache.solvers.logistic import Solution, fit_logistic
from featcache.solvers.logistic_objective import ABSENT

N, D, C, K = 90, 12, 4, 5


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes of unlike sizes; features differ in size and offset."""
    random = np.random.default_rng(0)
    labels = np.minimum(np.arange(N) % 6, C - 1)
    x = random.normal(size=(C, D))[labels] + 1.5 * random.normal(size=(N, D))
    return (x * np.linspace(0.5, 2, D) + np.linspace(-2, 4, D)).astype(np.float32), labels


X, Y = problem()
RANDOM = np.random.default_rng(1)
FOLD = (np.arange(N) % 5 > 0).astype(float)
SHOTS = np.zeros(N)
SHOTS[[np.flatnonzero(label == Y)[:2] for label in range(C)]] = 1  # 8 rows of 12 features
BALANCED = (N / C / np.bincount(Y))[Y]
WEIGHT = np.stack([np.ones(N), FOLD, RANDOM.uniform(0.1, 3, N), SHOTS, BALANCED * FOLD])
STRENGTHS = np.array([1.0, 0.01, 3.0, 1.0, 0.1])


def fit(x=X, y=Y, weight=WEIGHT, c=STRENGTHS, **options) -> Solution:
    return fit_logistic(x, y, weight, c, **({"classes": C, "scaling": "none"} | options))


def reference(x, y, weight, c) -> LogisticRegression:
    """scikit-learn's solution; around the mean, which is the same problem and takes it a tenth of the iterations."""
    mean = np.average(x.astype(np.float64), axis=0, weights=weight)
    with threadpool_limits(1):
        model = LogisticRegression(C=c, tol=1e-10, max_iter=20_000).fit(x - mean, y, sample_weight=weight)
    model.intercept_ -= model.coef_ @ mean
    return model


def parameters(solution: Solution, head: int) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = (np.asarray(solution.parameters[name][head], np.float64) for name in ("kernel", "bias"))
    return kernel, bias


def objective(kernel, bias, x, y, weight, c) -> float:
    losses = -log_softmax(x.astype(np.float64) @ kernel + bias, axis=1)[np.arange(len(y)), y]
    return c * weight @ losses + np.sum(kernel**2) / 2


def assert_solved(solution: Solution, head: int, model: LogisticRegression, x, y, weight, c) -> None:
    kernel, bias = parameters(solution, head)
    assert solution.converged[head]
    best = objective(model.coef_.T, model.intercept_, x, y, weight, c)
    reached = objective(kernel, bias, x, y, weight, c)
    # A minimum is flat: what float32 leaves of the gradient costs its square. The reported one adds N float32s.
    assert best * (1 - 1e-9) <= reached <= best * (1 + 1e-6)
    np.testing.assert_allclose(solution.objective[head], reached, rtol=1e-5)
    # A gradient of 1e-6 is up to c · N · 1e-6 = 3e-4 in weights, in their softest direction.
    scale = np.abs(model.coef_).max()
    np.testing.assert_allclose(kernel, model.coef_.T, atol=3e-4 * scale)
    np.testing.assert_allclose(softmax(x @ kernel + bias, axis=1), model.predict_proba(x), atol=1e-4)


# The same solution as scikit-learn --------------------------------------------------------------------------


def test_weights_folds_and_shots_are_scikit_learns():
    solution = fit()
    for head, (weight, c) in enumerate(zip(WEIGHT, STRENGTHS, strict=True)):
        assert_solved(solution, head, reference(X, Y, weight, c), X, Y, weight, c)
    assert (solution.gradient_norm <= 1e-6).all()


@pytest.mark.parametrize("head", [1, 3])
def test_rows_of_weight_0_are_as_good_as_absent(head):
    kept = WEIGHT[head] > 0
    model = reference(X[kept], Y[kept], WEIGHT[head][kept], STRENGTHS[head])
    other = np.where(kept[:, None], X, 50 - X).astype(np.float32)
    for x in (X, other):
        solution = fit(x=x)
        assert_solved(solution, head, model, X[kept], Y[kept], WEIGHT[head][kept], STRENGTHS[head])


def test_strengths_from_all_penalty_to_almost_none():
    strengths = np.array([1e-12, 1e-3, 10.0, 1e3, 1e12])
    weight = np.stack([np.ones(N)] * 4 + [SHOTS])
    random_labels = np.random.default_rng(3).permutation(Y)
    for labels in (Y, random_labels):
        solution = fit(y=labels, weight=weight, c=strengths)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(solution))
        kernel, bias = parameters(solution, 0)
        np.testing.assert_allclose(kernel, 0, atol=1e-9)
        # Then the best probabilities are the classes' shares; the tolerance is 1e-6 in each.
        np.testing.assert_allclose(softmax(bias), np.bincount(labels) / N, atol=2e-6)
        for head in (1, 2, 3):
            model = reference(X, labels, np.ones(N), strengths[head])
            best = objective(model.coef_.T, model.intercept_, X, labels, np.ones(N), strengths[head])
            reached = objective(*parameters(solution, head), X, labels, np.ones(N), strengths[head])
            # The last step promised 1e-6 of the objective, by an estimate of the curvature.
            assert best * (1 - 1e-7) <= reached <= best * (1 + 2e-5)
        # 8 rows of 12 features can be told apart, whatever their labels.
        kernel, bias = parameters(solution, 4)
        assert solution.converged[4]
        assert (np.argmax(X @ kernel + bias, axis=1) == labels)[SHOTS > 0].all()


@pytest.mark.parametrize("c", [0.01, 10.0])
def test_two_classes_are_scikit_learns_binary_form(c):
    binary = (Y > 1).astype(int)
    solution = fit(y=binary, c=np.full(K, c), classes=2)
    for head in (0, 2):
        model = reference(X, binary, WEIGHT[head], c)
        kernel, bias = parameters(solution, head)
        np.testing.assert_allclose(kernel[:, 0], -kernel[:, 1])
        np.testing.assert_allclose(
            kernel[:, 1] - kernel[:, 0], model.coef_[0], atol=1e-3 * abs(model.coef_).max()
        )
        np.testing.assert_allclose(softmax(X @ kernel + bias, axis=1), model.predict_proba(X), atol=1e-4)
        # The penalty is that of one vector, twice that of its halves.
        best = objective(kernel, bias, X, binary, WEIGHT[head], c) + np.sum(kernel**2) / 2
        np.testing.assert_allclose(solution.objective[head], best, rtol=1e-5)


def test_a_penalty_on_standardised_weights_is_scikit_learns_on_standardised_features():
    x = X * np.geomspace(0.01, 100, D).astype(np.float32)
    solution = fit(x=x, scaling="standard")
    for head, (weight, c) in enumerate(zip(WEIGHT, STRENGTHS, strict=True)):
        scaler = StandardScaler().fit(x.astype(np.float64), sample_weight=weight)
        model = reference(scaler.transform(x), Y, weight, c)
        kernel, bias = parameters(solution, head)
        want = model.coef_.T / scaler.scale_[:, None]
        size = np.abs(model.coef_).max()
        # As in assert_solved, on features of deviation 1.
        np.testing.assert_allclose(kernel * scaler.scale_[:, None], model.coef_.T, atol=3e-4 * size)
        np.testing.assert_allclose(bias, model.intercept_ - scaler.mean_ @ want, atol=2e-3 * size)
        np.testing.assert_allclose(
            softmax(x @ kernel + bias, axis=1), model.predict_proba(scaler.transform(x)), atol=1e-4
        )


# Special features and classes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "offset"), [(100.0, 0.0), (0.01, 0.0), (1.0, 1000.0)])
def test_features_of_any_size_and_offset(size, offset):
    x = (X * size + offset).astype(np.float32)
    strengths = STRENGTHS / size**2  # the same problem in other units
    solution = fit(x=x, c=strengths)
    for head in (0, 4):
        best = reference(X, Y, WEIGHT[head], STRENGTHS[head])
        want = objective(best.coef_.T, best.intercept_, X, Y, WEIGHT[head], STRENGTHS[head])
        # At an offset of 1,000 float32 keeps 6e-5 of each feature.
        np.testing.assert_allclose(solution.objective[head] * size**2, want, rtol=1e-3 if offset else 1e-5)
        assert solution.converged[head]


def test_constant_and_duplicate_features():
    x = X.copy()
    x[:, 3], x[:, 7] = 7.7, x[:, 8]
    solution = fit(x=x)
    for head in (0, 3):
        kernel, _ = parameters(solution, head)
        np.testing.assert_allclose(kernel[3], 0, atol=1e-6)  # it can do nothing that the free bias cannot
        np.testing.assert_allclose(kernel[7], kernel[8], rtol=1e-5)
        assert_solved(
            solution,
            head,
            reference(x, Y, WEIGHT[head], STRENGTHS[head]),
            x,
            Y,
            WEIGHT[head],
            STRENGTHS[head],
        )


def test_a_class_without_rows_is_left_out():
    weight = WEIGHT.copy()
    weight[0, Y == 1] = 0
    solution = fit(weight=weight)
    present = [0, 2, 3]
    kernel, bias = parameters(solution, 0)
    model = reference(X[Y != 1], np.searchsorted(present, Y[Y != 1]), weight[0, Y != 1], STRENGTHS[0])
    np.testing.assert_allclose(kernel[:, present], model.coef_.T, atol=3e-4 * np.abs(model.coef_).max())
    np.testing.assert_array_equal(kernel[:, 1], 0)
    assert bias[1] == ABSENT
    assert (softmax(X @ kernel + bias, axis=1)[:, 1] < 1.2e-7).all()


def test_one_row_one_class_or_none():
    weight = WEIGHT.copy()
    weight[1] = weight[2] = weight[3] = 0
    weight[1, Y == 2] = 1
    weight[2, np.flatnonzero(Y == 1)[0]] = 1  # one row
    weight[4, Y == 3] = 0
    weight[4, np.flatnonzero(Y == 3)[0]] = 1  # one row of a class
    solution = fit(weight=weight)
    assert solution.converged.all()
    for head, only in ((1, 2), (2, 1)):
        kernel, bias = parameters(solution, head)
        np.testing.assert_array_equal(kernel, 0)
        np.testing.assert_array_equal(bias, np.where(np.arange(C) == only, 0, ABSENT))
    assert not any(np.any(part) for part in parameters(solution, 3))
    model = reference(X, Y, weight[4], STRENGTHS[4])
    assert_solved(solution, 4, model, X, Y, weight[4], STRENGTHS[4])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_end_without_convergence(value):
    x = X.copy()
    x[4, 5] = value
    solution = fit(x=x)
    assert not solution.converged.any()
    assert (solution.iterations < 100).all()
    weight = WEIGHT.copy()
    weight[:, 4] = 0
    want, got = fit(weight=weight), fit(x=x, weight=weight)
    assert got.converged.all(), "a row that no head uses may hold anything"
    np.testing.assert_array_equal(got.parameters["kernel"], want.parameters["kernel"])


# Many heads in one program ----------------------------------------------------------------------------------


def test_heads_together_are_heads_alone():
    together = fit(tolerance=1e-7)
    for head in range(K):
        alone = fit(weight=WEIGHT[[head]], c=STRENGTHS[[head]], tolerance=1e-7)
        for got, want in zip(parameters(together, head), parameters(alone, 0), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5 * max(1, np.abs(want).max()))


def test_a_head_that_has_arrived_does_not_move():
    whole = fit()
    fast, slow = int(np.argmin(whole.iterations)), int(np.argmax(whole.iterations))
    assert whole.iterations[fast] + 3 < whole.iterations[slow], "or it would test nothing"
    cut = fit(max_iterations=int(whole.iterations[fast]) + 1)
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(cut.parameters[name][fast], whole.parameters[name][fast])
    assert (cut.objective[fast], cut.gradient_norm[fast]) == (
        whole.objective[fast],
        whole.gradient_norm[fast],
    )
    assert cut.converged[fast]
    assert not cut.converged[slow]
    assert cut.iterations[slow] == whole.iterations[fast] + 1
    assert (whole.objective <= cut.objective).all()


def test_heads_split_by_memory_are_the_same_heads_and_one_program():
    whole = fit(tolerance=1e-7)
    before = logistic._solve._cache_size()
    # 2 of 5 heads at a time: three groups, the last of them filled up.
    two = 2 * 4 * (5 * C * N + (2 * 10 + 8) * C * (D + 1))
    split = fit(tolerance=1e-7, memory=two)
    assert logistic._solve._cache_size() == before + 1
    for head in range(K):
        for got, want in zip(parameters(split, head), parameters(whole, head), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5 * max(1, np.abs(want).max()))
    np.testing.assert_allclose(split.objective, whole.objective, rtol=1e-5)
    fit(x=X[::-1], y=Y[::-1], weight=WEIGHT[:, ::-1], c=2 * STRENGTHS, memory=two + 100)
    assert logistic._solve._cache_size() == before + 1
    with pytest.raises(
        UsageError, match=r"memory=100 bytes: one head of 90 rows, 12 features and 4 classes needs"
    ):
        fit(memory=100)


# Arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[0]}, r"x \(12,\) and c \(5,\): expected \[rows, features\]"),
        ({"c": 1.0}, r"c \(\): expected \[rows, features\] and \[heads\]"),
        ({"y": Y[1:]}, r"y \(89,\) and weight \(5, 90\): expected \(90,\) and \(5, 90\)"),
        (
            {"weight": WEIGHT[1:]},
            r"weight \(4, 90\): expected \(90,\) and \(5, 90\), because x has 90 rows and c 5",
        ),
        ({"y": Y + 1}, r"int64 labels from 1 to 4, classes=4: expected integers of 0 to classes - 1"),
        ({"y": Y * 1.0}, "float64 labels"),
        ({"y": Y * 0, "classes": 1}, "2 classes at least"),
        ({"weight": WEIGHT - 1}, "weight: expected finite numbers of at least 0"),
        ({"c": STRENGTHS - 1}, "expected finite numbers above 0; the larger, the less is regularised"),
    ],
)
def test_arguments_that_cannot_work_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        fit(**change)
