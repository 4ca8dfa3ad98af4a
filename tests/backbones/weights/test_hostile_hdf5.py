"""Hostile and damaged HDF5 files execute nothing, reach no other file, and end in a WeightsError and in time."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.keras_writer import DENSE, NEW_DENSE, archive, legacy_file, new_file, values
from helpers.support import keras
from helpers.torch_writer import read_bytes
from helpers.warm_python import Forked, warm_python
from hypothesis import given, settings
from hypothesis import strategies as st

import featcache
from featcache.backbones.weights import hdf5_manifest, hdf5_walk
from featcache.backbones.weights.readers import read_tensors
from featcache.errors import WeightsError


@pytest.fixture
def path(tmp_path) -> Path:
    """A file that is read, for a test to make hostile."""
    return legacy_file(tmp_path / "w.h5", DENSE)


def test_the_file_without_a_fault_is_read(path):
    assert sorted(read_tensors(path)) == ["fc.bias", "fc.kernel"]


# What HDF5 allows and Keras does not write


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("fc/bad", layout)


def compact(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file["fc"].id, b"bad", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), plan)


def other_float(file: h5py.File) -> None:
    """Four bytes like a float32, of another exponent: as plain float32 they would be other numbers."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    h5py.h5d.create(file["fc"].id, b"bad", kind, h5py.h5s.create_simple((4,)))


CONSTRUCTIONS = {
    "soft link": (
        lambda file: file.__setitem__("fc/bad", h5py.SoftLink("/fc/fc/kernel:0")),
        "'/fc/bad' is a soft or external link",
    ),
    "external link": (
        lambda file: file.__setitem__("fc/bad", h5py.ExternalLink("/etc/passwd", "/x")),
        "'/fc/bad' is a soft or external link",
    ),
    "external model_weights": (
        lambda file: file.__setitem__("model_weights", h5py.ExternalLink("/etc/passwd", "/")),
        "'/model_weights' is a soft or external link",
    ),
    "external storage": (
        lambda file: file.create_dataset("fc/bad", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
        "values of dataset '/fc/bad' are in another file",
    ),
    "virtual": (virtual, "dataset '/fc/bad' is virtual: its values are in other files"),
    "chunked": (
        lambda file: file.create_dataset("fc/bad", data=values(4), chunks=(2,)),
        "dataset '/fc/bad' is stored in chunks",
    ),
    "compressed": (
        lambda file: file.create_dataset("fc/bad", data=np.zeros(10**5), compression="gzip"),
        "dataset '/fc/bad' is stored in chunks, perhaps compressed",
    ),
    "compact": (compact, "dataset '/fc/bad' is stored inside of its header"),
    "cycle": (lambda file: file.__setitem__("fc/bad", file["/"]), "'/fc/bad' is a second name"),
    "two names": (
        lambda file: file.__setitem__("bad", file["fc/fc/bias:0"]),
        "is a second name of another object",
    ),
    "named type": (lambda file: file.__setitem__("fc/bad", np.dtype("f4")), "neither a group nor a dataset"),
    "no shape": (lambda file: file.__setitem__("fc/bad", h5py.Empty("f4")), "'/fc/bad' has no shape"),
}

TYPES = {
    "object reference": (h5py.ref_dtype, "reference"),
    "region reference": (h5py.regionref_dtype, "reference"),
    "numbers of any length": (h5py.vlen_dtype(np.dtype("f4")), "vlen"),
    "text of any length": (h5py.string_dtype(), "string"),
    "text": (np.dtype("S8"), "string"),
    "records": (np.dtype([("a", "f4"), ("b", "f4")]), "compound"),
    "opaque": (h5py.opaque_dtype(np.dtype("V2")), "opaque"),
    "boolean": (np.dtype("?"), "enum"),
    "big-endian": (np.dtype(">f4"), "float"),
    "arrays": (np.dtype(("f4", (3,))), "array"),
}


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_what_keras_does_not_write_is_refused(path, name):
    """In this process, where a case takes no quarter of a second: the files are sound as HDF5."""
    build, message = CONSTRUCTIONS[name]
    with h5py.File(path, "r+") as file:
        build(file)
        with pytest.raises(hdf5_walk.RefusedError, match=message):
            hdf5_walk.walk(file)


@pytest.mark.parametrize("name", ["external link", "external storage", "compressed"])
def test_refusals_arrive_from_the_child_process(path, name):
    build, message = CONSTRUCTIONS[name]
    with h5py.File(path, "r+") as file:
        build(file)
    with pytest.raises(WeightsError, match=rf"w\.h5: .*{message}.*; save it again with Keras"):
        read_tensors(path)


@pytest.mark.parametrize("name", TYPES)
def test_other_types_than_plain_numbers_are_refused(path, name):
    dtype, kind = TYPES[name]
    with h5py.File(path, "r+") as file:
        file.create_dataset("fc/bad", (2,), dtype)
        with pytest.raises(hdf5_walk.RefusedError, match=rf"dataset '/fc/bad' is of a type .*\({kind}"):
            hdf5_walk.walk(file)


def test_floats_of_another_layout_are_refused(path):
    with h5py.File(path, "r+") as file:
        other_float(file)
    with pytest.raises(
        WeightsError, match=r"'/fc/bad' is of a type .*\(float, 4 bytes\); .*again as float32"
    ):
        read_tensors(path)


ATTRIBUTES = {
    "numbers": np.arange(3),
    "a reference": h5py.Reference(),
    "long text": np.array([b"x" * 2000]),
    "long text of any length": ["x" * 2000],
    "bytes that are no text": np.array([b"\xff\xfe"]),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_lists_of_names_that_are_none(path, name):
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = ATTRIBUTES[name]
    with pytest.raises(
        WeightsError, match=r"layer_names of '/' (is no list of|has a) name|a name is not valid UTF-8"
    ):
        read_tensors(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"x" * 2000, "a name of over 1024 bytes, or too many, in '/fc'"),
        (b"\xff", "a name is not valid UTF-8"),
        (b"/".join([b"a"] * 40), "nested deeper than 32 groups"),
    ],
    ids=["long", "no text", "deep"],
)
def test_names_of_groups_have_limits(path, name, message):
    create = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    create.set_create_intermediate_group(True)
    with h5py.File(path, "r+") as file:
        h5py.h5g.create(file["fc"].id, name, lcpl=create)
    with pytest.raises(WeightsError, match=message):
        read_tensors(path)


