"""Split lists: Food-101 as it is unpacked, lists in the style of Caffe, and what is refused."""

import os

import pytest
from helpers.split_lists import lay_out, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.datasets import open_dataset
from featcache.errors import DataError, MissingFileError

IMAGES = "images/pie/1.jpg images/pie/2.jpg images/soup/3.jpg images/soup/4.jpg"
TRAIN, TEST = "pie/1\nsoup/3\n", "pie/2\nsoup/4\n"
RECORDS = [
    ("pie/1.jpg", "train", "pie"),
    ("soup/3.jpg", "train", "soup"),
    ("pie/2.jpg", "test", "pie"),
    ("soup/4.jpg", "test", "soup"),
]


# Layouts ----------------------------------------------------------------------------------------------------


def test_food_101_as_it_is_unpacked(tmp_path):
    """The archive's own files: lists and classes as text and JSON, display names, a licence."""
    spec = lay_out(
        tmp_path / "food-101",
        f"{IMAGES} license_agreement.txt README.txt meta/train.json meta/test.json",
        meta__train=TRAIN,
        meta__test=TEST,
        meta__classes="pie\nsoup\n",
        meta__labels="Apple pie\nMiso soup\n",
    )
    found = open_dataset(spec)
    assert rows(found) == RECORDS
    assert (found.spec, found.name, found.classes, found.skipped) == (spec, "food-101", ("pie", "soup"), {})
    first = found.records[0]
    status = (tmp_path / "food-101" / "images" / "pie" / "1.jpg").stat()
    assert (first.read(), first.size, first.mtime_ns) == (b"images/pie/1.jpg", 16, status.st_mtime_ns)


def test_the_order_of_classes_is_that_of_the_file(tmp_path):
    spec = lay_out(tmp_path, IMAGES, meta__train=TRAIN, meta__test=TEST, meta__classes="soup\n\npie\n")
    assert open_dataset(spec).classes == ("soup", "pie")


def test_without_a_file_of_classes_they_are_in_natural_order(tmp_path):
    spec = lay_out(tmp_path, "images/c10/a.jpg images/c2/b.jpg", meta__train="c10/a\nc2/b\n")
    assert open_dataset(spec).classes == ("c2", "c10")


@pytest.mark.parametrize(
    ("name", "split"),
    [("val", "val"), ("validation", "val"), ("valid", "val"), ("dev", "val"), ("testing", "test")],
)
def test_names_of_lists(tmp_path, name, split):
    spec = lay_out(tmp_path, IMAGES, **{"meta__train": TRAIN, f"meta__{name}": TEST, "meta__notes": "x"})
    assert open_dataset(spec).splits == ("train", split)


def test_lists_at_the_top_with_labels(tmp_path):
    spec = lay_out(
        tmp_path, "a/1.jpg a/2.png b/3.jpg", train="a/1.jpg 10\na/2.png\t9\n", val="b/3.jpg   9\r\n"
    )
    found = open_dataset(spec)
    assert rows(found) == [("a/1.jpg", "train", "10"), ("a/2.png", "train", "9"), ("b/3.jpg", "val", "9")]
    assert found.classes == ("9", "10")


@pytest.mark.parametrize(("start", "numbers"), [(0, "012"), (1, "123")])
def test_numbers_are_places_in_the_file_of_classes(tmp_path, start, numbers):
    lines = [f"{name}.jpg {number}" for name, number in zip("abc", numbers, strict=True)]
    spec = lay_out(
        tmp_path, "a.jpg b.jpg c.jpg", train="\n".join(lines[:2]), test=lines[2], classes="pie\nsoup\nbread\n"
    )
    found = open_dataset(spec)
    assert [name for _, _, name in rows(found)] == ["pie", "soup", "bread"]
    assert found.classes == ("pie", "soup", "bread")


def test_classes_that_are_numbers_are_names(tmp_path):
    spec = lay_out(tmp_path, "a.jpg b.jpg", train="a.jpg 1\nb.jpg 0\n", classes="1\n0\n")
    assert [name for _, _, name in rows(open_dataset(spec))] == ["1", "0"]


def test_images_below_the_folder_itself_are_found_where_images_has_none(tmp_path):
    spec = lay_out(tmp_path, "images/pie/1.jpg train/soup/2.jpg", train="pie/1.jpg\ntrain/soup/2.jpg\n")
    assert [name for _, _, name in rows(open_dataset(spec))] == ["pie", "soup"]


