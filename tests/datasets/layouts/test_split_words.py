"""Which names stand for a split, and which are those of classes."""

import pytest

from featcache.datasets.layouts.split_words import split_of, split_within


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train TRAINING trn training_set Training-Set trainset seg_train TrainData train_images images-train "
         "train2017 1_train train_folder img_train TrainVal train_256 dataset_train"),
        ("val", "val valid Validation dev val_set images_val validset VAL2 ValidationData val.images"),
        ("test", "test testing tst eval evaluation holdout hold_out Test Set test_data testset test1 seg_test TESTING"),
        (None, "test_negative trainA trainer contest latest validated train_test strain protest develop training_cats "
         "images a 2019 seg_pred single_prediction masks best devices rainy"),
    ],
)  # fmt: skip
def test_names_in_many_spellings(split, names):
    given = names.replace("Test Set", "Test\N{NO-BREAK SPACE}Set").split(" ")
    assert {name: split_of(name) for name in given} == dict.fromkeys(given, split)


def test_one_split_among_other_words():
    assert [split_within(name) for name in ("imagenet-train-0001", "a_val", "train_test", "contest")] == [
        "train", "val", None, None,
    ]  # fmt: skip
