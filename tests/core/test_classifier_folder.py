"""A classifier's folder under failures, kills and readers: there is always the earlier classifier or the new one."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.classifier_documents import NUMBERED, numbered

from featcache.core import classifier_folder as module
from featcache.core.classifier_folder import BACKBONE, DOCUMENT, TENSORS, read_folder, write_folder
from featcache.core.disk import files, folder_swap
from featcache.errors import IntegrityError, MissingFileError, StorageError, UsageError, WeightsError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two names")


def save(target: Path, number: int) -> None:
    write_folder(target, numbered(number), {"kernel": np.full(1000, number, np.float32)})


def read(target: Path) -> int:
    """Return the number of a classifier whose parts are all of one save."""
    document, tensors = read_folder(target)
    np.testing.assert_array_equal(tensors["kernel"], np.full(1000, document["number"], np.float32))
    return document["number"]


@pytest.fixture
def target(tmp_path):
    save(tmp_path / "classifier", 1)
    return tmp_path / "classifier"


@pytest.fixture(params=["swapping", "without swapping"])
def way(request, monkeypatch):
    if request.param == "without swapping":
        monkeypatch.setattr(folder_swap, "exchange", lambda one, other: False)
    elif sys.platform != "linux":
        pytest.skip("only Linux swaps two names")


# Saving -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_classifier_is_replaced_and_nothing_is_left(target):
    for number in (2, 3):
        save(target, number)
        assert read(target) == number
        assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.usefixtures("way")
def test_leftovers_of_killed_saves_are_in_nobodys_way(target):
    """Of this very process number too, as in a container whose only process is always number 1."""
    names = [f".classifier.{what}-{os.getpid()}{end}" for what in ("new", "old") for end in ("", "-0123abcd")]
    for name in names:
        (target.parent / name).mkdir()
        (target.parent / name / "file").write_text("x")
    save(target, 2)
    assert read(target) == 2
    # The other names are of no scheme of today: whose they are is not known.
    assert [(target.parent / name).exists() for name in names] == [True, False, True, False]


def test_what_appears_while_a_save_is_writing_is_not_replaced(tmp_path, monkeypatch):
    target = tmp_path / "photos"

    def write(folder, *rest, real=module._write):
        target.mkdir()
        (target / "a.jpg").write_text("precious")
        real(folder, *rest)

    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(UsageError, match="photos exists and is no classifier; choose another place"):
        save(target, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert (target / "a.jpg").read_text() == "precious"


def test_every_file_and_folder_is_synced_before_the_name_and_the_parent_after(tmp_path, monkeypatch):
    done = []

    def sync(descriptor, real=os.fsync):
        done.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2]))
        real(descriptor)

    def rename(source, place, real=os.replace):
        done.append(("rename", Path(place).name))
        real(source, place)

    def swap(one, other, real=folder_swap.exchange):
        done.append(("swap", other.name))
        return real(one, other)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("only Linux tells the name of an open file")
    monkeypatch.setattr(files.os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    monkeypatch.setattr(folder_swap, "exchange", swap)
    for name in ("rename", "swap"):
        done.clear()
        write_folder(tmp_path / "a" / "b", {}, {"kernel": np.zeros(3)}, backbone=[b"numbers"])
        if name == "rename":
            assert done.pop(0) == ("sync", tmp_path.name), "of the new folder a"
        fresh = done[3][1]
        assert fresh.startswith(".b.new-")
        files_then_folder = [("sync", what) for what in (BACKBONE, TENSORS, DOCUMENT, fresh)]
        assert done == [*files_then_folder, (name, "b"), ("sync", "a")]


# Failures ---------------------------------------------------------------------------------------------------


def fail_at(monkeypatch, owner, name, number):
    """Make the call of that number fail, from 0."""
    calls = []

    def call(*arguments, real=getattr(owner, name), **others):
        calls.append(arguments)
        if len(calls) - 1 == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **others)

    monkeypatch.setattr(owner, name, call)
    return calls


@pytest.mark.parametrize(
    ("swaps", "name", "number"),
    [
        *((True, "fsync", number) for number in range(3)),  # numbers, document, folder
        *((False, "fsync", number) for number in range(3)),
        pytest.param(True, "exchange", 0, marks=LINUX),
        (False, "replace", 0),  # moving the old one aside
        (False, "replace", 1),  # moving the new one in
    ],
)
def test_a_failure_keeps_the_earlier_classifier(target, monkeypatch, swaps, name, number):
    if not swaps:
        monkeypatch.setattr(folder_swap, "exchange", lambda one, other: False)
    calls = fail_at(monkeypatch, folder_swap if name == "exchange" else os, name, number)
    with pytest.raises(
        StorageError,
        match=r"cannot write the classifier to .*: No space left on device \[errno 28, ENOSPC\]; free some space "
        r"\(needs .*, has .*\), or write elsewhere with --output$",
    ):
        save(target, 2)
    assert len(calls) >= number + 1
    monkeypatch.undo()
    assert read(target) == 1
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    save(target, 2)
    assert read(target) == 2


def test_damage_is_told_and_not_read_again(target, monkeypatch):
    (target / TENSORS).write_bytes(b"x")
    reads = []
    real = module._read_folder
    monkeypatch.setattr(module, "_read_folder", lambda folder: (reads.append(folder), real(folder))[1])
    with pytest.raises(IntegrityError, match=r"head\.safetensors is missing, damaged or of another"):
        read(target)
    assert len(reads) == 1
    shutil.rmtree(target)
    with pytest.raises(MissingFileError, match="no classifier in"):
        read(target)


def test_a_folder_one_level_off_is_told(target):
    save(target, 1)
    with pytest.raises(MissingFileError, match=rf"did you mean {re.escape(str(target))}\?$"):
        read(target.parent)
    below = target / "photos"
    below.mkdir()
    with pytest.raises(MissingFileError, match=rf"did you mean {re.escape(str(target))}\?$"):
        read(below)


# Kills ------------------------------------------------------------------------------------------------------

# Forks a process for each moment, which kills itself before its n-th operation on a file there.
KILLED = (
    NUMBERED
    + """
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
import safetensors.numpy
from featcache.core import classifier_folder as module
from featcache.core.disk import folder_swap

