"""Power cuts while classifiers, exports, sweeps and runs are written: the old or the new one, never neither.

FEATCACHE_POWER_CUTS is how many the slow tests replay of each kind.
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.classifier_documents import NUMBERED, numbered
from helpers.feature_caches import blobs, feature_cache
from helpers.power_cuts import FEW_AND_MANY, Recorded, cuts_wanted, recorded
from helpers.small_caches import small

from featcache.core.classifier_folder import (
    BACKBONE,
    DOCUMENT,
    TENSORS,
    read_beside_document,
    read_folder,
    write_folder,
)
from featcache.core.disk.files import replace_file
from featcache.core.disk.jsonl import read_records
from featcache.core.disk.temporaries import find_leftovers
from featcache.errors import IdentityError, MissingFileError
from featcache.finetuning.runs.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    # What is simulated cannot lose power once more.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def folder(memory_path) -> Path:
    return memory_path / "after"


def require_tidy(folder: Path, *names: str) -> None:
    assert find_leftovers(folder) == []
    assert sorted(os.listdir(folder)) == sorted(names)


# Classifiers ------------------------------------------------------------------------------------------------

SAVE = (
    NUMBERED
    + """
import numpy as np
from featcache.core import classifier_folder as module
from featcache.core.disk import folder_swap
if sys.argv[2] == "no swaps":
    folder_swap.exchange = lambda one, other: False

def save(number):
    kernel = np.full(3000, number, np.float32)
    backbone = [bytes([number]) * 5000] * 2
    module.write_folder(folder / "c", numbered(number), {"kernel": kernel}, backbone=backbone)
    mark(number)
"""
)


def saved(folder: Path) -> int:
    """Return the number of a classifier that is whole and of one save; 0 where there is none."""
    try:
        document, tensors = read_folder(folder / "c")
    except MissingFileError:
        return 0
    number = document["number"]
    np.testing.assert_array_equal(tensors["kernel"], np.full(3000, number, np.float32))
    assert (
        read_beside_document(folder / "c", lambda _: (folder / "c" / BACKBONE).read_bytes())
        == bytes([number]) * 10000
    )
    return number


@pytest.fixture(scope="module", params=["swaps", "no swaps"])
def saves(request, tmp_path_factory) -> Recorded:
    scratch = tmp_path_factory.mktemp("saves")
    return recorded(scratch, "", SAVE + "for number in (1, 2, 3): save(number)", request.param)


@pytest.mark.parametrize("cuts", FEW_AND_MANY)
def test_a_classifier(saves, cuts, folder):
    seen = set()
    for promised in saves.power_cuts(folder, cuts or cuts_wanted()):
        found = saved(folder)
        assert found in (promised, promised + 1)
        write_folder(
            folder / "c",
            numbered(9),
            {"kernel": np.full(3000, 9)},
            backbone=[b"\t" * 10000],
        )
        assert saved(folder) == 9
        require_tidy(folder, "c")
        require_tidy(folder / "c", DOCUMENT, TENSORS, BACKBONE)
        seen.add((promised, found))
    assert len(seen) > 4


# Exports ----------------------------------------------------------------------------------------------------

EXPORT = """
from featcache.cache import FeatureCache

def export(cache, number):
    with FeatureCache(cache) as opened:
        opened.to_npz(folder / "out.npz")
        mark(number)
        opened.to_parquet(folder / "out.parquet")
        mark(number + 1)
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> Recorded:
    pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    scratch = tmp_path_factory.mktemp("exports")
    for number, count in enumerate((30, 41)):
        small(count, seed=number).publish(scratch / f"{number}.h5").close()
    old, new = (f"export({str(scratch / name)!r}, 1)" for name in ("0.h5", "1.h5"))
    return recorded(scratch, EXPORT + old, EXPORT + new)


@pytest.mark.parametrize("cuts", FEW_AND_MANY)
def test_exports(exports, cuts, folder):
    from pyarrow import parquet

    old, new = exports.at_first(), exports.after()
    for state, count in ((old, 30), (new, 41)):
        assert sorted(state) == ["out.npz", "out.parquet"]
        assert len(np.load(io.BytesIO(state["out.npz"]))["id"]) < count
        assert parquet.read_table(io.BytesIO(state["out.parquet"])).num_rows < count
    for promised in exports.power_cuts(folder, cuts or cuts_wanted()):
        for number, name in enumerate(old, start=1):
            found = (folder / name).read_bytes()
            assert found == new[name] if promised >= number else found in (old[name], new[name])
        for name in old:  # the next writer clears up
            replace_file(folder / name, b"next")
        require_tidy(folder, *old)


# Sweeps -----------------------------------------------------------------------------------------------------

