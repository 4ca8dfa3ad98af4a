"""Lists that are joined by images' numbers (CUB-200-2011, NABirds), and those of Oxford's pets."""

import pytest
from helpers.split_lists import lay_out, rows

from featcache.datasets import open_dataset
from featcache.errors import DataError, FeatcacheWarning, MissingFileError

FILES = "images/001.Auk/a_1.jpg images/001.Auk/a_2.jpg images/002.Owl/o_1.jpg images/002.Owl/o_2.jpg"
LISTS = {
    "images": "1 001.Auk/a_1.jpg\n2 001.Auk/a_2.jpg\n3 002.Owl/o_1.jpg\n4 002.Owl/o_2.jpg\n",
    "image_class_labels": "1 1\n2 1\n3 2\n4 2\n",
    "classes": "1 001.Auk\n2 002.Owl\n",
    "train_test_split": "1 1\n2 0\n3 1\n4 0\n",
}


def test_cub_200_2011_as_it_is_unpacked(tmp_path):
    found = open_dataset(lay_out(tmp_path / "CUB_200_2011", f"{FILES} README bounding_boxes.txt", **LISTS))
    assert rows(found) == [
        ("001.Auk/a_1.jpg", "train", "001.Auk"),
        ("001.Auk/a_2.jpg", "test", "001.Auk"),
        ("002.Owl/o_1.jpg", "train", "002.Owl"),
        ("002.Owl/o_2.jpg", "test", "002.Owl"),
    ]
    assert (found.name, found.classes, found.skipped) == ("CUB_200_2011", ("001.Auk", "002.Owl"), {})


def test_nabirds_names_classes_in_words_and_has_some_above_those_of_the_images(tmp_path):
    found = open_dataset(
        lay_out(
            tmp_path,
            "images/0817/aa.jpg images/0900/bb.jpg",
            images="a-1 0817/aa.jpg\nb-2 0900/bb.jpg\n",
            image_class_labels="a-1 817\nb-2 900\n",
            classes="1 Owls\n2 Owls\n817 Oak Titmouse\n900 Snowy Owl (Adult male)\n",
            train_test_split="a-1 1\nb-2 0\n",
        )
    )
    assert rows(found) == [
        ("0817/aa.jpg", "train", "Oak Titmouse"),
        ("0900/bb.jpg", "test", "Snowy Owl (Adult male)"),
    ]
    assert found.skipped == {"classes without images (Owls, Owls)": 2}


def test_without_the_list_of_splits_none_is_given(tmp_path):
    found = open_dataset(
        lay_out(tmp_path, FILES, **{k: v for k, v in LISTS.items() if k != "train_test_split"})
    )
    assert {record.split for record in found.records} == {""}


def test_an_image_that_is_gone_is_counted(tmp_path):
    found = open_dataset(lay_out(tmp_path, FILES.replace(" images/002.Owl/o_2.jpg", ""), **LISTS))
    assert len(found.records) == 3
    assert found.skipped == {"in a list, without a file": 1}


def test_an_image_in_another_spelling_is_taken_and_said(tmp_path):
    lists = {**LISTS, "images": LISTS["images"].replace("002.Owl/o_2.jpg", "002.Owl/O_2.JPG")}
    with pytest.warns(
        FeatcacheWarning, match=r"1 of 4 images are written otherwise than their files"
    ) as said:
        found = open_dataset(lay_out(tmp_path, FILES, **lists))
    assert "images.txt, line 4 names '002.Owl/O_2.JPG'" in str(said[0].message)
    assert rows(found)[-1] == ("002.Owl/o_2.jpg", "test", "002.Owl")


def test_another_spelling_of_an_image_that_is_named_too_is_left_out(tmp_path):
    lists = {**LISTS, "images": LISTS["images"].replace("002.Owl/o_2.jpg", "002.Owl/O_1.JPG")}
    found = open_dataset(lay_out(tmp_path, FILES, **lists))
    assert [name for name, _, _ in rows(found)] == ["001.Auk/a_1.jpg", "001.Auk/a_2.jpg", "002.Owl/o_1.jpg"]
    assert found.skipped == {"in a list, without a file": 1}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_class_labels": "1 1\n2 1\n3 2\n"}, "has no class for the image 4 of images.txt"),
        (
            {"image_class_labels": "1 1\n2 1\n3 2\n4 3\n"},
            "labels.txt, line 4: class '3' is not in .*classes.txt",
        ),
        ({"train_test_split": "1 1\n2 0\n3 1\n"}, "does not say where the image 4 of images.txt belongs"),
        (
            {"train_test_split": "1 1\n2 0\n3 1\n4 2\n"},
            "line 4: '2'; expected 1 for an image that trains, 0 for",
        ),
        (
            {"images": "1 001.Auk/a_1.jpg\n1 001.Auk/a_2.jpg\n"},
            "line 2: the image 1 is listed twice, also in .*line 1",
        ),
        ({"classes": "1 Auk\n2 Auk\n"}, "gives the classes 1 and 2 one name, 'Auk'"),
        ({"classes": "1\n2 Owl\n"}, "line 1: '1' stands alone; expected the class's number"),
    ],
)
def test_lists_that_do_not_fit_together_are_refused_by_place(tmp_path, change, text):
    with pytest.raises(DataError, match=text):
        open_dataset(lay_out(tmp_path, FILES, **{**LISTS, **change}))


def test_no_image_at_all_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(MissingFileError, match=r"images\.txt: not one of 4 entries has a file below"):
        open_dataset(lay_out(tmp_path, "", **LISTS))


# Oxford's pets ----------------------------------------------------------------------------------------------

PETS = "images/Abyssinian_1.jpg images/Abyssinian_2.jpg images/american_bulldog_1.jpg images/american_bulldog_2.jpg"


def test_oxfords_pets_have_their_breeds_and_splits(tmp_path):
    found = open_dataset(
        lay_out(
            tmp_path,
            PETS,
            annotations__list="#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\n",
            annotations__trainval="Abyssinian_1 1 1 1\namerican_bulldog_2 2 2 1\n",
            annotations__test="Abyssinian_2 1 1 1\namerican_bulldog_1 2 2 1\n",
        )
    )
    assert {*rows(found)} == {
        ("Abyssinian_1.jpg", "train", "Abyssinian"),
        ("american_bulldog_2.jpg", "train", "american_bulldog"),
        ("Abyssinian_2.jpg", "test", "Abyssinian"),
        ("american_bulldog_1.jpg", "test", "american_bulldog"),
    }


def test_a_list_of_all_but_the_test_images_beside_those_of_its_parts_is_not_read(tmp_path):
    found = open_dataset(
        lay_out(
            tmp_path,
            PETS,
            trainval="Abyssinian_1.jpg cat\namerican_bulldog_1.jpg dog\n",
            train="Abyssinian_1.jpg cat\n",
            val="american_bulldog_1.jpg dog\n",
        )
    )
    assert rows(found) == [("Abyssinian_1.jpg", "train", "cat"), ("american_bulldog_1.jpg", "val", "dog")]
