"""What heads make of rows that nobody hopes for: none, one, of one class, no numbers; and of rates that diverge."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import sweep
from featcache.core.schema import Setting
from featcache.errors import DataError
from featcache.heads.feature_table import ArrayTable, FeatureRows
from featcache.heads.model import HeadArchitecture
from featcache.heads.settings import Settings
from featcache.solvers.fit import Fit, fit_heads
from featcache.solvers.train_loop import batch_order
from featcache.solvers.train_step import HeadsProgram, TrainRows, evaluate, finite_rows, scalings

N, M, D, C = 24, 12, 4, 3
X, Y = blobs(N, D)
VX, VY = blobs(M, D, seed=1)


def fitted(
    settings: list[Settings],
    weight: np.ndarray | None = None,
    judged: np.ndarray | None = None,
    *,
    x: np.ndarray = X,
    y: np.ndarray = Y,
    vx: np.ndarray = VX,
) -> list[Fit]:
    """Heads on rows that count for all where nothing else is said."""
    heads = len(settings)
    train = FeatureRows(ArrayTable(x), y, np.ones((heads, len(x)), np.float32) if weight is None else weight)
    val = FeatureRows(
        ArrayTable(vx), VY[: len(vx)], np.ones((heads, len(vx)), np.float32) if judged is None else judged
    )
    return fit_heads(settings, train, val, classes=C)


def steps(**given) -> Settings:
    return Settings(**{"learning_rate": 0.05, "batch_size": 8, "epochs": 6, "scaling": "standard"} | given)


def assert_same_head(got: Fit, want: Fit, **tolerance: float) -> None:
    assert got.best_epoch == want.best_epoch
    for name, values in want.parameters.items():
        np.testing.assert_allclose(got.parameters[name], values, **tolerance)


# Rates that diverge -----------------------------------------------------------------------------------------


def test_a_head_that_diverges_stops_keeps_its_best_and_leaves_the_others_alone():
    # A decoupled decay of 1000 with a rate of 1 multiplies the weights by −999 in every step; in one whose rate is
    # beyond float32's numbers the first step is infinite.
    rates, decays = [0.05, 1.0, 0.05, 3e38], [0.0, 1000.0, 0.0, 0.0]
    both = [
        steps(optimizer="adamw", learning_rate=rate, weight_decay=decay, epochs=30, patience=30)
        for rate, decay in zip(rates, decays, strict=True)
    ]
    calm = [both[0], steps(optimizer="adamw", learning_rate=0.01, epochs=30, patience=30)] * 2
    got, want = fitted(both), fitted(calm)
    for head in (0, 2):
        # The same program and shape: not even roundings differ.
        assert_same_head(got[head], want[head], rtol=0, atol=0)
        assert got[head].history == want[head].history
    slow, at_once = got[1], got[3]
    losses = slow.history["val_loss"]
    assert losses[0] is not None
    assert losses[-1] is None, "stopped long before the last epoch"
    assert slow.best_epoch == 1 + int(np.argmin([v for v in losses if v is not None]))
    assert slow.converged
    assert np.isfinite(slow.parameters["kernel"]).all()
    assert (at_once.best_epoch, at_once.converged) == (0, False)
    assert not at_once.parameters["kernel"].any(), "what it started from"
    assert all(v is None for v in at_once.history["val_loss"][1:])


def test_a_sweep_in_which_all_heads_diverge_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Setting, "require_sensible", lambda self, value: None)
    splits = ["train"] * N + ["val"] * M
    cache = feature_cache(tmp_path / "x.h5", np.concatenate([X, VX]), [*Y, *VY], splits)
    with pytest.raises(DataError, match="every head diverged; try learning rates a tenth as large"):
        sweep(cache, output=tmp_path / "s", optimizer="sgd", learning_rate="2e38,3e38", epochs=2)


# Rows that are no numbers -----------------------------------------------------------------------------------

WITHOUT = np.ones((2, N), np.float32)
WITHOUT[0, [3, 5]] = WITHOUT[1, [3, 5, 9]] = 0


@pytest.mark.one_by_default
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "head",
    [{}, {"head": "mlp", "hidden": (4,), "batch_norm": True}],
    ids=["linear", "mlp with batch norm"],
)
def test_a_row_that_is_no_number_and_does_not_count_reaches_no_head(head, bad):
    other = X.copy()
    other[3], other[5, 1] = bad, bad
    own = [steps(**head), steps(**head, learning_rate=0.01)]
    clean, got = (fitted(own, WITHOUT, x=x) for x in (X, other))
    for one, want in zip(got, clean, strict=True):
        # The row is another one in the centre that moments are computed around: last digits, over 18 steps.
        assert_same_head(one, want, rtol=1e-3, atol=1e-4)
        assert one.val_loss == pytest.approx(want.val_loss, rel=1e-3)


def test_a_row_that_is_no_number_ends_the_heads_that_it_counts_for_and_no_other():
    other = X.copy()
    other[9] = np.nan
    # The first head learns from row 9, the second does not.
    clean, got = (fitted([steps(), steps()], WITHOUT, x=x) for x in (X, other))
    assert (got[0].best_epoch, got[0].converged) == (0, False)
    assert np.isfinite(got[0].parameters["kernel"]).all()
    assert got[0].history["train_loss"][0] is None
    assert_same_head(got[1], clean[1], rtol=1e-3, atol=1e-4)


def test_rows_that_are_no_numbers_are_zeroed_out_by_their_weights():
    x = np.array([[1, 2], [np.inf, -np.inf], [3e38, 3e38], [np.nan, 0]], np.float32)
    weight = np.array([[1, 0, 1, 2], [0, 1, 1, 0]], np.float32)
    found, marked = finite_rows(x, weight)
    assert np.isfinite(found).all()
    # A large row is none: only its sum is infinite.
    np.testing.assert_array_equal(found[[0, 2]], x[[0, 2]])
    np.testing.assert_array_equal(marked, [[1, 0, 1, np.nan], [0, np.nan, 1, 0]])
    assert np.isnan(x[3, 0]), "what was given is as it was"
    assert weight[0, 3] == 2
    good = np.ones((2, 3), np.float32)
    assert finite_rows(good, weight)[0] is good, "not copied where nothing is to do"


@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "squared"])
def test_a_validation_row_that_is_no_number_and_does_not_count_reaches_no_score(loss):
    program = HeadsProgram(HeadArchitecture("linear", C), "adam", 8, 1, loss=loss, scaling="none")
    y = VY if loss == "softmax" else np.eye(C, dtype=np.float32)[VY]
    weight = np.ones((1, M), np.float32)
    weight[0, 4:] = 0
    other = VX.copy()
    other[7], other[8, 0] = np.nan, np.inf
    kernel = np.random.default_rng(0).normal(size=(1, C, D)).astype(np.float32)
    parameters = {"kernel": kernel, "bias": np.zeros((1, C), np.float32)}
    want, got = (
        evaluate(program, parameters, scalings(program, TrainRows(x, y, weight)), TrainRows(x, y, weight))
        for x in (VX, other)
    )
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want, rtol=1e-6)


# Few rows and few classes -----------------------------------------------------------------------------------


def test_a_class_with_one_sample_and_a_class_without_rows():
    weight = np.ones((2, N), np.float32)
    weight[0, np.flatnonzero(Y == 1)[1:]] = 0  # one sample of class 1
    weight[1, Y == 1] = 0  # none, as in a fold that has them all
    one, none = got = fitted([steps(class_weights="balanced")] * 2, weight)
    # By hand: each class that is there counts as much as the others, one sample as much as eight.
    by_hand = weight * np.where(Y == 1, 8.0, 1.0)[None] * [[17 / 24], [1.0]]
    for balanced, weighed in zip(got, fitted([steps()] * 2, by_hand.astype(np.float32)), strict=True):
        assert balanced.best_epoch > 0
        assert np.isfinite([balanced.val_loss, balanced.val_accuracy]).all()
        assert_same_head(balanced, weighed, rtol=1e-4, atol=1e-5)
    # Its logit only falls, wherever the rows of the others are.
    logits = VX @ none.parameters["kernel"] + none.parameters["bias"]
    assert not (logits.argmax(axis=1) == 1).any()
    assert one.parameters["bias"][1] > none.parameters["bias"][1]


def adam_on_biases(steps_: int, rate: float) -> np.ndarray:
    """Biases of a head that sees one row of class 2 and no feature that differs, in float64."""
    bias, first, second = np.zeros(C), np.zeros(C), np.zeros(C)
    for number in range(1, steps_ + 1):
        p = np.exp(bias) / np.exp(bias).sum()
        slope = p - np.eye(C)[2]
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        bias -= rate * first / (1 - 0.9**number) / (np.sqrt(second / (1 - 0.999**number)) + 1e-8)
    return bias


@pytest.mark.parametrize("epochs", [1, 3])
def test_one_row_of_one_feature(epochs):
    # A batch larger than N, patience longer than the epochs, nothing to standardise, and no validation rows.
    own = Settings(learning_rate=0.05, batch_size=128, epochs=epochs, patience=99)
    [got] = fitted([own], x=np.full((1, 1), 7, np.float32), y=np.array([2]), vx=np.zeros((0, 1), np.float32))
    assert (got.best_epoch, got.epochs_run) == (epochs, epochs)
    # One row is its own mean: it is 0 standardised, and only the bias learns.
    assert not got.parameters["kernel"].any()
    np.testing.assert_allclose(got.parameters["bias"], adam_on_biases(epochs, 0.05), rtol=1e-5)
    assert np.isnan([got.val_loss, got.val_accuracy]).all()
    assert got.history["val_loss"] == [None] * epochs


def test_patience_longer_than_the_epochs_runs_them_all():
    got, _ = fitted([steps(patience=1000), steps()], WITHOUT)
    assert got.epochs_run == 6
    assert None not in got.history["val_loss"]


def test_a_batch_larger_than_the_rows_is_all_rows():
    # Also above, where one row is a batch of 128.
    np.testing.assert_array_equal(
        batch_order(N, batch_size=10**9, epochs=3, seed=1), batch_order(N, batch_size=N, epochs=3, seed=1)
    )


def test_a_head_without_training_rows_is_refused():
    weight = np.ones((2, N), np.float32)
    weight[1] = 0
    with pytest.raises(DataError, match="a head has no training rows; ask for fewer folds or another split"):
        fitted([steps(), steps()], weight)
