"""What a folder of photos becomes, and what is left out or refused; nothing in it can block the scan."""

import os
import socket
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.photo_folders import photo_folder, save_photo
from hypothesis import given
from hypothesis import strategies as st

from featcache.datasets import file_state, open_dataset
from featcache.datasets.dataset import UNSPLIT, Dataset, Record
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.folder_files import image_files
from featcache.datasets.names import natural_key
from featcache.errors import DataError, FeatcacheWarning, ImageError, MissingFileError, UsageError
from featcache.extraction.planning.row_table import SplitRule, build_rows


def touch(root: Path, *names: str) -> Path:
    """Empty files: the scan goes by names and opens none of them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def rows(dataset) -> list[tuple[str, str, str]]:
    return [(record.id, record.split, dataset.classes[record.label]) for record in dataset.records]


# Layouts ----------------------------------------------------------------------------------------------------


def test_class_folders_alone_give_records_without_a_split(tmp_path):
    found = open_dataset(str(touch(tmp_path / "pets", "cat/a.jpg", "dog/b.jpg")))
    assert rows(found) == [("cat/a.jpg", UNSPLIT, "cat"), ("dog/b.jpg", UNSPLIT, "dog")]
    assert (found.name, found.splits, found.skipped) == ("pets", (UNSPLIT,), {})


def test_split_folders_above_the_class_folders_give_the_splits(tmp_path):
    found = open_dataset(str(touch(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "test/cat/c.jpg")))
    assert rows(found) == [
        ("test/cat/c.jpg", "test", "cat"),
        ("train/cat/a.jpg", "train", "cat"),
        ("train/dog/b.jpg", "train", "dog"),
    ]
    assert found.splits == ("train", "test")


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("Training", "train"),
        ("VAL", "val"),
        ("valid", "val"),
        ("validation", "val"),
        ("dev", "val"),
        ("test", "test"),
        ("Testing", "test"),
    ],
)
def test_peoples_names_for_the_splits(tmp_path, folder, split):
    touch(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", f"{folder}/cat/c.jpg")
    found = {record.id: record.split for record in open_dataset(str(tmp_path)).records}
    assert found[f"{folder}/cat/c.jpg"] == split


def test_two_folders_of_one_split_are_taken_together(tmp_path):
    touch(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg", "dev/dog/d.jpg")
    found = {record.id: record.split for record in open_dataset(str(tmp_path)).records}
    assert (found["val/cat/c.jpg"], found["dev/dog/d.jpg"]) == ("val", "val")
    assert len(found) == 4


def test_without_a_training_split_the_folders_are_classes(tmp_path):
    found = open_dataset(str(touch(tmp_path, "test/a.jpg", "exam/b.jpg")))
    assert rows(found) == [("exam/b.jpg", UNSPLIT, "exam"), ("test/a.jpg", UNSPLIT, "test")]


def test_a_class_missing_in_a_split_keeps_its_number(tmp_path):
    touch(
        tmp_path, "train/ant/a.jpg", "train/bee/b.jpg", "train/cat/c.jpg", "test/cat/d.jpg", "val/bee/e.jpg"
    )
    found = open_dataset(str(tmp_path))
    labels = {record.id: record.label for record in found.records}
    assert found.classes == ("ant", "bee", "cat")
    assert (labels["test/cat/d.jpg"], labels["val/bee/e.jpg"]) == (2, 1)


def test_a_class_only_in_the_test_split_is_a_class(tmp_path):
    touch(tmp_path, "train/bee/b.jpg", "train/cat/c.jpg", "test/ant/d.jpg")
    assert open_dataset(str(tmp_path)).classes == ("ant", "bee", "cat")


def test_folders_inside_a_class_belong_to_it(tmp_path):
    touch(tmp_path, "cat/a.jpg", "cat/outside/2019/b.jpg", "cat/outside/c.jpg", "dog/d.jpg")
    assert [r[0::2] for r in rows(open_dataset(str(tmp_path)))] == [
        ("cat/a.jpg", "cat"),
        ("cat/outside/2019/b.jpg", "cat"),
        ("cat/outside/c.jpg", "cat"),
        ("dog/d.jpg", "dog"),
    ]


# Order ------------------------------------------------------------------------------------------------------


def test_classes_and_files_come_in_natural_order(tmp_path):
    touch(tmp_path, *(f"{name}/{file}.jpg" for name in ("10", "2", "1") for file in ("x10", "x9", "X1")))
    found = open_dataset(str(tmp_path))
    assert found.classes == ("1", "2", "10")
    assert [record.id for record in found.records][:3] == ["1/X1.jpg", "1/x9.jpg", "1/x10.jpg"]


@given(st.lists(st.integers(0, 10**12), min_size=1), st.text("abc _-", max_size=3))
def test_numbers_in_names_order_as_numbers(numbers, prefix):
    names = sorted((f"{prefix}{number}.jpg" for number in numbers), key=natural_key)
    assert names == [f"{prefix}{number}.jpg" for number in sorted(numbers)]


@given(st.lists(st.text(), unique=True))
def test_any_names_have_one_order(names):
    shuffled = sorted(names)
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


# What is left out -------------------------------------------------------------------------------------------


def test_names_of_thousands_of_digits_have_an_order():
    long = "9" * 5000
    names = [long, f"{long}.jpg", "10.jpg", "9.jpg"]
    assert sorted(names, key=natural_key) == ["9.jpg", "10.jpg", f"{long}.jpg", long]


def test_folders_are_followed_to_any_depth(tmp_path):
    photo_folder(tmp_path, {"cat": 1, "dog": 1})
    here = os.open(tmp_path / "cat", os.O_RDONLY)
    for _ in range(1500):  # from folder to folder: a path of this length takes long
        os.mkdir("d", dir_fd=here)
        above, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(above)
    os.link(tmp_path / "cat" / "0.png", "1.png", dst_dir_fd=here)
    os.close(here)
    try:
        found = open_dataset(tmp_path)
        assert [record.id for record in found.records] == [
            "cat/0.png",
            f"cat/{'d/' * 1500}1.png",
            "dog/0.png",
        ]
        assert found.records[1].read() == found.records[0].read()
    finally:  # Python's own removal descends by recursion
        subprocess.run(["rm", "-r", str(tmp_path / "cat")], check=True)


@pytest.mark.parametrize("seconds", [2**33, 2**33 * 5, -(2**33)])
def test_files_of_any_time_are_recorded_with_the_nearest_one(tmp_path, monkeypatch, seconds):
    """Not every file system keeps such times, so the system's answer is changed."""
    photo_folder(tmp_path, {"cat": 1, "dog": 1})
    image = str(tmp_path / "cat" / "0.png")
    usual = os.stat(image)
    times = {"st_mtime_ns": seconds * 10**9, "st_ctime_ns": seconds * 10**9}
    status = SimpleNamespace(
        **{name: getattr(usual, name) for name in dir(usual) if name.startswith("st_")} | times
    )
    assert len(file_state.state_digest(status)) == file_state.STATE_BYTES
    data = open_dataset(tmp_path)
    records = [replace(record, mtime_ns=status.st_mtime_ns) for record in data.records]
    table, _, _ = build_rows(replace(data, records=records), [b"a" * 32, b"b" * 32], SplitRule())
    assert table.mtimes_ns.tolist() == [max(-(2**63) + 1, min(2**63 - 1, seconds * 10**9))] * 2


