"""Checkpoints: exact, and whole at every moment."""

import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from helpers.programs import run_on_small_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featcache.core.disk import files, storage
from featcache.core.disk.temporaries import temporary_path
from featcache.core.identity import sha256_file
from featcache.errors import IntegrityError, MissingFileError, StorageError, UsageError
from featcache.finetuning.runs import array_store as array_folder
from featcache.finetuning.runs import checkpoints as module
from featcache.finetuning.runs.checkpoints import Checkpoints

NOT_NUMBERS = np.array([0x7FC12345, 0x7F800001, 0xFFC00000, 0x80000000], np.uint32)
"""Bit patterns of float32 that are equal to nothing, or to another: NaNs with a payload, and −0."""

ODD = {
    "['stages']['block_1'].kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a/b": NOT_NUMBERS.view(np.float32),
    "a": np.full(5, -0.0),
    "../../etc/passwd": np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16),
    "": np.arange(2**16, dtype=np.uint16).view(np.float16),
    "é\udce4 ☃": np.array(7, np.int32),
    "key": np.array([0, 2**32 - 1], np.uint32),
    "flags": np.array([True, False]),
    "complex": np.array([1 + 2j], np.complex64),
    "wide": np.array([-(2**63), 2**63 - 1]),
    "narrow": np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn),
    "scalar": np.array(math.inf),
    "nothing": np.zeros(0, np.int8),
    "nothing either": np.zeros((3, 0, 2), ml_dtypes.bfloat16),
    "transposed": np.arange(6).reshape(2, 3).T,
}


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert found[name].tobytes() == value.tobytes(), name


def numbered(step, size=50_000):
    return {"w": np.full(size, step, np.float32), "step": np.array(step, np.int32)}


# What comes back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [1, 100, 2**20], ids=["each by itself", "both", "joined"])
def test_arrays_come_back_bit_by_bit(checkpoints, large, monkeypatch):
    monkeypatch.setattr(array_folder, "LARGE", large)
    position = {"epoch": 3, "phase": "head", "best": None, "rate": 0.1, "rows": [1, 2]}
    checkpoints.save("last", ODD, position)
    arrays, told = Checkpoints(checkpoints.folder).restore("last")
    assert_same(arrays, ODD)
    assert told == position


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=3),
        hnp.arrays(st.sampled_from(["f4", "i2", "?"]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)),
    ),
    st.integers(0, 64),
)
def test_what_is_gathered_is_found_again(arrays, large):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_folder, "LARGE", large)
        tree, places = array_folder.gather(arrays)
    places = json.loads(json.dumps(places))
    assert_same({name: array_folder.take(tree, place) for name, place in places.items()}, arrays)
    assert sum(value.nbytes for value in tree.values()) == sum(value.nbytes for value in arrays.values())


def test_arrays_of_jax_and_big_endian_ones(checkpoints):
    key = jax.random.key_data(jax.random.key(3))
    arrays = {"w": jnp.arange(5, dtype=jnp.bfloat16), "key": key, "count": jnp.int32(7), "rate": 0.5}
    checkpoints.save("best", {**arrays, "big": np.arange(3, dtype=">f4")}, {})
    found, _ = checkpoints.restore("best")
    expected = {**{name: np.asarray(v) for name, v in arrays.items()}, "big": np.arange(3, dtype=np.float32)}
    assert_same(found, expected)


def test_no_arrays_at_all(checkpoints):
    for arrays in ({}, {"nothing": np.zeros((2, 0), np.float32)}):
        checkpoints.save("last", arrays, {"step": 1})
        assert_same(checkpoints.restore("last")[0], arrays)


def test_a_checkpoint_replaces_the_one_of_its_name_only(checkpoints):
    assert checkpoints.names() == ()
    checkpoints.save("best", numbered(1), {"step": 1})
    assert checkpoints.names() == ("best",)
    for step in (1, 2, 3):
        checkpoints.save("last", numbered(step), {"step": step})
    assert checkpoints.names() == ("last", "best")
    for name, step in (("last", 3), ("best", 1)):
        arrays, position = checkpoints.restore(name)
        assert_same(arrays, numbered(step))
        assert position == {"step": step}
    folders = sorted(path.name.partition("-")[0] for path in checkpoints.folder.iterdir() if path.is_dir())
    assert folders == ["best", "last"]


def test_orbax_alone_can_read_it(checkpoints):
    """The record says which folder, and where in its vectors each array is."""
    from orbax.checkpoint import v1

    checkpoints.save("last", {"a": np.arange(3.0), "b": np.ones((2, 2))}, {})
    record = json.loads((checkpoints.folder / "last.json").read_text())
    tree = v1.load(checkpoints.folder / record["folder"])
    np.testing.assert_array_equal(tree["float64"], [0, 1, 2, 1, 1, 1, 1])
    assert record["arrays"]["b"] == {"vector": "float64", "start": 3, "dtype": "float64", "shape": [2, 2]}


