"""Photos in folders of their classes: found again under their names, nothing overwritten, every class has a folder."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.classifier.prediction import Prediction
from featcache.classifier.sorted_photos import SortedPhotos, folder_name
from featcache.errors import StorageError

CLASSES = ("cat", "dog")


@pytest.fixture
def photos(tmp_path):
    """Two photos of one name, and one of another."""
    paths = [tmp_path / "in" / name for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"pixels of {path.parent.name}/{path.name}")
    return [str(path) for path in paths]


def answer(photo: str, name: str = "cat", **others) -> Prediction:
    return Prediction(photo, (name,), (0.9,), **others)


def sort(folder: Path, predictions, classes=CLASSES) -> SortedPhotos:
    sorter = SortedPhotos(folder, [each.id for each in predictions], classes)
    for each in predictions:
        sorter.put(each)
    return sorter


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def test_each_lies_under_its_name_and_those_of_one_name_under_their_path(photos, tmp_path):
    found = sort(tmp_path / "out", [answer(photos[0]), answer(photos[1], "dog"), answer(photos[2], "dog")])
    assert tree(tmp_path / "out") == {
        "cat/a/1.jpg": "pixels of a/1.jpg",
        "dog/b/1.jpg": "pixels of b/1.jpg",
        "dog/2.jpg": "pixels of b/2.jpg",
    }
    assert (found.linked, found.copied, found.present, found.taken) == (3, 0, 0, [])
    assert os.path.samefile(photos[2], tmp_path / "out" / "dog" / "2.jpg"), "no further space"


def test_names_that_differ_in_case_alone_are_kept_apart(tmp_path):
    for name in ("a/X.JPG", "b/x.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    sort(tmp_path / "out", [answer(str(tmp_path / "a/X.JPG")), answer(str(tmp_path / "b/x.jpg"))])
    assert tree(tmp_path / "out") == {"cat/a/X.JPG": "a/X.JPG", "cat/b/x.jpg": "b/x.jpg"}


def test_again_changes_nothing_and_what_is_there_stays(photos, tmp_path):
    out = tmp_path / "out"
    told = [answer(photos[1]), answer(photos[2])]
    sort(out, told)
    assert sort(out, told).present == 2
    (out / "cat" / "2.jpg").unlink()
    (out / "cat" / "2.jpg").write_text("somebody else's")
    again = sort(out, told)
    assert (again.present, again.taken) == (1, [out / "cat" / "2.jpg"])
    assert tree(out)["cat/2.jpg"] == "somebody else's"
    assert Path(photos[2]).read_text() == "pixels of b/2.jpg"


def test_the_same_photo_given_twice_is_one(photos, tmp_path):
    found = sort(tmp_path / "out", [answer(photos[2]), answer(photos[2])])
    assert (tree(tmp_path / "out"), found.linked, found.present) == ({"cat/2.jpg": "pixels of b/2.jpg"}, 1, 1)


def test_where_the_disk_has_no_hard_links_they_are_copied(photos, tmp_path, monkeypatch):
    def other_disk(*paths):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", other_disk)
    os.utime(photos[2], (10**9, 10**9))
    found = sort(tmp_path / "out", [answer(photos[2])])
    copy = tmp_path / "out" / "cat" / "2.jpg"
    assert (found.linked, found.copied, copy.read_text()) == (0, 1, "pixels of b/2.jpg")
    assert not os.path.samefile(photos[2], copy)
    assert copy.stat().st_mtime == 10**9
    assert [*copy.parent.iterdir()] == [copy]


@pytest.mark.parametrize("has_renameat2", [True, False])
@pytest.mark.parametrize("ending", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()], ids=str)
def test_a_copy_that_fails_at_the_end_leaves_no_empty_photo(
    photos, tmp_path, monkeypatch, has_renameat2, ending
):
    """Every later run would take that for another photo of the name, and leave the photo out."""

    def other_disk(*paths):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def failing(*paths):
        raise ending

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", other_disk)
        if has_renameat2:
            patched.setattr("featcache.classifier.sorted_photos.give_name", failing)
        else:
            patched.setattr("ctypes.CDLL", other_disk)
            patched.setattr(os, "replace", failing)
        with pytest.raises(StorageError if isinstance(ending, OSError) else KeyboardInterrupt):
            sort(tmp_path / "out", [answer(photos[2])])
    assert tree(tmp_path / "out") == {}
    found = sort(tmp_path / "out", [answer(photos[2])])
    assert (tree(tmp_path / "out"), found.taken) == ({"cat/2.jpg": "pixels of b/2.jpg"}, [])


def test_a_place_that_cannot_be_written_is_told(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cat").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot write .*out/cat/2\.jpg: .*--copy-to"):
        sort(tmp_path / "out", [answer(photos[2])])


def test_unknown_unreadable_and_unlabelled_photos(photos, tmp_path):
    told = [
        answer(photos[0], unknown=True),
        Prediction(photos[1], (), (), error="not an image"),
        answer(photos[2], answers=("cat", "dog")),
    ]
    sort(tmp_path / "out", told, classes=("cat", "dog", "unknown"))
    assert {*tree(tmp_path / "out")} == {"_unknown/a/1.jpg", "cat/2.jpg", "dog/2.jpg"}
    sort(tmp_path / "none", [answer(photos[2], answers=())])
    assert {*tree(tmp_path / "none")} == {"none/2.jpg"}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("golden retriever", "golden retriever"),
        ("AC/DC", "AC%2FDC"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("dot.", "dot%2E"),
        ("50 %", "50 %"),
        ("50%20", "50%2520"),
        ("C:\\x", "C%3A%5Cx"),
        ("nul", "%6Eul"),
        ("", "%5F"),
        ("tab\there", "tab%09here"),
        ("żółw", "żółw"),
    ],
)
def test_a_class_that_is_no_folders_name_is_escaped(name, folder):
    assert folder_name(name) == folder


@settings(max_examples=50)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8"), max_size=12) | st.text(st.sampled_from("%/2F5. a"), max_size=6)
    )
)
def test_different_classes_have_different_folders(names):
    folders = {name: folder_name(name) for name in names}
    assert len({*folders.values()}) == len(folders)
    assert all(Path(folder).name == folder and folder.strip(" .") for folder in folders.values())


def test_a_long_name_is_cut_and_stays_its_own():
    long = [folder_name("ü" * 300 + end) for end in "ab"]
    assert len({*long}) == 2
    assert all(len(os.fsencode(each)) <= 255 for each in long)
