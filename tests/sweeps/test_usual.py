"""What a sweep does where nothing is said."""

import shutil

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache.cache import FeatureCache
from featcache.errors import DataError, FeatcacheWarning
from featcache.solvers.logistic import bytes_of_one
from featcache.splits.selection import SplitSpec
from featcache.sweeps.sweep import sweep
from featcache.sweeps.usual import FEW_ROWS, usual_folds, usual_heads

QUICK = {"learning_rate": 0.01, "epochs": 3}


def drawn(tmp_path, count: int = 60, val: int = 0):
    x, labels = blobs(count + val + 12)
    splits = ["train"] * count + ["val"] * val + ["test"] * 12
    return feature_cache(tmp_path / f"{count}-{val}.h5", x, labels, splits)


def test_folds_choose_where_a_fifth_of_few_rows_would(tmp_path):
    cache = drawn(tmp_path)
    assert usual_folds(SplitSpec(), [cache], [None]) == 5
    result = sweep(cache, output=tmp_path / "s", learning_rate=0.01, epochs=3)
    assert {entry.trials for entry in result.leaderboard} == {5}


@pytest.mark.parametrize(
    ("given", "shots"),
    [({"val": "train[:20%]"}, [None]), ({"val_fraction": 0.3}, [None]), ({}, [5, None])],
    ids=["named", "share", "shots"],
)
def test_validation_rows_choose_where_they_are_told_or_many(tmp_path, given, shots):
    assert usual_folds(SplitSpec(**given), [drawn(tmp_path)], shots) == 0


def test_a_validation_split_chooses_and_so_do_many_rows(tmp_path):
    assert usual_folds(SplitSpec(), [drawn(tmp_path, val=12)], [None]) == 0
    assert usual_folds(SplitSpec(), [drawn(tmp_path, count=FEW_ROWS + 1)], [None]) == 0
    assert usual_folds(SplitSpec(), [drawn(tmp_path, count=9)], [None]) == 0, "a fold would lack classes"


def test_kinds_that_know_what_was_said_are_tried(tmp_path):
    layers = [(drawn(tmp_path), "pool")]

    def heads(memory: int = 2**31, **axes) -> list[str]:
        return usual_heads(axes, layers, memory)

    assert heads() == heads(scaling="unit,none", head=None) == ["linear", "logistic"]
    assert heads(learning_rate="1e-3,1e-2") == ["linear"]
    assert heads(c="1,10") == ["logistic"]
    assert heads(memory=100) == ["linear"], "logistic regression reads all features at once"


@pytest.mark.slow
def test_a_sweep_tries_both_kinds(tmp_path):
    result = sweep(drawn(tmp_path), output=tmp_path / "s", epochs=3, folds=2)
    assert {entry.key.settings.head for entry in result.leaderboard} == {"linear"}, (
        "epochs are of linear heads"
    )
    result = sweep(drawn(tmp_path), output=tmp_path / "t", select="val", scaling="unit", save_best=False)
    assert {entry.key.settings.head for entry in result.leaderboard} == {"linear", "logistic"}
    assert {entry.trials for entry in result.leaderboard} == {1}


def test_a_cache_that_is_left_out_does_not_decide(tmp_path):
    """Of other images, with validation rows of its own; and one that cannot be used at all."""
    cache, other = drawn(tmp_path), drawn(tmp_path, count=40, val=12)
    x, labels = blobs(30)
    no_train = feature_cache(tmp_path / "no-train.h5", x, labels, ["test"] * 30)
    with pytest.warns(FeatcacheWarning, match="left out"):
        result = sweep([cache, copied(cache, tmp_path), other, no_train], output=tmp_path / "s", **QUICK)
    assert {entry.trials for entry in result.leaderboard} == {5}


def copied(cache: FeatureCache, tmp_path) -> FeatureCache:
    shutil.copy(cache.path, tmp_path / "copy.h5")
    return FeatureCache(tmp_path / "copy.h5")


@pytest.mark.slow
def test_logistic_heads_are_tried_where_solving_them_fits_too(tmp_path):
    cache = drawn(tmp_path)
    features = 4 * len(cache) * 12
    assert features < bytes_of_one(len(cache), 12, 3)
    assert usual_heads({}, [(cache, "pool")], 2 * features) == ["linear"]
    assert sweep(cache, output=tmp_path / "s", memory="6KiB", folds=0, save_best=False).heads == 3


def test_folds_that_find_nothing_are_told(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(30, 12)).astype(np.float32)
    cache = feature_cache(tmp_path / "x.h5", x, np.arange(30) % 6, ["train"] * 30, classes=list("abcdef"))
    result = sweep(cache, output=tmp_path / "s", **QUICK)
    assert result.choices[0].entry.accuracy < 1 / 6 + 0.05
    assert any("held-out rows, which is no better than a guess" in text for text in result.warnings)


def test_too_few_rows_to_hold_any_out_are_no_divergence(tmp_path):
    x, labels = blobs(3)
    cache = feature_cache(tmp_path / "x.h5", x, labels, ["train"] * 3)
    with pytest.raises(DataError, match="none of the 3 training rows could be held out to choose by"):
        sweep(cache, output=tmp_path / "s", **QUICK)
