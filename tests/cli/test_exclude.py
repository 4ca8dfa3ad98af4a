"""``--exclude`` from the list to what is printed, of every command that takes it."""

import json
from pathlib import Path

import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import FeatureCache

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> FeatureCache:
    monkeypatch.chdir(tmp_path)
    features, labels = blobs(90)
    cache = feature_cache(Path("x.h5"), features, labels, ["train"] * 60 + ["test"] * 30)
    Path("list.csv").write_text("id,reason\n" + "".join(f"{cache.ids[row]},dark\n" for row in (3, 14, 61)))
    return cache


def test_a_list_from_training_to_scoring(cli, cache):
    ran = cli("train-head", cache.path, "--exclude", "list.csv", "--head", "ridge", "--l2", "1")
    assert "  left out    3 photos by a list: " in ran.out
    assert "1 test" in ran.out
    assert "test photos, too: the score is of those that are left, and cannot be compared with one" in ran.err
    kept = json.loads(Path("classifier/classifier.json").read_text())["training"]
    assert kept["selection"]["exclude"] == [cache.ids[row] for row in (3, 14, 61)]
    ran = cli("evaluate", "classifier")
    assert "1 of 30 photos are left out, as they were of its training" in ran.out + ran.err
    assert cli("evaluate", "classifier", "--exclude", "none", "--json").result["count"] == 30
    cli("sweep", cache.path, "--exclude", "list.csv", "--head", "ridge", "--l2", "1,10", "--json")
    kept = json.loads(Path("sweep/classifier/classifier.json").read_text())
    assert kept["metrics"]["test"]["count"] == 29


def test_a_list_of_other_photos_ends_in_one_sentence(cli, cache):
    Path("list.csv").write_text("test/61.JPG\n")
    for command in (["train-head", cache.path], ["sweep", cache.path]):
        ran = cli(*command, "--exclude", "list.csv")
        assert (ran.code, ran.out) == (3, "")
        assert (
            f"list.csv: 1 of its 1 ids are of no photo in x.h5: 'test/61.JPG' (did you mean {cache.ids[61]!r}?)"
            in (" ".join(ran.err.split()))
        )
    assert not Path("classifier").exists()


def test_the_command_does_not_replace_a_list_that_may_have_been_edited(cli, cache):
    ran = cli("audit", cache.path, "--only", "imbalance", "--exclude-list", "new.csv")
    assert ran.code == 0
    assert "new.csv: 0 photos to leave out; look at them, then: featcache train-head " in ran.err + ran.out
    Path("new.csv").write_text("train/3.jpg\n")
    ran = cli("audit", cache.path, "--only", "imbalance", "--exclude-list", "new.csv")
    assert ran.code == 2
    assert (
        "--exclude-list new.csv: it is there and may have been edited; name another file, or remove it"
        in ran.err
    )
    assert Path("new.csv").read_text() == "train/3.jpg\n"