def test_the_count_of_objects_has_a_limit(path, monkeypatch):
    monkeypatch.setattr(hdf5_walk, "MAX_OBJECTS", 4)
    with h5py.File(path) as file, pytest.raises(hdf5_walk.RefusedError, match="more than 4 objects"):
        hdf5_walk.walk(file)


# Sizes that the file does not have


def patched(path: Path, before: bytes, after: bytes) -> None:
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after))


def test_values_outside_of_the_file_or_shared_are_refused(path):
    with h5py.File(path) as file:
        places = {name: file[f"fc/fc/{name}:0"].id.get_offset() for name in ("kernel", "bias")}
    original, size = path.read_bytes(), path.stat().st_size
    bias = struct.pack("<QQ", places["bias"], 8)

    patched(path, bias, struct.pack("<QQ", size - 4, 8))
    # HDF5 2.0 notices by itself.
    with pytest.raises(
        WeightsError, match=rf"lies in bytes .*, but the file has {size:,}|invalid dataset size"
    ):
        read_tensors(path)

    path.write_bytes(original)
    patched(path, bias, struct.pack("<QQ", places["kernel"] + 4, 8))
    with pytest.raises(WeightsError, match="'/fc/fc/kernel:0' and '/fc/fc/bias:0' share bytes"):
        read_tensors(path)

    path.write_bytes(original)
    patched(path, struct.pack("<QQ", 3, 2), struct.pack("<QQ", 3 << 40, 2))
    with pytest.raises(WeightsError, match=r"takes 26,388,279,066,624 bytes, but 24 are stored|damaged"):
        read_tensors(path)


def test_values_that_were_never_written_are_refused(path):
    with h5py.File(path, "r+") as file:
        file.create_dataset("fc/bad", (10**6, 10**6), "f4")
    with pytest.raises(
        WeightsError, match=r"'/fc/bad' of shape \(1000000, 1000000\) has no values in the file"
    ):
        read_tensors(path)


def test_a_file_that_becomes_shorter_meanwhile_is_refused(path, monkeypatch):
    read_manifest = hdf5_manifest.read_manifest

    def read_then_cut(file, window):
        manifest = read_manifest(file, window)
        path.open("r+b").truncate(manifest.datasets["/fc/fc/kernel:0"].offset + 4)
        return manifest

    monkeypatch.setattr("featcache.backbones.weights.keras_files.read_manifest", read_then_cut)
    with pytest.raises(WeightsError, match="'/fc/fc/kernel:0' is cut short; the download is incomplete"):
        read_tensors(path)


# Nothing is executed


