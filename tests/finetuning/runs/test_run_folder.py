"""What a fine-tuning run leaves on disk, and who may go on with it."""

import errno
import json
import math
import os
import signal
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from featcache.core.disk import jsonl
from featcache.errors import (
    DataError,
    FeatcacheWarning,
    IdentityError,
    IntegrityError,
    LockedError,
    MissingFileError,
    StorageError,
    UsageError,
)
from featcache.finetuning.runs.run_folder import RunFolder, read_history

IDENTITY = {"settings": {"epochs": 5, "rates": [["head", 1e-3]]}, "rows": {"train": 10}, "cut": None}


@pytest.fixture
def place(tmp_path):
    return tmp_path / "out" / "tuned.run"


def listing(folder):
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_a_run_is_created_finished_and_opened_again(place):
    with RunFolder.create(place, IDENTITY) as run:
        assert (run.path, run.finished, run.summary, run.history()) == (place, False, None, [])
        assert listing(place) == ["run.json"]
        run.log({"epoch": 0, "step": 0, "val_loss": 1.5})
        run.checkpoints.save("last", {"w": np.arange(3)}, {"step": 0})
        run.finish({"verdict": "worth it", "best_epoch": np.int64(3)})
        assert run.finished
    assert listing(place.parent) == ["tuned.run"]  # no owner, nothing temporary
    told = json.loads((place / "run.json").read_text())
    assert told == {
        "format": "featcache-run",
        "format_version": 1,
        "identity": IDENTITY,
        "finished": {"verdict": "worth it", "best_epoch": 3},
    }
    with RunFolder.open(place, IDENTITY) as run:
        assert run.summary == {"verdict": "worth it", "best_epoch": 3}
        assert run.history() == [{"epoch": 0, "step": 0, "val_loss": 1.5}]
        assert run.checkpoints.names() == ("last",)


def test_tuples_are_lists(place):
    RunFolder.create(place, {"rates": (("head", 1e-3),)}).close()
    RunFolder.open(place, {"rates": [["head", 1e-3]]}).close()


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_is_not_replaced_unless_asked(place, finished):
    with RunFolder.create(place, IDENTITY) as run:
        run.log({"step": 1})
        run.checkpoints.save("last", {"w": np.arange(3)}, {})
        if finished:
            run.finish({})
    state = "a finished" if finished else "an unfinished"
    with pytest.raises(
        UsageError, match=f".*tuned.run holds {state} run; continue it with --resume, or .* --overwrite"
    ):
        RunFolder.create(place, IDENTITY)
    assert listing(place) == ["checkpoints", "history.jsonl", "run.json"]
    with RunFolder.create(place, {"other": 1}, overwrite=True) as run:
        assert (run.history(), run.checkpoints.names(), run.finished) == ([], (), False)
    assert listing(place.parent) == ["tuned.run"]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"format": "another"}'])
def test_a_folder_of_something_else_is_never_removed(place, content):
    place.mkdir(parents=True)
    (place / "thesis.tex").write_text("years of work")
    if content is not None:
        (place / "run.json").write_text(content)
    before = listing(place)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"tuned.run exists and is no run of featcache; choose another"):
            RunFolder.create(place, IDENTITY, overwrite=overwrite)
    assert listing(place) == before
    place.joinpath("thesis.tex").unlink()


