"""Open files in the place of photos: the same answers as their paths, and plain words about those that cannot be."""

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcache import Classifier
from featcache.classifier.photos import photos_of
from featcache.datasets import file_objects
from featcache.datasets.file_objects import is_file_object, read_file_object
from featcache.errors import ImageError, UsageError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), (90, 20, 30)).save(path)
    return path


class Upload:
    """An upload of an asynchronous server."""

    async def read(self, size=-1):
        return b""

    def close(self):
        pass


class Drops(io.RawIOBase):
    """A connection that gives few bytes at a time and cannot be rewound."""

    def __init__(self, data: bytes, error: OSError | None = None) -> None:
        self.left, self.error = io.BytesIO(data), error

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.left.read(min(7, len(buffer)))
        if self.error and not part:
            raise self.error
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.usefixtures("small_backbone")
def test_open_files_agree_with_their_paths(trained, tmp_path):
    classifier = Classifier.load(trained.folder)
    files = sorted((trained.photos / "test").glob("*/*.png"))[:4]
    want = classifier.predict_proba(files)
    streams = [file.open("rb") for file in files]
    mixed = [streams[0], files[1], io.BytesIO(files[2].read_bytes()), Drops(files[3].read_bytes())]
    for images in (streams, iter(streams), mixed):
        np.testing.assert_allclose(classifier.predict_proba(images), want, atol=1e-5)
    [alone] = classifier.predict(streams[2])
    assert (alone.id, alone.error, alone.classes) == ("0", None, classifier.predict(files[2])[0].classes)
    broken = classifier.predict(
        [io.BytesIO(), io.BytesIO(b"no photo"), Drops(b"ab", OSError(5, "gone")), files[0]]
    )
    assert [(each.error or "").partition(":")[0] for each in broken] == [
        "empty file",
        "not an image",
        "unreadable file",
        "",
    ]
    for stream in streams:
        assert not stream.closed, "it is the caller's"
        stream.close()


def test_files_that_are_closed_after_they_are_given_are_read_before(file):
    def one_after_another():
        for _ in range(3):
            with open(file, "rb") as stream:
                yield stream

    assert [found.id for found in photos_of(one_after_another())] == ["0", "1", "2"]


def test_every_kind_of_open_file_gives_its_bytes(file, tmp_path):
    data = file.read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(file, "a.png")
    at_its_end = io.BytesIO()
    at_its_end.write(data)
    spooled = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - closed below
    spooled.write(data)
    with (
        spooled,
        open(file, "rb", buffering=0) as raw,
        zipfile.ZipFile(tmp_path / "a.zip").open("a.png") as member,
        tempfile.NamedTemporaryFile() as named,
        Drops(data) as few,
    ):
        named.write(data)
        for stream in (at_its_end, spooled, raw, member, named, few):
            assert is_file_object(stream)
            assert read_file_object(stream) == data, stream


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            Path.open,
            r"file object TextIOWrapper '.*a\.png' is open in text mode and gives text; give a file opened for ",
        ),
        (lambda path: io.StringIO("text"), "file object StringIO is open in text mode"),
        (
            lambda path: path.open("ab"),
            r"file object BufferedWriter '.*a\.png' was not opened for reading; give",
        ),
        (lambda path: Path.open(path, "a"), r"file object TextIOWrapper '.*' is open in text mode"),
        (
            lambda path: Upload(),
            r"read\(\) of the file object Upload gives coroutine, expected bytes; .*await",
        ),
    ],
    ids=["text", "StringIO", "append", "written", "asynchronous"],
)
def test_what_gives_no_bytes_is_refused(file, make, says):
    stream = make(file)
    with pytest.raises(UsageError, match=says):
        photos_of([stream])
    stream.close()
    if not isinstance(stream, Upload):
        with pytest.raises(UsageError, match=r"is closed; predict within its with block, or give a file"):
            photos_of(stream)


@pytest.mark.parametrize("stream", [io.BytesIO, Drops])
def test_no_more_is_read_than_of_a_file(monkeypatch, stream):
    monkeypatch.setattr(file_objects, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr("featcache.images.limits.MAX_FILE_BYTES", 100)
    assert read_file_object(stream(bytes(100))) == bytes(100)
    error = read_file_object(stream(bytes(101)))
    assert isinstance(error, ImageError)
    assert error.reason == "too many bytes"
    assert "101 bytes, at most 100" in str(error) or "more than 100 bytes" in str(error)


def test_what_only_has_a_method_read_is_no_open_file():
    assert not is_file_object(io.BytesIO)
    assert not is_file_object(Image.new("RGB", (2, 2)))
    with pytest.raises(UsageError, match="images of type type; give paths"):
        photos_of([io.BytesIO])