def test_hidden_files_and_folders_are_left_out_and_counted(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg", "cat/._a.jpg", "cat/.DS_Store", "dog/.ipynb_checkpoints/b.jpg")
    touch(tmp_path, ".git/c.jpg", "__MACOSX/cat/a.jpg")
    found = open_dataset(str(tmp_path))
    assert [record.id for record in found.records] == ["cat/a.jpg", "dog/b.jpg"]
    assert found.classes == ("cat", "dog")
    assert found.skipped == {"hidden": 5}


def test_files_that_are_no_images_by_their_names_are_counted(tmp_path):
    touch(
        tmp_path,
        "cat/a.jpg",
        "cat/b.JPEG",
        "cat/labels.csv",
        "cat/Thumbs.db",
        "cat/jpg",
        "dog/c.png",
        "README.md",
    )
    found = open_dataset(str(tmp_path))
    assert [record.id for record in found.records] == ["cat/a.jpg", "cat/b.JPEG", "dog/c.png"]
    assert found.skipped == {
        "not images by their names (1 without extension, 1 .csv, 1 .db)": 3,
        "not in a class folder": 1,
    }


def test_folders_beside_the_splits_are_named(tmp_path):
    touch(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "unlabelled/c.jpg", "extra/cat/d.jpg")
    found = open_dataset(str(tmp_path))
    assert len(found.records) == 2
    assert found.skipped == {"folders beside the splits (extra/, unlabelled/)": 2}


def test_class_folders_without_images_are_no_classes(tmp_path):
    touch(tmp_path, "ant/readme.txt", "cat/a.jpg", "dog/b.jpg")
    (tmp_path / "bee").mkdir()
    found = open_dataset(str(tmp_path))
    assert found.classes == ("cat", "dog")
    assert found.skipped["class folders without images (ant/, bee/)"] == 2
    (tmp_path / "bee").rmdir()
    assert open_dataset(str(tmp_path)).skipped["class folder without images (ant/)"] == 1


@pytest.mark.timeout(20)
def test_nothing_on_disk_can_block_the_scan(tmp_path, monkeypatch):
    root = touch(tmp_path / "root", "cat/a.jpg", "dog/b.jpg")
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (root / "cat" / "self.jpg").symlink_to(root / "cat" / "self.jpg")
    (root / "dog" / "null.jpg").symlink_to("/dev/zero")
    (root / "dog" / "null").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(root / "dog")  # a socket's address holds 108 bytes
        server.bind("socket.jpg")
        found = open_dataset(str(root))
        unread = []
        for record in found.records:
            with suppress(OSError):  # of broken links
                try:
                    record.read()
                except ImageError as error:
                    unread.append((record.id, error.reason))
    names = ["cat/a.jpg", "cat/gone.jpg", "cat/pipe.jpg", "cat/self.jpg"]
    others = ["dog/b.jpg", "dog/null.jpg", "dog/socket.jpg"]
    assert [record.id for record in found.records] == [*names, *others]
    assert unread == [(name, "not a regular file") for name in (names[2], *others[1:])]
    assert found.skipped == {"no regular file (FIFO, device or broken link)": 1}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("leads_to", ["cat", ".", "cat/inside"])
def test_links_back_to_a_folder_above_end_there(tmp_path, leads_to):
    touch(tmp_path, "cat/inside/a.jpg", "dog/b.jpg")
    (tmp_path / "cat" / "inside" / "loop").symlink_to(tmp_path / leads_to, target_is_directory=True)
    found = open_dataset(str(tmp_path))
    assert rows(found) == [("cat/inside/a.jpg", UNSPLIT, "cat"), ("dog/b.jpg", UNSPLIT, "dog")]
    assert found.skipped == {"link back to a folder above": 1}


def test_links_to_images_and_folders_elsewhere_are_followed(tmp_path):
    touch(tmp_path / "elsewhere", "tom/a.jpg", "rex.jpg")
    (tmp_path / "root" / "dog").mkdir(parents=True)
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere" / "tom", target_is_directory=True)
    (tmp_path / "root" / "dog" / "rex.jpg").symlink_to(tmp_path / "elsewhere" / "rex.jpg")
    assert rows(open_dataset(str(tmp_path / "root"))) == [
        ("cat/a.jpg", UNSPLIT, "cat"),
        ("dog/rex.jpg", UNSPLIT, "dog"),
    ]


# Refusals ---------------------------------------------------------------------------------------------------


def test_a_missing_folder(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"no dataset folder .*nowhere; expected ROOT/CLASS/image\.jpg"
    ):
        open_dataset(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["train.csv", "labels.tsv", "list.parquet"])
def test_a_table_beside_images_without_class_folders_is_pointed_out(tmp_path, name):
    save_photo(tmp_path / "images" / "1.png")
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=rf"\. Did you mean csv:{tmp_path / name}\?$"):
        open_dataset(tmp_path)


