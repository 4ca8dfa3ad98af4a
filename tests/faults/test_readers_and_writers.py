"""Classifiers that are replaced all the time: no read and no save fails, and the last save stays, whole.

FEATCACHE_STRESS_SECONDS is how long the processes of each of the slow tests work.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.classifier_documents import NUMBERED

from featcache.core import classifier_folder as module

SECONDS = float(os.environ.get("FEATCACHE_STRESS_SECONDS", "5"))

PREAMBLE = (
    NUMBERED
    + """
import json, os, sys, time
from pathlib import Path
import numpy as np
from featcache.core import classifier_folder as module
from featcache.core.disk import folder_swap

target, way, who, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
if way == "no swaps":
    folder_swap.exchange = lambda one, other: False
os.getpid = lambda: 1  # as of the only process of a container

def save(number):
    kernel, backbone = np.full(1000, number, np.float32), [number.to_bytes(8, "big") * 4000]
    module.write_folder(target, numbered(number), {"kernel": kernel}, backbone=backbone)

def read():
    document, tensors = module.read_folder(target)
    def backbone(document):
        return document["number"], (target / module.BACKBONE).read_bytes()
    assert (tensors["kernel"] == document["number"]).all()
    number, content = module.read_beside_document(target, lambda document: same(*backbone(document)))

def same(number, content):
    if content != number.to_bytes(8, "big") * 4000:
        raise OSError("of another save")
    return number, content

print("began", flush=True)
sys.stdin.readline()
done, failed, last = 0, [], None
end = time.monotonic() + seconds
"""
)
WRITE = """
while time.monotonic() < end:
    number, began = done * 10 + who, time.monotonic()
    try:
        save(number)
        last = (number, began, time.monotonic())
    except Exception as error:
        failed.append(f"{type(error).__name__}: {error}")
    done += 1
print(json.dumps([done, failed, last]))
"""
READ = """
while time.monotonic() < end:
    try:
        read()
    except Exception as error:
        failed.append(f"{type(error).__name__}: {error}")
    done += 1
print(json.dumps([done, failed, last]))
"""

WAYS = [
    pytest.param(
        "swaps", marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two names")
    ),
    "no swaps",
]


def work(target: Path, way: str, *, writers: int, readers: int, seconds: float) -> list[tuple[float, ...]]:
    """Let them work, require that none failed, and return the last save of each writer: number, begin, end."""
    target.parent.mkdir()
    programs = [WRITE] * writers + [READ] * readers
    first = [sys.executable, "-c", PREAMBLE + "save(5)", str(target), way, "5", "0"]
    subprocess.run(first, input="\n", stdout=subprocess.DEVNULL, text=True, check=True)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + program, str(target), way, str(number), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, program in enumerate(programs)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "began\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    results = [json.loads(worker.communicate()[0]) for worker in workers]
    saves, reads = results[:writers], results[writers:]
    print(f"{way}: {writers} writers, {readers} readers, {seconds} s:", end=" ")
    for what, found in (("saves", saves), ("reads", reads)):
        print(
            f"{sum(len(failed) for _, failed, _ in found)} of {sum(d for d, _, _ in found)} {what} failed,",
            end=" ",
        )
    assert [failed[:3] for _, failed, _ in results] == [[]] * len(results)
    assert all(done > 3 for done, _, _ in results)
    assert os.listdir(target.parent) == [target.name]
    return [last for _, _, last in saves]


def require_last(target: Path, lasts: list[tuple[float, ...]]) -> None:
    """Require that no save that began after the end of the one that stayed is lost."""
    document, tensors = module.read_folder(target)
    assert (tensors["kernel"] == document["number"]).all()
    [end] = [end for number, _, end in lasts if number == document["number"]]
    assert all(began <= end for _, began, _ in lasts)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_one_writer_and_four_readers(way, tmp_path):
    target = tmp_path / "folder" / "classifier"
    require_last(target, work(target, way, writers=1, readers=4, seconds=SECONDS))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_three_writers(way, tmp_path):
    target = tmp_path / "folder" / "classifier"
    require_last(target, work(target, way, writers=3, readers=0, seconds=SECONDS))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_three_writers_and_two_readers(way, tmp_path):
    target = tmp_path / "folder" / "classifier"
    require_last(target, work(target, way, writers=3, readers=2, seconds=SECONDS))