def test_an_empty_folder_and_a_link_to_one_are_used(place, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    place.parent.mkdir()
    place.symlink_to(scratch)
    RunFolder.create(place, IDENTITY).close()
    assert place.is_symlink()
    assert listing(scratch) == ["run.json"]
    RunFolder.create(place, IDENTITY, overwrite=True).close()
    assert place.is_symlink()


def test_a_file_is_no_run(place):
    place.parent.mkdir()
    place.write_text("notes")
    with pytest.raises(UsageError, match="is a file, expected a folder or nothing"):
        RunFolder.create(place, IDENTITY, overwrite=True)
    with pytest.raises(DataError, match="is a file; expected a run, the folder that"):
        RunFolder.open(place, IDENTITY)
    assert place.read_text() == "notes"


def test_nothing_to_resume(place):
    with pytest.raises(
        MissingFileError, match=r"nothing to resume: no run in .*tuned.run; start one without --resume"
    ):
        RunFolder.open(place, IDENTITY)
    assert not place.parent.exists()


def test_another_run_is_not_gone_on_with(place):
    RunFolder.create(place, IDENTITY).close()
    other = {"settings": {"epochs": 6, "rates": [["head", 1e-3]]}, "rows": {"train": 10}, "seed": 1}
    with pytest.raises(IdentityError, match="differs from the one asked for") as caught:
        RunFolder.open(place, other)
    assert str(caught.value).splitlines()[1:] == [
        "  cut: null in the run, nothing asked for",
        "  settings.epochs: 5 in the run, 6 asked for",
        "  seed: nothing in the run, 1 asked for",
        "give the same settings to continue it, or start anew with --overwrite",
    ]
    RunFolder.open(place, IDENTITY).close()  # the lock was released


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is damaged: not the record of a run: Expecting value: .*; start anew with another --output"),
        ('{"format": "featcache-run", "format_version": 1}', "is damaged: identity is missing, expected an"),
        (
            '{"format": "featcache-run", "format_version": 1, "identity": {}, "finished": 3}',
            "finished is 3, exp",
        ),
        (
            '{"format": "featcache-run", "format_version": 1, "identity": {}, "finished": {"stopped": -1}}',
            "finished.stopped is -1, expected a text",
        ),
        (
            '{"format": "featcache-run", "format_version": 1, "identity": {}, "finished": {"best_epoch": {}}}',
            "finished.best_epoch is an object, expected a whole number",
        ),
        ("[" * 10_000, "not the record of a run: it is nested more than 32 levels deep"),
        (
            '{"format": "featcache-run", "format_version": 2}',
            r"has format version 2, this .* reads 1: upgrade",
        ),
        ('{"format": "featcache-run", "format_version": "x"}', "is damaged"),
        ('["featcache-run"]', "is damaged"),
    ],
)
def test_a_damaged_record(place, content, text):
    RunFolder.create(place, IDENTITY).close()
    (place / "run.json").write_text(content)
    with pytest.raises(IntegrityError, match=text):
        RunFolder.open(place, IDENTITY)


# History -----------------------------------------------------------------------------------------------------


def test_the_history_is_lines_of_json(place):
    with RunFolder.create(place, IDENTITY) as run:
        run.log({"epoch": 1, "step": 10, "loss": np.float32(0.5), "accuracy": jnp.float32(0.25)})
        run.log({"epoch": 2, "step": 20, "loss": math.nan, "accuracy": -math.inf, "note": "ü\udce4\n"})
        expected = [
            {"epoch": 1, "step": 10, "loss": 0.5, "accuracy": 0.25},
            {"epoch": 2, "step": 20, "loss": None, "accuracy": None, "note": "ü\udce4\n"},
        ]
        assert run.history() == expected
    text = (place / "history.jsonl").read_text()
    # Strict JSON, whoever reads it: no NaN.
    found = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert [{name: each[name] for name in each if name != "checksum"} for each in found] == expected


@pytest.mark.parametrize("torn", [b'{"step": 3', b"{", b"\x00\x00\x00", b'{"note": "\xc3', b"3"])
def test_a_torn_last_line_is_left_out_and_does_not_spoil_the_next(place, torn):
    with RunFolder.create(place, IDENTITY) as run:
        run.log({"step": 1})
        run.log({"step": 2})
    with (place / "history.jsonl").open("ab") as stream:
        stream.write(torn)
    assert read_history(place) == [{"step": 1}, {"step": 2}]
    with RunFolder.open(place, IDENTITY) as run:
        run.log({"step": 3})
        assert run.history() == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_a_last_line_that_lacks_only_its_end_counts(place):
    with RunFolder.create(place, IDENTITY) as run:
        run.log({"step": 1})
    os.truncate(place / "history.jsonl", (place / "history.jsonl").stat().st_size - 1)
    with RunFolder.open(place, IDENTITY) as run:
        run.log({"step": 2})
        assert run.history() == [{"step": 1}, {"step": 2}]


