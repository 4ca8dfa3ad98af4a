"""Hostile and damaged weight files execute nothing, take no memory, and raise a WeightsError only."""

import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers.torch_writer import (
    Call,
    Checkpoint,
    Name,
    Persistent,
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
    stream,
    tensor,
    zipped,
)

from featcache.backbones.weights import readers, torch_pickle
from featcache.backbones.weights.readers import read_tensors
from featcache.errors import WeightsError

GOLDENS = Path(__file__).parents[1] / "goldens"
WRITERS = pytest.mark.parametrize("write", [legacy, zipped])


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
def test_payloads_are_not_executed(tmp_path, way):
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
            read_bytes(data)
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


def test_message_of_a_refused_object_names_it_and_says_what_to_do():
    data = legacy(Checkpoint({"args": Call(Name("argparse", "Namespace"), ())}))
    with pytest.raises(
        WeightsError, match=r"weights\.bin: holds the Python object 'argparse\.Namespace'.*state_dict"
    ):
        read_bytes(data)


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
        (emit("x") + emit("k") + b"Ns", "items of something that is not a dictionary"),
        (emit({"a": 1}) + emit(()) + b"Ns", "a key of type tuple"),
        (emit("x") + b"Na", "not a list"),
        (b"h\x05", "recalls value 5"),
        (b"\x82\x01", r"no opcode that torch\.save writes"),
        (b"c" + b"a" * 5000, "has no end"),
        (b"X\x02\x00\x00\x00\xff\xff", "not valid UTF-8"),
        (b"X\xff\xff\xff\x7f", "cut short"),
        (emit({}) + b"(" + emit("a") + b"N" + emit("a") + b"Nu", "the key 'a' twice"),
        # pickle.Unpickler allocates 64 GiB for this one,
        (b"}r\xf0\xff\xff\xff", "keeps its 0th value as number 4294967280"),
        # and overflows the C stack in the hash of this one.
        (b"}" + b")" + b"\x85" * 500_000 + b"Ns", "a key of type tuple"),
    ],
    ids=by_message,
)
def test_hostile_streams_are_refused(code, message):
    with pytest.raises(WeightsError, match=message):
        read_bytes(zipped(Checkpoint(Raw(code))))