def test_files_that_may_tell_splits_beside_the_classes_are_not_passed_over(tmp_path):
    photo_folder(tmp_path, {"cat": 2, "dog": 2})
    for name in ("train.txt", "readme.txt", "contest.csv", "test.md"):
        (tmp_path / name).touch()
    plain = open_dataset(tmp_path)
    (tmp_path / "test.txt").touch()
    (tmp_path / "train_test_split.csv").touch()
    with pytest.warns(FeatcacheWarning) as told:
        found = open_dataset(tmp_path)
    assert [str(one.message) for one in told] == [
        f"{tmp_path}: test.txt, train_test_split.csv beside the classes may tell splits and are not read: the test "
        "images are drawn anew; lists:FOLDER or csv:TABLE reads such files, --splits none (splits= in Python) is silent"
    ]
    silent = open_dataset(tmp_path, splits="none")
    for other in (found, silent):
        assert [(r.id, r.label, r.split) for r in other.records] == [
            (r.id, r.label, r.split) for r in plain.records
        ]


def test_a_file_instead_of_a_folder(tmp_path):
    touch(tmp_path, "photos.zip")
    with pytest.raises(DataError, match=r"photos\.zip is a file; expected a dataset folder, ROOT"):
        open_dataset(str(tmp_path / "photos.zip"))
    with pytest.raises(MissingFileError, match=r"no dataset folder .*photos\.zip/cats"):
        open_dataset(str(tmp_path / "photos.zip" / "cats"))


