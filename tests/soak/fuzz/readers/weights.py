"""Weights files: torch's two formats, safetensors, and Keras' HDF5, which a child process reads."""

import json
import random
import struct
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from helpers.keras_writer import DENSE, NEW_DENSE, archive, legacy_file, new_file
from helpers.torch_writer import checkpoint, example, legacy, zipped
from safetensors.numpy import save

from featcache.backbones.finetuned import read_metadata
from featcache.backbones.weights.hdf5_manifest import _parse, check_manifest
from featcache.backbones.weights.hdf5_walk import walk
from featcache.backbones.weights.readers import read_levels, read_tensors
from featcache.backbones.weights.torch_pickle import MalformedError
from featcache.errors import WeightsError

from ..mutators import changed_json
from ..reader import Mutator, Reader, Subject

_OPCODES = (
    b"(",
    b".",
    b"0",
    b"}",
    b"]",
    b")",
    b"q\x00",
    b"h\x00",
    b"t",
    b"R",
    b"b",
    b"Q",
    b"s",
    b"u",
    b"e",
    b"a",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"N",
    b"cos\nsystem\n",
    b"X\x05\x00\x00\x00a.b.c",
    b"K\x01",
    b"M\xff\xff",
    b"J\xff\xff\xff\xff",
    b"\x8a\x09" + b"\xff" * 9,
    b"\x94",
    b"\x95" + b"\xff" * 8,
)


def _safetensors(data: bytes, chance: random.Random) -> bytes:
    """Change the header as a document."""
    size = int.from_bytes(data[:8], "little")
    text = changed_json(data[8 : 8 + size], chance)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _examples() -> dict[str, list[bytes]]:
    arrays = {name: np.ascontiguousarray(each) for name, each in example().items() if each.dtype != "bool"}
    plain = {name: each for name, each in arrays.items() if each.dtype.kind in "fiu"}
    few = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.zeros(2, np.float32)}
    return {
        "torch-zip": [zipped(checkpoint(few)), zipped(checkpoint(example()))],
        "torch-legacy": [legacy(checkpoint(few)), legacy(checkpoint(example()))],
        "safetensors": [save(few), save(plain), save(few, {"format": "pt"})],
    }


_MUTATORS: dict[str, Mutator] = {"safetensors": _safetensors}


def _bytes(kind: str, folder: Path) -> Subject:
    place = folder / "weights"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        read_metadata(place)
        try:
            levels = read_levels(place)
        except WeightsError:
            levels = None
        found = read_tensors(place)
        assert levels is not None
        for array in found.values():
            assert array.base is None or array.flags.aligned
            array.sum(dtype=None if array.dtype.kind != "V" else np.float32)

    return Subject(
        _examples()[kind], use, _MUTATORS.get(kind), words=() if kind == "safetensors" else _OPCODES
    )


def _hdf5(kind: str, folder: Path) -> Subject:
    place, made = folder / "weights", folder / "made.h5"
    if kind == "keras-h5":
        seeds = [legacy_file(made, DENSE).read_bytes(), new_file(folder / "new.h5", NEW_DENSE).read_bytes()]
    else:
        inner = new_file(made, NEW_DENSE).read_bytes()
        seeds = [archive(folder / "made.keras", inner).read_bytes()]

    def use(data: bytes) -> None:
        place.write_bytes(data)
        read_tensors(place)

    words = (
        b"TREE",
        b"HEAP",
        b"SNOD",
        b"OHDR",
        b"OCHK",
        b"FRHP",
        b"GCOL",
        b"\x89HDF\r\n\x1a\n",
        b"layer_names",
    )
    return Subject(seeds, use, _changed_hdf5, words=words, seconds=25.0)


def _changed_hdf5(data: bytes, chance: random.Random) -> bytes:
    """Change bytes that are not 0: half of such a file is free space, of which nothing is read."""
    content = bytearray(data)
    places = [at for at, value in enumerate(content) if value]
    for _ in range(chance.randint(1, 4) if places else 0):
        at = chance.choice(places)
        if chance.random() < 0.5:
            content[at] = chance.choice((0, 1, 2, 127, 255, content[at] ^ (1 << chance.randrange(8))))
        else:
            content[at : at + 8] = struct.pack(
                "<Q", chance.choice((0, 1, 2**31, 2**63, 2**64 - 1, len(data), chance.randrange(len(data))))
            )
    return bytes(content)


def _manifest(folder: Path) -> Subject:
    """What the child process says: it has read the file, so that a fault of HDF5's may have made it say anything."""
    place = legacy_file(folder / "made.h5", DENSE)
    with h5py.File(place, "r") as file:
        answer = json.dumps(walk(file)).encode()

    def use(data: bytes) -> None:
        try:
            check_manifest(_parse(bytearray(data)), place.stat().st_size)
        except MalformedError as error:
            raise WeightsError(str(error)) from error

    return Subject([answer], use, changed_json)


READERS = (
    *(Reader(kind, partial(_bytes, kind)) for kind in ("torch-zip", "torch-legacy", "safetensors")),
    Reader("manifest", _manifest),
    *(Reader(kind, partial(_hdf5, kind), slow=True) for kind in ("keras-h5", "keras-archive")),
)
