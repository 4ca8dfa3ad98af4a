"""What folders are taken for: situations, each with what becomes of it and the exact words that a user sees."""

import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.core.argument_types import named_as_options
from featcache.datasets import Dataset, folder_spec, open_dataset
from featcache.datasets.layouts.layout import Layout
from featcache.datasets.layouts.reading import read_layout
from featcache.datasets.layouts.tree import tree
from featcache.errors import DataError, UsageError
from featcache.extraction.dry_run import plan_extraction
from featcache.extraction.extract import extract


def folders(root: Path, *paths: str, count: int = 2) -> Path:
    """Empty pictures: the scan goes by names and opens none of them."""
    for path in paths:
        (root / path).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / path / f"{number}.jpg").touch()
    return root


def taken(data: Dataset) -> set[str]:
    """The folder of each record with its split and class: ``train_set/a = train a``."""
    return {
        f"{record.id.rpartition('/')[0]} = {record.split} {data.classes[record.label]}"
        for record in data.records
    }


def opened(root: Path, **options) -> tuple[Dataset, list[str]]:
    """Open as a command does; returns what was said, without the dataset's path."""
    with warnings.catch_warnings(record=True) as told, named_as_options():
        warnings.simplefilter("always")
        data = open_dataset(root, **options)
    return data, [str(each.message).replace(f"{root}", "P") for each in told]


CUT = "; choose with one of these options"
OR_SPLITS = f"{CUT}, or say which folders are splits: --splits train=FOLDER,test=OTHER"

# Taken, and said ----------------------------------------------------------------------------------------------

