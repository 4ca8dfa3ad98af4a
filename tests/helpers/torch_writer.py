"""Torch checkpoints written without torch, opcode by opcode, so that tests can also write hostile ones."""

import io
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from featcache.backbones.weights.readers import read_tensors

MAGIC = 0x1950A86A20F9469CFC6C

STORAGES = {
    "float64": "Double",
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}


@dataclass
class Name:
    """A Python object by reference, such as ``Name("torch", "FloatStorage")``."""

    module: str
    attribute: str


@dataclass
class Call:
    """A callable and its arguments: opcode REDUCE."""

    function: Any
    arguments: tuple


@dataclass
class Persistent:
    """An object outside of the stream: opcode BINPERSID."""

    identity: Any


@dataclass
class Raw:
    """Opcodes as they are."""

    code: bytes


@dataclass
class Checkpoint:
    """What torch.save would be given: an object of the classes above, and its storages by key."""

    content: Any
    storages: dict[str, np.ndarray] = field(default_factory=dict)


def ordered_dict() -> Call:
    return Call(Name("collections", "OrderedDict"), ())


def storage(key: str, dtype: str, count: int) -> Persistent:
    return Persistent(("storage", Name("torch", STORAGES[dtype] + "Storage"), key, "cpu", count))


def tensor(where: Any, shape: tuple, strides: tuple, offset: Any = 0) -> Call:
    return Call(
        Name("torch._utils", "_rebuild_tensor_v2"), (where, offset, shape, strides, False, ordered_dict())
    )


def checkpoint(arrays: Mapping[str, np.ndarray]) -> Checkpoint:
    """One storage for each array; its strides are kept, as torch keeps them."""
    content, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        key, base = f"{number}", array if array.base is None else array.base
        flat = np.ravel(base)
        offset = (
            array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        ) // array.itemsize
        strides = tuple(step // array.itemsize for step in array.strides)
        storages[key] = flat
        content[name] = tensor(storage(key, array.dtype.name, flat.size), array.shape, strides, offset)
    return Checkpoint(content, storages)


def emit(value: Any) -> bytes:
    """The opcodes that put a value on the pickle machine's stack."""
    match value:
        case Raw(code):
            return code
        case Name(module, attribute):
            return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()
        case Call(function, arguments):
            return emit(function) + emit(arguments) + pickle.REDUCE
        case Persistent(identity):
            return emit(identity) + pickle.BINPERSID
        case tuple():
            return pickle.MARK + b"".join(map(emit, value)) + pickle.TUPLE
        case list():
            return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(emit, value)) + pickle.APPENDS
        case dict():
            flat = b"".join(emit(key) + emit(item) for key, item in value.items())
            return pickle.EMPTY_DICT + pickle.MARK + flat + pickle.SETITEMS
        case _:
            # Plain values as Python's own pickler writes them, without its PROTO and STOP.
            return pickle.dumps(value, protocol=2)[2:-1]


def stream(value: Any) -> bytes:
    return pickle.PROTO + b"\x02" + emit(value) + pickle.STOP


def legacy(saved: Checkpoint, *, little_endian: bool = True) -> bytes:
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    keys = sorted(saved.storages)
    streams = (MAGIC, 1001, system, saved.content, keys)
    blobs = (struct.pack("<q", saved.storages[key].size) + saved.storages[key].tobytes() for key in keys)
    return b"".join(map(stream, streams)) + b"".join(blobs)


def zipped(
    saved: Checkpoint, *, byteorder: bytes = b"little", compression: int = zipfile.ZIP_STORED
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", stream(saved.content))
        archive.writestr("archive/byteorder", byteorder)
        for key, values in saved.storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())
    return buffer.getvalue()


def example() -> dict[str, np.ndarray]:
    """Arrays of every type, and views: transposed, with an offset, with gaps, of no axis, empty."""
    arrays = {
        name: np.arange(-3, 3).astype(np.dtype(name)).reshape(2, 3) for name in STORAGES if name != "bfloat16"
    }
    base = np.arange(24, dtype=np.float32)
    return arrays | {
        "bfloat16": (np.arange(6) / 4).astype(ml_dtypes.bfloat16),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "channels_last": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2),
        "offset": base[5:9],
        "gaps": base[1::7],
        "scalar": np.array(7, dtype=np.int64),
        "empty": np.zeros((0, 4), dtype=np.float32),
    }


def one_tensor(**changes) -> Checkpoint:
    """A checkpoint of one tensor of six values, with some of its arguments replaced."""
    arguments = {
        "where": storage("0", "float32", 6),
        "shape": (2, 3),
        "strides": (3, 1),
        "offset": 0,
    } | changes
    return Checkpoint({"weight": tensor(**arguments)}, {"0": np.arange(6, dtype=np.float32)})


def read_bytes(data: bytes) -> dict[str, np.ndarray]:
    """Read bytes as a file whose name says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.bin")
        path.write_bytes(data)
        return read_tensors(path)


def by_message(value: object) -> str:
    """Name a case by its message: the bytes of some are half a megabyte."""
    return value if isinstance(value, str) else "-"