def test_damage_before_the_last_line_is_told(place):
    with RunFolder.create(place, IDENTITY) as run:
        run.log({"step": 1})
        run.log({"step": 2})
        text = (place / "history.jsonl").read_bytes()
        (place / "history.jsonl").write_bytes(text.replace(b"{", b"x", 1))
        with pytest.raises(
            IntegrityError, match=r"history.jsonl is damaged in line 1; delete that line to continue"
        ):
            run.history()


def test_damage_that_leaves_json_is_told_too(place):
    with RunFolder.create(place, IDENTITY) as run:
        run.log({"epoch": 1, "step": 1, "val_accuracy": 0.75})
        text = (place / "history.jsonl").read_bytes()
        (place / "history.jsonl").write_bytes(text.replace(b"0.75", b"0.95"))
        with pytest.raises(
            IntegrityError,
            match=r"damaged in line 1; delete that line .* \(it does not match its checksum\)$",
        ):
            run.history()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"epoch": 1, "val_accuracy": 9.75}', r"val_accuracy is 9\.75, expected"),
        ('{"epocj": 1}', "it has the key 'epocj', expected phase, epoch, step, "),
        ('{"loss": -3.5}', r"loss is -3\.5, expected a number of at least"),
    ],
)
def test_a_line_of_an_earlier_version_has_to_make_sense(place, line, says):
    with RunFolder.create(place, IDENTITY) as run:
        (place / "history.jsonl").write_text('{"epoch": 0, "step": 0, "val_loss": 0.5}\n' + line + "\n")
        with pytest.raises(IntegrityError, match=rf"damaged in line 2; .*\({says}"):
            run.history()


def test_an_epoch_that_the_history_lacks_is_told(place):
    """Damage to its line's end looks like a line that a killed process did not finish."""
    with RunFolder.create(place, IDENTITY) as run:
        for epoch in range(4):
            run.log({"epoch": epoch, "step": epoch})
        run.require_epochs(3)
        content = (place / "history.jsonl").read_bytes()
        (place / "history.jsonl").write_bytes(content[:-1] + b"\x0b")
    with RunFolder.open(place, IDENTITY) as run:
        run.require_epochs(2)
        with pytest.warns(
            FeatcacheWarning, match=r"history\.jsonl lacks epoch 3: it was damaged or edited; "
        ):
            run.require_epochs(3)


def test_rewinding_forgets_what_is_beyond(place):
    with RunFolder.create(place, IDENTITY) as run:
        for step in (0, 10, 20, 30):
            run.log({"step": step})
        run.log({"note": "of no step"})
        run.rewind(10)
        run.log({"step": 20, "again": True})
        expected = [{"step": 0}, {"step": 10}, {"note": "of no step"}, {"step": 20, "again": True}]
        assert run.history() == expected
        before = (place / "history.jsonl").stat().st_mtime_ns
        run.rewind(20)
        assert (place / "history.jsonl").stat().st_mtime_ns == before
        run.rewind(-1)
        assert run.history() == [{"note": "of no step"}]
    assert listing(place) == ["history.jsonl", "run.json"]


# Killed, locked, full ----------------------------------------------------------------------------------------


def test_a_rewrite_that_fails_leaves_the_history(place, monkeypatch):
    def fail(*paths):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with RunFolder.create(place, IDENTITY) as run:
        run.log({"step": 1})
        run.log({"step": 2})
        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(
            StorageError, match=r"cannot save .*history.jsonl: Input/output error \[errno 5, EIO"
        ):
            run.rewind(1)
        with pytest.raises(StorageError, match=r"cannot save .*run.json: Input/output error"):
            run.finish({})
        monkeypatch.undo()
        assert run.history() == [{"step": 1}, {"step": 2}]
        assert not run.finished
    assert listing(place) == ["history.jsonl", "run.json"]


