"""Slices on the command line: what is extracted, trained on, scored, and what is said of those that cannot be."""

import json
from pathlib import Path

import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

from featcache import FeatureCache

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    features, labels = blobs(90)
    return feature_cache(Path("x.h5"), features, labels, ["train"] * 60 + ["test"] * 30).path


def test_extract_a_slice(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo_folder(Path("photos"), {"train/cat": 4, "train/dog": 4, "test/cat": 2})
    ran = cli("extract", "photos", "--split", "train[25%:]", "--json")
    assert ran.result["images"] == 6
    name = ran.result["cache"]
    assert name.endswith(".train-25pctto.h5")
    assert FeatureCache(name).splits == ("train",)
    planned = cli("extract", "photos", "--split", "test+train[:1]", "--dry-run", "--json")
    assert planned.result["images"] == 3
    ran = cli("extract", "photos", "--split", "tset")
    assert (ran.code, ran.out) == (2, "")
    assert "photos has no split 'tset'; did you mean 'test'" in ran.err


def test_train_on_a_slice_and_evaluate_another(cli, cache):
    own = ["--train", "train[:80%]", "--val", "train[80%:]", "--test", "test[:10]", "--head", "ridge"]
    result = cli("train-head", cache, *own, "--json").result
    assert result["training"]["selection"] | {"val_fraction": 0.2, "seed": 0} == {
        "train": "train[:80%]", "val": "train[80%:]", "test": "test[:10]", "group_by": None, "val_fraction": 0.2,
        "seed": 0, "shuffle_slices": False,
    }  # fmt: skip
    assert (result["metrics"]["val"]["count"], result["metrics"]["test"]["count"]) == (12, 10)
    scored = cli("evaluate", "classifier", "--split", "test[:10]", "--json").result
    assert scored["accuracy"] == result["metrics"]["test"]["accuracy"]
    assert cli("evaluate", "classifier", "--split", "test[50%:]", "--json").result["count"] == 15
    ran = cli("evaluate", "classifier", "--split", "test[:99]")
    assert ran.code == 2
    assert "x.h5 has no rows 'test[:99]': of test, which has 30 rows, asked for are 0 to 99" in ran.err


def test_sweep_a_slice(cli, cache):
    own = [
        "--train",
        "all[:50%]",
        "--val",
        "[50%:70%]",
        "--test",
        "[70%:]",
        "--head",
        "ridge",
        "--l2",
        "1,10",
    ]
    result = cli("sweep", cache, *own, "--json").result
    kept = json.loads(Path("sweep/classifier/classifier.json").read_text())
    assert result["heads"] == 2
    assert (kept["metrics"]["val"]["count"], kept["metrics"]["test"]["count"]) == (18, 27)
    training = kept["training"]
    assert (training["selection"]["train"], training["validation"]) == ("all[:50%]", "18 validation rows")


def test_parts_that_share_rows_are_refused(cli, cache):
    ran = cli("train-head", cache, "--train", "all[:80%]")
    assert (ran.code, ran.out) == (2, "")
    assert "12 of the 30 test rows (test) are train rows (all[:80%]) too (test/60.jpg" in ran.err
    assert "the cache's own test split is taken unless --test says another slice, or none" in ran.err
    assert cli("train-head", cache, "--train", "all[:80%]", "--test", "none", "--head", "ridge").code == 0


def test_a_group_is_held_out_whole(cli, cache):
    ran = cli("train-head", cache, "--group-by", r"/(\d)", "--head", "ridge", "--json")
    assert ran.result["training"]["validation"] == "0.2 of train, stratified, whole groups, seed 0"