# What is refused ---------------------------------------------------------------------------------------------


def test_what_cannot_be_saved(checkpoints):
    with pytest.raises(UsageError, match="checkpoint 'first': expected one of last, best"):
        checkpoints.save("first", {}, {})
    with pytest.raises(UsageError, match=r"checkpoint '\.\./x': expected one of last, best"):
        checkpoints.restore("../x")
    with pytest.raises(
        UsageError, match=r"array 'k' has type key<fry>; .*for random keys, jax.random.key_data"
    ):
        checkpoints.save("last", {"k": jax.random.key(0)}, {})
    with pytest.raises(UsageError, match="array 'names' has type <U1; expected numbers"):
        checkpoints.save("last", {"names": np.array(["a"])}, {})
    with pytest.raises(UsageError, match="array 'any' has type object; expected numbers"):
        checkpoints.save("last", {"any": np.array([None])}, {})
    with pytest.raises(UsageError, match="has to be plain JSON values: Object of type set is not JSON"):
        checkpoints.save("last", {}, {"seen": {1}})
    assert not checkpoints.folder.exists()


def test_one_that_is_not_there(checkpoints):
    with pytest.raises(
        MissingFileError,
        match=r"no checkpoint 'last' in .*checkpoints; existing checkpoints: none \(a run saves",
    ):
        checkpoints.restore("last")
    checkpoints.save("best", {}, {})
    with pytest.raises(MissingFileError, match=r"no checkpoint 'last' in .*; existing checkpoints: best"):
        checkpoints.restore("last")


# Damage ------------------------------------------------------------------------------------------------------


def each_damaged(folder: Path, damage):
    """Damage each file in turn, and put it right again."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        good = path.read_bytes()
        for bad in damage(good):
            path.write_bytes(bad)
            yield path
        path.write_bytes(good)


def flipped(content: bytes):
    """One bit in the middle, and one near either end."""
    for place in {len(content) // 2, len(content) // 20, len(content) - 2}:
        yield content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def shortened(content: bytes):
    yield from (content[: len(content) // 2], b"")


@pytest.mark.parametrize("damage", [flipped, shortened])
def test_any_damage_is_found(checkpoints, damage, capfd):
    arrays = {"w": np.random.default_rng(0).normal(size=2000).astype(np.float32), "n": np.arange(40)}
    checkpoints.save("last", arrays, {"step": 1})
    count = 0
    for path in each_damaged(checkpoints.folder, damage):
        told = f"the checkpoint 'last' is damaged: .*{re.escape(path.name)} .*; start the run anew with --overwrite"
        with pytest.raises(IntegrityError, match=told):
            Checkpoints(checkpoints.folder).restore("last")
        count += 1
    assert count >= 16
    assert_same(checkpoints.restore("last")[0], arrays)
    assert capfd.readouterr().err == ""  # orbax would log a traceback for each of its threads


def test_what_orbax_cannot_read_or_reads_otherwise(checkpoints, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "_METADATA").write_text("of another version")
    digest = array_folder.write_tree(tmp_path / "good", {"float32": np.arange(3, dtype=np.float32)})
    assert array_folder.read_tree(tmp_path / "good", digest)["float32"].tolist() == [0, 1, 2]
    digests = {"_METADATA": sha256_file(tmp_path / "made" / "_METADATA")}
    with pytest.raises(IntegrityError, match=r"orbax cannot read .*made, whose files are intact: "):
        array_folder.read_tree(tmp_path / "made", digests)
    checkpoints.save("last", numbered(1), {})
    with pytest.MonkeyPatch.context() as patch:
        other = {"float32": np.zeros(50_000, np.float32), "int32": np.ones(1, np.int32)}
        patch.setattr(module, "read_tree", lambda *given: other)
        with pytest.raises(
            IntegrityError, match=r"arrays that orbax read from .*last-\w{8} do not match their checksum"
        ):
            checkpoints.restore("last")


def test_damage_names_the_other_checkpoint(checkpoints):
    checkpoints.save("last", numbered(2), {})
    checkpoints.save("best", numbered(1), {})
    record = checkpoints.folder / "last.json"
    shutil.rmtree(checkpoints.folder / json.loads(record.read_text())["folder"])
    with pytest.raises(IntegrityError, match=r"'last' is damaged: .*last-\w{8}/\S+ is missing; 'best' may"):
        checkpoints.restore("last")
    record.write_text(record.read_text().replace('"position": {}', '"position": {"step": 9}'))
    with pytest.raises(IntegrityError, match=r"'last' is damaged: .*last.json does not match its checksum"):
        checkpoints.restore("last")
    record.write_text("{}")
    with pytest.raises(
        IntegrityError,
        match=r"'last' is damaged: .*last.json is damaged: not the JSON file of a checkpoint; 'best'",
    ):
        checkpoints.restore("last")
    assert_same(checkpoints.restore("best")[0], numbered(1))
    checkpoints.save("last", numbered(3), {})
    assert_same(checkpoints.restore("last")[0], numbered(3))


def test_arrays_of_another_checkpoint_are_refused(checkpoints):
    for name, step in (("last", 2), ("best", 1)):
        checkpoints.save(name, numbered(step), {})
    last, best = (
        checkpoints.folder / json.loads((checkpoints.folder / f"{name}.json").read_text())["folder"]
        for name in ("last", "best")
    )
    shutil.rmtree(last)
    shutil.copytree(best, last)
    with pytest.raises(
        IntegrityError, match=r"last-\w{8}/\S+ (does not match its checksum|is missing); 'best' may still"
    ):
        checkpoints.restore("last")


def test_a_newer_version(checkpoints):
    checkpoints.save("last", {}, {})
    record = checkpoints.folder / "last.json"
    record.write_text(record.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(
        IntegrityError, match=r"last.json has format version 2, this featcache reads 1: upgrade"
    ):
        checkpoints.restore("last")


# Leftovers ---------------------------------------------------------------------------------------------------


def test_leftovers_of_killed_saves_are_removed_and_nothing_else(checkpoints):
    checkpoints.save("last", numbered(1), {})
    own = {path.name for path in checkpoints.folder.iterdir()}
    leftovers = ("last-0123abcd", "best-0123abcd", "last-0123abcd.orbax-checkpoint-tmp")
    for name in (*leftovers, "last-year", "best-of.txt", "notes"):
        folder = checkpoints.folder / name
        folder.mkdir()
        (folder / "file").write_text("x")
    for name in ("last", "best"):
        temporary_path(checkpoints.folder / f"{name}.json").write_text("{")
    Checkpoints(checkpoints.folder)
    assert {path.name for path in checkpoints.folder.iterdir()} == own | {"last-year", "best-of.txt", "notes"}


def test_nothing_that_a_damaged_record_may_mean_is_removed(checkpoints):
    checkpoints.save("last", numbered(1), {})
    (checkpoints.folder / "last.json").write_text("{")
    before = {path.name for path in checkpoints.folder.iterdir()}
    Checkpoints(checkpoints.folder)
    assert {path.name for path in checkpoints.folder.iterdir()} == before


# Killed ------------------------------------------------------------------------------------------------------

# Imports once; then, for each line it is told, forks a process that goes on from the last checkpoint.
SAVER = """
import os, sys
from pathlib import Path
import numpy as np
import jax, orbax.checkpoint.experimental.v1
from featcache.finetuning.runs.checkpoints import Checkpoints

OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")

def arrays(step):
    return {"w": np.full(400_000, step, np.float32), "step": np.array(step, np.int32)}

def save_on(folder, moment):
    checkpoints = Checkpoints(folder)
    step = checkpoints.restore("last")[1]["step"] if checkpoints.names() else 0
    left = moment
    def die(event, arguments):
        nonlocal left
        if event in OPERATIONS and (str(folder) in str(arguments[0]) or str(arguments[0])[0] != "/"):
            left -= 1
            if not left:
                os.kill(os.getpid(), 9)
    if moment:
        sys.addaudithook(die)
    while True:
        step += 1
        checkpoints.save("last", arrays(step), {"step": step})
        if moment:
            os._exit(0)

for line in sys.stdin:
    moment, _, folder = line.strip().partition(" ")
    child = os.fork()
    if not child:
        save_on(Path(folder), int(moment))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def saver():
    """Starts a process that saves until it is killed; with a moment, until that operation on a file."""
    command = [sys.executable, "-W", "ignore", "-c", SAVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def start(folder: Path, moment: int = 0) -> int:
            process.stdin.write(f"{moment} {folder}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        start.ended = lambda: int(process.stdout.readline())
        yield start
        process.stdin.close()


def last_step(checkpoints: Checkpoints) -> int:
    """Restore, and see that it is one step's checkpoint, whole, and that nothing else is left."""
    opened = Checkpoints(checkpoints.folder)
    if not opened.names():
        assert not checkpoints.folder.exists() or not any(checkpoints.folder.iterdir())
        return 0
    arrays, position = opened.restore("last")
    assert_same(
        arrays, {"w": np.full(400_000, position["step"], np.float32), "step": np.int32(position["step"])}
    )
    record = json.loads((checkpoints.folder / "last.json").read_text())
    assert {path.name for path in checkpoints.folder.iterdir()} == {"last.json", record["folder"]}
    return position["step"]


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "seen", ["", "*.orbax-checkpoint-tmp/state", "*/state/manifest.ocdbt", "*/orbax.checkpoint"]
)
def test_killed_in_the_middle_of_a_save(checkpoints, saver, seen):
    """From outside, as soon as a second checkpoint begins to appear beside the one that counts."""
    before = 0
    for _ in range(2):
        child = saver(checkpoints.folder)
        while not is_saving(checkpoints.folder, seen, beyond=before):
            pass
        os.kill(child, signal.SIGKILL)
        assert saver.ended() == -signal.SIGKILL
        step = last_step(checkpoints)
        assert step > before
        before = step


def is_saving(folder: Path, seen: str, *, beyond: int) -> bool:
    try:
        record = json.loads((folder / "last.json").read_text())
        if record["position"]["step"] <= beyond:
            return False
        fresh = [path for path in folder.glob("last-*") if path.name != record["folder"]]
        return any(True for path in fresh if not seen or any(folder.glob(f"{path.name[:13]}{seen}")))
    except OSError:  # they come and go
        return False


@pytest.mark.slow
def test_killed_before_each_file_operation(checkpoints, saver):
    for moment in range(1, 1000):
        before = last_step(checkpoints)
        saver(checkpoints.folder, moment)
        status = saver.ended()
        assert last_step(checkpoints) in (before, before + 1)
        if status == 0:
            assert last_step(checkpoints) == before + 1
            break
        assert status == -signal.SIGKILL
    assert moment > 30


# Full, failing, read-only ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "failing"), [(array_folder, "sync_file"), (files, "sync_file"), (os, "replace")]
)
def test_a_save_that_fails_leaves_the_one_before(checkpoints, place, failing, monkeypatch):
    checkpoints.save("last", numbered(1), {"step": 1})
    own = {path.name for path in checkpoints.folder.iterdir()}

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(place, failing, fail)
    told = (
        r"cannot save .*last-\w{8}: No space left on device \[errno 28, ENOSPC\]; free some space .*, or .*; "
        "the earlier checkpoint is intact, continue from it with --resume"
    )
    with pytest.raises(StorageError, match=told) as caught:
        checkpoints.save("last", numbered(2), {"step": 2})
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(
        StorageError, match=r"free some space \(needs .*, has .*\), or write elsewhere with --output$"
    ):
        checkpoints.save("best", numbered(2), {"step": 2})
    monkeypatch.undo()
    assert {path.name for path in checkpoints.folder.iterdir()} == own
    assert_same(checkpoints.restore("last")[0], numbered(1))
    checkpoints.save("last", numbered(2), {"step": 2})
    assert_same(checkpoints.restore("last")[0], numbered(2))


