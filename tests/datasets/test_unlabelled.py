"""Photos without labels: every place that they may be in, and what refuses them otherwise."""

import io
import re
import tarfile

import numpy as np
import pytest
from helpers.photo_folders import photo, photo_folder, save_photo

from featcache import check_dataset, open_arrays, open_dataset
from featcache.core.argument_types import named_as_options
from featcache.errors import DataError, MissingFileError, UsageError


def flat(root):
    return str(photo_folder(root / "flat", {".": 3})), ["0.png", "1.png", "2.png"]


def nested(root):
    photo_folder(root / "deep", {"a/b": 1, "a": 1, ".": 1})
    return str(root / "deep"), ["0.png", "a/0.png", "a/b/0.png"]


def one_class(root):
    return f"folder:{photo_folder(root / 'one', {'images': 2})}", ["images/0.png", "images/1.png"]


def with_classes(root):
    return str(photo_folder(root / "set", {"train/cat": 1, "test/dog": 1})), [
        "test/dog/0.png",
        "train/cat/0.png",
    ]


def table(root):
    photo_folder(root, {"img": 2})
    (root / "t.csv").write_text("path\nimg/1.png\nimg/0.png\n")
    return f"csv:{root / 't.csv'}", ["img/1.png", "img/0.png"]


def table_of_other_columns(root):
    photo_folder(root, {"img": 2})
    (root / "t.tsv").write_text("id\tfile\n7\t1.png\n8\t0.png\n")
    return f"csv:{root / 't.tsv'}?path=file&root=img", ["1.png", "0.png"]


def text_list(root):
    photo_folder(root, {"img": 2})
    (root / "files.txt").write_text("img/1.png\n\nimg/0.png\n")
    return f"lists:{root / 'files.txt'}", ["img/1.png", "img/0.png"]


def split_lists(root):
    photo_folder(root, {"images": 2})
    (root / "test.txt").write_text("1\n0.png\n")
    return f"lists:{root}", ["1.png", "0.png"]


def shards(root):
    with tarfile.open(root / "a.tar", "w") as archive:
        for name in ("1.png", "2.png"):
            content = save_photo(root / "cat" / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return f"tar:{root / 'a.tar'}", ["a.tar/1.png", "a.tar/2.png"]


SOURCES = [
    flat,
    nested,
    one_class,
    with_classes,
    table,
    table_of_other_columns,
    text_list,
    split_lists,
    shards,
]


@pytest.mark.parametrize("source", SOURCES)
def test_images_without_labels_are_opened_from(tmp_path, source):
    spec, ids = source(tmp_path)
    found = open_dataset(spec, unlabelled=True)
    assert sorted(record.id for record in found.records) == sorted(ids)
    assert {record.label for record in found.records} == {-1}
    assert (found.task, found.classes) == ("unlabelled", ())
    assert all(record.read().startswith(b"\x89PNG") for record in found.records)
    checked = check_dataset(found)
    assert (checked.images, checked.task, checked.unreadable) == (len(ids), "unlabelled", {})


def test_splits_that_are_given_are_kept(tmp_path):
    photo_folder(tmp_path, {"img": 2})
    (tmp_path / "t.csv").write_text("path,split\nimg/1.png,test\nimg/0.png,train\n")
    found = open_dataset(f"csv:{tmp_path / 't.csv'}", unlabelled=True)
    assert [record.split for record in found.records] == ["test", "train"]
    spec, _ = split_lists(tmp_path)
    assert {record.split for record in open_dataset(spec, unlabelled=True).records} == {"test"}


def test_labels_of_an_opened_dataset_are_left_out(tmp_path):
    labelled = open_dataset(str(photo_folder(tmp_path, {"cat": 1, "dog": 1})))
    found = open_dataset(labelled, unlabelled=True)
    assert [record.id for record in found.records] == ["cat/0.png", "dog/0.png"]
    assert found.task == "unlabelled"
    assert open_dataset(found, unlabelled=True) is found


def test_pictures_in_memory_keep_their_ids():
    pictures = np.stack([photo("cat/1"), photo("cat/2")])
    found = open_arrays(pictures, ids=["a", "b"], splits="test", unlabelled=True)
    assert [(record.id, record.split) for record in found.records] == [("a", "test"), ("b", "test")]
    with pytest.raises(
        UsageError, match=r"^images without labels; expected one label per image, or unlabelled=True"
    ):
        open_arrays(pictures)


REFUSED = {
    "flat": (flat, r"flat holds no images in class folders; .*; {alone}; left out: 3 not in a class folder$"),
    "one class": (
        one_class,
        r"one holds one class \(images\); a classifier needs at least two; .*; {alone}$",
    ),
    "table": (table, r"t\.csv, line 1: no column 'label' for the label; known: path; .*; {alone}$"),
    "lists": (
        split_lists,
        r"test\.txt, line 1: '1' has no label and is in no folder .* 'IMAGE LABEL'; {alone}$",
    ),
    "shards": (shards, r"a\.tar holds no labelled images; .*; {alone}; left out: 2 sample without a label$"),
}


@pytest.mark.parametrize("situation", REFUSED)
def test_refusals_of_labels_name_the_option(tmp_path, situation):
    source, message = REFUSED[situation]
    spec, _ = source(tmp_path)
    python = r"for features without labels: featcache\.extract\('.*', unlabelled=True\)"
    with pytest.raises(DataError, match=message.format(alone=python)):
        open_dataset(spec)
    command = r"for features without labels: featcache extract \S+ --unlabelled"
    with named_as_options(), pytest.raises(DataError, match=message.format(alone=command)):
        open_dataset(spec)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"splits": "train=cat"},
            r"splits= says what labels or splits are, and --unlabelled takes every image .*; name it alone",
        ),
        (
            {"classes_at": 1, "label_from": "{label}_{}"},
            r"label_from=, classes_at= says what labels or splits are, .* or leave --unlabelled out$",
        ),
    ],
)
def test_options_that_say_what_folders_are_do_not_go_with_it(tmp_path, given, says):
    photo_folder(tmp_path, {"cat": 1, "dog": 1})
    with named_as_options(), pytest.raises(UsageError, match=says):
        open_dataset(tmp_path, unlabelled=True, **given)


