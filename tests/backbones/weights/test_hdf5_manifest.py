"""A child process that fails, or answers what does not fit the file, ends in a WeightsError and in time."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.keras_writer import DENSE, legacy_file
from hypothesis import given
from hypothesis import strategies as st

from featcache.backbones.weights import hdf5_manifest, hdf5_walk
from featcache.backbones.weights.hdf5_manifest import check_manifest
from featcache.backbones.weights.readers import read_tensors
from featcache.backbones.weights.torch_pickle import MalformedError
from featcache.errors import WeightsError


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", r"crashes the HDF5 library \(signal 6\); the file is damaged"),
        ("while True: pass", "takes HDF5 too long, or more memory than this machine has"),
        ("import os; os.close(1)\nwhile True: pass", "takes HDF5 too long"),
        ("import sys; sys.exit(3)", "failed with status 3; run .*import h5py"),
        ("print('nonsense')", "answers with no list of datasets"),
        ("print('[' * 10**6)", "answers with no list of datasets"),
        ("print('1' * 10**5)", "answers with no list of datasets"),
        ("while True: print('x' * 10**6)", "its structure takes HDF5 too long, or"),
        (r"""print('{"refused": ["\\u001b[2Jgone", "x"]}')""", r"w\.h5: �\[2Jgone; x"),
    ],
)
def test_a_child_process_that_fails(tmp_path, monkeypatch, code, message):
    path = legacy_file(tmp_path / "w.h5", DENSE)
    child = path.with_name("child.py")
    child.write_text(code)
    monkeypatch.setattr(hdf5_manifest, "_CHILD", child)
    monkeypatch.setattr(hdf5_manifest, "WALL_SECONDS", 0.5)
    with pytest.raises(WeightsError, match=message):
        read_tensors(path)


def test_a_child_process_that_cannot_be_started(tmp_path, monkeypatch):
    path = legacy_file(tmp_path / "w.h5", DENSE)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(WeightsError, match=r"no process can be started .*\(No such file.*/absent'"):
        read_tensors(path)


def test_the_child_process_needs_neither_jax_nor_featcache():
    code = (
        "import runpy, sys; sys.path.extend(sys.argv[2:]); import h5py; runpy.run_path(sys.argv[1], run_name='child');"
        "print(sorted({'jax', 'featcache', 'flax', 'keras'} & set(sys.modules)))"
    )
    folder = str(Path(h5py.__file__).parents[1])
    command = [sys.executable, "-I", "-c", code, hdf5_walk.__file__, folder]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


# What the child process answers is not trusted

GOOD = ["/fc/kernel", "<f4", [3, 2], 100, 24]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, ["/fc/bias", "<f4", [2], 120, 8]], "'/fc/kernel' and '/fc/bias' share bytes"),
        ([GOOD, ["/fc/kernel", "<f4", [2], 124, 8]], "no list of datasets"),
        (
            [["/w", "<f4", [3, 2], 977, 24]],
            r"bytes 977 to 1,001, but the file has 1,000; the download is incom",
        ),
        ([["/w", "<f4", [3, 2], -1, 24]], "lies in bytes -1"),
        ([["/w", "<f4", [1 << 62, 1 << 62], 0, 24]], "takes 85,070"),
        ([["/w", "<f4", [3, 2], None, 24]], "has no values in the file"),
        ([["/w", "<f4", [3, 2], 0, 20]], "takes 24 bytes, but 20 are stored"),
        ([["/w", "|O", [3], 0, 24]], "no list of datasets"),
        ([["/w", "<f4", [-3, -2], 0, 24]], "no list of datasets"),
        ([["/w", "<f4", [True], 0, 4]], "no list of datasets"),
        ([["/w", "<f4", [1.0], 0, 4]], "no list of datasets"),
        ([["/w", "<f4", [1] * 40, 0, 4]], "no list of datasets"),
        ([["w", "<f4", [1], 0, 4]], "no list of datasets"),
        ([["/" + "w" * 10**6, "<f4", [1], 0, 4]], "no list of datasets"),
        ([["/w", "<f4", [1], 0]], "no list of datasets"),
        ([["/w", ["<f4"], [1], 0, 4]], "no list of datasets"),
        ([GOOD] * 60_000, "no list of datasets"),
    ],
)
def test_manifests_that_do_not_fit_the_file(rows, message):
    with pytest.raises(MalformedError, match=message):
        check_manifest({"groups": {}, "datasets": rows}, 1000)


@pytest.mark.parametrize(
    "groups",
    [[], {"/": []}, {"/": {"name": "fc"}}, {"/": {"name": [1]}}, {"/": {"name": ["x" * 2000]}}, {"x": {}}],
)
def test_groups_that_are_none(groups):
    with pytest.raises(MalformedError, match="no list of datasets"):
        check_manifest({"groups": groups, "datasets": []}, 1000)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
rows = st.tuples(
    st.sampled_from(["/a", "/b", "/c", ""]),
    st.sampled_from([*hdf5_manifest._DTYPES, "|O"]),
    st.lists(st.integers(-1, 5) | st.integers(), max_size=3),
    st.none() | st.integers(-1, 100) | st.integers(),
    st.integers(0, 100),
).map(list)


@given(st.lists(rows | anything, max_size=4) | anything, anything)
def test_any_answer_is_refused_or_fits_the_file(datasets, groups):
    answer = json.loads(json.dumps({"groups": groups, "datasets": datasets}))
    for groups_or_none in (answer["groups"], {}):
        try:
            manifest = check_manifest(answer | {"groups": groups_or_none}, 100)
        except MalformedError:
            continue
        taken = np.zeros(100, int)
        for dataset in manifest.datasets.values():
            if dataset.size:
                assert dataset.offset >= 0
                assert dataset.offset + dataset.size <= 100
            taken[dataset.offset : dataset.offset + dataset.size] += 1
        assert taken.max() <= 1