TAKEN = {
    "sets": (
        ["training_set/a", "training_set/b", "test_set/a", "test_set/b", "single_prediction"],
        [
            "training_set/a = train a",
            "training_set/b = train b",
            "test_set/a = test a",
            "test_set/b = test b",
        ],
        "P: training_set/ is taken as train, test_set/ is taken as test "
        "(to choose: --splits train=training_set,test=test_set)",
    ),
    "a level that says the split again": (
        ["seg_train/seg_train/sea", "seg_train/seg_train/ice", "seg_test/seg_test/sea", "seg_pred/seg_pred"],
        [
            "seg_train/seg_train/sea = train sea",
            "seg_train/seg_train/ice = train ice",
            "seg_test/seg_test/sea = test sea",
        ],
        "P: seg_train/ is taken as train, seg_test/ is taken as test "
        "(to choose: --splits train=seg_train,test=seg_test)",
    ),
    "years in the names of splits": (
        ["train2017/a", "train2017/b", "val2017/a"],
        ["train2017/a = train a", "train2017/b = train b", "val2017/a = val a"],
        "P: train2017/ is taken as train, val2017/ is taken as val "
        "(to choose: --splits train=train2017,val=val2017)",
    ),
    "capitals, blanks and words before": (
        ["Train Images/a", "Train Images/b", "images_holdout/b"],
        ["Train Images/a = train a", "Train Images/b = train b", "images_holdout/b = test b"],
        "P: Train Images/ is taken as train, images_holdout/ is taken as test "
        "(to choose: --splits 'train=Train Images,test=images_holdout')",
    ),
    "a test folder beside a train folder": (
        ["train/a", "train/b", "test_data/a"],
        ["train/a = train a", "train/b = train b", "test_data/a = test a"],
        "P: train/ is taken as train, test_data/ is taken as test "
        "(to choose: --splits train=train,test=test_data)",
    ),
    "the verb": (
        ["train_set/a", "train_set/b", "validate/a", "tests/b"],
        ["train_set/a = train a", "train_set/b = train b", "validate/a = val a", "tests/b = test b"],
        "P: train_set/ is taken as train, validate/ is taken as val, tests/ is taken as test "
        "(to choose: --splits train=train_set,val=validate,test=tests)",
    ),
    "no training split": (
        ["val/a", "val/b", "test/a", "test/b"],
        ["val/a = val a", "val/b = val b", "test/a = test a", "test/b = test b"],
        "P: val/ is taken as val, test/ is taken as test (to choose: --splits val=val,test=test)",
    ),
    "a test split alone": (
        ["test/cat", "test/dog"],
        ["test/cat = test cat", "test/dog = test dog"],
        "P: test/ is taken as test (to choose: --splits test=test); for a dataset without splits, name the folder "
        "itself (P/test)",
    ),
    "splits below the classes": (
        ["rose/train", "rose/test", "lily/train", "lily/val"],
        [
            "rose/train = train rose",
            "rose/test = test rose",
            "lily/train = train lily",
            "lily/val = val lily",
        ],
        "P: in the class folders, train/ is taken as train, val/ is taken as val, test/ is taken as test "
        "(to choose: --splits train=train,val=val,test=test --classes-at 1)",
    ),
    "an archive with one folder": (
        ["archive/pets/cat", "archive/pets/dog"],
        ["archive/pets/cat =  cat", "archive/pets/dog =  dog"],
        "P: the dataset is taken from archive/pets/, the only folder of images in it (to choose: --classes-at 3)",
    ),
    "an archive with splits": (
        ["data/data/train/a", "data/data/train/b", "data/data/test/a"],
        ["data/data/train/a = train a", "data/data/train/b = train b", "data/data/test/a = test a"],
        "P: the dataset is taken from data/data/, the only folder of images in it (to choose: --classes-at 4)",
    ),
    "one folder in each split": (
        ["train/images/a", "train/images/b", "test/images/b"],
        ["train/images/a = train a", "train/images/b = train b", "test/images/b = test b"],
        "P: the class folders are taken from test/images/, train/images/ (to choose: --classes-at 3)",
    ),
    "a class that is called train": (
        ["bus", "car", "train"],
        ["bus =  bus", "car =  car", "train =  train"],
        "P: train/ is taken as a class like bus/, car/, since it holds images and no class folders "
        "(to choose: --classes-at 1)",
    ),
    "images without labels beside the classes": (
        ["cat", "dog", "test"],
        ["cat =  cat", "dog =  dog", "test =  test"],
        "P: test/ is named like a split and taken as a class; if the images in it have no labels, move it out of the "
        "dataset (to choose: --classes-at 1)",
    ),
    "classes of classes": (
        ["animal/cat", "animal/dog", "thing/cup", "thing/pen"],
        ["animal/cat =  animal", "animal/dog =  animal", "thing/cup =  thing", "thing/pen =  thing"],
        "P: animal, thing are taken as the classes, with the folders in them; if these are the classes (cat, dog, cup, "
        "pen), say --classes-at 2 (to choose: --classes-at 1)",
    ),
    "a level of images in one split": (
        ["train/images/a", "train/images/b", "test/a", "test/b"],
        ["train/images/a = train a", "train/images/b = train b", "test/a = test a", "test/b = test b"],
        "P: the class folders are taken from train/images/ (to choose: --splits train=train/images,test=test)",
    ),
    "a folder without labels beside classes": (
        ["labeled/a", "labeled/b", "unlabeled"],
        ["labeled/a =  labeled", "labeled/b =  labeled", "unlabeled =  unlabeled"],
        "P: unlabeled/ is taken as a class by its name; if the images in it have no labels, move it out of the dataset "
        "(to choose: --classes-at 1)",
    ),
    "a folder without labels in a split": (
        ["train/a", "train/b", "train/no_label", "test/a"],
        ["train/a = train a", "train/b = train b", "train/no_label = train no_label", "test/a = test a"],
        "P: train/no_label/ is taken as a class by its name; if the images in it have no labels, move it out of the "
        "dataset (to choose: --classes-at 2)",
    ),
    "pictures and their masks": (
        ["images", "masks"],
        ["images =  images", "masks =  masks"],
        "P: images/, masks/ are taken as the classes; if masks/ belongs to the pictures beside it, as masks do, there "
        "are no classes here (to choose: --classes-at 1)",
    ),
    "split and class in one name": (
        ["train_cats", "train_dogs", "test_cats", "test_dogs"],
        [f"{name} =  {name}" for name in ("train_cats", "train_dogs", "test_cats", "test_dogs")],
        "P: test_cats/, test_dogs/, train_cats/, train_dogs/ are taken as the classes, with the names of splits in "
        "theirs; if these are splits, say --label-from '{split}_{label}/{}' (to choose: --classes-at 1)",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_plain_layouts_are_taken_and_said(tmp_path, name):
    paths, expected, words = TAKEN[name]
    data, said = opened(folders(tmp_path / "p", *paths))
    assert (taken(data), said) == ({*expected}, [words])


@pytest.mark.parametrize("name", TAKEN)
def test_what_a_message_says_chooses_the_same_in_silence(tmp_path, name):
    root = folders(tmp_path / "p", *TAKEN[name][0])
    plain, said = opened(root)
    (choice,) = re.findall(r"\(to choose: ([^)]*)\)", said[0])
    chosen, said = opened(root, **options(choice))
    assert said == []
    assert [(r.id, r.split, r.label) for r in chosen.records] == [
        (r.id, r.split, r.label) for r in plain.records
    ]
    assert chosen.classes == plain.classes
    again, said = opened(Path(chosen.spec))  # as the cache and its heads name it
    assert (taken(again), again.spec, said) == (taken(chosen), chosen.spec, [])


def options(text: str) -> dict[str, str | int]:
    """Read options as a shell and the command would."""
    words = iter(shlex.split(text))
    read = {word.removeprefix("--").replace("-", "_"): next(words) for word in words}
    return {key: int(value) if key == "classes_at" else value for key, value in read.items()}


# What is left out, or not there, and could be missed -----------------------------------------------------------

BESIDE = {
    "an old test folder": (
        ["train/a", "train/b", "test_old/a", "test_old/b"],
        "P: test_old/ is left out, 4 images in folders of the same names as the classes; --splits "
        "train=train,test=test_old takes it, too (to choose: --splits train=train)",
        8,
    ),
    "a second test folder": (
        ["train/a", "train/b", "test/a", "test_2/a"],
        "P: test_2/ is left out, 2 images in folders of the same names as the classes; --splits "
        "train=train,test=test,test=test_2 takes it, too (to choose: --splits train=train,test=test)",
        8,
    ),
    "extra photos": (
        ["Training/a", "Training/b", "Validation/a", "Extra/a", "Extra/b"],
        "P: Extra/ is left out, 4 images in folders of the same names as the classes; --splits "
        "train=Training,train=Extra,val=Validation takes it, too (to choose: --splits "
        "train=Training,val=Validation)",
        10,
    ),
    "several, one of them below its own name": (
        ["train/a", "train/b", "new photos/images/a", "new photos/images/b", "more/a"],
        "P: more/, new photos/ are left out, 6 images in folders of the same names as the classes; --splits "
        "'train=train,train=more,train=new photos' takes them, too (to choose: --splits train=train)",
        10,
    ),
    "splits that are said": (
        ["train_set/a", "train_set/b", "test_set/a", "old_test/a"],
        "P: train_set/ is taken as train, test_set/ is taken as test (to choose: --splits "
        "train=train_set,test=test_set); old_test/ is left out, 2 images in folders of the same names as the "
        "classes; --splits train=train_set,test=test_set,test=old_test takes it, too",
        8,
    ),
    "below an archive's folder": (
        ["data/train/a", "data/train/b", "data/extra/b"],
        "P: data/extra/ is left out, 2 images in folders of the same names as the classes; --splits "
        "train=data/train,train=data/extra takes it, too (to choose: --splits train=data/train)",
        6,
    ),
    "a lone training folder": (
        ["train/a", "train/b"],
        "P: train/ is taken as train (to choose: --splits train=train); for a dataset without splits, name the folder "
        "itself (P/train)",
        0,
    ),
    "a lone training folder below its name": (
        ["seg_train/a", "seg_train/b"],
        "P: seg_train/ is taken as train (to choose: --splits train=seg_train); for a dataset without splits, name the "
        "folder itself (P/seg_train)",
        0,
    ),
    "a lone training folder beside photos without labels": (
        ["seg_train/a", "seg_train/b", "seg_pred"],
        "P: seg_train/ is taken as train (to choose: --splits train=seg_train); for a dataset without splits, name the "
        "folder itself (P/seg_train)",
        0,
    ),
}
"""Folders, what is said, and how many images there are with what the message offers to take."""


@pytest.mark.parametrize("name", BESIDE)
def test_what_could_be_missed_is_said_and_each_option_works(tmp_path, name):
    paths, words, all_images = BESIDE[name]
    root = folders(tmp_path / "p", *paths)
    plain, said = opened(root)
    assert said == [words]
    (choice,) = re.findall(r"\(to choose: ([^)]*)\)", words)
    chosen, said = opened(root, **options(choice))
    assert (taken(chosen), said) == (taken(plain), [])
    for more in re.findall(r"; (--splits .*) takes", words):
        whole, said = opened(root, **options(more))
        assert (len(whole.records), whole.classes, said) == (all_images, plain.classes, [])
    for folder in re.findall(r"itself \(P/([^)]*)\)", words):
        assert {record.split for record in opened(root / folder)[0].records} == {""}


@pytest.mark.parametrize(
    "paths",
    [
        ["train/a", "train/b", "masks/a", "masks/b"],
        ["train/a", "train/b", "single_prediction"],
        ["train/a", "train/b", "notes/c"],
        ["train/a", "train/b", "val/a", "test/b"],
        ["train/a", "train/b", "test"],
    ],
)
def test_nothing_is_said_of_what_has_no_labels_of_these_classes(tmp_path, paths):
    assert opened(folders(tmp_path / "p", *paths))[1] == []


@pytest.mark.parametrize(
    "names",
    [
        ("train_mini", "val"), ("train_full", "test"), ("train-small", "validation"), ("my_train", "my test"),
        ("train_v2", "val_v2", "test_v2"), ("train_mini", "val", "extra"),
    ],
)  # fmt: skip
def test_published_splits_of_any_name_are_offered_and_never_lost_in_silence(tmp_path, names):
    root = folders(tmp_path / "p", *(f"{name}/{kind}" for name in names for kind in "ab"))
    with pytest.raises(DataError) as told, named_as_options():
        open_dataset(root)
    (offered,) = re.findall(r"say which folders are splits: (.*)", str(told.value))
    whole, said = opened(root, **options(offered))
    assert said == []
    assert {record.id.split("/")[0] for record in whole.records} == {*names} - {"extra"}
    assert {record.split for record in whole.records} >= {"train"}
    mixed, (words,) = opened(root, classes_at=2)  # the other option that it offers
    assert {record.split for record in mixed.records} == {""}
    (more,) = re.findall(r"drawn from all; (.*) takes them as splits", words)
    assert taken(opened(root, **options(more))[0]) == taken(whole)
    (silent,) = re.findall(r"\(to choose: ([^)]*)\)", words)
    chosen, said = opened(root, **options(silent))
    assert (taken(chosen), said) == (taken(mixed), [])


# As ever ------------------------------------------------------------------------------------------------------

AS_EVER: dict[str, tuple[list[str], list[str]]] = {
    "word in a class": (
        ["positive", "test_negative"],
        ["positive =  positive", "test_negative =  test_negative"],
    ),
    "two classes": (["control", "test"], ["control =  control", "test =  test"]),
    "valid and invalid": (["valid", "invalid"], ["valid =  valid", "invalid =  invalid"]),
    "a class in train": (
        ["train/test", "train/ok", "test/test"],
        ["train/test = train test", "train/ok = train ok", "test/test = test test"],
    ),
    "one folder in each class": (["a/images", "b/images"], ["a/images =  a", "b/images =  b"]),
    "patients": (["ill/p1", "ill/p2", "well/p3"], ["ill/p1 =  ill", "ill/p2 =  ill", "well/p3 =  well"]),
    "a new class in test": (
        ["train/a", "train/b", "test/c"],
        ["train/a = train a", "train/b = train b", "test/c = test c"],
    ),
    "domains": (["trainA", "trainB"], ["trainA =  trainA", "trainB =  trainB"]),
}


@pytest.mark.parametrize("name", AS_EVER)
def test_layouts_that_were_plain_stay_as_they_were(tmp_path, name):
    paths, expected = AS_EVER[name]
    data, said = opened(folders(tmp_path, *paths))
    assert (taken(data), said) == ({*expected}, [])
    assert data.spec == str(tmp_path)


# Left out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["train/a", "train/b", "test"], "without labels (test/)"),
        (["train/a", "train/b", "test/test"], "without labels (test/test/)"),
        (["train/a", "train/b", "test/unknown"], "without labels (test/)"),
        (["train/a", "train/b", "val/a", "Testing/test_images"], "without labels (Testing/test_images/)"),
        (["train/a", "train/b", "single_prediction"], "folder beside the splits (single_prediction/)"),
    ],
)
def test_images_without_labels_are_left_out_by_name_and_no_class(tmp_path, paths, why):
    data, said = opened(folders(tmp_path, *paths))
    assert (data.classes, said) == (("a", "b"), [])
    assert data.skipped == {why: 1 if "beside" in why else 2}


