"""Scalars, read back by TensorBoard's own reader."""

import errno
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from featcache.errors import StorageError, UsageError
from featcache.finetuning.runs.tensorboard import Scalars


def read(folder) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) of each tag, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_reads_what_was_added(tmp_path):
    folder = tmp_path / "run" / "tensorboard"
    with Scalars(folder) as scalars:
        assert not folder.exists()
        for step in (0, 10, 20):
            scalars.add("loss", 1 / (1 + step), step)
            scalars.add("val/accuracy", np.float64(step / 20), np.int64(step))
    found = read(folder)
    assert found == {
        "loss": [(0, 1), (10, np.float32(1 / 11)), (20, np.float32(1 / 21))],
        "val/accuracy": [(0, 0), (10, 0.5), (20, 1)],
    }


def test_numbers_that_are_none(tmp_path):
    with Scalars(tmp_path) as scalars:
        scalars.add("loss", math.nan, 1)
        scalars.add("loss", math.inf, 2)
    (_, first), (_, second) = read(tmp_path)["loss"]
    assert math.isnan(first)
    assert second == math.inf


def test_each_is_there_before_the_file_is_closed(tmp_path):
    """As for whoever is killed."""
    scalars = Scalars(tmp_path)
    for step in range(3):
        scalars.add("loss", step, step)
        assert read(tmp_path)["loss"] == [(k, k) for k in range(step + 1)]
    scalars.close()
    scalars.close()


def test_a_run_that_goes_on_takes_back_what_it_tells_again(tmp_path):
    """Three processes' worth, within one second: killed after step 30, again after 20, then to the end."""
    for first, last in ((0, 30), (20, 40), (20, 50)):
        scalars = Scalars(tmp_path)
        for step in range(first, last + 1, 10):
            scalars.add("loss", first + step / 100, step)
            scalars.add("rate", first, step)
    assert len(list(tmp_path.iterdir())) == 3
    found = read(tmp_path)
    assert [step for step, _ in found["loss"]] == [0, 10, 20, 30, 40, 50]
    assert [value for _, value in found["rate"]] == [0, 0, 20, 20, 20, 20]


def test_none_does_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with Scalars(None) as scalars:
        scalars.add("loss", 1, 1)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        UsageError, match=r"need tensorboardX, .* pip install 'featcache\[tb\]', or leave out"
    ):
        Scalars(tmp_path)


def test_a_full_disk_is_told_and_holds_nobody_up(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    scalars = Scalars(tmp_path)
    scalars.add("loss", 1, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for step in range(2, 40):
            with pytest.raises(
                StorageError, match=r"cannot write scalars to .*\[errno 28, ENOSPC\]; free some"
            ):
                scalars.add("loss", 1, step)
    scalars.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write scalars to .*file: File exists"):
        Scalars(tmp_path / "file").add("loss", 1, 1)


def test_it_is_loaded_only_where_it_is_asked_for():
    program = (
        "import sys; from pathlib import Path; from featcache.finetuning.runs.tensorboard import Scalars\n"
        "assert not {'tensorboardX', 'tensorboard', 'jax'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