def test_code_in_a_model_is_not_executed(tmp_path):
    k, sentinel = keras(), tmp_path / "executed"
    place = str(sentinel)
    harmful = k.layers.Lambda(lambda x: (open(place, "w").close(), x)[1])
    model = k.Sequential([k.Input((2,)), harmful, k.layers.Dense(2, name="fc", kernel_initializer="ones")])
    for name in ("w.keras", "w.h5"):
        model.save(tmp_path / name)
        sentinel.unlink(missing_ok=True)
        assert sorted(read_tensors(tmp_path / name)) == ["fc.bias", "fc.kernel"]
        assert not sentinel.exists()
        # Else this would prove nothing.
        k.models.load_model(tmp_path / name, safe_mode=False)
        assert sentinel.exists()


def test_a_structure_that_keeps_hdf5_busy_for_ever_is_given_up(tmp_path, monkeypatch):
    """A free piece of zero bytes in the heap of names: HDF5 2.0 passes over it again and again."""
    path = new_file(tmp_path / "w.h5", NEW_DENSE)
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    place = heap + 16
    # Each piece is its number (0: free), 6 bytes of no interest, its size, and so many bytes in words of 8.
    while data[place : place + 2] != bytes(2):
        place += 16 + -(-int.from_bytes(data[place + 8 : place + 16], "little") // 8) * 8
    data[place + 8 : place + 16] = bytes(8)
    path.write_bytes(data)
    monkeypatch.setattr(hdf5_manifest, "CPU_SECONDS", 1)
    # Later versions of HDF5 may notice.
    with pytest.raises(WeightsError, match=r"its structure takes HDF5 too long|damaged"):
        read_tensors(path)


# Damage


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    old = legacy_file(folder / "old.h5", DENSE | {"bn": {"bn/gamma:0": values(4)}}).read_bytes()
    new = new_file(folder / "new.h5", NEW_DENSE).read_bytes()
    return {"old": old, "new": new, "archive": archive(folder / "w.keras", new).read_bytes()}


def read_damaged(data: bytes) -> None:
    try:
        tensors = read_bytes(data)
    except WeightsError:
        return
    assert tensors
    assert all(isinstance(array, np.ndarray) and np.isfinite(array).all() for array in tensors.values())


def flips(data: st.DataObject, original: bytes) -> bytes:
    # Two thirds of these small files are zeros between the structures.
    used = np.flatnonzero(np.frombuffer(original, np.uint8)).tolist()
    changed = bytearray(original)
    for place in data.draw(st.lists(st.sampled_from(used), min_size=1, max_size=3)):
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(changed)


def cut(data: st.DataObject, original: bytes) -> bytes:
    return original[: data.draw(st.integers(0, len(original) - 1))]


def spliced(data: st.DataObject, original: bytes) -> bytes:
    a, b, c = sorted(data.draw(st.tuples(*[st.integers(0, len(original))] * 3)))
    return original[:b] + original[a:c] + original[c:]


DAMAGES = [flips, cut, spliced]

MANY = int(os.environ.get("FEATCACHE_DAMAGED_FILES", "200"))
"""Examples of the slow test, each of which forks a process."""


def damage_and_read(good: dict[str, bytes], data: st.DataObject) -> None:
    original = good[data.draw(st.sampled_from(sorted(good)))]
    damaged = data.draw(st.sampled_from(DAMAGES))(data, original)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5_manifest, "CPU_SECONDS", 2)
        read_damaged(damaged)


# Of each example most is the start of a process, so the many are for those who ask for them.
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_damaged_files_raise_weights_errors_only(good, data):
    damage_and_read(good, data)


WALK = """
import runpy, sys
runpy.run_path(sys.argv[1])["main"](sys.argv[2:])
"""


@pytest.fixture(scope="module")
def forked() -> Iterator[Callable[..., Forked]]:
    """In the place of `child_process`: the same script in the same isolation, forked where h5py is imported."""
    folders = [str(Path(place).parents[1]) for place in (featcache.__file__, h5py.__file__)]
    imports = f"sys.path.extend({folders})\nimport h5py, featcache.core.child_process"
    with warm_python(imports, os.environ | {"OPENBLAS_NUM_THREADS": "1"}, ["-I"]) as python:
        yield lambda script, numbers, *, file, **_: python.start(
            WALK, [script, *numbers], stdin=file.fileno()
        )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=MANY, deadline=None)
@given(data=st.data())
def test_many_damaged_files_raise_weights_errors_only(good, forked, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5_manifest, "child_process", forked)
        damage_and_read(good, data)