def test_a_name_that_no_file_system_takes():
    with pytest.raises(DataError, match=r"cannot read xxx.*: File name too long"):
        open_dataset("x" * 5000)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"holds no images in class folders; expected ROOT/CLASS"):
        open_dataset(str(tmp_path))


def test_images_directly_in_the_root(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(
        DataError, match=r"holds no images in class folders; .*left out: 2 not in a class folder"
    ):
        open_dataset(str(tmp_path))


def test_images_directly_in_the_split_folders(tmp_path):
    touch(tmp_path, "train/a.jpg", "test/b.jpg")
    with pytest.raises(
        DataError, match=r"holds no images in class folders; .*left out: 2 not in a class folder"
    ):
        open_dataset(str(tmp_path))


def test_one_class(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/notes.txt")
    with pytest.raises(
        DataError, match=r"holds one class \(cat\); .* at least two.*left out: 1 not an image"
    ):
        open_dataset(str(tmp_path))


# Specs ------------------------------------------------------------------------------------------------------


def test_a_spec_may_name_its_kind(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg")
    plain, named = open_dataset(str(tmp_path)), open_dataset(f"folder:{tmp_path}")
    assert rows(named) == rows(plain)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("foldr:photos", "no source 'foldr'; did you mean 'folder'\\?"),
        ("s3:bucket", "no source 's3'; known: folder"),
    ],
)
def test_an_unknown_kind_names_the_nearest(spec, says):
    with pytest.raises(UsageError, match=says):
        open_dataset(spec)


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("photos.csv", "csv:photos.csv"),
        ("data/photos.TSV", "csv:data/photos.TSV"),
        ("photos.jsonl", "csv:photos.jsonl"),
        ("photos.parquet", "csv:photos.parquet"),
        ("flowers-{000..009}.tar", r"tar:flowers-\{000\.\.009\}.tar"),
        ("train.arrow", "hf:train.arrow"),
        ("photos.csv?label=kind", r"csv:photos\.csv\?label=kind"),
    ],
)
def test_a_file_without_its_kind_is_told_which(tmp_path, monkeypatch, spec, meant):
    monkeypatch.chdir(tmp_path)
    says = rf"says no kind and is no folder; did you mean {meant}\?"
    with pytest.raises(UsageError, match=says):
        open_dataset(spec)
    touch(tmp_path, spec)  # whether it is there or not
    with pytest.raises(UsageError, match=says):
        open_dataset(spec)