def test_names_may_hold_spaces_and_dots(tmp_path):
    root = tmp_path
    for name in ("my pie/v1.2 of 3.jpg", "my pie/v1.2 of 3.5.jpg", "soup/a b.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    spec = lay_out(root, "", train="my pie/v1.2 of 3\nmy pie/v1.2 of 3.5\nsoup/a b.jpg\n")
    assert [name for name, *_ in rows(open_dataset(spec))] == [
        "my pie/v1.2 of 3.jpg",
        "my pie/v1.2 of 3.5.jpg",
        "soup/a b.jpg",
    ]


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\."), min_size=1
)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.tuples(WORDS, WORDS), st.booleans(), min_size=1, max_size=6))
def test_odd_names_come_back(tmp_path_factory, images):
    """Against names written by themselves: any alphabet, with and without suffix."""
    root = tmp_path_factory.mktemp("odd")
    images = {(f"{folder[:20]}", name[:20]): suffix for (folder, name), suffix in images.items()}
    images |= {("one", "x"): True, ("two", "x"): True}
    for folder, name in images:
        (root / "images" / folder).mkdir(parents=True, exist_ok=True)
        (root / "images" / folder / f"{name}.jpg").touch()
    lines = [f"{folder}/{name}{'.jpg' * suffix}" for (folder, name), suffix in images.items()]
    (root / "train.txt").write_text("\n".join(lines), "utf-8")
    found = open_dataset(f"lists:{root}")
    assert rows(found) == [(f"{folder}/{name}.jpg", "train", folder) for folder, name in images]


# Left out ---------------------------------------------------------------------------------------------------


def test_entries_without_a_file_and_classes_without_images_are_counted(tmp_path):
    spec = lay_out(
        tmp_path,
        IMAGES,
        meta__train=TRAIN + "pie/9\n../../../../etc/passwd\n",
        meta__test=TEST + "stew/1\n" + "x" * 5000,
        meta__classes="bread\npie\nsoup\nstew\n",
    )
    found = open_dataset(spec)
    assert rows(found) == RECORDS
    assert found.classes == ("pie", "soup")
    assert found.skipped == {
        "in a list, without a file": 4,
        "classes without images (bread, stew)": 2,
    }


def test_only_images_by_their_name_are_taken(tmp_path):
    spec = lay_out(tmp_path, IMAGES + " images/pie/1.txt images/pie/5.xml", meta__train=TRAIN + "pie/5\n")
    found = open_dataset(spec)
    assert [name for name, *_ in rows(found)] == ["pie/1.jpg", "soup/3.jpg"]
    assert found.skipped == {"in a list, without a file": 1}


# Refusals ---------------------------------------------------------------------------------------------------

FLAT = "a.jpg b.jpg c.jpg"

BAD = {
    "no lists": (
        IMAGES,
        {"notes": "x"},
        r"holds no split lists; expected meta/train\.txt and meta/test\.txt beside",
    ),
    "empty lists": (
        IMAGES,
        {"train": "\n", "test": ""},
        r"/train\.txt, .*/test\.txt: no entries; expected a line",
    ),
    "no files": (
        "images/x/1.jpg",
        {"train": "pie/1\npie/2\n"},
        r"train\.txt: not one of 2 entries has a file below .*/images or /",
    ),
    "no label": (
        FLAT,
        {"train": "a.jpg\n"},
        r"train\.txt, line 1: 'a\.jpg' has no label and is in no folder",
    ),
    "some labels": (
        IMAGES,
        {"train": "pie/1\n\nsoup/3 7\n"},
        r"train\.txt, line 3 has a label and .*train\.txt, line 1 has none; write one in every line",
    ),
    "two suffixes": (
        IMAGES + " images/pie/1.png",
        {"train": TRAIN},
        r"'pie/1' in a list can mean '1\.jpg' or '1\.png' in .*/images/pie; write the suffix too",
    ),
    "in two lists": (
        IMAGES,
        {"train": TRAIN, "test": "pie/2\nsoup/3.jpg\n"},
        r"'soup/3\.jpg' has split 'train' in .*train\.txt, line 2 and 'test' in .*test\.txt, line 2",
    ),
    "unknown class": (
        IMAGES,
        {"train": TRAIN, "classes": "pie\nsoups\n"},
        r"train\.txt, line 2: class 'soup' is not in .*classes\.txt; did you mean 'soups'",
    ),
    "number too large": (
        FLAT,
        {"train": "a.jpg 0\nb.jpg 2\n", "classes": "pie\nsoup\n"},
        r"train\.txt, line 2: label 2, but .*classes\.txt names 2 classes: expected 0 to 1, or 1 to 2",
    ),
    "class twice": (
        IMAGES,
        {"train": TRAIN, "classes": "pie\nsoup\npie\n"},
        r"classes\.txt names the class 'pie' twice",
    ),
    "one class": (
        IMAGES,
        {"train": "pie/1\npie/2\n"},
        r"holds one class \(pie\); a classifier needs at least two",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_place(tmp_path, case):
    files, lists, says = BAD[case]
    with pytest.raises(DataError, match=says):
        open_dataset(lay_out(tmp_path, files, **lists))


def test_lists_that_are_no_text_files(tmp_path):
    with pytest.raises(MissingFileError, match=r"no folder .*nowhere; expected meta/train\.txt"):
        open_dataset(f"lists:{tmp_path / 'nowhere'}")
    spec = lay_out(tmp_path, IMAGES)
    (tmp_path / "train.txt").write_bytes(b"pie/1\ncaf\xe9/2\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2 is not UTF-8 \(byte 0xe9 at position 4\)"):
        open_dataset(spec)
    (tmp_path / "train.txt").unlink()
    os.mkfifo(tmp_path / "train.txt")
    with pytest.raises(DataError, match=r"train\.txt is a FIFO; expected a split list"):
        open_dataset(spec)
