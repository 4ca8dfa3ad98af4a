"""What is being written is never taken for a leftover, and what dead processes left is, whatever their numbers are."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from featcache.core.disk import kernel_locks
from featcache.core.disk import temporaries as module
from featcache.core.disk.files import replace_file
from featcache.core.disk.temporaries import (
    find_leftovers,
    find_temporaries,
    held_file,
    held_folder,
    remove_leftover,
    remove_leftovers,
    temporary_path,
)

KINDS = ["file", "folder"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.json"


def leave(path: Path, kind: str, what: str = "new") -> Path:
    """Leave what a killed process of this host would."""
    left = temporary_path(path, what)
    if kind == "folder":
        left.mkdir()
        (left / "part").write_bytes(b"1234")
    else:
        left.write_bytes(b"1234")
    return left


def held(path: Path, kind: str):
    return held_file(path) if kind == "file" else held_folder(path)


def test_temporary_names_are_hidden_and_found_again(tmp_path):
    path = tmp_path / "a (1).h5"
    new, old = temporary_path(path), temporary_path(path, "old")
    assert new.name.startswith(f".a (1).h5.new-{os.getpid()}-")
    assert old.name.startswith(f".a (1).h5.old-{os.getpid()}-")
    assert temporary_path(path) != new
    for each in (new, old, path, tmp_path / ".a (1).h5.new-years-eve", tmp_path / f"x{new.name}"):
        each.touch()
    assert find_temporaries(path) == [new]
    assert find_temporaries(path, "old") == [old]
    assert find_temporaries(tmp_path / "a .h5") == find_temporaries(tmp_path / "gone" / "a") == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_this_process_writes_is_in_use_and_then_left(path, kind):
    """By its number a writer in a container is every other one: all of them are number 1."""
    with held(path, kind):
        assert find_leftovers(path.parent) == []
        remove_leftovers(path)
        [used] = find_temporaries(path)
    assert [left.path for left in find_leftovers(path.parent)] == [used]
    remove_leftovers(path)
    assert list(path.parent.iterdir()) == []


HOLDING = """
import sys
from pathlib import Path
from featcache.core.disk.temporaries import held_file, held_folder
how = held_file if sys.argv[2] == "file" else held_folder
with how(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_process_writes_is_in_use_until_it_is_killed(path, kind):
    command = [sys.executable, "-c", HOLDING, str(path), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        [used] = find_temporaries(path)
        assert not remove_leftover(used)
        assert find_leftovers(path.parent) == []
        writer.kill()
    [left] = find_leftovers(path.parent)
    assert (left.path, left.removable, left.reason) == (used, True, "unfinished a.json")
    assert remove_leftover(used)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_another_hosts_are_named_and_stay(path, kind, monkeypatch):
    monkeypatch.setattr(module.socket, "gethostname", lambda: "elsewhere")
    other = leave(path, kind)
    monkeypatch.undo()
    mine = leave(path, kind)
    told = {left.path: (left.nbytes, left.removable, left.reason) for left in find_leftovers(path.parent)}
    assert told == {
        mine: (4, True, "unfinished a.json"),
        other: (4, False, "begun on another host, which may be writing it: a.json"),
    }
    remove_leftovers(path)
    assert list(path.parent.iterdir()) == [other]
    assert not remove_leftover(other)


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_can_be_locked_everything_is_written_and_nothing_removed(path, kind, monkeypatch):
    monkeypatch.setattr(module, "try_lock", lambda descriptor: None)
    left = leave(path, kind)
    with held(path, kind):
        assert len(find_temporaries(path)) == 2
    remove_leftovers(path)
    assert left.exists()
    assert find_leftovers(path.parent) == []
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["before it is locked", "while it is cleaned"])
def test_a_cleaner_that_is_faster_than_the_lock_makes_the_writer_take_another_name(
    path, kind, when, monkeypatch
):
    taken = []

    def lock(descriptor, real=kernel_locks.try_lock):
        if not taken:  # the writer's first: the cleaner comes first
            [fresh] = find_temporaries(path)
            taken.append(fresh)
            if when == "while it is cleaned":
                return False
            assert remove_leftover(fresh)
        return real(descriptor)

    monkeypatch.setattr(module, "try_lock", lock)
    with held(path, kind) as fresh:
        name = Path(fresh if kind == "folder" else fresh.name)
        assert name != taken[0]
        assert name.exists()


def test_a_cleaner_may_even_come_before_a_new_folder_is_opened(path, monkeypatch):
    taken = []

    def mkdir(fresh, real=Path.mkdir):
        real(fresh)
        if not taken:
            taken.append(fresh)
            assert remove_leftover(fresh)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with held_folder(path) as fresh:
        assert fresh != taken[0]
        assert fresh.is_dir()


def test_an_earlier_folder_is_the_only_copy_where_its_successor_is_missing(path):
    old = leave(path, "folder", "old")
    [left] = find_leftovers(path.parent)
    assert (left.removable, left.reason) == (
        False,
        "the only copy, until it is next read or saved, of a.json",
    )
    path.mkdir()
    [left] = find_leftovers(path.parent)
    assert (left.removable, left.reason) == (True, "unfinished removal of the earlier a.json")
    remove_leftovers(path)
    assert old.exists(), "of another kind"
    remove_leftovers(path, "old")
    assert not old.exists()


def test_what_only_looks_like_a_leftover_stays(path, tmp_path):
    (tmp_path / "precious").write_text("x")
    link, pipe = temporary_path(path), temporary_path(path)
    link.symlink_to(tmp_path / "precious")
    os.mkfifo(pipe)
    other = leave(tmp_path / "b.json", "file")
    remove_leftovers(path)
    replace_file(path, b"new")
    assert {each.name for each in tmp_path.iterdir()} == {
        "precious", "a.json", link.name, pipe.name, other.name
    }  # fmt: skip


def test_the_next_writer_removes_what_was_left_even_without_room_for_more(path, monkeypatch):
    leave(path, "file")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        replace_file(path, b"new")
    assert list(path.parent.iterdir()) == []


def test_threads_that_clean_all_the_time_never_take_a_file_that_is_being_written(path):
    contents = [bytes([number]) * 50_000 for number in range(100)]
    with ThreadPoolExecutor(6) as pool:
        cleaning = [pool.submit(lambda: [remove_leftovers(path) for _ in range(300)]) for _ in range(2)]
        list(pool.map(lambda content: replace_file(path, content), contents))
        for each in cleaning:
            each.result()
    assert path.read_bytes() in contents
    assert list(path.parent.iterdir()) == [path]
