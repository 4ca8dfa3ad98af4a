"""What ``featcache sweep`` says of features that do not fit in memory while it reads them."""

import re
from dataclasses import replace

import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache.cli.commands import sweep
from featcache.solvers.epoch_progress import EpochProgress
from featcache.sweeps.progress import SweepProgress

EPOCH = EpochProgress(heads=3, rows=800_000, epoch=2, most=100, least=3, share=0.25, seconds=43.6)


@pytest.fixture
def arguments(tmp_path):
    features, labels = blobs(240)
    feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 180 + ["val"] * 60).close()
    own = ["--lr", "0.01", "--epochs", "3", "--batch-size", "32", "--memory", "8KB"]
    return ["sweep", tmp_path / "x.h5", "-o", tmp_path / "out", "--head", "linear", *own]


def test_how_long_it_takes_is_said_once_of_each_kind_of_heads(cli, arguments, monkeypatch):
    monkeypatch.setattr(sweep._Forecast, "LONG", 0.0)
    ran = cli(*arguments)
    (said,) = (line for line in ran.err.splitlines() if "an epoch of" in line)
    assert re.match(
        r"1 linear head: an epoch of 180 rows takes about \d+ s, and there will be 3: \d+ s; then ",
        said,
    )


def test_what_takes_no_minute_is_not_said(cli, arguments):
    ran = cli(*arguments)
    assert ran.code == 0
    assert "an epoch of" not in ran.err


def test_a_forecast_says_what_takes_less():
    assert sweep.forecast("linear", EPOCH) == (
        "3 linear heads: an epoch of 800,000 rows takes about 44 s, and there will be 3 or more (at most 100): 2 min "
        "or more; then the chosen one is fitted again on all rows (not with --no-refit). Less takes less: "
        "--train 'train[:10%]' --shuffle-slices, or one --lr"
    )


def test_epochs_of_which_the_number_is_known_are_not_called_so_many_or_more():
    assert "and there will be 3: 2 min; then" in sweep.forecast("linear", replace(EPOCH, most=3))


def test_the_bar_says_which_epoch_it_is_and_what_is_fitted_again():
    told = SweepProgress(0, 3, "linear", [], ["b0"], EPOCH)
    assert sweep._doing(told) == "now: linear, 25.0 % of epoch 2 of at most 100"
    again = "now: linear, chosen and fitted again on all rows, 25.0 % of epoch 2 of at most 100"
    assert sweep._doing(replace(told, done=3)) == again
    assert sweep._doing(replace(told, epoch=None)) == "last: linear"
