"""A classifier that is clearly better is not replaced silently, and is kept."""

import warnings

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, sweep, train_head
from featcache.errors import FeatcacheWarning


@pytest.fixture
def caches(tmp_path):
    """One that can be learnt, and one of the same images whose features are noise."""
    features, labels = blobs(300)
    noise = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    splits = ["train"] * 200 + ["test"] * 100
    return [
        feature_cache(tmp_path / f"{name}.h5", values, labels, splits)
        for name, values in (("good", features), ("noise", noise))
    ]


def accuracy(place):
    return Classifier.load(place).metrics["val"]["accuracy"]


def test_a_clearly_better_classifier_is_kept(caches, tmp_path):
    place = tmp_path / "head"
    good = train_head(caches[0], output=place, head="ridge")
    was = f"{100 * good.metrics['val']['accuracy']:.1f} %"
    with pytest.warns(
        FeatcacheWarning,
        match=r"on the same 39 validation rows the new classifier in .*head is clearly worse \(accuracy \d+\.\d %\) "
        rf"than the one that was there \(accuracy {was}\), which is kept as .*head\.better$",
    ):
        bad = train_head(caches[1], output=place, head="ridge")
    assert accuracy(place) == bad.metrics["val"]["accuracy"] < 0.6
    assert accuracy(tmp_path / "head.better") == good.metrics["val"]["accuracy"]
    # A better one replaces it silently, and what is kept is never written over.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_head(caches[0], output=place, head="ridge", l2=2.0)
    with pytest.warns(FeatcacheWarning, match=r"kept as .*head\.better-2$"):
        train_head(caches[1], output=place, head="ridge")
    assert accuracy(tmp_path / "head.better") == good.metrics["val"]["accuracy"]


def test_a_sweep_keeps_it_too(caches, tmp_path):
    sweep(caches[0], output=tmp_path / "out", head="ridge", l2="1")
    with pytest.warns(FeatcacheWarning, match=r"clearly worse .* kept as .*classifier\.better$"):
        sweep(caches[1], output=tmp_path / "out", head="ridge", l2="1")


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"val_fraction": 0.3}, {"train": "train[:60%]"}, {"l2": 3.0}]
)
def test_other_rows_and_small_differences_say_nothing(caches, tmp_path, change):
    train_head(caches[0], output=tmp_path / "head", head="ridge", l2=1.0)
    used = caches[0] if "l2" in change else caches[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of features that are noise; that is another warning.
        warnings.filterwarnings("ignore", "(the 5 nearest neighbours|right in)", FeatcacheWarning)
        train_head(used, output=tmp_path / "head", head="ridge", **{"l2": 1.0, **change})
    assert not (tmp_path / "head.better").exists()


def test_numbers_are_compared_by_their_error(tmp_path):
    features, _ = blobs(200)
    noise = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    targets = features[:, :1] * 2 + 1
    first, second = (
        feature_cache(
            tmp_path / f"{n}.h5", values, targets, ["train"] * 200, classes=("age",), task="numbers"
        )
        for n, values in enumerate((features, noise))
    )
    train_head(first, output=tmp_path / "head")
    with pytest.warns(
        FeatcacheWarning, match=r"clearly worse \(mae \d\.\d+\) than the one that was there \(mae 0\.0"
    ):
        train_head(second, output=tmp_path / "head")
