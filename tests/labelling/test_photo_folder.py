"""Photos put into a folder: links or copies by rank, what has changed is told, nothing is mixed."""

from pathlib import Path

import pytest

from featcache.errors import ImageError, StorageError, UsageError
from featcache.labelling.photo_folder import put_photos


@pytest.fixture
def photos(tmp_path) -> dict[str, Path]:
    (tmp_path / "photos").mkdir()
    names = ("a/rose.jpg", "b/rose.jpg", "c/con:1?.tar.gz.PNG")
    made = {name: tmp_path / "photos" / f"{number}.jpg" for number, name in enumerate(names)}
    for name, path in made.items():
        path.write_bytes(name.encode())
    return made


def test_photos_are_linked_under_their_rank_and_a_name_that_all_systems_take(tmp_path, photos):
    put = put_photos(
        tmp_path / "new" / "links",
        list(photos),
        read=lambda name: photos[name].read_bytes(),
        file_of=lambda name: str(photos[name]),
    )
    assert (put.linked, put.copied, put.unread) == (3, 0, {})
    found = sorted((tmp_path / "new" / "links").iterdir())
    assert [path.name for path in found] == ["1-rose.jpg", "2-rose.jpg", "3-con%3A1%3F.tar.gz.PNG"]
    assert all(path.samefile(photo) for path, photo in zip(found, photos.values(), strict=True))


def test_photos_that_are_no_files_of_their_own_are_copied(tmp_path, photos):
    put = put_photos(tmp_path / "new", list(photos), read=str.encode, file_of=lambda name: None)
    assert (put.linked, put.copied) == (0, 3)
    assert (tmp_path / "new" / "2-rose.jpg").read_bytes() == b"b/rose.jpg"


def test_ranks_have_as_many_digits_as_the_last(tmp_path):
    names = [f"{number}.jpg" for number in range(12)]
    put_photos(tmp_path / "new", names, read=str.encode, file_of=lambda name: None)
    assert sorted(path.name for path in (tmp_path / "new").iterdir())[0] == "01-0.jpg"


def test_what_cannot_be_read_any_more_is_told(tmp_path, photos):
    def read(name: str) -> bytes:
        if name == "b/rose.jpg":
            raise ImageError("unreadable file", "b/rose.jpg is another picture")
        return photos[name].read_bytes()

    put = put_photos(tmp_path / "new", list(photos), read=read, file_of=lambda name: str(photos[name]))
    assert put.unread == {"b/rose.jpg": "unreadable file: b/rose.jpg is another picture"}
    assert len(list((tmp_path / "new").iterdir())) == put.linked == 2


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    (tmp_path / "other").touch()
    with pytest.raises(UsageError, match=r"is there and holds mine.txt and 1 more; name another folder"):
        put_photos(tmp_path, ["a"], read=str.encode, file_of=lambda name: None)
    with pytest.raises(StorageError, match=r"cannot write .*mine.txt/new: Not a directory"):
        put_photos(tmp_path / "mine.txt" / "new", ["a"], read=str.encode, file_of=lambda name: None)
