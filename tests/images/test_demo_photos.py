"""The photos that come with featcache, copied into a folder of the user's own."""

import os
from pathlib import Path

import pytest

import featcache
from featcache.errors import StorageError, UsageError
from featcache.images.demo_photos import demo_dataset


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_photos_are_copied_and_a_copy_stays_as_it_is(place):
    assert featcache.demo_photos() == Path("photos")
    assert content(place / "photos") == content(demo_dataset())
    assert os.listdir() == ["photos"]
    before = (place / "photos").stat().st_ino
    assert featcache.demo_photos("photos") == Path("photos")
    assert (place / "photos").stat().st_ino == before
    assert os.access("photos/test/cat/000.jpg", os.W_OK)


def test_folders_are_made_and_an_empty_one_is_filled(place):
    (place / "empty").mkdir()
    for name in ("empty", "a/b/c"):
        assert len(content(featcache.demo_photos(name))) == 360


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_leads_to_the_photos(place, there):
    if there:
        (place / "real").mkdir()
    (place / "link").symlink_to("real")
    assert featcache.demo_photos("link") == Path("link")
    assert os.readlink("link") == "real"
    assert len(content(place / "real")) == 360
    assert featcache.demo_photos("link") == Path("link")


def test_a_folder_of_empty_folders_is_refused(place):
    (place / "photos/mine/x").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"^output photos holds mine, expected a new or an empty folder; "):
        featcache.demo_photos()
    assert [path.name for path in (place / "photos").rglob("*")] == ["mine", "x"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "mine.txt").write_text("x"), "holds mine.txt"),
        (
            lambda folder: (folder / "test/cat/000.jpg").unlink(),
            "holds a part of the demo's photos, or changed ones",
        ),
        (
            lambda folder: (folder / "test/cat/000.jpg").write_bytes(b""),
            "holds a part of the demo's photos, or changed ones",
        ),
    ],
)
def test_a_folder_with_anything_else_is_refused_and_left_alone(place, change, told):
    folder = featcache.demo_photos(place / "photos")
    change(folder)
    before = content(folder)
    with pytest.raises(UsageError) as error:
        featcache.demo_photos(folder)
    assert str(error.value) == f"output {folder} {told}, expected a new or an empty folder; name a new folder"
    assert content(folder) == before


def test_a_disk_that_refuses_leaves_nothing_behind(place, monkeypatch):
    def refuse(source: Path, target: Path) -> None:
        if target.name == "005.jpg":
            raise OSError(28, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("featcache.images.demo_photos.shutil.copyfile", refuse)
    with pytest.raises(StorageError, match=r"^cannot write photos: No space left on device"):
        featcache.demo_photos()
    assert os.listdir() == []
