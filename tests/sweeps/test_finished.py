"""What is read of a finished sweep: everything that it wrote, or what is wrong with it."""

import json
import shutil

import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import sweep
from featcache.errors import IntegrityError, MissingFileError
from featcache.sweeps.finished import read_sweep


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    features, labels = blobs(60)
    cache = feature_cache(root / "own.h5", features, labels, ["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    return sweep(cache, head="prototype,ridge", l2=(0.1, 1.0), output=root / "sweep")


@pytest.fixture
def folder(finished, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(finished.folder, tmp_path / "sweep")


def test_everything_that_was_written_is_read(finished):
    found = read_sweep(finished.folder)
    assert found.summary == json.loads(json.dumps(finished.to_json()))
    assert len(found.lines) == finished.heads == 3
    assert (found.damaged, found.classifier) == ((), finished.classifier)


def test_a_sweep_that_has_moved_finds_its_own_classifier(finished, folder):
    assert read_sweep(folder).classifier == folder / "classifier"
    shutil.rmtree(folder / "classifier")
    assert finished.classifier.is_dir()
    assert read_sweep(folder).classifier is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"leaderboard": [{}]}, r"leaderboard\[0\]\.cache is missing"),
        ({"chosen": 3}, r"chosen is 3, expected"),
        ({"shots": []}, r"shots is a list of 0, expected"),
        ({"heads": "three"}, r"heads is 'three', expected"),
        ({"format": 9}, r"format is 9, expected"),
    ],
)
def test_a_damaged_summary_is_told(folder, change, said):
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(
        IntegrityError, match=rf"summary\.json is damaged: {said}.*; run the same featcache sweep"
    ):
        read_sweep(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("test", {"mean": 1.0, "count": 10}, r"chosen\.test\.interval is missing"),
        (
            "test",
            {"mean": [1], "count": 10, "interval": [0, 1]},
            r"chosen\.test\.mean is a list of 1, expected",
        ),
        (
            "test",
            {"mean": 1.0, "count": 10, "interval": [0, "1"]},
            r"chosen\.test\.interval\[1\] is '1', expected",
        ),
        ("contenders", [{}], r"chosen\.contenders\[0\]\.cache is missing"),
    ],
)
def test_a_damaged_choice_is_told(folder, key, value, said):
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["chosen"][key] = value
    path.write_text(json.dumps(summary))
    with pytest.raises(IntegrityError, match=rf"summary\.json is damaged: {said}"):
        read_sweep(folder)


def test_damaged_lines_are_counted_and_left_as_they_are(folder):
    path = folder / "results.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first.replace('"backbone": "m', '"backbone": "n'), *others]) + "\n")
    before = path.read_bytes()
    found = read_sweep(folder)
    assert (len(found.lines), found.damaged) == (2, (1,))
    assert path.read_bytes() == before


def test_one_that_is_not_finished_is_told(folder):
    (folder / "summary.json").unlink()
    with pytest.raises(
        MissingFileError, match=r"is not finished \(no summary\.json\); run the same featcache sweep"
    ):
        read_sweep(folder)
