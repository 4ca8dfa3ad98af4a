"""Several processes at one cache or sweep: writers exclude each other, readers see a whole file or none."""

import json
import multiprocessing
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.small_caches import small

from featcache.cache import CacheWriter, FeatureCache, WriteLock, partial_path
from featcache.errors import LockedError, MissingFileError

OLD, NEW = small(30, seed=1), small(41, seed=2)

spawn = multiprocessing.get_context("spawn")


def hold_and_write(target: str, rows: int, ready) -> None:
    """Write some rows under the lock, say so, and wait to be killed."""
    with WriteLock(Path(target)), NEW.create(Path(target)) as writer:
        NEW.fill(writer, range(rows))
        ready.set()
        threading.Event().wait()


def test_a_second_writer_is_refused_and_may_go_on_after_the_first_was_killed(tmp_path):
    target = tmp_path / "a.h5"
    ready = spawn.Event()
    writer = spawn.Process(target=hold_and_write, args=(str(target), 20, ready))
    writer.start()
    assert ready.wait(60)
    message = f"is being written by process {writer.pid} on {re.escape(socket.gethostname())} since"
    with pytest.raises(LockedError, match=message):
        WriteLock(target).__enter__()
    writer.kill()
    writer.join()
    with WriteLock(target):
        with CacheWriter.resume(target) as resumed:
            assert int(resumed.done().sum()) == 18
        assert NEW.wrong(NEW.resume(target)) == []


def race(target: str, rounds: int, start, results) -> None:
    """Take the lock again and again; the marker must never be there already."""
    entered = collided = 0
    marker = Path(target).with_name("inside")
    start.wait()
    while entered < rounds:
        try:
            with WriteLock(Path(target)):
                entered += 1
                try:
                    marker.touch(exist_ok=False)
                except FileExistsError:
                    collided += 1
                marker.unlink(missing_ok=True)
        except LockedError:
            pass
    results.put((entered, collided))


def test_only_one_of_many_is_inside(tmp_path):
    # The first to come finds the record of a process that is gone, which all of them want to take over.
    record = {"host": socket.gethostname(), "pid": 2**22 + 1, "pid_started": "1", "since": "yesterday"}
    (tmp_path / "a.h5.owner.json").write_text(json.dumps(record))
    start, results = spawn.Event(), spawn.Queue()
    racers = [spawn.Process(target=race, args=(str(tmp_path / "a.h5"), 60, start, results)) for _ in range(4)]
    for racer in racers:
        racer.start()
    start.set()
    assert [results.get(timeout=120) for _ in racers] == [(60, 0)] * 4
    for racer in racers:
        racer.join()


def test_readers_during_writing_are_told_how_far_it_is(tmp_path):
    target = tmp_path / "a.h5"
    seen = []
    with NEW.create(target) as writer:
        for row in range(len(NEW.rows)):
            NEW.fill(writer, [row])
            with pytest.raises(MissingFileError, match="is not finished") as told:
                FeatureCache(target)
            seen.append(int(re.search(r"\((\d+) % complete\)", str(told.value))[1]))
        assert seen == [100 * (row + 1) // 41 for row in range(41)]
        writer.publish()
    assert NEW.wrong(FeatureCache(target)) == []


def read_all_the_time(target: str, began, stop, results) -> None:
    counts = {"old": 0, "new": 0}
    wrong = []
    while not stop.is_set():
        with FeatureCache(target) as cache:
            old = len(cache) == len(OLD.rows)
            found = (OLD if old else NEW).wrong(cache)
            counts["old" if old else "new"] += 1
            wrong.extend(found)
        if sum(counts.values()) == 1:
            began.release()
    results.put((counts, wrong))


def test_readers_while_the_file_is_replaced_see_one_or_the_other(tmp_path):
    target = tmp_path / "a.h5"
    OLD.publish(target)
    began, stop, results = spawn.Semaphore(0), spawn.Event(), spawn.Queue()
    reading = (str(target), began, stop, results)
    readers = [spawn.Process(target=read_all_the_time, args=reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in readers:  # on a busy machine a process may take longer to start than all that follows
        assert began.acquire(timeout=120)
    long_open = FeatureCache(target)
    for _ in range(25):
        NEW.publish(target).close()
        OLD.publish(target).close()
    stop.set()
    for _ in readers:
        counts, wrong = results.get(timeout=60)
        assert wrong == []
        assert sum(counts.values())
    for reader in readers:
        reader.join()
    assert OLD.wrong(long_open) == []
    assert not partial_path(target).exists()


@pytest.mark.slow
def test_of_two_sweeps_in_one_folder_each_is_whole_or_told_who_holds_it(tmp_path):
    features, labels = blobs(120)
    cache = feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 80 + ["val"] * 40).path
    options = ["--output", "out", "--head", "prototype", "--metric", "euclidean,cosine", "--seeds", "3"]
    command = [sys.executable, "-m", "featcache", "sweep", str(cache), *options, "--shots", "1,2,4,8,16,all"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    sweeps = [subprocess.Popen(command, **pipes) for _ in range(4)]
    told = [(*sweep.communicate(), sweep.returncode) for sweep in sweeps]
    assert {code for *_, code in told} <= {0, 1}
    assert [code for *_, code in told].count(0) >= 1
    for _, error, code in told:
        assert code == 0 or re.search("the sweep in out is being written by process .*; wait for it", error)
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(line)["id"] for line in lines}) == 36
    assert np.isfinite(json.loads((tmp_path / "out" / "summary.json").read_text())["chosen"]["val_accuracy"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.jsonl",
        "results.parquet",
        "summary.json",
        "classifier",
    }