NOTHING = {
    "no folder": ("none", MissingFileError, r"no dataset folder .*none"),
    "empty": ("empty", DataError, "empty holds no images; expected some, in the folder or those below it$"),
    "texts": ("texts", DataError, r"holds no images; .*; left out: 1 not an image by its name \(\.txt\)$"),
    "no list": ("lists:none.txt", MissingFileError, r"no list .*none\.txt; expected a text file of paths"),
    "empty list": (
        "lists:empty.txt",
        DataError,
        r"empty\.txt: no entries; expected the path of an image in each line",
    ),
    "list of nothing": (
        "lists:gone.txt",
        MissingFileError,
        r"not one of 1 images exists; .* to the list's folder",
    ),
    "list without a kind": ("gone.txt", UsageError, r"did you mean lists:.*gone\.txt\?"),
}


@pytest.mark.parametrize("option", ["splits=train=cat", "classes_at=1", "label_from={label}_{}"])
@pytest.mark.parametrize("kind", ["folder:", ""])
def test_options_that_tell_labels_are_refused(tmp_path, option, kind):
    photo_folder(tmp_path / "set", {"cat": 1})
    name = option.partition("=")[0]
    with pytest.raises(
        UsageError,
        match=rf"{name}= says what labels or splits are, and unlabelled takes every image below the folder without; "
        rf"name it alone \({re.escape(str(tmp_path))}/set\), or leave unlabelled out$",
    ):
        open_dataset(f"{kind}{tmp_path / 'set'}?{option}", unlabelled=True)


def test_a_folder_of_such_a_name_is_opened(tmp_path):
    photo_folder(tmp_path / "set?classes_at=1", {"cat": 1})
    found = open_dataset(f"folder:{tmp_path}/set?classes_at=1", unlabelled=True)
    assert [record.id for record in found.records] == ["cat/0.png"]


@pytest.mark.parametrize("situation", NOTHING)
def test_places_without_images(tmp_path, situation):
    name, kind, message = NOTHING[situation]
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "gone.txt").write_text("gone.jpg\n")
    prefix, colon, rest = name.rpartition(":")
    with pytest.raises(kind, match=message):
        open_dataset(f"{prefix}{colon}{tmp_path / rest}", unlabelled=True)
