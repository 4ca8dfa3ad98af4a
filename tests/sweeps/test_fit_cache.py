"""Heads that a sweep keeps: the best within a number of bytes, and no second fit of what is there."""

import numpy as np
from helpers.feature_caches import blobs, feature_cache

from featcache.cli.commands.sweep import lines
from featcache.heads.settings import Settings
from featcache.solvers.fit import Fit
from featcache.sweeps import choice as choosing
from featcache.sweeps import sweep as sweeping
from featcache.sweeps.fit_cache import FitCache
from featcache.sweeps.trials import Trial


def trial(number: int) -> Trial:
    return Trial(0, "pool", Settings(seed=number))


def fitted(accuracy: float) -> Fit:
    return Fit({"kernel": np.zeros(25, np.float32)}, 0.0, accuracy, 1, 1, True, {})  # 100 bytes


def test_the_worst_go_first_and_a_diverged_head_is_the_worst():
    kept = FitCache(250)
    fits = {trial(k): fitted(accuracy) for k, accuracy in enumerate((0.9, float("nan"), 0.5, 0.7))}
    kept.add(fits.items())

    def missing(trials):
        return [fitted(-1) for _ in trials]

    def is_kept(k: int) -> bool:
        return kept.get([trial(k)], missing)[0] is fits[trial(k)]

    assert [is_kept(k) for k in range(4)] == [True, False, False, True]
    # Of several, all or none: they share a program.
    assert [fit.val_accuracy for fit in kept.get([trial(0), trial(2)], missing)] == [-1, -1]


def test_no_head_is_fitted_again_to_be_compared_tested_and_saved(tmp_path, monkeypatch):
    features, labels = blobs(150)
    splits = ["train"] * 90 + ["val"] * 30 + ["test"] * 30
    caches = [feature_cache(tmp_path / f"{name}.h5", features, labels, splits) for name in "ab"]
    fitted_heads = []
    real = choosing.fit_trials

    def counted(group, *rest):
        fitted_heads.extend(group)
        return real(group, *rest)

    monkeypatch.setattr(choosing, "fit_trials", counted)
    monkeypatch.setattr(sweeping, "fit_trials", counted)
    given = {"head": "prototype,ridge", "l2": "1,10", "seeds": 2}
    first = sweeping.sweep(caches, output=tmp_path / "out", **given)
    assert len(fitted_heads) == first.fitted == first.heads == 12
    text = lines(first)
    # Two backbones' heads are told apart, and of a kind what differs is named, be it a default.
    (header,) = (line for line in text if line.split()[:1] == ["val"])
    assert "backbone" in header
    assert any("l2=1 " in line + " " for line in text[text.index(header) + 1 :])
    again = sweeping.sweep(caches, output=tmp_path / "out", **given)
    assert (again.fitted, again.chosen.entry) == (0, first.chosen.entry)
    assert len(fitted_heads) > 12  # nothing was kept from then