# Refused ------------------------------------------------------------------------------------------------------

REFUSED = {
    "years": (
        ["2019/a", "2019/b", "2020/a", "2020/b"],
        "P: the folders 2019/, 2020/ hold folders of the same names (a, b), so the classes may be 2019, 2020 "
        "(--classes-at 1) or a, b (--classes-at 2)" + OR_SPLITS,
    ),
    "sites that lack some classes": (
        ["north/a", "north/b", "south/a", "south/b", "south/c", "west/b", "west/c"],
        "P: the folders north/, south/, west/ hold folders of the same names (a, b, c), so the classes may be north, "
        "south, west (--classes-at 1) or a, b, c (--classes-at 2)" + OR_SPLITS,
    ),
    "years in a split": (
        ["train/2019/a", "train/2019/b", "train/2020/a", "train/2020/b"],
        "P: the folders train/2019/, train/2020/ hold folders of the same names (a, b), so the classes may be 2019, "
        "2020 (--classes-at 2) or a, b (--classes-at 3)" + OR_SPLITS,
    ),
    "sites with splits": (
        ["x/train/a", "x/train/b", "x/test/a", "y/train/a", "y/train/b", "y/test/b"],
        "P: x/, y/ hold splits (train, test), and these hold folders of the same names (a, b), so the classes may be "
        "x, y (--classes-at 1) or a, b (--classes-at 3)" + CUT,
    ),
    "splits in some classes": (
        ["a", "a/train", "a/test", "b/train", "b/test"],
        "P: a/, b/ hold folders named like splits (train, test), but a/ hold images outside of such folders. Either "
        "only what lies in these folders is the dataset (--splits train=train,test=test --classes-at 1), or they are "
        "part of their class like all other folders (--splits none --classes-at 1)" + CUT,
    ),
    "a test split beside its classes": (
        ["cat", "dog", "test/cat", "test/dog"],
        "P: test/ is named like a split and holds folders of the same names as those beside it (cat, dog). Either it "
        "is the test split of these classes (--splits train=.,test=test), or it is a class of its own (--classes-at 1)"
        + CUT,
    ),
    "splits without class folders": (
        ["training_set", "test_set"],
        "P: test_set/, training_set/ are named like splits and hold images, but no class folders. Either their images "
        "have no labels, and these have to come from elsewhere, such as a table (csv:TABLE), or the folders are "
        "classes (--classes-at 1)",
    ),
    "runs": (
        ["test1/a", "test1/b", "test2/a", "test2/b"],
        "P: the folders test1/, test2/ hold folders of the same names (a, b), so the classes may be test1, test2 "
        "(--classes-at 1) or a, b (--classes-at 2)" + OR_SPLITS,
    ),
    "domains that hold a level of images": (
        ["amazon/images/bike", "amazon/images/mug", "dslr/images/bike", "dslr/images/mug"],
        "P: the folders amazon/, dslr/ hold folders of the same names (bike, mug), so the classes may be amazon, dslr "
        "(--classes-at 1) or bike, mug (--classes-at 3)" + OR_SPLITS,
    ),
    "words of splits in names of another kind": (
        ["my train/a", "my train/b", "my test/a"],
        "P: the folders my test/, my train/ hold folders of the same names (a), so the classes may be my test, my "
        f"train (--classes-at 1) or a (--classes-at 2){CUT}, or say which folders are splits: "
        "--splits 'train=my train,test=my test'",
    ),
    "several splits beside their classes": (
        ["cat", "dog", "val/cat", "val/dog", "test/cat", "test/dog"],
        "P: test/, val/ are named like splits and hold folders of the same names as those beside them (cat, dog). "
        "Either they are splits of these classes (--splits train=.,val=val,test=test), or they are classes of their "
        "own (--classes-at 1)" + CUT,
    ),
    "a split one level further down than the other": (
        ["data/train/a", "data/train/b", "data_test/a"],
        "P: data/train/ is named like a split and holds folders (a, b). Either these are the classes (--splits "
        "train=data/train,test=data_test), or the classes are data, data_test (--splits none --classes-at 1)"
        + CUT,
    ),
    "two datasets side by side": (
        ["dogs/train/boxer", "dogs/train/pug", "cats/train/manx"],
        "P: cats/train/, dogs/train/ are named like a split and hold folders (boxer, manx, pug). Either these are the "
        "classes (--splits train=cats/train,train=dogs/train), or the classes are cats, dogs (--splits none "
        "--classes-at 1)" + CUT,
    ),
    "an archive unpacked into its own folder": (
        ["train/cat", "train/dog", "train/train/cat", "train/train/dog"],
        "P: train/train/ is named like a split and holds folders of the same names as those beside it (cat, dog). "
        "Either these are the classes, and the others a copy (--splits train=train/train), or it is a class like them "
        f"(--classes-at 2){CUT}, or move the copy away",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_plain_is_refused_with_both_readings(tmp_path, name):
    paths, words = REFUSED[name]
    root = folders(tmp_path / "p", *paths)
    with pytest.raises(DataError) as told, named_as_options():
        open_dataset(root)
    assert str(told.value).replace(str(root), "P") == words


@pytest.mark.parametrize("name", REFUSED)
def test_each_reading_can_be_chosen_and_they_differ(tmp_path, name):
    paths, words = REFUSED[name]
    root = folders(tmp_path / "p", *paths)
    readings = [taken(opened(root, **options(text))[0]) for text in re.findall(r"\((--[^)]*)\)", words)]
    assert len(readings) == (1 if name == "splits without class folders" else 2)
    assert all(readings)
    assert len({frozenset(reading) for reading in readings}) == len(readings)


def test_the_hint_at_names_of_split_and_class_reads_both(tmp_path):
    root = folders(tmp_path / "p", *TAKEN["split and class in one name"][0])
    data, said = opened(root, label_from="{split}_{label}/{}")
    assert taken(data) == {
        f"{split}_{label} = {split} {label}" for split in ("train", "test") for label in ("cats", "dogs")
    }
    assert said == []


def test_a_list_of_splits_beside_the_only_folder_is_not_passed_over(tmp_path):
    root = folders(tmp_path / "birds", "images/crow", "images/gull")
    (root / "train_test_split.txt").touch()
    with pytest.raises(
        DataError, match=r"birds holds one folder of images, images/, and beside it train_test_split\.txt"
    ):
        open_dataset(root)
    assert opened(root / "images")[0].classes == ("crow", "gull")


# Options ------------------------------------------------------------------------------------------------------


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


# Properties ---------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "Train", "test", "val_set", "images", "2019", "unknown", "none"])


@settings(max_examples=60)
@given(st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), min_size=1, max_size=8, unique=True))
def test_every_tree_is_taken_once_or_refused(paths: Sequence[str]):
    refused = ""
    try:
        layout = read_layout(tree(dict.fromkeys(paths, 3)), "P")
    except DataError as error:
        layout, refused = Layout((), ()), str(error)
    assert not refused or "classes_at" in refused
    parts = [part.path for part in layout.parts]
    assert len({*parts}) == len(parts)
    assert not any(one.startswith(f"{other}/") for one in parts for other in parts)
    assert len({part.split == "" for part in layout.parts}) <= 1


def test_a_spec_is_left_alone_without_options():
    assert folder_spec("photos") == "photos"


# Classes that people take for one -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("Daisy", "daisy", "'Daisy' and 'daisy'"),
        ("caf\u00e9", "cafe\u0301", r"'caf\xe9' and 'cafe\u0301'"),
        ("rose ", "rose", "'rose ' and 'rose'"),
    ],
)
def test_class_folders_that_differ_in_case_or_form_are_named_as_pairs(tmp_path, one, other, words):
    data, said = opened(folders(tmp_path / "p", f"train/{one}", "train/lily", f"test/{other}"))
    assert len(data.classes) == 3
    assert len(said) == 1
    assert "P: classes '" in said[0]
    assert (
        "differ only in case, blanks or the form of their letters; if they are one, write it the same"
        in said[0]
    )
    assert {*re.findall(r"'[^']*'", said[0])} == {*re.findall(r"'[^']*'", words)}
