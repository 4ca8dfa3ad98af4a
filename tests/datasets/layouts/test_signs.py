"""What is not plain: refused with both readings, or said where images could be missed."""

import re

import pytest
from helpers.laid_out import folders, opened, options, taken

from featcache.core.argument_types import named_as_options
from featcache.datasets import open_dataset
from featcache.errors import DataError

CUT = "; choose with one of these options"
OR_SPLITS = f"{CUT}, or say which folders are splits: --splits train=FOLDER,test=OTHER"

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


def test_a_list_of_splits_beside_the_only_folder_is_not_passed_over(tmp_path):
    root = folders(tmp_path / "birds", "images/crow", "images/gull")
    (root / "train_test_split.txt").touch()
    with pytest.raises(
        DataError, match=r"birds holds one folder of images, images/, and beside it train_test_split\.txt"
    ):
        open_dataset(root)
    assert opened(root / "images")[0].classes == ("crow", "gull")
