"""Plain layouts: what the folders are taken for, and the exact words that a user sees."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.laid_out import folders, opened, options, taken
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.datasets.layouts.layout import Layout
from featcache.datasets.layouts.reading import read_layout
from featcache.datasets.layouts.tree import tree
from featcache.errors import DataError

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


def test_the_hint_at_names_of_split_and_class_reads_both(tmp_path):
    root = folders(tmp_path / "p", *TAKEN["split and class in one name"][0])
    data, said = opened(root, label_from="{split}_{label}/{}")
    assert taken(data) == {
        f"{split}_{label} = {split} {label}" for split in ("train", "test") for label in ("cats", "dogs")
    }
    assert said == []


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
