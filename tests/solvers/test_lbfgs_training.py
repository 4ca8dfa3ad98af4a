"""L-BFGS over all rows as an optimiser: the optimum of scikit-learn, heads together as alone, what it refuses."""

import numpy as np
import pytest
from helpers.feature_caches import blobs
from sklearn.linear_model import LogisticRegression

from featcache.errors import UsageError
from featcache.heads.feature_table import ArrayTable, FeatureRows, StreamedTable
from featcache.heads.settings import Settings
from featcache.solvers.fit import fit_heads
from featcache.sweeps.trials import configurations, read_axes

X, Y = blobs(300, 12)
VX, VY = blobs(90, 12, seed=1)


def part(x: np.ndarray, y: np.ndarray, heads: int) -> FeatureRows:
    return FeatureRows(ArrayTable(x), y, np.ones((heads, len(y)), np.float32))


def fit(settings: list[Settings], *, val: bool = True):
    judged = (VX, VY) if val else (VX[:0], VY[:0])
    heads = len(settings)
    return fit_heads(settings, part(X, Y, heads), part(*judged, heads), classes=3)


def lbfgs(**given) -> Settings:
    return Settings(**{"optimizer": "lbfgs", "epochs": 60, "patience": 60, "scaling": "none"} | given)


def test_a_linear_head_reaches_scikit_learns_optimum():
    decays = [1e-3, 1e-1]
    fits = fit([lbfgs(weight_decay=decay) for decay in decays], val=False)
    for decay, own in zip(decays, fits, strict=True):
        # mean loss + decay/2 |W|^2 is scikit-learn's sum with C = 1 / (N decay)
        want = LogisticRegression(C=1 / (len(X) * decay), tol=1e-8, max_iter=1000).fit(X, Y)
        # Both kernels are centred over the classes at the optimum; float32 leaves four digits.
        np.testing.assert_allclose(own.parameters["kernel"], want.coef_.T, atol=2e-3)
        probable = want.predict_proba(VX)
        logits = VX @ own.parameters["kernel"] + own.parameters["bias"]
        got = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(got, probable, atol=1e-3)


@pytest.mark.slow
def test_heads_together_are_the_heads_alone_and_stop_alone():
    wanted = [
        lbfgs(head="mlp", hidden=(8,), weight_decay=decay, seed=seed, patience=2, scaling="standard")
        for decay, seed in ((0.0, 0), (1e-2, 1), (1.0, 2))
    ]
    together, alone = fit(wanted), [fit([own])[0] for own in wanted]
    assert len({own.best_epoch for own in together}) > 1
    for own, single in zip(together, alone, strict=True):
        assert own.best_epoch == single.best_epoch
        assert own.val_loss == pytest.approx(single.val_loss, rel=1e-4)


def test_the_training_loss_never_rises():
    (own,) = fit([lbfgs(head="mlp", hidden=(8,), activation="tanh", epochs=30)], val=False)
    losses = np.array(own.history["train_loss"], float)
    # A line search sees differences down to 1e-6 of the loss (featcache.solvers.lbfgs.NOISE).
    assert (np.diff(losses) <= 2e-6 * losses[:-1]).all()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("given", [{"mixup": 0.2}, {"noise": 0.1}, {"head": "mlp", "dropout": 0.5}])
def test_what_is_random_is_refused(given):
    with pytest.raises(UsageError, match="with optimizer lbfgs, whose steps are all of the same rows"):
        lbfgs(**given)


def test_features_that_do_not_fit_are_refused():
    table = StreamedTable(lambda rows: X[rows], *X.shape)
    train = FeatureRows(table, Y, np.ones((1, len(Y)), np.float32))
    with pytest.raises(UsageError, match=r"lbfgs takes all features at once.*use adam"):
        fit_heads([lbfgs()], train, part(VX, VY, 1), classes=3, memory=X.nbytes)


def test_no_head_is_swept_twice_over_what_it_does_not_know():
    axes = read_axes({"optimizer": "adam,lbfgs", "learning_rate": "1e-3,1e-2", "weight_decay": "0,1e-2"})
    found = [(own.optimizer, own.learning_rate, own.weight_decay) for own in configurations(axes)]
    assert [own for own in found if own[0] == "lbfgs"] == [("lbfgs", 3e-4, 0.0), ("lbfgs", 3e-4, 0.01)]
    assert len(found) == 6
