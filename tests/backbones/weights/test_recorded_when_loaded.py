"""Only a file that was loaded is recorded: what is broken or of another network never locks the right one out."""

import json
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from helpers.tiny_weights import NARROW, WIDE, drawn, place, registered, write
from helpers.weights_server import HTML, Answer, Server, serving, use_own_home

from featcache.backbones import load
from featcache.backbones.family import Download
from featcache.backbones.weights import download
from featcache.backbones.weights.lock_file import LockRecord, forget, lock_file, read_record, remember
from featcache.cli import main
from featcache.errors import StorageError, WeightsError

RECORDED = pytest.mark.filterwarnings("ignore:no full sha256 is published:RuntimeWarning")
NAME = NARROW.file.filename


@pytest.fixture(autouse=True)
def _own_world(tmp_path, monkeypatch):
    use_own_home(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    with registered():
        yield


def good() -> bytes:
    return write(place(), drawn()).read_bytes()


def with_other_names(data: bytes) -> bytes:
    """The same number of bytes, and the right form; but a tensor is called otherwise."""
    changed = data.replace(b'"late.conv.kernel"', b'"lake.conv.kernel"')
    assert changed != data
    assert len(changed) == len(data)
    return changed


def with_nan(data: bytes) -> bytes:
    return data[:-4] + np.float32(np.nan).tobytes()


# What lies under the expected name, and the words of the error.
BROKEN = {
    "truncated": (lambda data: data[: len(data) // 2], "damaged or incomplete as a safetensors file"),
    "without its last byte": (lambda data: data[:-1], "damaged or incomplete as a safetensors file"),
    "another width": (
        lambda data: write(place(WIDE), drawn(WIDE)).read_bytes(),
        r"has the shapes of wide\.in1k, not of narrow\.in1k; name it as the backbone",
    ),
    "another architecture": (
        lambda data: write(place(WIDE), {"conv1.weight": np.ones((2, 2), np.float32)}).read_bytes(),
        r"does not fit this network: .* missing .*; 1 unknown \(conv1\.weight\)",
    ),
    "right size, other names": (with_other_names, "1 missing .*; 1 unknown"),
    "right size, not a number": (with_nan, "1 of 12 tensors have NaN or infinite values"),
    "right size, zeros": (lambda data: bytes(len(data)), r"it is zeros \(a failed copy\?\)"),
    "login page": (lambda data: HTML, "it is empty or a text, such as an error page"),
    "login page, gzipped": (
        lambda data: b"\x1f\x8b\x08\0" + bytes(300),
        "it is a gzip archive; unpack it first",
    ),
    "empty": (lambda data: b"", "it is empty or a text, such as an error page"),
}


@RECORDED
@pytest.mark.parametrize(("broken", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_not_recorded_and_the_right_one_is_loaded_after_it(broken, words):
    right = good()
    place().write_bytes(broken(right))
    with pytest.raises(WeightsError, match=words) as raised:
        load("narrow")
    text = str(raised.value)
    assert str(place()) in text
    assert re.search(rf"[Dd]elete (it|{re.escape(str(place()))}) and run again", text)
    assert not lock_file().exists()
    place().write_bytes(right)  # downloaded again, as the error advises
    assert load("narrow").name == "narrow.in1k"
    assert read_record(NAME).size == len(right)


@RECORDED
def test_a_record_of_a_broken_file_is_released_by_the_command_that_the_error_names(capsys):
    """As featcache recorded it once, before it read the file."""
    right = good()
    place().write_bytes(right[:100])
    remember(NAME, LockRecord(NARROW.file.url, "ab" * 32, 100, "2026-03-01", "nothing published"))
    place().write_bytes(right)
    text = (
        rf"{NAME} is not the file that was recorded on 2026-03-01: its sha256 is \w{{12}}… \({len(right):,} bytes\), "
        rf"recorded was abababababab… \(100 bytes; nothing published, {NARROW.file.url}\)\. Delete the file to "
        r"download it again; if this is the right one \(upstream really changed it, or a broken file was recorded\), "
        rf"release the record, the entry '{NAME}' of {lock_file()}, by: (featcache backbones forget narrow\.in1k); or "
    )
    with pytest.raises(WeightsError, match=text) as raised:
        load("narrow")
    command = re.search(text, str(raised.value))[1]
    assert main(command.split()[1:]) == 0
    said = capsys.readouterr()
    assert (
        said.out
        == f"released {NAME}: sha256 {'ab' * 32}, 100 bytes, recorded on 2026-03-01 in {lock_file()}\n"
    )
    assert f"{place()} stays, and is recorded when it is next loaded" in said.err
    assert load("narrow").name == "narrow.in1k"
    assert read_record(NAME).size == len(right)


def test_the_broken_file_that_was_recorded_is_told_apart_from_a_new_one():
    """The record and the file agree, and both are wrong."""
    right = good()
    place().write_bytes(right[:100])
    content = download._examine(place(), NARROW.file)
    remember(NAME, LockRecord(NARROW.file.url, content.sha256, 100, "2026-03-01", "nothing published"))
    text = (
        r"It is the file that was recorded on 2026-03-01\. If it is a broken download, release the record, the entry "
        rf"'{NAME}' of {lock_file()}, by: featcache backbones forget narrow\.in1k; then delete {place()} and run again"
    )
    with pytest.raises(WeightsError, match=text):
        load("narrow")


@RECORDED
def test_a_download_that_cannot_be_loaded_is_not_recorded(monkeypatch):
    monkeypatch.delenv("FEATCACHE_OFFLINE")
    right = good()
    place().unlink()
    with serving() as server:
        file = Server(server.port).weights(sha256=None).file
        monkeypatch.setitem(vars(NARROW), "file", file)
        server.answer = Answer(body=right[:-100])
        with pytest.raises(
            WeightsError, match=r"Nothing was recorded of it\. If it is a broken download, delete "
        ):
            load("narrow")
        assert not lock_file().exists()
        place().unlink()
        server.answer = Answer(body=right)
        load("narrow")
        assert list(json.loads(lock_file().read_text())) == [file.filename]


@RECORDED
@pytest.mark.parametrize("fault", [KeyboardInterrupt, MemoryError, OSError])
def test_whatever_ends_the_loading_nothing_is_recorded(fault):
    """A kill between the two leaves what this does: no record."""
    good()

    def read(path):
        raise fault

    with pytest.raises(fault):
        download.obtain(NARROW, read)
    assert not lock_file().exists()


@RECORDED
def test_another_process_that_loads_another_file_first_is_believed():
    good()

    def read(path):
        remember(NAME, LockRecord("https://here", "cd" * 32, 7, "2026-03-01", "nothing published"))
        return path

    with pytest.raises(WeightsError, match=r"is not the file that was recorded on 2026-03-01.*\(7 bytes"):
        download.obtain(NARROW, read)
    assert read_record(NAME).sha256 == "cd" * 32


def test_a_published_hash_that_fits_leaves_the_error_alone():
    """The file is the published one: another download would not mend it."""
    good()
    sha256 = download._examine(place(), NARROW.file).sha256
    weights = replace(NARROW, file=Download(NARROW.file.url, sha256[:8]))

    def read(path):
        raise WeightsError("it does not fit")

    with pytest.raises(WeightsError, match=r"^it does not fit$"):
        download.obtain(weights, read)


@RECORDED
def test_own_weights_are_never_recorded(tmp_path):
    load("narrow", weights=write(tmp_path / "own.safetensors", drawn(classes=3)))
    assert not lock_file().exists()


# ---- releasing


@pytest.mark.parametrize("name", ["narrow", "narrow.in1k", NAME])
def test_a_record_is_released_by_each_name_of_the_weights(name, capsys):
    other = LockRecord("https://other", "ef" * 32, 3, "2026-03-02", "md5 of Keras")
    remember("other.h5", other)
    remember(NAME, LockRecord("https://here", "cd" * 32, 7, "2026-03-01", "nothing published"))
    assert main(["backbones", "forget", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["result"]
    assert (told["file"], told["released"]["sha256"]) == (NAME, "cd" * 32)
    assert (read_record(NAME), read_record("other.h5")) == (None, other)


def test_nothing_to_release_is_said_and_nothing_written(capsys):
    assert main(["backbones", "forget", "narrow"]) == 0
    assert capsys.readouterr().out == f"nothing is recorded of {NAME} in {lock_file()}\n"
    assert not lock_file().parent.exists()


def test_an_unknown_name_is_refused_with_the_nearest(capsys):
    assert main(["backbones", "forget", "narow"]) != 0
    assert "did you mean 'narrow'?" in capsys.readouterr().err


def test_releasing_and_recording_at_once_loses_nothing():
    """Each change reads and writes the whole file, under the same lock."""
    records = [LockRecord("https://here", "cd" * 32, number, "2026-03-01", "nothing") for number in range(20)]
    for record in records[:10]:
        remember(f"file-{record.size}", record)
    with ThreadPoolExecutor(4) as pool:
        gone = pool.map(lambda record: forget(f"file-{record.size}"), records[:10])
        held = pool.map(lambda record: remember(f"file-{record.size}", record), records[10:])
        assert [*gone, *held] == records
    assert sorted(json.loads(lock_file().read_text())) == sorted(f"file-{number}" for number in range(10, 20))


def test_a_record_that_cannot_be_released_stays(monkeypatch):
    record = LockRecord("https://here", "cd" * 32, 7, "2026-03-01", "nothing published")
    remember(NAME, record)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("featcache.backbones.weights.lock_file.replace_file", full)
    with pytest.raises(
        StorageError, match=rf"cannot release the record of {NAME} in {lock_file()}: No space left"
    ):
        forget(NAME)
    assert read_record(NAME) == record


@RECORDED
def test_loading_again_tells_nothing():
    good()
    with pytest.warns(RuntimeWarning, match="no full sha256 is published for the weights of narrow"):
        load("narrow")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("narrow")
