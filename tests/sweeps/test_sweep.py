"""Sweeps end to end on made-up features: what is fitted, resumed, chosen, looked at once, and refused."""

import json

import numpy as np
import pytest
from helpers.feature_caches import accept_any_number, blobs, feature_cache

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.errors import DataError, FeatcacheWarning, LockedError, UsageError
from featcache.sweeps.results import RESULTS, SUMMARY, Results
from featcache.sweeps.sweep import read_shots, sweep

SMALL = {"head": "linear,prototype", "learning_rate": "0.01,0.1", "epochs": 4, "batch_size": 32}
"""Three configurations in two programs."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FeatureCache:
    features, labels = blobs(240)
    splits = ["train"] * 150 + ["val"] * 45 + ["test"] * 45
    return feature_cache(tmp_path_factory.mktemp("sweep") / "a.h5", features, labels, splits)


@pytest.fixture(scope="module")
def done(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "out"
    seen = []
    result = sweep(cache, output=folder, seeds=2, on_progress=seen.append, **SMALL)
    return result, seen


def test_every_head_has_a_line_that_says_how_to_fit_it_again(done, cache):
    result, seen = done
    assert (result.heads, result.fitted) == (6, 6)
    rows = [json.loads(line) for line in (result.folder / RESULTS).read_text().splitlines()]
    assert len({row["id"] for row in rows}) == 6
    told = sorted(
        (row["head"], row["settings"].get("learning_rate"), row["seed"])
        for row in rows
        if row["head"] == "linear"
    )
    assert told == [("linear", 0.01, 0), ("linear", 0.01, 1), ("linear", 0.1, 0), ("linear", 0.1, 1)]
    for row in rows:
        assert row["fingerprint"] == cache.layers["pool"].fingerprint
        assert row["rows_sha256"] == cache.identity["rows"]["sha256"]
        assert 0 <= row["val_accuracy"] <= 1
    assert [(p.done, p.total, p.now) for p in seen] == [(4, 6, "linear"), (6, 6, "prototype")]


def test_the_best_on_validation_is_chosen_and_tested_once(done, cache):
    result, _ = done
    best = result.leaderboard[0]
    assert result.chosen.entry == best
    assert best.accuracy == max(s.accuracy for s in result.leaderboard)
    assert best.trials == 2
    test = result.chosen.test
    assert (test.count, len(test.values)) == (45, 2)
    assert test.interval[0] <= test.mean <= test.interval[1]
    assert len(result.chosen.contenders) == 2
    assert json.loads((result.folder / SUMMARY).read_text()) == result.to_json()


def test_the_chosen_head_is_saved_with_the_same_scores(done, cache):
    result, _ = done
    kept = Classifier.load(result.classifier)
    assert kept.head == result.chosen.entry.key.settings.head
    assert kept.metrics["test"]["accuracy"] == pytest.approx(result.chosen.test.values[0])
    assert kept.metrics["val"]["accuracy"] == pytest.approx(result.chosen.entry.accuracy, abs=1e-6)
    assert kept.evaluate(cache, split="test").accuracy == kept.metrics["test"]["accuracy"]


def test_a_sweep_goes_on_where_it_was_killed(done, cache, tmp_path):
    whole, _ = done
    lines = (whole.folder / RESULTS).read_bytes().splitlines(keepends=True)
    folder = tmp_path / "killed"
    folder.mkdir()
    (folder / RESULTS).write_bytes(b"".join(lines[:3]) + lines[3][:40])  # killed while writing
    result = sweep(cache, output=folder, seeds=2, **SMALL)
    assert (result.heads, result.fitted) == (6, 3)
    rows = {row["id"]: row for row in map(json.loads, (folder / RESULTS).read_text().splitlines())}
    assert rows.keys() == {json.loads(line)["id"] for line in lines}
    # Heads do not depend on which others are fitted beside them: other products, float32's last digits.
    for line in map(json.loads, lines):
        assert rows[line["id"]]["val_loss"] == pytest.approx(line["val_loss"], rel=1e-4)
    again = sweep(cache, output=folder, seeds=2, **SMALL)
    assert again.fitted == 0
    assert again.chosen.entry == result.chosen.entry


def test_two_sweeps_in_one_folder_do_not_do_everything_twice(done, cache):
    whole, _ = done
    before = {path: path.read_bytes() for path in whole.folder.iterdir() if path.is_file()}
    with (
        Results(whole.folder),
        pytest.raises(LockedError, match=r"the sweep in .*out is being written by process \d+ on .*--output"),
    ):
        sweep(cache, output=whole.folder, seeds=3, **SMALL)
    assert {path: path.read_bytes() for path in whole.folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"val_accuracy": -7.0}, r"val_accuracy is -7, expected a share of 0 to 1"),
        ({"settings": {"learning_rate": 0.04}}, r"settings is not that of the head whose name it has"),
        ({"seed": 9}, r"seed is not that of the head"),
        ({"layer": "qool"}, r"layer is not that of the head"),
        ({"best_epoch": 99}, r"best_epoch is 99, expected at most epochs_run"),
    ],
)
def test_a_damaged_line_of_an_earlier_version_is_told_and_its_head_fitted_again(
    done, cache, tmp_path, damage, says
):
    """What was fitted again is what had been there."""
    whole, _ = done
    rows = [json.loads(line) for line in (whole.folder / RESULTS).read_text().splitlines()]
    for row in rows:
        del row["checksum"]
    number = next(n for n, row in enumerate(rows) if row["head"] == "linear" and row["seed"] == 0)
    for name, value in damage.items():
        rows[number][name] = {**rows[number][name], **value} if isinstance(value, dict) else value
    (tmp_path / RESULTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(FeatcacheWarning, match=rf"line {number + 1} was damaged \({says}.*fitted again"):
        again = sweep(cache, output=tmp_path, seeds=2, save_best=False, **SMALL)
    assert (again.heads, again.fitted) == (6, 1)
    assert [own.key for own in again.leaderboard] == [own.key for own in whole.leaderboard]
    for own, other in zip(again.leaderboard, whole.leaderboard, strict=True):
        # A program of one head may add up in another order than that of six.
        assert (own.accuracy, own.loss) == pytest.approx((other.accuracy, other.loss), rel=1e-4)


def test_results_of_earlier_versions_are_read_as_before(done, cache, tmp_path):
    whole, _ = done
    rows = [json.loads(line) for line in (whole.folder / RESULTS).read_text().splitlines()]
    texts = [json.dumps({name: row[name] for name in row if name != "checksum"}) + "\n" for row in rows]
    (tmp_path / RESULTS).write_text("".join(texts))
    again = sweep(cache, output=tmp_path, seeds=2, save_best=False, **SMALL)
    assert (again.fitted, again.leaderboard) == (0, whole.leaderboard)
    assert (tmp_path / RESULTS).read_text() == "".join(texts)


def test_that_a_damaged_classifier_was_replaced_is_said(done, cache):
    whole, _ = done
    tensors = whole.folder / "classifier" / "head.safetensors"
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(
        FeatcacheWarning,
        match=r"replaced the damaged classifier of before: .*head\.safetensors is missing, damaged",
    ):
        sweep(cache, output=whole.folder, seeds=2, **SMALL)
    assert tensors.read_bytes() == content


def test_folds_use_every_row_that_is_no_test_row(cache, tmp_path):
    result = sweep(cache, output=tmp_path / "folds", folds=3, **SMALL)
    rows = [json.loads(line) for line in (tmp_path / "folds" / RESULTS).read_text().splitlines()]
    assert sorted({row["fold"] for row in rows}) == [0, 1, 2]
    assert result.leaderboard[0].trials == 3
    kept = Classifier.load(result.classifier)
    assert list(kept.metrics) == ["test"]  # no row is left that it has not learnt from
    assert kept.training["validation"] == "3 folds of 195 rows"


def test_shots_make_a_curve(cache, tmp_path):
    result = sweep(
        cache, output=tmp_path / "shots", shots="1,10,all", seeds=2, head="prototype", metric="euclidean"
    )
    assert [choice.shots for choice in result.choices] == [1, 10, None]
    one, ten, every = (choice.test.mean for choice in result.choices)
    assert one < ten <= every + 0.1


def test_several_caches_give_one_leaderboard(cache, tmp_path):
    features, labels = blobs(240, seed=0)
    noisy = features + np.random.default_rng(1).normal(0, 4, features.shape).astype(np.float32)
    splits = ["train"] * 150 + ["val"] * 45 + ["test"] * 45
    other = feature_cache(tmp_path / "noisy.h5", noisy, labels, splits, layer="block")
    result = sweep([other, cache], output=tmp_path / "two", **SMALL)
    assert {entry.key.cache for entry in result.leaderboard} == {0, 1}
    assert result.chosen.entry.key.cache == 1
    assert all(contender.entry.key.cache == 1 for contender in result.chosen.contenders)


def test_random_search_is_the_same_again(cache, tmp_path):
    given = {"head": "linear", "learning_rate": "1e-3:1e-1:log", "weight_decay": "1e-6:1e-2:log", "epochs": 2}
    first, again = (sweep(cache, output=tmp_path / name, trials=3, save_best=False, **given) for name in "ab")
    assert first.heads == 3
    assert [s.key for s in first.leaderboard] == [s.key for s in again.leaderboard]
    assert first.classifier is None


def test_shuffled_labels_are_found(tmp_path):
    features, labels = blobs(240)
    shuffled = np.random.default_rng(0).permutation(labels)
    cache = feature_cache(tmp_path / "c.h5", features, shuffled, ["train"] * 180 + ["val"] * 60)
    result = sweep(cache, output=tmp_path / "out", head="prototype", save_best=False)
    assert any("labels" in warning for warning in result.warnings)
    assert result.chosen.test is None


@pytest.mark.parametrize("memory", ["2GiB", "8KiB"], ids=["whole", "streamed"])
def test_rows_that_are_no_numbers_are_refused_by_name(tmp_path, monkeypatch, memory):
    accept_any_number(monkeypatch)
    features, labels = blobs(240)
    features[7, 3], features[9] = np.nan, np.inf
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 180 + ["val"] * 60)
    says = (
        r"2 of 180 rows of .*x\.h5, layer pool, hold NaN or infinity \(train/7\.jpg, train/9\.jpg\); extract"
    )
    with pytest.raises(DataError, match=says):
        sweep(cache, output=tmp_path / "out", head="linear", memory=memory, epochs=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"select": "test"}, "heads that are chosen by the test rows have seen them"),
        ({"select": "tst"}, "no select 'tst'; known: val, folds|no select 'tst'"),
        ({"select": "folds", "folds": 0}, "needs a number of folds; give --folds 5"),
        ({"val_fraction": 0}, "the test rows would have to choose, and their accuracy would mean nothing"),
        ({"folds": 1}, "folds 1: expected 2 or more, or 0"),
        ({"seeds": 0}, "seeds 0: expected 1 or more"),
        ({"shots": "0,5"}, "shots '0': expected numbers above 0 and 'all'"),
        ({"memory": "much"}, "memory 'much': expected an amount such as 2GiB"),
        ({"head": "linaer"}, "no head 'linaer'; did you mean 'linear'"),
        ({"learning_rate": "1e-3:1e-1:log"}, "a range without a count is for random search"),
        ({"learning_rate": "-1"}, "learning_rate -1.0: expected above 0"),
        ({"learning_rat": "1"}, "no setting 'learning_rat'; did you mean 'learning_rate'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(cache, tmp_path, given, says):
    with pytest.raises(UsageError, match=says):
        sweep(cache, output=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_something_else_is_left_alone(cache, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="exists and is no sweep; choose another place"):
        sweep(cache, output=tmp_path, **SMALL)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_more_folds_than_rows(tmp_path):
    features, labels = blobs(6)
    cache = feature_cache(tmp_path / "few.h5", features, labels, ["train"] * 6)
    with pytest.raises(DataError, match="7 folds of 6 different training images; ask for at most 6"):
        sweep(cache, output=tmp_path / "out", folds=7, head="prototype")


def test_shots_are_read_in_order():
    assert read_shots("all,10,1") == [1, 10, None]
    assert read_shots([5, "all"]) == [5, None]
    assert read_shots(3) == [3]


def test_the_images_statistics_are_a_layer_to_compare_with_not_to_sweep_over(tmp_path):
    features, labels = blobs(120)
    splits = ["train"] * 90 + ["val"] * 30
    statistics = np.random.default_rng(0).random((120, 54)).astype(np.float32)
    both = feature_cache(tmp_path / "a.h5", features, labels, splits, statistics=statistics)
    assert len(both.layers) == 2
    result = sweep(both, output=tmp_path / "out", layer="all", head="prototype", reject_accuracy=0.8)
    assert [entry.key.layer for entry in result.leaderboard] == ["pool"]
    # 30 random statistics know nothing: the floor is near a third, and the head above it.
    assert 0.1 < result.chosen.image_floor < 0.6 < result.chosen.entry.accuracy
    asked = sweep(both, output=tmp_path / "two", layer="pool,image:statistics", head="prototype")
    assert asked.heads == 2


def test_a_sweep_that_is_not_calibrated_says_so(cache, tmp_path):
    result = sweep(cache, output=tmp_path / "out", head="prototype", calibrate=False)
    kept = Classifier.load(result.classifier).calibration
    assert (kept.temperature, kept.rejection, kept.note) == (1, None, "it was not asked for")
    with pytest.raises(UsageError, match=r"reject_accuracy 1\.5: expected above 0 and below 1"):
        sweep(cache, output=tmp_path / "two", head="prototype", reject_accuracy=1.5)
    assert not (tmp_path / "two").exists()
