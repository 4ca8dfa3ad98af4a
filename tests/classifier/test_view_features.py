"""Heads that learn from several views of an image: which view when, what each weighs, and averages over views."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache as cached
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.feature_caches import DRAWN, accept_any_number, blobs, feature_cache
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression, Ridge

from featcache import Classifier, sweep, train_head
from featcache.cache import FeatureCache
from featcache.classifier.calibration import PRIOR_DEVIATION, fit_temperature
from featcache.classifier.view_features import views_used, with_views
from featcache.errors import DataError, UsageError
from featcache.heads.feature_table import ArrayTable, FeatureRows, StreamedTable
from featcache.heads.model import HeadArchitecture
from featcache.heads.settings import Settings
from featcache.solvers.fit import Fit, fit_heads
from featcache.solvers.optimizers import hyperparameters
from featcache.solvers.ridge import class_targets
from featcache.solvers.train_loop import batch_order, fit, run_program
from featcache.solvers.train_step import HeadsProgram, TrainRows
from featcache.sweeps.data import Protocol, SweepData
from featcache.sweeps.trials import Trial, configurations, read_axes

N, M, V, D, C = 60, 30, 3, 12, 3
STEPS: Mapping[str, Any] = {"learning_rate": 0.05, "batch_size": 16, "epochs": 6}


def seen(count: int, seed: int, views: int = V) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes, each image with views around it: float32 ``[N, V, D]`` and labels; the plain one first."""
    x, labels = blobs(count, D, seed=seed)
    noise = np.random.default_rng(seed + 50).normal(size=(count, views, D)) * 0.7
    noise[:, 0] = 0
    return (x[:, None] + noise).astype(np.float32), labels


X, Y = seen(N, 0)
VX, VY = seen(M, 1)


def part(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, heads: int = 1) -> FeatureRows:
    """Images ``[N, V, D]``, in memory."""
    counts = np.ones((heads, len(y)), np.float32) if weight is None else weight
    return FeatureRows(ArrayTable(x.reshape(-1, D)), y, counts, x.shape[1])


def fitted(x: np.ndarray, weight: np.ndarray | None = None, **options: Any) -> Fit:
    settings = Settings(**{**STEPS, **options})
    judged = part(VX[:, :1], VY)
    return fit_heads([settings], part(x, Y, weight), judged, classes=C)[0]


# Which view in which epoch ----------------------------------------------------------------------------------