SWEEP = """
from featcache.sweeps.sweep import sweep

def run(**options):
    sweep(sys.argv[2], output=folder / "out", head="prototype", metric="euclidean,cosine", **options)
    mark(100)
"""
TWICE = 'run(seeds=2, on_progress=lambda progress: mark(progress.done), shots="2,all")'


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> tuple[Recorded, Path]:
    scratch = tmp_path_factory.mktemp("sweeps")
    features, labels = blobs(90)
    cache = feature_cache(scratch / "a.h5", features, labels, ["train"] * 60 + ["val"] * 30).path
    return recorded(scratch, SWEEP + "run()", SWEEP + TWICE, str(cache)), cache


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_sweep(sweeps, folder):
    from featcache.classifier.classifier import Classifier
    from featcache.sweeps.sweep import sweep

    runs, cache = sweeps
    old, new = runs.at_first(), runs.after()
    whole = [json.loads(line) for line in new["out/results.jsonl"].splitlines()]
    lines = [json.dumps({n: v for n, v in row.items() if n != "checksum"}).encode() for row in whole]
    before = len(old["out/results.jsonl"].splitlines())
    assert (before, len(lines)) == (2, 8)
    for cut, promised in enumerate(runs.power_cuts(folder, cuts_wanted())):
        out = folder / "out"
        rows = read_records(out / "results.jsonl", damaged="{path} {line}")
        safe = len(lines) if promised == 100 else max(before, promised)
        found = [json.dumps(row).encode() for row in rows]
        assert found[:safe] == lines[:safe]
        assert found == [line for line in lines if line in found]
        for name in ("summary.json", "results.parquet"):
            found = (out / name).read_bytes()
            assert found in (
                [new[f"out/{name}"]] if promised == 100 else [old[f"out/{name}"], new[f"out/{name}"]]
            )
        Classifier.load(out / "classifier")
        found = (out / "classifier" / DOCUMENT).read_bytes()
        known = [state[f"out/classifier/{DOCUMENT}"] for state in (old, new)]
        assert found in (known[1:] if promised == 100 else known)
        if cut % 10 == 0:
            again = sweep(
                cache, output=out, head="prototype", metric="euclidean,cosine", seeds=2, shots="2,all"
            )
            assert again.heads == len((out / "results.jsonl").read_bytes().splitlines()) == len(lines)
            require_tidy(out, "results.jsonl", "results.parquet", "summary.json", "classifier")
            require_tidy(folder, "out")


# Runs -------------------------------------------------------------------------------------------------------

REPLACE = """
from featcache.core.disk import folder_swap
from featcache.finetuning.runs.run_folder import RunFolder
if sys.argv[2] == "no swaps":
    folder_swap.exchange = lambda one, other: False

def create(rate):
    with RunFolder.create(folder / "t.run", {"rate": rate}, overwrite=True) as run:
        mark(1)
        run.log({"step": rate})
"""


@pytest.fixture(scope="module", params=["swaps", "no swaps"])
def replaced(request, tmp_path_factory) -> Recorded:
    scratch = tmp_path_factory.mktemp("replaced")
    return recorded(scratch, REPLACE + "create(0)", REPLACE + "create(1)", request.param)


@pytest.mark.parametrize("cuts", FEW_AND_MANY)
def test_a_run_that_is_replaced(replaced, cuts, folder):
    place, seen = folder / "t.run", set()
    for promised in replaced.power_cuts(folder, cuts or cuts_wanted()):
        try:
            with RunFolder.open(place, {"rate": 1}) as run:
                seen.add((promised, "new"))
                assert run.history() in ([], [{"step": 1}])
        except IdentityError:
            assert promised == 0
            with RunFolder.open(place, {"rate": 0}) as run:
                seen.add((promised, "old"))
                assert run.history() == [{"step": 0}]
        RunFolder.create(place, {"rate": 2}, overwrite=True).close()
        require_tidy(folder, "t.run")
    assert seen == {(0, "old"), (0, "new"), (1, "new")}


RUN = """
import numpy as np
from featcache.finetuning.runs.run_folder import RunFolder

with RunFolder.create(folder / "t.run", {"rate": 0.5}) as run:
    mark(1)
    for step in range(2, 6):
        arrays = {"a": np.full(300, step, np.float32), "b": np.full(1000, step, np.int32)}
        run.log({"step": step})
        run.checkpoints.save("last", arrays, {"step": step})
        if step == 3:
            run.checkpoints.save("best", arrays, {"step": step})
        mark(step)
    run.finish({"step": step})
    mark(9)
"""


@pytest.fixture(scope="module")
def run_recorded(tmp_path_factory) -> Recorded:
    return recorded(tmp_path_factory.mktemp("runs"), "", RUN)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_checkpoints_of_a_run(run_recorded, folder):
    def step_of(name):
        arrays, position = run.checkpoints.restore(name)
        for key, count in (("a", 300), ("b", 1000)):
            np.testing.assert_array_equal(arrays[key], np.full(count, position["step"]))
        return position["step"]

    for promised in run_recorded.power_cuts(folder, cuts_wanted()):
        try:
            run = RunFolder.open(folder / "t.run", {"rate": 0.5})
        except MissingFileError:
            assert promised == 0
            run = RunFolder.create(folder / "t.run", {"rate": 0.5})
        with run:
            last = min(promised, 5)
            found = step_of("last") if "last" in run.checkpoints.names() else 1
            assert found in (last, last + 1) or last == 0
            told = [record["step"] for record in run.history()]
            assert told in ([*range(2, found + 1)], [*range(2, found + 2)])
            if "best" in run.checkpoints.names():
                assert step_of("best") == 3
            else:
                assert last < 3
            assert run.finished or promised < 9
            run.checkpoints.save("last", {"a": np.full(300, 7), "b": np.full(1000, 7)}, {"step": 7})
            assert step_of("last") == 7
            kept = {name.partition("-")[0].partition(".")[0] for name in os.listdir(run.checkpoints.folder)}
            assert len(os.listdir(run.checkpoints.folder)) == 2 * len(kept)
            history = {"history.jsonl"} & set(os.listdir(run.path))
            require_tidy(run.path, "run.json", "checkpoints", *history)
        assert find_leftovers(folder) == []