def test_a_folder_may_be_called_like_a_table(tmp_path):
    assert len(open_dataset(str(touch(tmp_path / "photos.csv", "cat/a.jpg", "dog/b.jpg"))).records) == 2


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (("dataset_dict.json", "train/data-00000-of-00001.arrow"), "hf"),
        (("state.json", "dataset_info.json", "data-00000-of-00001.arrow"), "hf"),
        (("dataset_info.json", "x-train.arrow"), "hf"),
        (("meta/train.txt", "meta/classes.txt", "images/cat/1.jpg", "images/dog/2.jpg"), "lists"),
        (("train.txt", "images/1.jpg", "images/2.jpg"), "lists"),
    ],
)
def test_a_folder_of_another_kind_is_told_which(tmp_path, files, kind):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=rf"expected ROOT/CLASS.*\. Did you mean {kind}:{tmp_path}\?$"):
        open_dataset(str(tmp_path))
    with pytest.raises(DataError) as told:  # said on purpose
        open_dataset(f"folder:{tmp_path}")
    assert "Did you mean" not in str(told.value)


def test_a_folder_that_tfds_prepared_is_none_of_the_hugging_face_library(tmp_path):
    touch(tmp_path, "dataset_info.json", "features.json")
    with pytest.raises(DataError, match=r"holds no images in class folders; (?!.*hf:)"):
        open_dataset(str(tmp_path))


def test_a_space_at_the_end_of_a_path_is_told(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"no dataset folder .*/photos  \('.*/photos ' ends in a space\); exp"
    ):
        open_dataset(f"{tmp_path}/photos ")
    with pytest.raises(MissingFileError, match=r"no file .*\('.*/t\.csv ' ends in a space\)"):
        open_dataset(f"csv:{tmp_path}/t.csv ")


def test_a_name_of_tfds_without_its_kind_is_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        MissingFileError, match=r"no dataset folder cats_vs_dogs; .*would be tfds:cats_vs_dogs$"
    ):
        open_dataset("cats_vs_dogs")
    with pytest.raises(UsageError, match=r"a dataset of TFDS is tfds:cats_vs_dogs:4\.0\.1$"):
        open_dataset("cats_vs_dogs:4.0.1")
    with pytest.raises(MissingFileError, match=r"image\.jpg$"):
        open_dataset("photos/cats")


def test_a_path_with_a_colon_is_a_path(tmp_path):
    assert len(open_dataset(str(touch(tmp_path / "a:b", "cat/a.jpg", "dog/b.jpg"))).records) == 2


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(touch(tmp_path, "photos/cat/a.jpg", "photos/dog/b.jpg")))
    assert len(open_dataset("~/photos").records) == 2


# Names and bytes --------------------------------------------------------------------------------------------


def test_names_that_are_not_utf8_or_hold_newlines_are_kept(tmp_path):
    for name in (b"caf\xe9", b"two\nlines"):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        with open(os.path.join(folder, b"\xff\n.jpg"), "wb") as stream:
            stream.write(name)
    found = open_dataset(str(tmp_path))
    assert [os.fsencode(name) for name in found.classes] == [b"caf\xe9", b"two\nlines"]
    assert [record.read() for record in found.records] == [b"caf\xe9", b"two\nlines"]
    assert os.fsencode(found.records[0].id) == b"caf\xe9/\xff\n.jpg"