target, swaps = Path(sys.argv[1]), sys.argv[2] == "swaps"
if not swaps:
    folder_swap.exchange = lambda one, other: False
OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "ctypes.dlsym")

def save(number):
    module.write_folder(target, numbered(number), {"kernel": np.full(9, number)})

def read():
    document, tensors = module.read_folder(target)
    assert (tensors["kernel"] == document["number"]).all()
    return document["number"]

def save_and_die(moment):
    left = moment
    def die(event, arguments):
        nonlocal left
        of_swap = event == "ctypes.dlsym" and arguments[1] == "renameat2"
        # Relative: by rmtree, within a folder that it holds open.
        of_file = arguments and (str(target.parent) in str(arguments[0]) or str(arguments[0])[:1] != "/")
        if event in OPERATIONS and (of_swap or event != "ctypes.dlsym" and of_file):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(die)
    save(2)
    os._exit(0)

found = []
for moment in range(1000):
    save(1)
    child = os.fork()
    if not child:
        save_and_die(moment)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    missing = not target.exists()
    found.append(f"{'recovered' if missing else 'there'}:{read()}")
    assert sorted(os.listdir(target)) == [module.DOCUMENT, module.TENSORS]
    save(3)
    assert read() == 3
    assert os.listdir(target.parent) == [target.name], "leftovers of the killed one are gone"
    shutil.rmtree(target.parent)
    target.parent.mkdir()
    if status == 0:
        break
print(*found)
"""
)


def killed_at_every_operation(place: Path, way: str) -> list[str]:
    place.mkdir()
    command = [sys.executable, "-c", KILLED, str(place / "classifier"), way]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@LINUX
def test_killed_before_each_operation_there_is_the_old_one_or_the_new_one(tmp_path):
    found = killed_at_every_operation(tmp_path / "folder", "swaps")
    assert found == sorted(found)
    assert set(found) == {"there:1", "there:2"}, "the name is never without a classifier"
    assert len(found) > 8


def test_where_names_cannot_be_swapped_a_killed_save_is_recovered_from(tmp_path):
    found = killed_at_every_operation(tmp_path / "folder", "no swaps")
    assert set(found) == {"there:1", "recovered:1", "there:2"}
    assert found.count("recovered:1") == 1, "between the two renames"


# Readers ----------------------------------------------------------------------------------------------------

SAVING = (
    NUMBERED
    + """
import sys
import threading
from pathlib import Path
import numpy as np
from featcache.core import classifier_folder as module
from featcache.core.disk import folder_swap

if sys.argv[2] == "no swaps":
    folder_swap.exchange = lambda one, other: False
for number in range(2, 102):
    module.write_folder(Path(sys.argv[1]), numbered(number), {"kernel": np.full(1000, number, np.float32)})
"""
)


@pytest.mark.parametrize("way", [pytest.param("swaps", marks=LINUX), "no swaps"])
def test_who_reads_while_another_saves_gets_a_whole_classifier(target, way):
    seen = []
    with subprocess.Popen([sys.executable, "-c", SAVING, str(target), way]) as writer:
        while writer.poll() is None:
            seen.append(read(target))
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 10
    assert read(target) == 101
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_two_who_save_at_once_leave_one_of_theirs(target):
    for way in ("swaps", "no swaps"):
        commands = [[sys.executable, "-c", SAVING, str(target), way]] * 2
        writers = [subprocess.Popen(command) for command in commands]
        assert [writer.wait() for writer in writers] == [0, 0]
        assert read(target) == 101
        assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_what_is_read_beside_the_document_is_of_the_same_save(tmp_path):
    target, seen = tmp_path / "classifier", []

    def replace(number):
        write_folder(target, numbered(number), {}, backbone=[b"%d" % number])

    def read(document):
        if not seen:  # replaced between the two files
            replace(2)
        seen.append(document["number"])
        found = int((target / BACKBONE).read_bytes())
        if found != document["number"]:
            raise WeightsError("of another classifier")
        return found

    replace(1)
    assert module.read_beside_document(target, read) == 2
    assert seen == [1, 2]


def test_where_saves_are_faster_than_reading_they_wait(target, monkeypatch):
    """A large backbone takes longer to verify than three processes need for one more save."""
    rivals = []

    def read_slowly(folder, real=module._read_folder):
        document, _ = real(folder)
        if document["number"] < 50:
            rivals.append(threading.Thread(target=save, args=(target, document["number"] + 1)))
            rivals[-1].start()
            rivals[-1].join(timeout=0.3 if len(rivals) > module._BESIDE_SAVES else None)
        return real(folder) if read_number(folder) == document["number"] else raise_damaged()

    def read_number(folder):
        return json.loads((folder / DOCUMENT).read_bytes())["number"]

    def raise_damaged():
        raise IntegrityError("half of one, half of another")

    monkeypatch.setattr(module, "_read_folder", read_slowly)
    assert read(target) == module._BESIDE_SAVES + 1
    rivals[-1].join()
    assert read_number(target) == module._BESIDE_SAVES + 2
