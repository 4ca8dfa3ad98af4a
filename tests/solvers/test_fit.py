"""`fit_heads` on labels of every kind: exclusive classes, answers, numbers; what a head is worth on rows that judge."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score

from featcache.errors import DataError, UsageError
from featcache.heads.feature_table import ArrayTable, FeatureRows, StreamedTable
from featcache.heads.inference import outputs
from featcache.heads.losses import LOSSES
from featcache.heads.settings import LOSSES as NAMED_LOSSES
from featcache.heads.settings import Settings
from featcache.heads.validation_scores import scores
from featcache.solvers.fit import fit_heads

RNG = np.random.default_rng(5)
X = RNG.normal(size=(96, 6)).astype(np.float32)
Z = X @ RNG.normal(size=(6, 3)) + RNG.normal(size=(96, 3))
ANSWERS = (Z > 0).astype(np.float64)
NUMBERS = Z * [1.0, 10.0, 0.1] + [0.0, 5.0, -3.0]
CLASSES = Z.argmax(axis=1)


def part(
    labels: np.ndarray, weight: np.ndarray | None = None, *, heads: int = 1, streamed: bool = False
) -> FeatureRows:
    table = StreamedTable(lambda rows: X[rows], *X.shape) if streamed else ArrayTable(X)
    return FeatureRows(table, labels, np.ones((heads, len(labels)), np.float32) if weight is None else weight)


NOTHING = FeatureRows(ArrayTable(X[:0]), ANSWERS[:0], np.ones((1, 0), np.float32))
# One batch of all rows: an epoch is one step, in whatever order the rows come.
FULL = {"batch_size": 96, "epochs": 40, "learning_rate": 0.05, "scaling": "none"}


# What is learnt ---------------------------------------------------------------------------------------------


def adam(gradient, targets: np.ndarray, *, steps: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Adam (Kingma and Ba, algorithm 1) in float64 on a linear head: kernel ``[D, C]`` and bias ``[C]``."""
    design = np.hstack([X.astype(np.float64), np.ones((len(X), 1))])
    theta = np.zeros((design.shape[1], targets.shape[1]))
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(1, steps + 1):
        # Losses are means over the rows and over the outputs.
        slope = design.T @ gradient(design @ theta, targets) / targets.size
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * np.square(slope)
        theta -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return theta[:-1], theta[-1]