def test_every_epoch_takes_one_view_of_each_image_in_the_order_of_one_view():
    plain = batch_order(N, batch_size=16, epochs=40, seed=5)
    order = batch_order(N, batch_size=16, epochs=40, seed=5, views=V)
    np.testing.assert_array_equal(np.where(order >= 0, order // V, -1), plain)
    rows = np.sort(order.reshape(40, -1)[:, :N], axis=1)
    counts = np.stack([np.bincount(epoch % V, minlength=V) for epoch in rows])
    # 2,400 draws of three views: the share of one has a deviation of √(2/9 / 2400) = 0.01.
    np.testing.assert_allclose(counts.sum(0) / (40 * N), 1 / V, atol=0.04)
    assert (rows[0] != rows[1]).any(), "another epoch, other views"
    per_image = np.array([len(set(rows[:, image] % V)) for image in range(N)])
    assert (per_image == V).all(), "in 40 epochs every view of an image has its turn"
    other = batch_order(N, batch_size=16, epochs=40, seed=6, views=V)
    assert (np.sort(other[0].ravel()) != np.sort(order[0].ravel())).any(), "another seed, other views"


@pytest.mark.slow
def test_epochs_are_steps_of_optax_on_the_views_that_are_drawn():
    x = X.reshape(-1, D)
    program = HeadsProgram(HeadArchitecture("linear", C), "adamw", 16, 5)
    values = hyperparameters(learning_rate=[0.05], weight_decay=[0.1], seed=[7])
    weight = np.ones((1, N * V), np.float32)
    nothing = TrainRows(jnp.zeros((0, D)), jnp.zeros(0, jnp.int32), jnp.zeros((1, 0)))
    train = TrainRows(jnp.asarray(x), jnp.asarray(np.repeat(Y, V), jnp.int32), jnp.asarray(weight))
    got = fit(program, values, train, nothing, views=V)

    # Standardised by all views; the order of images and the views by the documented draws.
    mean, deviation = x.astype(np.float64).mean(0), x.astype(np.float64).std(0)
    standard = ((x - mean) / deviation).astype(np.float32).reshape(N, V, D)
    steps = optax.adamw(0.05, weight_decay=0.1, mask={"kernel": True, "bias": False})
    want = {"kernel": jnp.zeros((D, C)), "bias": jnp.zeros(C)}
    state = steps.init(want)

    def loss(p, rows, labels):
        return optax.softmax_cross_entropy_with_integer_labels(rows @ p["kernel"] + p["bias"], labels).mean()

    step, images, views = jax.jit(jax.grad(loss)), np.random.default_rng(7), np.random.default_rng([7, 1])
    for _ in range(5):
        turn, view = images.permutation(N), views.integers(V, size=N)
        for first in range(0, N, 16):
            batch = turn[first : first + 16]
            updates, state = steps.update(step(want, standard[batch, view[batch]], Y[batch]), state, want)
            want = optax.apply_updates(want, updates)
    kernel = np.asarray(want["kernel"]) / deviation[:, None]
    # The same float32 operations, but one fused program rounds sums differently; adam divides by the root of small
    # numbers, which makes a difference of 6e-8 up to a thousand times larger in 20 steps.
    np.testing.assert_allclose(got.parameters["kernel"][0], kernel, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got.parameters["bias"][0], want["bias"] - mean @ kernel, rtol=1e-3, atol=1e-4)


def test_another_seeds_views_compile_nothing():
    fitted(X)
    compiled = run_program()._cache_size(), run_program(one_core=True)._cache_size()
    fitted(X, seed=9)
    assert (run_program()._cache_size(), run_program(one_core=True)._cache_size()) == compiled


# What a view weighs -----------------------------------------------------------------------------------------

KINDS: Mapping[str, Mapping[str, Any]] = {
    "linear": {"head": "linear"},
    "lbfgs": {"head": "linear", "optimizer": "lbfgs", "weight_decay": 0.01},
    "logistic": {"head": "logistic", "c": 0.3},
    "ridge": {"head": "ridge", "l2": 20.0},
    "prototype": {"head": "prototype"},
}


@pytest.mark.one_by_default
@pytest.mark.parametrize("kind", KINDS)
def test_views_that_are_all_the_same_are_worth_one(kind):
    uneven = np.ones((1, N), np.float32)
    uneven[0, np.flatnonzero(Y == 1)[5:]] = 0  # classes of 20, 5 and 20 images
    own = dict(KINDS[kind]) | ({} if kind == "prototype" else {"class_weights": "balanced"})
    plain = fitted(X[:, :1], uneven, **own)
    same = fitted(X[:, [0] * 4], uneven, **own)
    assert same.best_epoch == plain.best_epoch or kind == "logistic"
    for name, value in plain.parameters.items():
        # Sums over four times as many rows round otherwise: 6e-8, grown over some dozens of steps; L-BFGS stops where
        # the gradient is 1e-6, which leaves the weights apart by the root of what the objective can resolve.
        limit = {"rtol": 2e-3, "atol": 2e-4}
        np.testing.assert_allclose(same.parameters[name], value, **limit, err_msg=name)


def test_logistic_is_scikit_learns_with_all_views_at_their_share():
    counts = np.random.default_rng(2).uniform(0.2, 2, (1, N)).astype(np.float32)
    got = fitted(X, counts, head="logistic", c=0.5, scaling="standard")
    flat, weight = X.reshape(-1, D).astype(np.float64), np.repeat(counts[0], V) / V
    mean = np.average(flat, axis=0, weights=weight)
    deviation = np.sqrt(np.average((flat - mean) ** 2, axis=0, weights=weight))
    oracle = LogisticRegression(C=0.5, tol=1e-8, max_iter=5000)
    oracle.fit((flat - mean) / deviation, np.repeat(Y, V), sample_weight=weight)
    want = oracle.predict_log_proba((VX[:, 0] - mean) / deviation)
    logits = VX[:, 0] @ got.parameters["kernel"] + got.parameters["bias"]
    # A gradient of 1e-6 per unit of weight, and an objective that float32 resolves to 1e-7.
    np.testing.assert_allclose(log_softmax(logits, axis=1), want, atol=2e-3)


def test_ridge_is_scikit_learns_with_all_views_at_their_share():
    counts = np.random.default_rng(3).uniform(0.2, 2, (1, N)).astype(np.float32)
    got = fitted(X, counts, head="ridge", l2=5.0, scaling="none")
    oracle = Ridge(alpha=5.0).fit(
        X.reshape(-1, D).astype(np.float64),
        np.repeat(class_targets(Y, C), V, axis=0),
        sample_weight=np.repeat(counts[0], V) / V,
    )
    # Solved in float64 and stored as float32.
    np.testing.assert_allclose(got.parameters["kernel"], oracle.coef_.T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got.parameters["bias"], oracle.intercept_, rtol=1e-4, atol=1e-6)


def test_a_prototype_is_the_mean_over_all_views():
    got = fitted(X, head="prototype", metric="cosine")
    units = X / np.linalg.norm(X, axis=2, keepdims=True)
    means = np.stack([units[label == Y].mean((0, 1)) for label in range(C)], axis=1)
    np.testing.assert_allclose(got.parameters["kernel"], means / np.linalg.norm(means, axis=0), atol=1e-6)


# Images count differently: where a class is exactly a third of a batch, the first slope of its bias is 0, and Adam's
# first step blows up what rounding leaves of that.
COUNTS = np.random.default_rng(4).uniform(0.5, 1.5, N)
FOLDS = (COUNTS * (np.arange(N) // 3 % 3 != np.arange(3)[:, None])).astype(np.float32)


@cached
def folded(head: str, memory: int = 1 << 30) -> list[Fit]:
    """Three heads of one program, each without a third of the images."""
    settings = [Settings(head=head, seed=number % 2, l2=3.0, **STEPS) for number in range(3)]
    flat = X.reshape(-1, D)
    table = StreamedTable(lambda rows: flat[rows], N * V, D) if memory < 1 << 20 else ArrayTable(flat)
    train = FeatureRows(table, Y, FOLDS, V)
    return fit_heads(settings, train, part(VX[:, :1], VY, heads=3), classes=C, memory=memory)


@pytest.mark.one_by_default
@pytest.mark.parametrize("head", ["linear", "ridge"])
def test_streamed_heads_are_those_in_memory(head):
    memory = X.nbytes // 2
    for got, want in zip(folded(head, memory), folded(head), strict=True):
        assert got.best_epoch == want.best_epoch
        for name, value in want.parameters.items():
            # Sums in another order: float32's last digits, grown over 24 steps.
            np.testing.assert_allclose(got.parameters[name], value, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_no_view_of_a_held_out_image_reaches_a_head(kind):
    weight, other = FOLDS[:1], X.copy()
    held = np.flatnonzero(weight[0] == 0)
    other[held, 1:] = 1e3
    want, got = fitted(X, weight, **KINDS[kind]), fitted(other, weight, **KINDS[kind])
    for name, value in want.parameters.items():
        # Descent's standardisation is computed around the mean of all rows, which rounds otherwise where some are
        # a thousand away; as features they would be everything.
        limit = 0 if kind in ("ridge", "prototype") else 2e-2
        np.testing.assert_allclose(got.parameters[name], value, rtol=limit, atol=limit, err_msg=name)


# Caches -----------------------------------------------------------------------------------------------------

SPLITS = ["train"] * 150 + ["val"] * 90 + ["test"] * 60
FX, FY = seen(300, 4)
QUICK: Mapping[str, Any] = {"learning_rate": 0.02, "epochs": 5, "batch_size": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def several(folder) -> FeatureCache:
    statistics = np.random.default_rng(0).uniform(size=(300, 54)).astype(np.float32)
    return feature_cache(folder / "views.h5", FX, FY, SPLITS, views=V, statistics=statistics)


@pytest.fixture(scope="module")
def plain(folder) -> FeatureCache:
    return feature_cache(folder / "plain.h5", FX[:, 0], FY, SPLITS)


def test_settings_of_views_come_to_a_number_or_to_nothing(several, plain):
    assert views_used(several, "pool", Settings()) == V
    assert views_used(several, "pool", Settings(views=2)) == 2
    assert views_used(several, "pool", Settings(head="knn")) == 1
    assert views_used(several, "image:statistics", Settings()) == 1
    assert [with_views(several, "pool", Settings(views=n)).views for n in (None, 1, 2)] == [V, 1, 2]
    assert with_views(plain, "pool", Settings(views=1)) == with_views(plain, "pool", Settings()) == Settings()
    assert with_views(several, "pool", Settings(head="knn", views=2)).views is None


@pytest.mark.parametrize(
    ("cache", "views", "says"),
    [
        ("several", 4, r"views 4: .*views\.h5 holds 3 views of each image in pool; ask for at most 3, or extract "
         r"more: featcache extract DATASET --views 4"),
        ("plain", 2, r"views 2: .*plain\.h5 holds one view, the plain one, of each image in pool; ask for at most 1"),
        ("several", 0, "views 0: expected at least 1, which is the plain image"),
    ],
)  # fmt: skip
def test_views_that_are_not_there(request, tmp_path, cache, views, says):
    opened = request.getfixturevalue(cache)
    with pytest.raises(UsageError, match=says):
        train_head(opened, output=None, views=views)
    with pytest.raises(UsageError, match=says):
        sweep(opened, output=tmp_path / "x", views=[1, views])


@pytest.mark.parametrize("head", ["linear", "ridge", "knn"])
def test_the_plain_view_of_several_is_what_a_cache_of_plain_images_gives(several, plain, head):
    one = {} if head == "knn" else {"views": 1}
    got = train_head(several, output=None, head=head, **QUICK, **one)
    want = train_head(plain, output=None, head=head, **QUICK)
    for name, value in want.parameters.items():
        np.testing.assert_array_equal(got.parameters[name], value, err_msg=name)
    assert got.metrics == want.metrics
    assert (want.training["views"], "view_recipe" in want.training) == (None, False)
    assert got.training["view_recipe"] == {**DRAWN, "count": V}


def test_all_views_are_the_default_and_are_recorded(several, folder):
    got, same, other = (train_head(several, output=None, views=n, **QUICK) for n in (None, V, 1))
    np.testing.assert_array_equal(got.parameters["kernel"], same.parameters["kernel"])
    assert np.abs(got.parameters["kernel"] - other.parameters["kernel"]).max() > 1e-3
    assert got.training["views"] == V
    assert got.settings.views == V
    assert Classifier.load(got.save(folder / "kept")).settings == got.settings


def test_a_view_that_is_no_number_is_refused_by_the_images_name(tmp_path, monkeypatch):
    accept_any_number(monkeypatch)
    bad = FX.copy()
    bad[7, 2, 0] = np.nan
    opened = feature_cache(tmp_path / "bad.h5", bad, FY, SPLITS, views=V)
    with pytest.raises(DataError, match=r"1 of 150 rows of .*bad\.h5, layer pool, hold NaN .*train/7\.jpg"):
        train_head(opened, output=None, **QUICK)
    train_head(opened, output=None, views=2, **QUICK)  # which it is not among


@pytest.mark.parametrize("memory", [1 << 30, 1 << 13])
def test_what_a_sweep_learns_from_and_is_judged_by(several, memory):
    data = SweepData(several, Protocol(folds=3), memory=memory)
    trials = [Trial(0, "pool", Settings(views=2), fold=fold) for fold in range(3)]
    train, judged = data.parts(trials)
    assert isinstance(train.table, ArrayTable) == (memory > 1 << 20)
    everything = np.arange(240)
    np.testing.assert_array_equal(train.table.take(np.arange(480)), FX[:240, :2].reshape(-1, D))
    np.testing.assert_array_equal(judged.table.take(everything), FX[:240, 0])
    weight = train.by_row().weight.reshape(3, 240, 2)
    np.testing.assert_array_equal(
        weight, np.where(data.fold_of == np.arange(3)[:, None], 0, 0.5)[..., None] * [1, 1]
    )
    # Few shots are the same images, whatever is seen of them.
    few = [Trial(0, "pool", Settings(views=n, seed=1), fold=0, shots=4) for n in (1, 3)]
    one, three = (data.parts([trial])[0] for trial in few)
    np.testing.assert_array_equal(
        three.table.take(np.arange(36)).reshape(12, 3, D)[:, 0], one.table.take(np.arange(12))
    )
    np.testing.assert_array_equal(three.labels, one.labels)


def test_a_sweep_over_views_names_heads_of_plain_images_as_ever(several, plain, tmp_path):
    axes: dict[str, Any] = {"head": "ridge,knn,prototype", "l2": "1,10", "neighbours": "5", "seeds": 1}
    both = sweep(several, output=tmp_path / "a", views="none,1,3", **axes)
    alone = sweep(plain, output=tmp_path / "b", **axes)
    rows, known = (
        {row["id"]: row for row in map(json.loads, (r.folder / "results.jsonl").read_text().splitlines())}
        for r in (both, alone)
    )
    # All views are three: ridge with two penalties and prototype, each with 1 and 3; knn knows one.
    assert (both.heads, len(rows), len(known)) == (7, 7, 4)
    assert known.keys() <= rows.keys()
    for name, row in known.items():
        assert (row["val_accuracy"], row["val_loss"]) == (rows[name]["val_accuracy"], rows[name]["val_loss"])
    assert {row["settings"]["views"] for row in rows.values() if row["head"] == "ridge"} == {1, V}
    assert sweep(several, output=tmp_path / "a", views="1,3", **axes).fitted == 0


def test_names_of_heads_tell_views_apart():
    own = [Trial(0, "pool", Settings(views=n)) for n in (None, 1, 2)]
    names = [trial.identity("f", "r", {**DRAWN, "count": 8}) for trial in own]
    assert names[0] == names[1] != names[2]
    # View 1 of 4 is view 1 of 8; drawn with another seed it is another.
    assert own[2].identity("f", "r", {**DRAWN, "count": 4}) == names[2]
    assert own[2].identity("f", "r", {**DRAWN, "seed": 4, "count": 8}) != names[2]


def test_random_search_draws_as_it_did_before_there_were_views():
    axes = read_axes({"head": "linear", "learning_rate": "1e-4:1e-1:log", "epochs": "5,9"})
    with_axis = configurations(axes, trials=3, seed=4)
    drawn = np.random.default_rng([4, 0])
    want = []
    for _ in range(3):
        values = {
            name: axes[name].draw(drawn) for name in asdict(Settings()) if name in ("learning_rate", "epochs")
        }
        want.append(values)
    # Axes of one value draw nothing: learning rate and epochs are all that takes numbers from the generator.
    assert [{name: getattr(s, name) for name in v} for s, v in zip(with_axis, want, strict=True)] == want


# Averages over views ----------------------------------------------------------------------------------------


def averaged(classifier: Classifier, x: np.ndarray) -> np.ndarray:
    """Mean of the probabilities of views ``[N, V, D]``, of a linear head with a softmax."""
    kernel, bias = (classifier.parameters[name].astype(np.float64) for name in ("kernel", "bias"))
    unit = x / np.linalg.norm(x, axis=2, keepdims=True)
    return softmax(unit @ kernel + bias, axis=2).mean(axis=1)


def test_tta_scores_the_mean_of_the_probabilities_of_all_views(several, folder):
    classifier = train_head(several, output=folder / "tta", tta=True, calibrate=False, views=2, **QUICK)
    test = averaged(classifier, FX[240:])
    assert classifier.metrics["test"]["accuracy"] == pytest.approx(np.mean(test.argmax(1) == FY[240:]))
    own = -np.log(test[np.arange(60), FY[240:]]).mean()
    assert classifier.metrics["test"]["loss"] == pytest.approx(own, rel=1e-5)
    np.testing.assert_allclose(classifier.probabilities(FX[240:], tta=True), test, atol=1e-6)
    loaded = Classifier.load(folder / "tta")
    assert loaded.tta
    assert loaded.training["view_recipe"]["count"] == V
    as_trained, single = loaded.evaluate(several), loaded.evaluate(several, tta=False)
    assert (as_trained.loss, as_trained.views) == (pytest.approx(own, rel=1e-5), V)
    plain = train_head(several, output=None, calibrate=False, views=2, **QUICK)
    assert (single.loss, single.views) == (plain.metrics["test"]["loss"], 1)
    assert plain.evaluate(several, tta=True).loss == as_trained.loss


def test_tta_calibrates_averages_and_keeps_their_order(several):
    raw = train_head(several, output=None, tta=True, calibrate=False, refit=False, **QUICK)
    classifier = train_head(several, output=None, tta=True, refit=False, **QUICK)
    val = averaged(raw, FX[150:240])
    temperature = fit_temperature(np.log(val), FY[150:240], deviation=PRIOR_DEVIATION)
    assert classifier.calibration.count == 90
    assert classifier.calibration.temperature == pytest.approx(temperature, rel=1e-4)
    assert temperature != 1
    got = classifier.probabilities(FX[240:], tta=True)
    want = averaged(raw, FX[240:])
    np.testing.assert_array_equal(got.argmax(1), want.argmax(1))
    np.testing.assert_allclose(got, softmax(np.log(want) / temperature, axis=1), atol=1e-5)


@pytest.mark.parametrize("head", ["knn", "prototype", "ridge", "linear"])
def test_the_average_of_one_view_is_that_view(several, head):
    loss = {"loss": "sigmoid"} if head == "linear" else {}
    classifier = train_head(several, output=None, head=head, calibrate=False, **QUICK, **loss)
    x = FX[240:, :1]
    # Through a logarithm and back, in float32.
    np.testing.assert_allclose(
        classifier.probabilities(x, tta=True), classifier.probabilities(x[:, 0]), atol=1e-6
    )


def test_nothing_to_average_over(plain, several):
    says = (
        r"tta averages over the views of an image, and .*plain\.h5 holds one of each in pool; extract several"
    )
    with pytest.raises(UsageError, match=says):
        train_head(plain, output=None, tta=True)
    classifier = train_head(several, output=None, tta=True, **QUICK)
    with pytest.raises(UsageError, match=says):
        classifier.evaluate(plain)
    assert classifier.evaluate(plain, tta=False).count == 60
