"""Commands on caches of several views: what is learnt from, what is averaged over, and what is said of it."""

from pathlib import Path

import pytest
from helpers.feature_caches import blobs, feature_cache

V = 3
QUICK = ("--epochs", "3", "--lr", "0.05")


@pytest.fixture
def caches(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A cache with views and one without, in the working directory."""
    monkeypatch.chdir(tmp_path)
    x, labels = blobs(150)
    splits = ["train"] * 60 + ["val"] * 60 + ["test"] * 30
    views = x[:, None].repeat(V, axis=1)
    views[:, 1] += 0.5
    views[:, 2] *= 0.8
    feature_cache(Path("views.h5"), views, labels, splits, views=V)
    feature_cache(Path("plain.h5"), x, labels, splits)
    return Path("views.h5"), Path("plain.h5")


def test_a_head_trained_and_evaluated_with_tta(cli, caches):
    ran = cli("train-head", "views.h5", "--views", 2, "--tta", *QUICK, "--output", "a")
    assert ran.code == 0, ran.err
    assert "views       learnt from 2 of 3; measured on the mean of all 3" in ran.out
    averaged = cli("evaluate", "a", "--json").result
    assert averaged["views"] == V
    trained = cli("train-head", "views.h5", "--views", 2, "--tta", *QUICK, "--output", "a", "--json").result
    assert trained["training"]["views"] == 2
    assert trained["training"]["tta"] is True
    assert averaged["loss"] == trained["metrics"]["test"]["loss"]
    assert "mean of 3 views of each image" in cli("evaluate", "a").out
    single = cli("evaluate", "a", "--no-tta", "--json").result
    assert single["views"] == 1
    assert single["loss"] != averaged["loss"]


def test_a_head_of_plain_images_says_nothing_of_views(cli, caches):
    assert "views" not in cli("train-head", "plain.h5", *QUICK, "--output", "a").out
    assert "views of each" not in cli("evaluate", "a").out


def test_a_sweep_over_views(cli, caches):
    ran = cli("sweep", "views.h5", "--head", "ridge", "--l2", "1,10", "--views", "1,3", "--output", "s")
    assert ran.code == 0, ran.err
    assert "s: 4 heads, 4 fitted now" in ran.out
    assert "views=1" in ran.out
    every = cli(
        "sweep", "views.h5", "--head", "ridge", "--l2", "1,10", "--views", "1,3", "-v", "--output", "s"
    ).out
    assert every.count("views=3") >= 2
    assert "views" not in cli("sweep", "plain.h5", "--head", "ridge", "--output", "t").out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("train-head", "plain.h5", "--views", 2), "plain.h5 holds one view, the plain one, of each image in pool"),
        (("train-head", "views.h5", "--views", 0), "views 0: expected at least 1, which is the plain image"),
        (("train-head", "plain.h5", "--tta"), "tta averages over the views of an image"),
        (("sweep", "views.h5", "--views", "1,8"), "views 8: views.h5 holds 3 views of each image in pool"),
        (("predict", "--backbone", "mobilenet_v2", "--tta", "x.png"), "--tta averages over the views"),
    ],
)  # fmt: skip
def test_views_that_are_not_there_are_refused(cli, caches, given, says):
    ran = cli(*given)
    assert ran.code == 2
    assert says in ran.err
