"""One writer per cache."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from featcache.cache import WriteLock
from featcache.errors import LockedError, StorageError

HOLDER = """
import sys
from pathlib import Path
from featcache.cache import WriteLock
with WriteLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def target(tmp_path):
    return tmp_path / "a.h5"


def owner(**changes):
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": "1",
        "since": "2026-01-01 10:00:00",
    }
    return json.dumps({**mine, **changes})


def hold(target):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    return child


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="the kernel tells nothing about other processes here"
)
def test_a_killed_holder_whose_end_nobody_has_asked_for_is_gone(target):
    """Found by the soak: a container's first process need not ask for the ends of others, which stay listed."""
    child = hold(target)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    os.kill(child.pid, 0)  # it is still listed
    with WriteLock(target) as lock:
        assert json.loads(lock.record.read_text())["pid"] == os.getpid()
    child.communicate()


def test_nothing_is_left_behind_and_it_can_be_taken_again(target):
    for _ in range(2):
        with WriteLock(target) as lock:
            assert json.loads(lock.record.read_text())["pid"] == os.getpid()
        assert [p.name for p in target.parent.iterdir() if p.suffix != ".lock"] == []


def test_a_second_writer_is_told_host_and_process(target):
    child = hold(target)
    try:
        with pytest.raises(
            LockedError,
            match=f"a.h5 is being written by process {child.pid} on {socket.gethostname()} since 20.*; "
            "wait for it, or write elsewhere with --output",
        ):
            WriteLock(target).__enter__()
        with WriteLock(target.with_name("b.h5")):
            pass
    finally:
        child.communicate("\n")
    with WriteLock(target):
        pass


def test_a_second_writer_of_the_same_process_too(target):
    with WriteLock(target), pytest.raises(LockedError, match=f"by process {os.getpid()} on"):
        WriteLock(target).__enter__()


def test_a_killed_writers_lock_is_taken_over(target):
    child = hold(target)
    child.kill()
    child.communicate()
    assert json.loads((target.parent / "a.h5.owner.json").read_text())["pid"] == child.pid
    with WriteLock(target) as lock:
        assert json.loads(lock.record.read_text())["pid"] == os.getpid()


def test_another_hosts_lock_is_never_taken_over(target):
    record = target.with_name("a.h5.owner.json")
    record.write_text(owner(host="gpu-node-7", pid=1))
    with pytest.raises(
        LockedError, match=r"by process 1 on gpu-node-7 .*If that process is gone, delete .*owner"
    ) as e:
        WriteLock(target).__enter__()
    assert record.exists()
    assert str(record) in str(e.value)


@pytest.mark.parametrize(
    "record",
    [
        owner(pid=0),
        owner(pid="x"),
        owner(pid=2**22 + 1),  # above the kernel's largest process number
        owner(),  # this process's number, but another start: a restarted container
        owner(pid=1, pid_started="-1"),  # a living process that started at another time
        owner(pid=2**70),  # above what the system's call takes
        owner(pid=-(2**70)),
        owner(since=["yesterday"]),
        owner(since="\x1b[31m"),  # nothing that a terminal would obey reaches a message
        "[" * 5000,
        "",
        "[]",
        "{",
    ],
    # This process's number must not be part of a name: other processes collect the same tests.
    ids=range(13),
)
def test_what_names_no_living_owner_is_taken_over(record, target):
    target.with_name("a.h5.owner.json").write_text(record)
    with WriteLock(target):
        pass


def test_a_living_owner_is_respected_where_the_lock_file_does_not_lock(target):
    """As on a network file system without locks: only the record tells."""
    child = hold(target)
    try:
        target.with_name("a.h5.lock").unlink()
        with pytest.raises(LockedError, match=f"by process {child.pid} on"):
            WriteLock(target).__enter__()
    finally:
        child.communicate("\n")


def test_the_lock_is_released_after_an_error(target):
    with pytest.raises(RuntimeError, match="oops"), WriteLock(target):
        raise RuntimeError("oops")
    with WriteLock(target):
        pass


def test_a_folder_or_a_pipe_in_the_place_of_the_record(target):
    record = target.with_name("a.h5.owner.json")
    os.mkfifo(record)
    with WriteLock(target):  # a pipe would be waited for
        pass
    record.mkdir()
    for writes, elsewhere in ((True, ", or write elsewhere with --output$"), (False, "$")):
        said = (
            rf"cannot replace .*a\.h5\.owner\.json: .*; (something else has that name|your perm).*{elsewhere}"
        )
        with pytest.raises(StorageError, match=said):
            WriteLock(target, writes=writes).__enter__()
    assert [path.name for path in target.parent.iterdir()] == [record.name], "no lock file stays"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("fails_at", ["lock", "record", "content"])
def test_on_a_full_disk_only_deleting_needs_no_record(target, monkeypatch, number, fails_at):
    def refuse(*arguments, **others):
        raise OSError(number, os.strerror(number))

    def full(patched):
        if fails_at == "lock":
            patched.setattr("filelock.FileLock.acquire", refuse)
        elif fails_at == "record":
            patched.setattr(WriteLock, "_write_record", refuse)
        else:
            patched.setattr(json, "dump", refuse)

    with monkeypatch.context() as patched:
        full(patched)
        with WriteLock(target, writes=False):
            pass
        with pytest.raises(
            StorageError, match=r"cannot write .*a\.h5: .*, or write elsewhere with --output$"
        ):
            WriteLock(target).__enter__()
    assert list(target.parent.iterdir()) == []


def test_on_a_full_disk_another_writer_is_respected(target, monkeypatch):
    child = hold(target)
    try:
        with pytest.raises(
            LockedError, match=rf"by process {child.pid} .*; wait for it\. If that process is gone"
        ):
            WriteLock(target, writes=False).__enter__()
    finally:
        child.communicate("\n")


def test_no_lock_file_stays_where_the_record_names_another(target):
    target.with_name("a.h5.owner.json").write_text(owner(host="gpu-node-7", pid=1))
    with pytest.raises(LockedError, match="gpu-node-7"):
        WriteLock(target).__enter__()
    assert [path.name for path in target.parent.iterdir()] == ["a.h5.owner.json"]