def test_records_know_size_and_time_of_their_files(tmp_path):
    photo_folder(tmp_path, {"cat": 1, "dog": 1})
    record = open_dataset(str(tmp_path)).records[0]
    status = (tmp_path / "cat" / "0.png").stat()
    assert (record.size, record.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert record.read() == (tmp_path / "cat" / "0.png").read_bytes()


@pytest.mark.timeout(20)
def test_reading_refuses_what_became_a_fifo(tmp_path):
    record = open_dataset(str(touch(tmp_path, "cat/a.jpg", "dog/b.jpg"))).records[0]
    (tmp_path / "cat" / "a.jpg").unlink()
    os.mkfifo(tmp_path / "cat" / "a.jpg")
    with pytest.raises(ImageError, match=r"not a regular file: .*a\.jpg is no regular file"):
        record.read()
    with pytest.raises(ImageError, match="/dev/zero is no regular file"):
        read_regular_file("/dev/zero")


def test_image_files_of_any_folder(tmp_path):
    touch(tmp_path, "10.jpg", "2.jpg", "below/1.png", "notes.txt", ".hidden.jpg")
    files, skipped = image_files(tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in files] == ["2.jpg", "10.jpg", "below/1.png"]
    assert skipped.reasons() == {"hidden": 1, "not an image by its name (.txt)": 1}


CONVERT = "unsupported format; convert {} to one of JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM, AVIF"
INSTALL = ", or install what opens {}: pip install 'featcache[{}]'"


def test_pictures_of_formats_that_are_not_read_are_named(tmp_path, without_plugins):
    heic = [f"cat/IMG_{number}.HEIC" for number in (10, 2, 3, 4)]
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg", *heic, "dog/c.heif", "dog/d.jxl", "dog/notes.txt")
    with pytest.warns(FeatcacheWarning) as told:
        found = open_dataset(str(tmp_path))
    heif = INSTALL.format("HEIC", "heif")
    heics = f"HEIC files (IMG_2.HEIC, IMG_3.HEIC, IMG_4.HEIC, …): {CONVERT.format('them')}{heif}"
    one = f"JPEG XL file (d.jxl): {CONVERT.format('it')}{INSTALL.format('JPEG XL', 'jxl')}"
    assert found.skipped == {"not an image by its name (.txt)": 1, heics: 5, one: 1}
    assert [str(each.message) for each in told] == [f"5 {heics}, 1 {one}"]


def test_a_folder_of_such_pictures_alone_says_so(tmp_path, without_plugins):
    touch(tmp_path, "cat/1.heic", "dog/2.heic")
    with pytest.raises(
        DataError, match=r"left out: 2 class folders .*, 2 HEIC files \(1\.heic, 2\.heic\): unsupported"
    ):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["a.heic", "a.HEIF", "a.jp2", "a.jxl", "a.psd", "a.svg", "a.pam", "a.exr", "a.dcm", "a.CR2"]
)
def test_every_picture_that_is_refused_is_known_by_its_name(tmp_path, name, without_plugins):
    touch(tmp_path, name, "b.png")
    files, skipped = image_files(tmp_path)
    assert [file.name for file in files] == ["b.png"]
    (reason,) = skipped.unread()
    assert f"({name}): unsupported format" in reason


@pytest.mark.parametrize("bad", ["a\0", "\udc00", "a" * 10_001], ids=["NUL", "half a pair", "long"])
def test_no_dataset_has_names_that_a_cache_would_not_keep(bad):
    """Whoever made it: members of a tar file may have names of any length, too."""
    records = [Record(name, 0, "train", bytes) for name in ("a", bad)]
    with pytest.raises(DataError, match=r"^mine: the name of image 1, '.*', (holds|has) "):
        Dataset("mine", "mine", ("a",), records)
