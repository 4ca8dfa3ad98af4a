"""Labels and splits that are published as MATLAB files: flowers, cars and dogs."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers import published_layouts
from helpers.photo_folders import save_photo
from scipy.io import savemat

from featcache import open_dataset
from featcache.errors import DataError, UsageError


def rows(spec: object) -> list[tuple[str, str, str]]:
    found = open_dataset(f"lists:{spec}")
    return [(record.id, record.split, found.classes[record.label]) for record in found.records]


@pytest.mark.filterwarnings("error::featcache.FeatcacheWarning")  # all is as published
def test_flowers_have_the_splits_and_numbers_of_the_publisher(tmp_path):
    published_layouts.oxford_flowers_of_the_publisher(tmp_path)
    assert rows(tmp_path / "flowers-102") == [
        ("jpg/image_00001.jpg", "train", "1"),
        ("jpg/image_00002.jpg", "train", "10"),
        ("jpg/image_00004.jpg", "train", "2"),
        ("jpg/image_00003.jpg", "val", "1"),
        ("jpg/image_00006.jpg", "test", "2"),
        ("jpg/image_00005.jpg", "test", "10"),
    ]


def test_cars_have_the_names_of_the_publisher(tmp_path):
    published_layouts.stanford_cars_of_the_publisher(tmp_path)
    volvo, hummer = "Volvo 240 Sedan 1993", "AM General Hummer SUV 2000"
    assert rows(tmp_path / "stanford_cars") == [
        (f"cars_{split}/{n:05d}.jpg", split, (hummer, volvo)[n % 2 == 0])
        for split in ("train", "test")
        for n in range(1, 5)
    ]


def test_test_photos_of_cars_without_labels_are_counted(tmp_path):
    published_layouts.stanford_cars_of_the_publisher(tmp_path)
    (tmp_path / "stanford_cars/cars_test_annos_withlabels.mat").unlink()
    found = open_dataset(f"lists:{tmp_path}/stanford_cars")
    assert {record.split for record in found.records} == {"train"}
    assert found.skipped == {"without labels (cars_test_annos.mat)": 4}


def test_cars_in_one_file(tmp_path):
    kinds = [("relative_im_path", object), ("class", "u1"), ("test", "u1")]
    annotations = np.array([[(f"car_ims/{n:06d}.jpg", 1 + n % 2, n > 3) for n in range(1, 6)]], kinds)
    names = np.array([["Volvo", "Hummer"]], object)
    savemat(tmp_path / "cars_annos.mat", {"annotations": annotations, "class_names": names})
    for n in range(1, 6):
        save_photo(tmp_path / f"car_ims/{n:06d}.jpg")
    assert [own[1:] for own in rows(tmp_path)] == [
        ("train", "Hummer"),
        ("train", "Volvo"),
        ("train", "Hummer"),
        ("test", "Volvo"),
        ("test", "Hummer"),
    ]


def test_dogs_have_the_classes_of_their_folders(tmp_path):
    for file, numbers in (("train_list", (1, 2)), ("test_list", (3, 4))):
        names = [f"{kind}/{kind.split('-')[0]}_{n}.jpg" for kind in ("n1-Pug", "n2-Husky") for n in numbers]
        for name in names:
            save_photo(tmp_path / "Images" / name)
        savemat(tmp_path / f"{file}.mat", {"file_list": np.array([names], object).T})
    assert rows(tmp_path)[0] == ("Images/n1-Pug/n1_1.jpg", "train", "n1-Pug")
    assert [own[1:] for own in rows(tmp_path)] == [
        (split, kind) for split in ("train", "test") for kind in ("n1-Pug", "n2-Husky") for _ in range(2)
    ]


def flowers(root: Path, **variables: object) -> Path:
    published_layouts.oxford_flowers_of_the_publisher(root)
    for name, value in variables.items():
        file, _, variable = name.partition("__")
        savemat(root / f"flowers-102/{file}.mat", {variable: value})
    return root / "flowers-102"


WRONG = {
    "an image without a label": (
        {"imagelabels__labels": np.array([[1, 2]])},
        r"setid\.mat: trnid names image 4, and .*imagelabels\.mat has 2 labels; expected numbers from 1 on$",
    ),
    "fractions": (
        {"imagelabels__labels": np.array([[1.5, 2]])},
        r"imagelabels\.mat has no whole numbers called 'labels'; known: labels$",
    ),
    "another name": (
        {"setid__train": np.array([[1, 2]])},
        r"setid\.mat has no whole numbers called 'trnid'; known: train$",
    ),
    "text": ({"imagelabels__labels": "daisy"}, r"imagelabels\.mat has no whole numbers called 'labels'"),
}


@pytest.mark.parametrize("situation", WRONG)
def test_what_is_not_as_published_is_told(tmp_path, situation):
    variables, message = WRONG[situation]
    with pytest.raises(DataError, match=message):
        open_dataset(f"lists:{flowers(tmp_path, **variables)}")


def test_images_that_are_not_there_are_counted(tmp_path):
    root = flowers(tmp_path)
    (root / "jpg/image_00004.jpg").unlink()
    found = open_dataset(f"lists:{root}")
    assert (len(found.records), found.skipped) == (5, {"in a list, without a file": 1})


def test_the_folder_alone_is_refused_with_the_spec(tmp_path):
    root = flowers(tmp_path)
    with pytest.raises(DataError, match=rf"Did you mean lists:{re.escape(str(root))}\?$"):
        open_dataset(str(root))


def test_a_matlab_file_as_a_table_is_told_what_reads_it(tmp_path):
    savemat(tmp_path / "splits.mat", {"x": 1})
    with pytest.raises(UsageError) as told:
        open_dataset(f"csv:{tmp_path}/splits.mat")
    assert (
        f"are read by lists:{tmp_path}, and other MATLAB files made a table in Python: from scipy.io import"
        in str(told.value)
    )
