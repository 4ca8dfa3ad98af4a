"""What killed commands leave beside files and folders is found and removed; what may be in use is not."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from featcache.cache import find_leftovers, gc
from featcache.cache.half_written import YOUNG_S
from featcache.core import files
from featcache.core.files import list_temporaries, temporary_path

NAMES = ("photos.npz", "classifier", "results.parquet", ".hidden", "line\nfeed", "a.new-1-00000000")


@pytest.fixture
def gone(monkeypatch) -> int:
    """The number of a process that has ended; temporary names are made as by it."""
    child = subprocess.Popen(["true"])
    child.wait()
    monkeypatch.setattr(files.os, "getpid", lambda: child.pid)
    return child.pid


def lay(folder: Path, name: str, what: str = "new", *, age: float = 2 * YOUNG_S) -> Path:
    path = temporary_path(folder / name, what)
    if "." in name:
        path.write_bytes(bytes(100))
    else:
        path.mkdir()
        (path / "head.safetensors").write_bytes(bytes(60))
        (path / "classifier.json").write_bytes(bytes(40))
    os.utime(path, (time.time() - age,) * 2)
    return path


def found_in(folder: Path) -> dict[Path, tuple[int, str, bool]]:
    return {left.path: (left.nbytes, left.reason, left.removable) for left in find_leftovers(folder)}


def test_names_say_what_they_belong_to(tmp_path, gone):
    paths = {temporary_path(tmp_path / name, what): (name, what) for name in NAMES for what in ("new", "old")}
    for path in (*paths, tmp_path / ".photos.npz.new-x-00000000", tmp_path / ".photos.npz.new-1-0000000"):
        path.touch()
    found = {each.path: (each.target.name, each.what) for each in list_temporaries(tmp_path)}
    assert found == paths
    assert {each.pid for each in list_temporaries(tmp_path)} == {gone}


def test_what_a_killed_process_left_is_removed(tmp_path, gone):
    paths = [lay(tmp_path, name) for name in NAMES[:3]]
    for path, (nbytes, reason, removable) in found_in(tmp_path).items():
        name = path.name.split(".new-")[0].removeprefix(".")
        assert (nbytes, reason, removable) == (100, f"half-written {name} of a process that is gone", True)
    assert sorted(left.path for left in gc(tmp_path)) == sorted(paths)
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    path = lay(tmp_path, "classifier")
    assert (found_in(tmp_path), gc(tmp_path)) == ({}, [])
    assert path.exists()


def test_what_another_machine_may_be_writing_is_kept_for_an_hour(tmp_path, gone, monkeypatch):
    monkeypatch.setattr(files, "_machine", lambda: "0123abcd")
    path = lay(tmp_path, "photos.npz", age=0)
    monkeypatch.undo()
    said = "half-written photos.npz, less than an hour old: of another machine, perhaps"
    assert found_in(tmp_path) == {path: (100, said, False)}
    assert gc(tmp_path, unfinished=True) == []
    assert path.exists()


def test_what_was_just_left_here_is_removed(tmp_path, gone):
    path = lay(tmp_path, "photos.npz", age=0)
    assert found_in(tmp_path) == {path: (100, "half-written photos.npz of a process that is gone", True)}
    assert [left.path for left in gc(tmp_path)] == [path]


def test_an_earlier_classifier_that_was_moved_aside_is_kept_until_it_is_replaced(tmp_path, gone):
    path = lay(tmp_path, "classifier", "old")
    said = "the earlier classifier, which nothing has replaced: rename it, or read it by its name"
    assert found_in(tmp_path) == {path: (100, said, False)}
    assert gc(tmp_path, unfinished=True) == []
    (tmp_path / "classifier").mkdir()
    assert found_in(tmp_path) == {path: (100, "replaced classifier of a process that is gone", True)}
    assert [left.path for left in gc(tmp_path)] == [path]
    assert [each.name for each in tmp_path.iterdir()] == ["classifier"]
