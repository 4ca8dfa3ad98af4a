"""The folder of a sweep: one sweep at a time writes it, and whoever only reads changes nothing."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from featcache.core.disk.jsonl import read_records
from featcache.core.disk.temporaries import find_leftovers, temporary_path
from featcache.errors import LockedError, StorageError, UsageError
from featcache.sweeps.results import RESULTS, SUMMARY, TABLE, Results

ROW = {
    "id": "a",
    "val_accuracy": 0.5,
    "val_loss": 1.0,
    "best_epoch": 1,
    "settings": {"l2": 0.0},
    "protocol": {},
}

WRITING = """
import json, os, sys
from pathlib import Path
from featcache.sweeps.results import Results

with Results(Path(sys.argv[1])) as results:
    for number in range(int(sys.argv[2])):
        results.add([{**json.loads(sys.argv[3]), "id": str(number), "padding": "x" * (number % 97)}])
        if not number:
            print("began", flush=True)
    results.write_table()
    print("done", flush=True)
    sys.stdin.readline()
"""


def writing(folder, rows):
    command = [sys.executable, "-c", WRITING, str(folder), str(rows), json.dumps(ROW)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "began\n"
    return writer


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def test_a_second_sweep_is_told_who_holds_the_folder_and_changes_nothing_in_it(folder):
    """It would fit everything once more, and take a line that is being written for one that was cut off."""
    refused = 0
    with writing(folder, 300) as writer:
        while refused < 5 or not re.search(b'"id": "299".*\n', (folder / RESULTS).read_bytes()):
            with pytest.raises(
                LockedError,
                match=f"the sweep in {folder} is being written by process {writer.pid} on "
                f"{re.escape(socket.gethostname())} since .*; wait for it, or write elsewhere with --output",
            ):
                Results(folder)
            read_records(folder / RESULTS, damaged="{path} {line}")
            refused += 1
        writer.communicate("\n")
    with Results(folder) as results:
        assert list(results.rows) == [str(number) for number in range(300)]
    assert sorted(os.listdir(folder)) == [RESULTS, TABLE]


def test_one_that_was_killed_is_nobodys_obstacle_and_what_it_left_is_gone(folder):
    with writing(folder, 3) as writer:
        assert writer.stdout.readline() == "done\n"
        writer.send_signal(signal.SIGKILL)
    for name in (RESULTS, TABLE, SUMMARY):
        temporary_path(folder / name).write_bytes(b"half")
    (folder / RESULTS).open("ab").write(b'{"id": "4", "val')
    assert len(find_leftovers(folder)) == 3
    with Results(folder) as results:
        assert list(results.rows) == ["0", "1", "2"]
        results.add([ROW])
    assert sorted(os.listdir(folder)) == [RESULTS, TABLE]
    assert (folder / RESULTS).read_bytes().count(b"\n") == 4


def test_a_sweep_that_has_only_begun_is_a_sweep_and_anything_else_is_none(folder):
    folder.mkdir()
    for name in (f"{RESULTS}.lock", f"{RESULTS}.owner.json"):  # killed before its first line
        (folder / name).touch()
    Results(folder).close()
    (folder / RESULTS).unlink()
    (folder / "photo.jpg").touch()
    with pytest.raises(UsageError, match="out exists and is no sweep; choose another place"):
        Results(folder)
    assert os.listdir(folder) == ["photo.jpg"]


def test_a_file_in_the_place_of_the_folder_is_told(folder):
    folder.touch()
    with pytest.raises(
        UsageError, match="is a file, expected a folder or nothing; write elsewhere with --out"
    ):
        Results(folder)


def test_the_folder_is_free_again_after_a_failure(folder, monkeypatch):
    with Results(folder) as results, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(StorageError, match="No space left"):
            results.add([ROW])
    with Results(folder) as results:
        assert results.rows == {}
