"""`fit_heads` by gradient descent: heads together are heads alone, whatever shares a run, a product or the memory."""

from functools import cache

import numpy as np
import pytest

from featcache.heads.feature_table import ArrayTable, FeatureRows, StreamedTable
from featcache.heads.settings import Settings
from featcache.solvers import sgd as descent
from featcache.solvers.fit import Fit, fit_heads
from featcache.solvers.head_batches import LEAST_SHARING, divide
from featcache.solvers.optimizers import hyperparameters
from featcache.solvers.sgd import program_of
from featcache.solvers.train_loop import fit
from featcache.solvers.train_step import TrainRows

N, M, D, C, EPOCHS = 90, 60, 6, 3, 12
FOLDS = 3


def problem(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes that overlap so much that some heads get worse after a few epochs."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % C
    centres = np.random.default_rng(99).normal(size=(C, D))
    return (centres[labels] + 3 * random.normal(size=(count, D)) + 3).astype(np.float32), labels


X, Y = problem(N, 0)
VX, VY = problem(M, 1)
FEATURES = 4 * D * (N + M)
PLENTY = 1 << 30


def settings_of(head: str) -> list[Settings]:
    """Six heads that differ in every number that may differ, of two seeds."""
    common = {"head": head, "hidden": (8,), "optimizer": "adamw", "schedule": "cosine"}
    return [
        Settings(
            **common,
            batch_size=16,
            epochs=EPOCHS,
            learning_rate=rate,
            weight_decay=decay,
            dropout=0.1 * number,
            label_smoothing=0.02 * number,
            patience=1 + number % 3,
            seed=seed,
        )
        for number, (rate, decay, seed) in enumerate(
            zip(
                [1e-3, 0.1, 3e-2, 1e-2, 3e-1, 3e-3], [0, 1e-2, 0, 1e-3, 1, 0], [0, 0, 1, 0, 1, 0], strict=True
            )
        )
    ]


# Each head leaves out a fold, in no order; validation rows differ too, and the last head has none.
FOLD_OF = np.array([0, 1, 2, 0, 1, 1])
# Rows count differently: where they count 1 and a class has exactly a third of a batch, the first slope of its bias
# is 0, and Adam's first step blows up what rounding leaves of that to a tenth of a step, on some machines.
COUNTS = np.random.default_rng(4).uniform(0.5, 1.5, N)
WEIGHT = (COUNTS * (np.arange(N) // 3 % FOLDS != FOLD_OF[:, None])).astype(np.float32)
JUDGED = (np.arange(M) // 3 % FOLDS == FOLD_OF[:, None]).astype(np.float32)
JUDGED[-1] = 0


def fitted(settings: list[Settings], heads: list[int], memory: int) -> list[Fit]:
    table = StreamedTable(lambda rows: X[rows], N, D) if memory < FEATURES else ArrayTable(X)
    train, val = FeatureRows(table, Y, WEIGHT[heads]), FeatureRows(ArrayTable(VX), VY, JUDGED[heads])
    return fit_heads(settings, train, val, classes=C, memory=memory)


@cache
def together(head: str, memory: int = PLENTY) -> list[Fit]:
    settings = settings_of(head)
    return fitted(settings, list(range(len(settings))), memory)


@cache
def alone(head: str) -> list[Fit]:
    return [fitted([own], [number], PLENTY)[0] for number, own in enumerate(settings_of(head))]


def assert_same_heads(got: list[Fit], want: list[Fit], *, rtol: float, atol: float) -> None:
    for one, other in zip(got, want, strict=True):
        assert one.best_epoch == other.best_epoch
        for name, value in other.parameters.items():
            np.testing.assert_allclose(one.parameters[name], value, rtol=rtol, atol=atol, err_msg=name)
        for name, values in other.history.items():
            # Rounded to 6 digits; None where the head had stopped.
            run = [v for v in values if v is not None]
            assert [v for v in one.history[name] if v is not None] == pytest.approx(run, rel=1e-4, abs=2e-6)
        np.testing.assert_allclose(
            [one.val_loss, one.val_accuracy], [other.val_loss, other.val_accuracy], rtol=1e-4
        )


@pytest.mark.one_by_default
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_heads_together_are_heads_alone(head):
    # What is promised: 1e-5, of parameters of around 1 that Adam has brought there in up to 60 steps.
    assert_same_heads(together(head), alone(head), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_each_head_stops_at_its_own_epoch(head):
    ends = []
    for own, one in zip(settings_of(head), together(head), strict=True):
        losses = one.history["val_loss"]
        run = sum(value is not None for value in one.history["train_loss"])
        assert all(value is not None for value in one.history["train_loss"][:run])
        assert one.epochs_run == max(len(other.history["val_loss"]) for other in together(head))
        if np.isnan(one.val_loss):
            continue  # it has no validation rows
        assert all(value is not None for value in losses[:run])
        assert all(value is None for value in losses[run:])
        assert run == min(one.best_epoch + own.patience, EPOCHS)
        assert one.best_epoch == 1 + int(np.argmin(losses[:run]))
        ends.append(run)
    assert len(set(ends)) > 2, "they stop at different epochs, or it would test little"
    last = together(head)[-1]
    assert np.isnan(last.val_loss)
    assert last.best_epoch == EPOCHS, "without validation rows: the last epoch"


@pytest.mark.parametrize("head", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_memory_for_one_head_at_a_time_gives_the_same_heads(head, monkeypatch):
    counts = []

    def divided(*args, **given):
        counts.extend((runs := divide(*args, **given)).counts)
        return runs

    monkeypatch.setattr(descent, "divide", divided)
    # Features take a half, and one head more than a half of the other.
    got = together(head, 2 * FEATURES)
    assert counts == [1] * len(got)
    assert_same_heads(got, together(head), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("head", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_features_four_times_larger_than_memory_give_the_same_heads(head):
    settings, heads = settings_of(head), [0, 1, len(settings_of(head)) - 1]  # the last has no validation rows
    streamed = fitted([settings[number] for number in heads], heads, FEATURES // 4)
    # Moments and losses are summed block by block: last digits, grown over up to 60 steps of Adam.
    assert_same_heads(streamed, [together(head)[number] for number in heads], rtol=1e-3, atol=1e-4)


def test_heads_that_share_rows_and_heads_that_do_not_are_the_same():
    # Two folds of enough heads each, in turns: each fold becomes a run that standardises its rows once.
    heads = 2 * LEAST_SHARING
    fold = np.arange(heads) % 2
    weight = (COUNTS * (np.arange(N) % 2 != fold[:, None])).astype(np.float32)
    judged = np.ones((heads, M), np.float32)
    rates = np.geomspace(1e-3, 0.1, heads).tolist()
    settings = [Settings(learning_rate=rate, batch_size=16, epochs=4, scaling="standard") for rate in rates]
    got = fit_heads(
        settings, FeatureRows(ArrayTable(X), Y, weight), FeatureRows(ArrayTable(VX), VY, judged), classes=C
    )
    program = program_of(settings[0], C)
    assert not program.shared
    want = fit(
        program,
        hyperparameters(learning_rate=rates, patience=10),
        TrainRows(X, Y, weight),
        TrainRows(VX, VY, judged),
    )
    for number, own in enumerate(got):
        assert own.best_epoch == want.best_epoch[number]
        for name, values in want.parameters.items():
            # Standardised first, or part of the weights: 20 steps of other roundings.
            np.testing.assert_allclose(own.parameters[name], values[number], rtol=1e-4, atol=1e-5)