def test_a_full_disk_is_told(place, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with RunFolder.create(place, IDENTITY) as run:
        monkeypatch.setattr(jsonl, "sync_file", fail)
        with pytest.raises(
            StorageError, match=r"history.jsonl: No space .*\[errno 28, ENOSPC\]; free some space"
        ):
            run.log({"step": 1})
        monkeypatch.undo()
        run.log({"step": 1})
        assert run.history() == [{"step": 1}], "what failed was taken back"


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"output .*/file is a file, expected a folder or nothing; write elsewhere"
    ):
        RunFolder.create(tmp_path / "file" / "a.run", IDENTITY)


def test_two_processes_cannot_train_into_one_run(place):
    """And a killed one's lock is taken over."""
    program = (
        "import sys; from featcache.finetuning.runs.run_folder import RunFolder\n"
        "run = RunFolder.create(sys.argv[1], {'a': 1}); run.log({'step': 1})\n"
        "print('held', flush=True); sys.stdin.readline()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    told = f"tuned.run is being written by process {child.pid} on .*; wait for it, or write elsewhere with --output"
    for attempt in (RunFolder.open, RunFolder.create):
        with pytest.raises(LockedError, match=told):
            attempt(place, {"a": 1})
    with pytest.raises(LockedError, match=told):
        RunFolder.create(place, {"a": 1}, overwrite=True)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with RunFolder.open(place, {"a": 1}) as run:
        assert run.history() == [{"step": 1}]


def test_the_lock_ends_with_the_object(place):
    run = RunFolder.create(place, IDENTITY)
    with pytest.raises(LockedError, match=f"by process {os.getpid()} on"):
        RunFolder.open(place, IDENTITY)
    del run
    run = RunFolder.open(place, IDENTITY)
    run.close()
    run.close()
    with RunFolder.open(place, IDENTITY):
        pass


# Forks a process for each moment, which kills itself before its n-th operation on a file there.
KILLED_WHILE_REPLACING = """
import json, os, shutil, signal, sys
from pathlib import Path
from featcache.finetuning.runs.run_folder import RunFolder

place = Path(sys.argv[1])
OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")

def replace_run(moment):
    left = moment
    def die(event, arguments):
        nonlocal left
        # Relative: by rmtree, within a folder that it holds open.
        if event in OPERATIONS and (str(place.parent) in str(arguments[0]) or str(arguments[0])[0] != "/"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(die)
    RunFolder.create(place, {"run": "new"}, overwrite=True).close()
    os._exit(0)

found = []
for moment in range(1000):
    with RunFolder.create(place, {"run": "old"}) as run:
        run.log({"step": 1})
        (place / "tensorboard").mkdir()
        (place / "tensorboard" / "events").write_text("x")
    child = os.fork()
    if not child:
        replace_run(moment)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    there = json.loads((place / "run.json").read_text())["identity"]["run"] if place.exists() else "none"
    found.append(there)
    if there == "old":
        with RunFolder.open(place, {"run": "old"}) as run:
            assert run.history() == [{"step": 1}]
            assert (place / "tensorboard" / "events").exists()
    with RunFolder.create(place, {"run": "new"}, overwrite=True) as run:
        assert [path.name for path in place.iterdir()] == ["run.json"]
    left = [path.name for path in place.parent.iterdir() if path.suffix != ".lock"]
    assert left == [place.name], left
    shutil.rmtree(place)
    if status == 0:
        break
print(*found)
"""


def test_killed_while_a_run_is_replaced(place):
    """Before each file operation in turn: there is the old run or the new one, and it can be tried again."""
    command = [sys.executable, "-c", KILLED_WHILE_REPLACING, str(place)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = run.stdout.split()
    assert found == sorted(found, key=["old", "new"].index)
    assert set(found) == {"old", "new"}
    assert len(found) > 10