def test_a_disk_that_is_too_full_is_told_before_anything_is_written(checkpoints, monkeypatch):
    monkeypatch.setattr(storage, "free_bytes", lambda folder: 1000)
    with pytest.raises(
        StorageError, match=r"ENOSPC\]; free some space \(needs 0.2 MB, has 1.0 kB\), or write"
    ):
        checkpoints.save("last", numbered(1), {})
    assert list(checkpoints.folder.iterdir()) == []


# What runs inside a mount namespace of its own, in a folder that is a tmpfs of 2 MB.
SMALL_DISK = """
import json, subprocess, sys
from pathlib import Path
import numpy as np
from featcache.core.disk import storage
from featcache.errors import StorageError
from featcache.finetuning.runs import array_store as array_folder
from featcache.finetuning.runs import checkpoints as module

place = Path(sys.argv[1])
checkpoints = module.Checkpoints(place / "checkpoints")
checkpoints.save("last", {"w": np.arange(200_000, dtype=np.float32)}, {"step": 1})

def refused(text, size):
    try:
        checkpoints.save("last", {"w": np.ones(size, np.float32)}, {"step": 2})
    except StorageError as error:
        assert text in str(error), error
        assert "the earlier checkpoint is intact, continue from it with --resume" in str(error), error
    else:
        raise AssertionError("it was saved")
    arrays, position = checkpoints.restore("last")
    assert position == {"step": 1} and (arrays["w"] == np.arange(200_000)).all()
    assert len(list(checkpoints.folder.iterdir())) == 2, list(checkpoints.folder.iterdir())

refused("needs 1.6 MB, has ", 400_000)
storage.free_bytes = lambda folder: None  # as where nobody can say: tensorstore finds out, half way
for size in (400_000, 325_000, 315_000):
    refused("No space left on device [errno 28, ENOSPC]; free some space", size)
subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
refused("Read-only file system [errno 30, EROFS]; the file system is read-only", 1000)
module.Checkpoints(place / "checkpoints")
"""


def test_on_a_real_small_disk(tmp_path):
    """Where orbax is told so in its threads: they must neither keep the process nor fill its error output."""
    run = run_on_small_disk(SMALL_DISK, tmp_path, size="2m", timeout=120)
    assert run.stderr == ""