@pytest.mark.parametrize(
    ("loss", "labels", "gradient"),
    [
        ("sigmoid", ANSWERS, lambda z, t: 1 / (1 + np.exp(-z)) - t),
        ("squared", NUMBERS, lambda z, t: 2 * (z - t)),
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["in memory", "streamed"])
def test_answers_and_numbers_are_learnt_as_by_adam_in_numpy(loss, labels, gradient, streamed):
    settings = Settings(loss=loss, **FULL)
    memory = 4096 if streamed else 1 << 30
    [fit] = fit_heads([settings], part(labels, streamed=streamed), NOTHING, classes=3, memory=memory)
    kernel, bias = adam(gradient, labels, steps=40, rate=0.05)
    # float32 against float64; Adam divides rounding by itself where a gradient passes 0.
    np.testing.assert_allclose(fit.parameters["kernel"], kernel, atol=2e-4)
    np.testing.assert_allclose(fit.parameters["bias"], bias, atol=2e-4)
    assert np.isnan([fit.val_loss, fit.val_accuracy]).all()


def test_answers_are_logistic_regressions_side_by_side():
    settings = Settings(loss="sigmoid", schedule="cosine", **FULL | {"epochs": 600, "learning_rate": 0.3})
    [fit] = fit_heads([settings], part(ANSWERS), NOTHING, classes=3)
    for column, answers in enumerate(ANSWERS.T):
        want = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(X, answers)
        # Where gradient descent ends after 600 steps: weights of up to 4.
        np.testing.assert_allclose(fit.parameters["kernel"][:, column], want.coef_[0], atol=1e-2)
        np.testing.assert_allclose(fit.parameters["bias"][column], want.intercept_[0], atol=1e-2)


def test_two_answers_have_two_outputs_and_two_exclusive_classes_one():
    settings = Settings(loss="sigmoid", **FULL)
    [answers] = fit_heads([settings], part(ANSWERS[:, :2]), NOTHING, classes=2)
    [classes] = fit_heads([settings], part(CLASSES % 2), NOTHING._replace(labels=CLASSES[:0]), classes=2)
    assert answers.parameters["kernel"].shape == (6, 2)
    assert classes.parameters["kernel"].shape == (6, 1)


def test_ridge_on_numbers_is_scikit_learns():
    settings = [Settings(head="ridge", l2=l2, scaling="none") for l2 in (0.1, 30.0)]
    train = part(NUMBERS, heads=2)
    for own, fit in zip(settings, fit_heads(settings, train, train, classes=3), strict=True):
        want = Ridge(alpha=own.l2).fit(X, NUMBERS)
        # Solved in float64, kept as float32.
        np.testing.assert_allclose(fit.parameters["kernel"], want.coef_.T, rtol=1e-5, atol=1e-6)
        assert fit.val_loss == pytest.approx(mean_squared_error(NUMBERS, want.predict(X)), rel=1e-5)
        assert fit.val_accuracy == pytest.approx(want.score(X, NUMBERS), rel=1e-5)


# What it is worth -------------------------------------------------------------------------------------------

PARAMETERS = {
    "kernel": RNG.normal(size=(2, 6, 3)).astype(np.float32),
    "bias": np.zeros((2, 3), np.float32),
}
WEIGHT = RNG.integers(0, 3, (2, 96)).astype(np.float32)


def judged(settings: Settings, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss and score of two heads on weighted rows, read in blocks of a few rows, and the raw outputs."""
    loss, score = scores(settings, PARAMETERS, part(labels, WEIGHT), classes=3, memory=2000)
    return loss, score, outputs(settings, PARAMETERS, X, classes=3).astype(np.float64)


def test_numbers_are_judged_by_their_squared_error_and_r2():
    loss, score, raw = judged(Settings(loss="squared"), NUMBERS)
    for own, weight, mse, r2 in zip(raw, WEIGHT, loss, score, strict=True):
        assert mse == pytest.approx(mean_squared_error(NUMBERS, own, sample_weight=weight), rel=1e-6)
        assert r2 == pytest.approx(r2_score(NUMBERS, own, sample_weight=weight), rel=1e-6)


def test_answers_are_judged_one_by_one():
    loss, score, raw = judged(Settings(loss="sigmoid"), ANSWERS)
    for own, weight, nats, right in zip(raw, WEIGHT, loss, score, strict=True):
        weights = np.repeat(weight, 3)
        probable = 1 / (1 + np.exp(-own.ravel()))
        assert nats == pytest.approx(log_loss(ANSWERS.ravel(), probable, sample_weight=weights), rel=1e-5)
        assert right == pytest.approx(accuracy_score(ANSWERS.ravel(), probable > 0.5, sample_weight=weights))


def test_classes_are_judged_as_ever():
    loss, score, raw = judged(Settings(), CLASSES)
    for own, weight, nats, right in zip(raw, WEIGHT, loss, score, strict=True):
        probable = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
        assert nats == pytest.approx(log_loss(CLASSES, probable, sample_weight=weight), rel=1e-5)
        assert right == pytest.approx(accuracy_score(CLASSES, own.argmax(axis=1), sample_weight=weight))


def test_r2_of_a_constant_number_is_1_where_it_is_met_and_0_where_not():
    flat = {"kernel": np.zeros((2, 6, 1), np.float32), "bias": np.array([[2.0], [2.5]], np.float32)}
    _, score = scores(Settings(loss="squared"), flat, part(np.full((96, 1), 2.0), heads=2), classes=1)
    assert score.tolist() == [1.0, 0.0]


def test_rows_that_do_not_count_may_be_infinite():
    x = X.copy()
    x[:10] = np.inf
    weight = np.r_[np.zeros(10), np.ones(86)].astype(np.float32)[None]
    for settings, labels in ((Settings(), CLASSES), (Settings(loss="squared"), NUMBERS)):
        one = {name: value[:1] for name, value in PARAMETERS.items()}
        with np.errstate(invalid="ignore"):
            got = scores(settings, one, FeatureRows(ArrayTable(x), labels, weight), classes=3)
        want = scores(settings, one, part(labels, weight), classes=3)
        np.testing.assert_allclose(got, want, rtol=1e-6)


# Refusals ---------------------------------------------------------------------------------------------------


def test_settings_name_the_losses_that_there_are():
    assert set(NAMED_LOSSES) == set(LOSSES)


@pytest.mark.parametrize(
    ("settings", "labels", "says"),
    [
        (
            {"loss": "squared"},
            CLASSES,
            "loss 'squared' is for regression, and these labels are classes; use softmax",
        ),
        ({}, CLASSES * 1.0, r"labels float64 \[96\]: expected numbers of classes.* float \[N, 1\]"),
        ({}, ANSWERS, "a linear head with loss softmax tells exclusive classes apart.* 3 for each row"),
        ({"head": "knn"}, ANSWERS, "a knn head tells exclusive classes apart"),
        ({"head": "logistic", "loss": "sigmoid"}, ANSWERS, "a logistic head tells exclusive classes apart"),
        ({"loss": "sigmoid"}, ANSWERS[:, :2], r"labels of shape \(96, 2\): expected \[N, 3\]"),
        ({"loss": "sigmoid", "class_weights": "balanced"}, ANSWERS, "'balanced' are for exclusive classes"),
        ({"loss": "sigmoid"}, ANSWERS * 2, r"multilabel targets 0\.\.2: expected 0 \(no\) to 1 \(yes\)"),
        ({"loss": "squared"}, NUMBERS * np.nan, "a label is NaN or infinite; leave its row out"),
    ],
)
def test_labels_that_a_head_cannot_learn_are_refused(settings, labels, says):
    with pytest.raises((UsageError, DataError), match=says):
        fit_heads([Settings(**settings)], part(labels), NOTHING, classes=3)


def test_ridge_reads_features_that_do_not_fit_block_by_block(monkeypatch):
    monkeypatch.setattr("featcache.solvers.ridge.BLOCK", 6 * 20)  # 20 rows
    reads = []

    def read(rows: np.ndarray) -> np.ndarray:
        reads.append(len(rows))
        return X[rows]

    labels = np.arange(96) % 3
    # The second weighting leaves out every other row; the third leaves fewer rows than features.
    weight = np.stack([np.ones(96), np.arange(96) % 2, np.arange(96) < 5]).astype(np.float32)
    settings = [Settings(head="ridge", l2=l2) for l2 in (0.1, 1.0, 10.0)]
    found = []
    for table in (ArrayTable(X), StreamedTable(read, *X.shape)):
        rows = FeatureRows(table, labels, weight)
        found.append(fit_heads(settings, rows, rows, classes=3, memory=X.nbytes // 4))
    assert max(reads) <= 32
    assert sum(reads) > 96
    for want, got in zip(*found, strict=True):
        # The same sums in another order, in float64.
        np.testing.assert_allclose(got.parameters["kernel"], want.parameters["kernel"], rtol=1e-5, atol=1e-7)
        assert got.val_accuracy == want.val_accuracy


@pytest.mark.parametrize("head", ["logistic", "knn", "prototype"])
def test_heads_that_need_all_features_say_what_they_need(head):
    rows = part(np.arange(96) % 3, streamed=True)
    with pytest.raises(UsageError, match=f"a {head} head needs all features at once.*raise --memory"):
        fit_heads([Settings(head=head)], rows, rows, classes=3, memory=X.nbytes - 1)
