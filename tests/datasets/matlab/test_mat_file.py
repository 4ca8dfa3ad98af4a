"""MATLAB files against SciPy's reader, and files that were made to do harm, which end in one error."""

import os
import random
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from featcache.datasets.matlab.mat_file import read_mat
from featcache.errors import DataError

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
RECORDS = np.array([[(3, "a.jpg"), (4, "größe 1.jpg")]], [("class", "u1"), ("fname", object)])
VARIABLES = {
    "doubles": np.array([[1.0, 2.5, -3.0]]),
    "bytes": np.arange(7, dtype=np.uint8)[None],
    "shorts": np.arange(1020, dtype=np.uint16)[None],
    "many": np.arange(6, dtype=np.int64).reshape(2, 3),
    "flags": np.array([[True, False]]),
    "none": np.empty((1, 0)),
    "text": "daisy",
    "names": np.array([["rose", "tulip", "lily"]], object),
    "records": RECORDS,
}


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def file(request, tmp_path) -> Path:
    path = tmp_path / "held.mat"
    savemat(path, VARIABLES, do_compression=request.param)
    return path


def test_variables_are_those_that_scipy_reads(file):
    found, expected = read_mat(file), loadmat(file, simplify_cells=True)
    assert set(found) == set(VARIABLES) == {name for name in expected if not name.startswith("__")}
    for name in ("doubles", "bytes", "shorts", "many", "flags", "none"):
        np.testing.assert_array_equal(found[name], np.ravel(expected[name], "F"))
    assert found["text"] == expected["text"] == "daisy"
    assert found["names"] == list(expected["names"]) == ["rose", "tulip", "lily"]
    assert [(int(own["class"][0]), own["fname"]) for own in found["records"]] == [
        (own["class"], own["fname"]) for own in expected["records"]
    ]


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(what: int, dimensions: tuple[int, ...], body: bytes, name: bytes = b"") -> bytes:
    dims = struct.pack(f"<{len(dimensions)}i", *dimensions)
    return element(14, element(6, struct.pack("<II", what, 0)) + element(5, dims) + element(1, name) + body)


def nested(depth: int) -> bytes:
    inner = matrix(6, (1, 1), element(9, struct.pack("<d", 1.0)))
    for _ in range(depth):
        inner = matrix(1, (1, 1), inner)
    return inner


def packed(data: bytes) -> bytes:
    small = zlib.compress(data, 9)
    return struct.pack("<II", 15, len(small)) + small


HOSTILE = {
    "cells within cells": (lambda: nested(20_000), "its values are nested more than 8 deep"),
    "a cell array of 2,000,000,000": (matrix(1, (50_000, 40_000), b"", b"x"), "it ends within a value"),
    "a structure of as many": (
        matrix(2, (50_000, 40_000), element(5, struct.pack("<i", 8)) + element(1, b"a".ljust(8, b"\0"))),
        "it ends within a value",
    ),
    "numbers of as many": (
        matrix(6, (50_000, 40_000), element(9, b"\0" * 8), b"x"),
        "an array has another length than its dimensions",
    ),
    "negative dimensions": (
        matrix(6, (-1, -8), element(9, b"\0" * 64)),
        "an array has impossible dimensions",
    ),
    "one that unpacks for ever": (lambda: packed(bytes(2**27)), "it unpacks to more than 67,108,864 bytes"),
    "one that was cut": (matrix(6, (1, 9), element(9, b"\0" * 72))[:-20], "it ends within a value"),
    "names without a length": (
        matrix(2, (1, 1), element(5, struct.pack("<i", 0)) + element(1, b"a")),
        "a structure has no names",
    ),
    "an object in a cell": (matrix(1, (1, 1), matrix(3, (1, 1), b"")), "it holds an object"),
    "a function in a structure": (
        matrix(2, (1, 1), element(5, struct.pack("<i", 2)) + element(1, b"a\0") + matrix(16, (1, 1), b"")),
        "it holds a function",
    ),
    "no MATLAB file": (None, "it does not begin as one"),
}


@pytest.mark.parametrize("situation", HOSTILE)
def test_files_that_were_made_to_do_harm_are_refused(tmp_path, situation):
    data, why = HOSTILE[situation]
    path = tmp_path / "held.mat"
    data = data() if callable(data) else data  # what takes a second is made by the test that needs it
    path.write_bytes(b"text" if data is None else HEADER + data)
    tracemalloc.start()
    with pytest.raises(DataError) as told:
        read_mat(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(told.value) == (
        f"{path} is no MATLAB file that can be read: {why}; expected numbers, text, cells and structures of version 5 "
        "(save -v7 in MATLAB, scipy.io.savemat in Python)"
    )
    assert peak < 2**28


def test_objects_and_functions_beside_the_data_are_left_out(tmp_path):
    path = tmp_path / "held.mat"
    path.write_bytes(
        HEADER
        + matrix(3, (1, 1), b"", b"own")
        + matrix(17, (1, 1), b"", b"run")
        + matrix(6, (1, 1), element(2, b"\7"), b"x")
    )
    assert {name: list(value) for name, value in read_mat(path).items()} == {"x": [7]}


def test_other_versions_are_named(tmp_path):
    path = tmp_path / "held.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(
        DataError, match=r"it is of version 7\.3 \(HDF5\); expected .* version 5 \(save -v7 in MATLAB"
    ):
        read_mat(path)


def test_files_of_the_other_byte_order_are_read(tmp_path):
    def swapped(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    dims = swapped(6, struct.pack(">II", 6, 0)) + swapped(5, struct.pack(">2i", 1, 2)) + swapped(1, b"x")
    path = tmp_path / "held.mat"
    path.write_bytes(
        HEADER[:124] + b"\x01\x00MI" + swapped(14, dims + swapped(4, struct.pack(">2H", 1, 258)))
    )
    assert list(read_mat(path)["x"]) == list(loadmat(path)["x"][0]) == [1, 258]


def test_damaged_bytes_end_in_an_error_or_in_values(file, tmp_path):
    data, draw = file.read_bytes(), random.Random(0)
    path = tmp_path / "flipped.mat"
    for _ in range(int(os.environ.get("FEATCACHE_FLIPS", "100"))):
        flipped = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            flipped[draw.randrange(100, len(flipped))] = draw.randrange(256)
        path.write_bytes(flipped[: draw.choice([len(data), draw.randrange(len(data))])])
        with suppress(DataError):  # any other error fails
            read_mat(path)
