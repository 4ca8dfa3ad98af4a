"""A file is replaced durably, at once or not at all, and nothing is left beside it."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from featcache.core.disk import files
from featcache.core.disk.files import (
    exchange,
    give_name,
    made_folder,
    make_folder,
    replace_file,
    storage_errors,
)
from featcache.core.disk.temporaries import find_temporaries
from featcache.errors import IntegrityError, StorageError


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.json").write_bytes(b"old")
    return tmp_path / "a.json"


def refuse(*arguments, **others):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Replacing a file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"new", lambda stream: stream.writelines([b"n", memoryview(b"ew")])])
def test_a_file_is_made_and_replaced(tmp_path, content):
    for _ in range(2):
        replace_file(tmp_path / "a.json", content)
        assert (tmp_path / "a.json").read_bytes() == b"new"
        assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_it_is_on_the_disk_before_it_has_the_name_and_its_folder_after(path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda d, real=os.fstat: done.append(os.path.isdir(f"/dev/fd/{d}")))
    monkeypatch.setattr(os, "replace", lambda a, b, real=os.replace: (done.append("rename"), real(a, b)))
    replace_file(path, b"new")
    assert done == [False, "rename", True]


@pytest.mark.parametrize("fails_at", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(path, monkeypatch, fails_at):
    monkeypatch.setattr(os, fails_at, refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        replace_file(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [OSError(5, "gone"), IntegrityError("damaged rows"), KeyboardInterrupt()])
def test_what_the_function_raises_is_passed_on(path, error):
    def write(stream):
        stream.write(b"half of it")
        raise error

    with pytest.raises(type(error)) as caught:
        replace_file(path, write)
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]


def test_where_the_file_system_cannot_sync_it_is_replaced_all_the_same(path, monkeypatch):
    def unsupported(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unsupported)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_threads_do_not_write_into_each_others_file(path):
    contents = [bytes([number]) * 100_000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: replace_file(path, content), contents))
    assert path.read_bytes() in contents
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]


def test_a_killed_process_leaves_the_old_file_and_a_name_of_the_scheme(path):
    program = (
        "import os, sys; from pathlib import Path; from featcache.core.disk.files import replace_file\n"
        "replace_file(Path(sys.argv[1]), lambda stream: (stream.write(b'x' * 99999), os.kill(os.getpid(), 9)))"
    )
    child = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    [left] = find_temporaries(path)
    assert set(path.parent.iterdir()) == {path, left}
    replace_file(path, b"new")  # which clears up
    assert path.read_bytes() == b"new"
    assert set(path.parent.iterdir()) == {path}


# Folders ----------------------------------------------------------------------------------------------------


def test_the_names_of_new_folders_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync_name", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert set(synced) == {tmp_path / "a", tmp_path / "a" / "b"}
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_folders_that_were_made_for_what_failed_are_gone_again(tmp_path):
    def fail(kept):
        with made_folder(tmp_path / "a" / "b" / "c"):
            assert (tmp_path / "a" / "b" / "c").is_dir()
            if kept:
                kept.touch()
            raise StorageError("the disk is full")

    (tmp_path / "a").mkdir()
    for kept in (None, tmp_path / "a" / "b" / "file"):
        with pytest.raises(StorageError, match="full"):
            fail(kept)
        assert list((tmp_path / "a").rglob("*")) == ([kept.parent, kept] if kept else [])
    with made_folder(tmp_path / "a" / "b" / "c"):
        pass
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two names")
def test_two_folders_swap_their_names(tmp_path):
    one, other = tmp_path / "one", tmp_path / "ötherx\udcff"
    for place in (one, other):
        place.mkdir()
        (place / place.name[0]).touch()
    assert exchange(one, other)
    assert [each.name for each in (*one.iterdir(), *other.iterdir())] == ["ö", "o"]
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        exchange(one, tmp_path / "gone")


def test_where_the_system_cannot_swap_it_says_so(tmp_path, monkeypatch):
    class Library:
        """A C library, first of a file system that cannot, then of before 2018."""

        def __init__(self, name, use_errno):
            pass

        def renameat2(self, *arguments):
            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert not exchange(tmp_path, tmp_path)
    del Library.renameat2
    assert not exchange(tmp_path, tmp_path)


# Errors -----------------------------------------------------------------------------------------------------


def test_what_the_system_refuses_is_told_with_the_path_and_what_to_do():
    told = (
        r"cannot save /x/a: No space left on device \[errno 28, ENOSPC\]; free some space .*, or name another"
    )
    elsewhere = "name another file"
    with (
        pytest.raises(StorageError, match=told) as caught,
        storage_errors(Path("/x/a"), "save", elsewhere=elsewhere),
    ):
        refuse()
    assert caught.value.errno == errno.ENOSPC
    own = IntegrityError("of featcache")
    with pytest.raises(IntegrityError) as passed, storage_errors(Path("/x/a")):
        raise own
    assert passed.value is own


@pytest.mark.parametrize("way", ["renameat2", "link", "neither"])
def test_a_name_is_given_at_one_blow_and_never_taken(tmp_path, monkeypatch, way):
    source, target, taken = (tmp_path / name for name in ("source", "target", "taken"))
    source.write_text("new")
    taken.write_text("kept")

    def refused(*arguments, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if way != "renameat2":
        monkeypatch.setattr(ctypes, "CDLL", refused)
    if way == "neither":
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(FileExistsError):
        give_name(source, taken)
    assert (source.read_text(), taken.read_text()) == ("new", "kept")
    give_name(source, target)
    assert target.read_text() == "new"
    assert not source.exists()
