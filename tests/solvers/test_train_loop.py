"""Fitting heads, against independent loops and optima: scipy in float64, optax one step at a time.

All tests share a few shapes, because compiling a program takes longer than running it.
"""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from featcache.heads.model import HeadArchitecture
from featcache.solvers import train_loop as training
from featcache.solvers.optimizers import Hyperparameters, hyperparameters
from featcache.solvers.train_loop import (
    TrainedHeads,
    batch_order,
    fit,
    run_program,
)
from featcache.solvers.train_step import HeadsProgram, TrainRows

N, M, D, C = 60, 30, 20, 3


def problem(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes that N rows of D features overfit; features differ in size and offset."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % C
    centres = np.random.default_rng(99).normal(size=(C, D))
    x = centres[labels] + 2 * random.normal(size=(count, D))
    return (x * np.linspace(0.5, 3, D) + np.linspace(-2, 4, D)).astype(np.float32), labels


X, Y = problem(N, seed=0)
VX, VY = problem(M, seed=1)


def rows(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, heads: int = 1) -> TrainRows:
    weights = np.ones((heads, len(y))) if weight is None else weight
    return TrainRows(jnp.asarray(x), jnp.asarray(y, jnp.int32), jnp.asarray(weights, jnp.float32))


TRAIN, VAL = rows(X, Y), rows(VX, VY)


def nothing(heads: int = 1) -> TrainRows:
    """No rows."""
    return rows(np.zeros((0, D), np.float32), np.zeros(0, int), heads=heads)


NOTHING = nothing()


def hyper(**given) -> Hyperparameters:
    """Values of K heads; a scalar is given to all."""
    return hyperparameters(**({"learning_rate": 0.05} | given))


EPOCHS = 40
SMALL_BATCHES = HeadsProgram(HeadArchitecture("linear", C), "adamw", 16, EPOCHS)


def parameters(fitted: TrainedHeads, head: int = 0) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = (np.asarray(fitted.parameters[name][head], np.float64) for name in ("kernel", "bias"))
    return kernel, bias


def logits(fitted: TrainedHeads, x: np.ndarray, head: int = 0) -> np.ndarray:
    kernel, bias = parameters(fitted, head)
    return x.astype(np.float64) @ kernel + bias


def loss(fitted: TrainedHeads, x: np.ndarray, y: np.ndarray, head: int = 0) -> float:
    return float(-log_softmax(logits(fitted, x, head), axis=1)[np.arange(len(y)), y].mean())


def assert_same(got: TrainedHeads, want: TrainedHeads, head: int = 0, **tolerance: float) -> None:
    for one, other in zip(parameters(got, head), parameters(want), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


# The optimum ------------------------------------------------------------------------------------------------


def objective(kernel, bias, x, weight_decay, smoothing):
    """Mean smoothed cross-entropy + decay / 2 · |kernel|² on standardised features, and its gradient."""
    target = np.eye(C)[Y] * (1 - smoothing) + smoothing / C
    scores = x @ kernel + bias
    value = -np.sum(target * log_softmax(scores, axis=1)) / N + weight_decay / 2 * np.sum(kernel**2)
    error = (softmax(scores, axis=1) - target) / N
    return value, x.T @ error + weight_decay * kernel, error.sum(0)


def optimum(x, weight_decay, smoothing) -> float:
    def flat(v):
        value, to_kernel, to_bias = objective(v[C:].reshape(D, C), v[:C], x, weight_decay, smoothing)
        return value, np.concatenate([to_bias, to_kernel.ravel()])

    start = np.zeros(C * (D + 1))
    return minimize(flat, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9}).fun


# Adamw's decay is not part of the loss, and has no optimum there. A rate that is infinite: see below.
FULL = {
    "adam": {"learning_rate": [0.01, 0.01], "weight_decay": [0.01, 0.1], "label_smoothing": [0.0, 0.2]},
    "sgd": {"learning_rate": [0.05, np.inf], "weight_decay": 0.02, "label_smoothing": 0.1},
}


@cache
def full_batch(optimizer: str) -> TrainedHeads:
    """Two heads without validation rows; a batch larger than the rows is all rows: every step has all the gradient."""
    program = HeadsProgram(HeadArchitecture("linear", C), optimizer, 10**6, 1500)
    return fit(program, hyper(**FULL[optimizer]), rows(X, Y, heads=2), nothing(2))


@pytest.mark.parametrize(("optimizer", "head"), [("adam", 0), ("adam", 1), ("sgd", 0)])
def test_training_reaches_the_optimum_of_the_regularised_loss(optimizer, head):
    values = hyper(**FULL[optimizer])
    weight_decay, smoothing = float(values.weight_decay[head]), float(values.label_smoothing[head])
    mean, deviation = X.astype(np.float64).mean(0), X.astype(np.float64).std(0)
    kernel, bias = parameters(full_batch(optimizer), head)
    kernel, bias = kernel * deviation[:, None], bias + mean @ kernel  # undo the folding
    standard = (X - mean) / deviation
    reached, *_ = objective(kernel, bias, standard, weight_decay, smoothing)
    best = optimum(standard, weight_decay, smoothing)
    start, *_ = objective(0 * kernel, 0 * bias, standard, weight_decay, smoothing)
    # float32 gradients end a little beside the minimum, where the loss is flat: an error of 1e-3 in the
    # parameters costs its square. The way there was a thousand times longer.
    assert best - 1e-6 <= reached <= best + 1e-4 < start - 0.1


# Against optax, step by step --------------------------------------------------------------------------------


def test_epochs_are_steps_of_optax_on_batches_of_all_rows():
    """Batches, their last one short, and the loss of an epoch; all optimisers are in test_optimization."""
    x = (X - X.mean(0)) / X.std(0)
    learning_rate, decay, smoothing, epochs = 0.05, 0.1, 0.1, 3
    # Neither patience nor min_delta may stop a head that has no validation rows.
    values = hyper(
        learning_rate=learning_rate,
        weight_decay=decay,
        label_smoothing=smoothing,
        seed=5,
        patience=1,
        min_delta=9,
    )
    # 60 rows are three batches of 16 and one of 12.
    program = HeadsProgram(HeadArchitecture("linear", C), "adamw", 16, epochs, scaling="none")
    fitted = fit(program, values, rows(x, Y), NOTHING)

    steps = optax.adamw(learning_rate, weight_decay=decay, mask={"kernel": True, "bias": False})
    want = {"kernel": jnp.zeros((D, C)), "bias": jnp.zeros(C)}
    state = steps.init(want)

    def cross_entropy(p, x, target, weight):
        losses = optax.softmax_cross_entropy(x @ p["kernel"] + p["bias"], target)
        return losses @ weight / weight.sum()

    @jax.jit
    def step(p, state, x, target, weight):
        value, gradient = jax.value_and_grad(cross_entropy)(p, x, target, weight)
        updates, state = steps.update(gradient, state, p)
        return optax.apply_updates(p, updates), state, value

    losses = []
    targets = np.eye(C, dtype=np.float32)[Y] * (1 - smoothing) + smoothing / C
    for epoch in batch_order(N, batch_size=16, epochs=epochs, seed=5):
        total = 0.0
        for batch in epoch:
            weight = (batch >= 0).astype(np.float32)
            want, state, value = step(want, state, x[batch], targets[batch], weight)
            total += float(value) * weight.sum()
        losses.append(total / N)
    for name, value in want.items():
        # The same float32 operations, but one fused program rounds sums differently; adam divides by the root
        # of small numbers, which makes a difference of 6e-8 up to a hundred times larger.
        np.testing.assert_allclose(fitted.parameters[name][0], value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.history.train_loss[:, 0], losses, rtol=1e-4)
    assert (int(fitted.best_epoch[0]), int(fitted.epochs_run)) == (epochs, epochs), "the last epoch is kept"
    assert np.isnan(fitted.history.val_loss).all()
    assert np.isnan(fitted.history.val_score).all()


# Many heads in one program ----------------------------------------------------------------------------------


def test_many_heads_in_one_program_are_as_many_single_runs():
    lists = {
        "learning_rate": [0.001, 0.01, 0.1, 1.0],
        "weight_decay": [0.0, 0.1, 0.0, 1000.0],
        "label_smoothing": [0.0, 0.0, 0.3, 0.0],
        "patience": [3, 3, 2, 40],
    }
    # Each head trains on rows of its own, and the third has no validation rows.
    weight = np.ones((4, N))
    weight[1, :30] = weight[2, 10:20] = 0
    val_weight = np.ones((4, M))
    val_weight[2] = 0
    together = fit(SMALL_BATCHES, hyper(**lists), rows(X, Y, weight), rows(VX, VY, val_weight))
    for head in range(3):
        single = hyper(**{name: values[head] for name, values in lists.items()})
        alone = fit(SMALL_BATCHES, single, rows(X, Y, weight[[head]]), rows(VX, VY, val_weight[[head]]))
        # Batched products sum in another order: float32's 6e-8, amplified by up to 160 steps of adam.
        assert_same(together, alone, head, rtol=2e-3, atol=2e-4)
        run = int(alone.epochs_run)
        for got, want in zip(together.history, alone.history, strict=True):
            np.testing.assert_allclose(got[:run, head], want[:run, 0], rtol=2e-3, atol=2e-4)
            assert np.isnan(np.asarray(got)[run:, head]).all(), "a head that stopped has no scores"
    assert together.best_epoch[2] == EPOCHS, "no validation rows: the last epoch, whatever the patience"


def test_a_diverging_head_stops_keeps_its_best_and_leaves_the_others_alone():
    # A step of 1 with a decoupled decay of 1000 multiplies the weights by -999 in every step.
    lists = {"learning_rate": [0.01, 1.0, 0.01, 0.01], "weight_decay": [0.0, 1000.0, 0.0, 0.0]}
    both = fit(SMALL_BATCHES, hyper(**lists), rows(X, Y, heads=4), rows(VX, VY, heads=4))
    alone = fit(SMALL_BATCHES, hyper(learning_rate=0.01), TRAIN, VAL)
    for head in (0, 2, 3):
        assert_same(both, alone, head, rtol=2e-3, atol=2e-4)
    val_loss = np.asarray(both.history.val_loss[:, 1])
    assert np.isfinite(val_loss[0])
    assert np.isnan(val_loss[-1]), "stopped long before the last epoch"
    assert both.best_epoch[1] == 1 + np.nanargmin(val_loss)
    assert all(np.isfinite(values).all() for values in parameters(both, 1))
    np.testing.assert_allclose(loss(both, VX, VY, 1), np.nanmin(val_loss), rtol=1e-3)


def test_a_head_that_diverges_in_its_first_step_has_no_best_epoch():
    # One step an epoch: the loss of the only step is still finite, its parameters are not.
    chosen = HeadsProgram(HeadArchitecture("linear", C), "sgd", 10**6, 9, monitor="score")
    judged = fit(chosen, hyper(learning_rate=np.inf), TRAIN, VAL)
    assert np.isfinite(judged.history.train_loss[0, 0])
    assert (int(judged.best_epoch[0]), int(judged.epochs_run)) == (0, 1)
    # Without validation rows too, beside a head that goes on to the end.
    alone = full_batch("sgd")
    assert np.isfinite(alone.history.train_loss[0]).all()
    assert alone.best_epoch.tolist() == [1500, 0]
    assert np.isnan(alone.history.train_loss[1:, 1]).all()
    # What is kept of it is where it started.
    assert not np.any(alone.parameters["kernel"][1])


# Early stopping ---------------------------------------------------------------------------------------------


def stopped_by_hand(val_loss: np.ndarray, patience: int, min_delta: float) -> tuple[int, int]:
    """Best epoch and epochs run, from the losses alone."""
    best, best_epoch = np.float32(np.inf), 0
    for epoch, value in enumerate(val_loss, start=1):
        if value < best - np.float32(min_delta):
            best, best_epoch = value, epoch
        if epoch - best_epoch >= patience:
            return best_epoch, epoch
    return best_epoch, EPOCHS


@pytest.mark.parametrize(("patience", "min_delta"), [(1, 0.0), (3, 0.0), (3, 0.02), (25, 0.0), (1000, 0.0)])
def test_the_best_epoch_is_kept_and_patience_ends_the_run(patience, min_delta):
    values = hyper(learning_rate=0.05, patience=patience, min_delta=min_delta)
    fitted = fit(SMALL_BATCHES, values, TRAIN, VAL)
    val_loss = np.asarray(fitted.history.val_loss[:, 0])
    run, best = int(fitted.epochs_run), int(fitted.best_epoch[0])
    assert (best, run) == stopped_by_hand(val_loss, patience, min_delta)
    assert 0 < best < EPOCHS, "the case overfits, or it would test nothing"
    assert np.isfinite(val_loss[:run]).all()
    assert np.isnan(val_loss[run:]).all()
    # The returned parameters are those of that epoch: float64 here, float32 there.
    np.testing.assert_allclose(loss(fitted, VX, VY), val_loss[best - 1], rtol=1e-4)
    accuracy = np.mean(logits(fitted, VX).argmax(1) == VY)
    np.testing.assert_allclose(accuracy, fitted.history.val_score[best - 1, 0], rtol=1e-6)


def test_the_first_epoch_of_the_best_score_is_kept_where_scores_are_monitored():
    program = replace(SMALL_BATCHES, monitor="score")
    fitted = fit(program, hyper(learning_rate=0.01, patience=12), TRAIN, VAL)
    scores = np.asarray(fitted.history.val_score[:, 0])
    best, run = int(fitted.best_epoch[0]), int(fitted.epochs_run)
    assert best == 1 + np.nanargmax(scores)
    assert run == min(best + 12, EPOCHS)
    assert best != 1 + np.nanargmin(fitted.history.val_loss[:, 0]), "or the loss would have chosen the same"
    np.testing.assert_allclose(np.mean(logits(fitted, VX).argmax(1) == VY), scores[best - 1], rtol=1e-6)


def test_validation_rows_of_weight_zero_do_not_count():
    weight = np.ones((1, M))
    weight[0, 20:] = 0
    other = np.where(weight[0, :, None] > 0, VX, 50 - VX).astype(np.float32)
    got, want = (fit(SMALL_BATCHES, hyper(), TRAIN, rows(x, VY, weight)) for x in (other, VX))
    np.testing.assert_array_equal(got.history.val_loss, want.history.val_loss)
    kept = slice(0, 20)
    best = int(want.best_epoch[0]) - 1
    np.testing.assert_allclose(loss(want, VX[kept], VY[kept]), want.history.val_loss[best, 0], rtol=1e-4)


def test_training_rows_of_weight_zero_do_not_count():
    weight = np.ones((1, N))
    weight[0, 40:] = 0
    other = np.where(weight[0, :, None] > 0, X, 9 - X).astype(np.float32)
    got, want = (fit(SMALL_BATCHES, hyper(), rows(x, Y, weight), VAL) for x in (other, X))
    # They only shift the centre that moments are computed around, which changes roundings.
    assert_same(got, want, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(got.history.train_loss, want.history.train_loss, rtol=2e-3, atol=2e-4)


# Special features, seeds, compilation -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [7.7, -1e4])
def test_a_constant_feature_is_as_good_as_none(value):
    constant, absent = X.copy(), X.copy()
    constant[:, 5], absent[:, 5] = value, 0
    seen, unseen = VX.copy(), VX.copy()
    seen[:, 5], unseen[:, 5] = value, 0
    got = fit(SMALL_BATCHES, hyper(), rows(constant, Y), rows(seen, VY))
    want = fit(SMALL_BATCHES, hyper(), rows(absent, Y), rows(unseen, VY))
    # The mean of equal float32 numbers may be off by its last place, 1e-3 at 1e4: adam's normalised steps turn
    # even that into weights of about the step size, which then multiply 1e-3.
    np.testing.assert_allclose(got.history.val_loss, want.history.val_loss, rtol=1e-2)
    assert all(np.isfinite(values).all() for values in parameters(got))


def test_the_seed_decides_the_order_of_the_rows():
    first, again, other = (fit(SMALL_BATCHES, hyper(seed=seed), TRAIN, VAL) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.parameters["kernel"], again.parameters["kernel"])
    assert np.abs(first.history.train_loss[1:] - other.history.train_loss[1:]).max() > 1e-4


def test_every_epoch_sees_every_row_once_in_another_order(monkeypatch):
    order = batch_order(60, batch_size=16, epochs=3, seed=0)
    assert order.shape == (3, 4, 16)
    for epoch in order.reshape(3, -1):
        assert sorted(epoch[:60]) == list(range(60))
        assert (epoch[60:] == -1).all()
    assert (order[0] != order[1]).any()
    # Of very many rows fewer epochs are drawn than run, one at least.
    monkeypatch.setattr(training, "MOST_ORDERED", 120)
    assert len(batch_order(60, batch_size=16, epochs=9, seed=0)) == 2
    assert len(batch_order(121, batch_size=16, epochs=9, seed=0)) == 1


def test_a_second_fit_of_the_same_shape_compiles_nothing():
    fit(SMALL_BATCHES, hyper(), TRAIN, VAL)
    compiled = run_program()._cache_size()
    assert compiled >= 1
    fit(SMALL_BATCHES, hyper(learning_rate=0.3, weight_decay=1.0, seed=9), rows(X + 1, Y[::-1]), rows(VX, VY))
    assert run_program()._cache_size() == compiled
