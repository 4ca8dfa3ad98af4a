"""A lock on a folder's names: waited for, never for ever, and never left behind."""

import subprocess
import sys
import threading

from featcache.core.disk import kernel_locks
from featcache.core.disk.kernel_locks import folder_lock, is_named, try_lock


def test_one_at_a_time_each_after_the_other(tmp_path):
    inside, most = [], []

    def work(number):
        with folder_lock(tmp_path) as alone:
            inside.append(number)
            most.append((alone, len(inside)))
            inside.remove(number)

    with folder_lock(tmp_path):
        workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        assert most == []
    for worker in workers:
        worker.join()
    assert most == [(True, 1)] * 8
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_ever(tmp_path):
    with folder_lock(tmp_path) as first, folder_lock(tmp_path, seconds=0) as second:
        assert (first, second) == (True, False)


def test_a_killed_process_holds_nothing(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from featcache.core.disk.kernel_locks import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    with folder_lock(tmp_path, seconds=0) as alone:
        assert alone


FORKING = """
import os, sys
from pathlib import Path
from featcache.core.disk.kernel_locks import folder_lock

reading, writing = os.pipe()
with folder_lock(Path(sys.argv[1])):
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
with folder_lock(Path(sys.argv[1]), seconds=0) as alone:
    print(alone)
os.close(writing)
os.waitpid(child, 0)
"""


def test_a_process_forked_meanwhile_does_not_keep_it(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout == "True\n"


def test_where_there_are_no_locks_the_work_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_locks, "try_lock", lambda descriptor: None)
    with folder_lock(tmp_path) as alone:
        assert not alone
    with folder_lock(tmp_path / "gone") as alone:
        assert not alone


def test_a_file_system_without_locks_is_told_from_one_where_somebody_has_it(tmp_path, monkeypatch):
    import fcntl

    path = tmp_path / "a"
    with path.open("wb") as stream, path.open("rb") as other:
        assert try_lock(stream.fileno()) is True
        assert try_lock(other.fileno()) is False
        monkeypatch.setattr(
            fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available"))
        )
        assert try_lock(other.fileno()) is None
        assert is_named(path, other.fileno())
        path.rename(tmp_path / "b")
        assert not is_named(path, other.fileno())