def test_endless_streams_end(monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(WeightsError, match="longer than 1,000 opcodes"):
        read_bytes(zipped(Checkpoint(Raw(b"N" * 2000))))


def test_a_dictionary_that_holds_itself_is_refused():
    cyclic = Raw(b"}q\x01" + emit("state_dict") + b"h\x01s")
    with pytest.raises(WeightsError, match="'state_dict' is of type dict, not a tensor"):
        read_bytes(zipped(Checkpoint(cyclic)))


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
def test_tensors_outside_of_their_storage_take_no_memory(write, changes, message):
    data = write(one_tensor(**changes))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message):
            read_bytes(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@WRITERS
def test_many_views_of_one_storage_cannot_fill_the_memory(write):
    values = np.zeros(10_000, np.float32)
    view = tensor(storage("0", "float32", values.size), values.shape, (1,))
    # One tensor written once and recalled under 2000 names: 80 MB from a file of 60 kB.
    names = b"".join(emit(f"t{number}") + b"h\x01" for number in range(2000))
    content = Raw(emit(view) + b"q\x01" + b"}(" + names + b"u")
    with pytest.raises(WeightsError, match="its tensors would take 80,000,000 bytes"):
        read_bytes(write(Checkpoint(content, {"0": values})))


@WRITERS
def test_one_storage_of_two_types_is_refused(write):
    saved = one_tensor()
    other = {"other": tensor(storage("0", "int32", 6), (6,), (1,))}
    with pytest.raises(WeightsError, match="storage '0' is declared twice"):
        read_bytes(write(Checkpoint(saved.content | other, saved.storages)))


def test_legacy_file_with_an_unknown_storage_or_bytes_left_over_is_refused():
    saved = one_tensor()
    extra = Checkpoint(saved.content, saved.storages | {"1": np.zeros(1, np.float32)})
    with pytest.raises(WeightsError, match="not that of the storages"):
        read_bytes(legacy(extra))
    with pytest.raises(WeightsError, match="7 bytes follow its last storage"):
        read_bytes(legacy(saved) + b"leftove")


def test_legacy_file_with_another_count_is_refused():
    data = legacy(one_tensor())
    count = struct.pack("<q", 6)
    assert data.count(count) == 1
    with pytest.raises(WeightsError, match="another size than the tensors"):
        read_bytes(data.replace(count, struct.pack("<q", 1 << 50)))


def test_big_endian_files_are_refused():
    with pytest.raises(WeightsError, match="big-endian machine; save it again"):
        read_bytes(zipped(one_tensor(), byteorder=b"big"))
    with pytest.raises(WeightsError, match="big-endian machine; save it again"):
        read_bytes(legacy(one_tensor(), little_endian=False))


def test_zip_with_compressed_entries_is_refused():
    zeros = Checkpoint(
        {"w": tensor(storage("0", "float32", 1), (1,), (1,))}, {"0": np.zeros(10**6, np.float32)}
    )
    data = zipped(zeros, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match=r"entry 'archive/.*' is compressed"):
        read_bytes(data)


def test_zip_with_damaged_values_is_refused():
    data = zipped(one_tensor())
    values = np.arange(6, dtype=np.float32).tobytes()
    with pytest.raises(WeightsError, match="'archive/data/0' does not match its checksum"):
        read_bytes(data.replace(values, values[::-1]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_two_entries_of_one_name_is_refused(tmp_path):
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
        ([1, 2], "of type list, not a dictionary of tensors; save the weights alone"),
        (3, "of type int, not a dictionary"),
        ({}, "holds no tensor"),
        ({"state_dict": {}}, "holds no tensor"),
        ({"epoch": 3}, "'epoch' is of type int, not a tensor"),
        ({"backbone": {"w": 1}}, "'backbone' is of type dict, not a tensor"),
        ({3: one_tensor().content["weight"]}, "named by the number 3"),
    ],
    ids=by_message,
)
def test_objects_other_than_named_tensors_are_refused(content, message):
    with pytest.raises(WeightsError, match=message):
        read_bytes(zipped(Checkpoint(content, one_tensor().storages)))


COLLIDING = 2**61 - 1
"""CPython's modulus for the hashes of ints: every multiple of it hashes to 0."""


def test_numbers_as_keys_cannot_be_made_to_collide():
    """Ten minutes of comparisons where ints are keys of a dict, under a second where their texts are."""
    assert len({hash(COLLIDING * n) for n in range(9)}) == 1
    keys = b"".join(emit(COLLIDING * n) + pickle.NONE for n in range(200_000))
    optimizer = Raw(pickle.EMPTY_DICT + pickle.MARK + keys + pickle.SETITEMS)
    found = read_bytes(
        zipped(
            Checkpoint({"state_dict": one_tensor().content, "optimizer": optimizer}, one_tensor().storages)
        )
    )
    assert list(found) == list(one_tensor().content)


def test_optimizers_of_old_checkpoints_are_keyed_by_addresses():
    state = {
        "state": {139912345678912 + 16 * n: {"step": n} for n in range(50)},
        "param_groups": [{"lr": 0.1}],
    }
    content = {"state_dict": one_tensor().content, "optimizer": state, "milestones": {30: 1, 60: 1, -1: 2}}
    for write in (legacy, zipped):
        assert list(read_bytes(write(Checkpoint(content, one_tensor().storages)))) == list(
            one_tensor().content
        )
    with pytest.raises(WeightsError, match="has the key 7 twice"):
        read_bytes(zipped(Checkpoint(Raw(b"}(K\x07NK\x07Nu"), {})))


def test_a_header_of_a_million_tensors_is_refused_before_it_is_parsed():
    entry = b'"%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(entry % n for n in range(160_000)) + b"}"
    tracemalloc.start()
    try:
        with pytest.raises(
            torch_pickle.MalformedError,
            match=r"its header has \d,\d{3},\d{3} bytes, and at most 8,388,608 are read",
        ):
            readers.read_safetensors(struct.pack("<Q", len(header)) + header)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


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
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, kind, every):
    data, path = example_files()[kind], tmp_path / "cut"
    for length in {*range(0, len(data), every), *range(len(data) - 8, len(data))}:
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_tensors(path)


@FORMATS
@pytest.mark.parametrize("times", [200, pytest.param(1500, marks=pytest.mark.slow)])
def test_flipped_bytes_raise_weights_errors_only(tmp_path, kind, times):
    """Values may change unnoticed (a sha256 guards them), but nothing else may be raised, or hang."""
    data, path = np.frombuffer(example_files()[kind], np.uint8), tmp_path / "flipped"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(times):
        flipped = data.copy()
        places = rng.integers(len(data), size=rng.integers(1, 5))
        flipped[places] ^= rng.integers(1, 256, size=places.size, dtype=np.uint8)
        path.write_bytes(flipped.tobytes())
        try:
            read_tensors(path)
        except WeightsError:
            refused += 1
    assert refused > times / 3


@FORMATS
@pytest.mark.parametrize("times", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_deleted_and_repeated_pieces_raise_weights_errors_only(tmp_path, kind, times):
    data, path = example_files()[kind], tmp_path / "spliced"
    rng = np.random.default_rng(1)
    for _ in range(times):
        a, b, c, d = rng.integers(len(data), size=4)
        path.write_bytes(data[:a] + data[min(b, c) : max(b, c)] + data[d:])
        try:
            tensors = read_tensors(path)
        except WeightsError:
            continue
        assert all(isinstance(array, np.ndarray) for array in tensors.values())
