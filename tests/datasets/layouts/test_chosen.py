"""Options that choose how folders are read."""

import pytest
from helpers.laid_out import folders, opened, taken

from featcache.datasets import folder_spec, open_dataset
from featcache.errors import DataError, UsageError
from featcache.extraction.dry_run import plan_extraction
from featcache.extraction.extract import extract


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"splits": "train=trainng_set,test=test_set"}, r"no folder trainng_set in .*; did you mean 'training_set'"),
        ({"splits": "training_set,test_set"}, r"'training_set,test_set': expected SPLIT=FOLDER, several with commas"),
        ({"splits": "train=test_set,test=test_set/"}, r"test_set stands in it twice; name each folder once"),
        ({"classes_at": 0}, r"classes_at 0: expected the level of the class folders, 1 for those in the dataset"),
        ({"classes_at": 7}, r"classes_at 7: no class folder of images is there.*reach down to level 2"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(tmp_path, given, says):
    root = folders(tmp_path, "training_set/a", "training_set/b", "test_set/a")
    with pytest.raises((UsageError, DataError), match=says):
        open_dataset(root, **given)


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        (
            "tain=training_set,test=test_set",
            "tain is none of train, val and test (did you mean train?): heads do not learn from such images",
        ),
        (
            "train=training_set,museum=test_set",
            "museum is none of train, val and test: heads do not learn from such images",
        ),
        ("training=training_set,holdout=test_set", None),
    ],
)
def test_splits_that_heads_do_not_know_are_said(tmp_path, splits, says):
    root = folders(tmp_path / "p", "training_set/a", "training_set/b", "test_set/a")
    data, said = opened(root, splits=splits)
    assert said == ([f"P: {says}"] if says else [])
    assert says or {record.split for record in data.records} == {"train", "test"}


def test_options_are_for_folders_that_are_not_open_yet(tmp_path):
    data = open_dataset(folders(tmp_path, "a", "b"))
    with pytest.raises(UsageError, match=r"classes_at 1: .* is open already; leave it out"):
        open_dataset(data, classes_at=1)
    with pytest.raises(UsageError, match=r"classes_at '1': it is for folders, and 'csv:t\.csv' is none"):
        open_dataset("csv:t.csv", classes_at=1)
    with pytest.raises(UsageError, match=r"classes_at '2': .* says classes_at=1 itself; leave one out"):
        open_dataset(f"{tmp_path}?classes_at=1", classes_at=2)


def test_splits_as_a_mapping_and_names_that_hold_signs(tmp_path):
    root = folders(tmp_path / "what?", "a,b/x", "a,b/y", "50%=c/x", "rest/x")
    data = open_dataset(root, splits={"train": "a,b", "exam": "50%=c"})
    assert taken(data) == {"a,b/x = train x", "a,b/y = train y", "50%=c/x = exam x"}
    assert data.skipped == {"folder beside the splits (rest/)": 1}
    assert taken(open_dataset(data.spec)) == taken(data)


def test_a_folder_whose_name_looks_like_options_is_itself(tmp_path):
    root = folders(tmp_path / "p?classes_at=2", "a", "b")
    assert taken(open_dataset(root)) == {"a =  a", "b =  b"}
    assert open_dataset(root).spec == str(root)


def test_splits_above_a_chosen_level_are_those_that_their_names_say(tmp_path):
    root = folders(tmp_path, "training_set/a", "training_set/b", "test_set/a", "extra/a", "single_prediction")
    data = open_dataset(root, classes_at=2)
    assert taken(data) == {"training_set/a = train a", "training_set/b = train b", "test_set/a = test a"}
    assert data.skipped == {"folders beside the splits (extra/, single_prediction/)": 2}


def test_an_extraction_takes_the_options(tmp_path):
    root = folders(tmp_path, "a", "b")
    with pytest.raises(UsageError, match=r"splits: no folder c in .*; known: a, b"):
        extract(root, splits={"train": "c"})
    with pytest.raises(DataError, match=r"classes_at 2: no class folder of images is there"):
        plan_extraction(root, classes_at=2)
    with pytest.raises(
        UsageError, match=r"splits given with a dataset, which has its own; they go with images="
    ):
        extract(root, splits=["train", "test"])


def test_no_folder_is_a_split_where_none_is_said(tmp_path):
    root = folders(tmp_path, "train/a", "train/b", "test/a")
    assert taken(open_dataset(root, splits="none")) == {
        "train/a =  train",
        "train/b =  train",
        "test/a =  test",
    }
    assert taken(open_dataset(root, splits="none", classes_at=2)) == {
        "train/a =  a", "train/b =  b", "test/a =  a",
    }  # fmt: skip


def test_the_folder_itself_may_be_the_training_split(tmp_path):
    root = folders(tmp_path, "cat", "dog", "test/cat")
    assert taken(open_dataset(root, splits="train=.,test=test")) == {
        "cat = train cat", "dog = train dog", "test/cat = test cat",
    }  # fmt: skip


def test_a_spec_is_left_alone_without_options():
    assert folder_spec("photos") == "photos"
