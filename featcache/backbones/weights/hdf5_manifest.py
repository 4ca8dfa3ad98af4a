"""Read an HDF5 weights file safely: a child process finds the datasets, this one checks and reads them.

`featcache.backbones.weights.hdf5_walk` runs the HDF5 library in a child process with limits on time, memory and
files, and answers with a manifest. The answer is trusted no more than the file: each dataset must be of
a known type, lie inside of the file and overlap no other. Then its numbers are read at its offset, without
HDF5, so that no more memory is taken than the tensors need.
"""

import itertools
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from featcache.backbones.weights.hdf5_walk import DAMAGED, MAX_DEPTH, MAX_NAME, MAX_OBJECTS
from featcache.backbones.weights.torch_pickle import MalformedError, shorten
from featcache.core.child_process import child_process, end_of

# A walk of 2,000 datasets takes 0.3 s of processor time; a file on a slow network disk needs longer.
CPU_SECONDS = 20
WALL_SECONDS = 60
# The child takes 0.1 GiB before it has read anything.
MEMORY_BYTES = 2**30
# 100 bytes describe a dataset, so this is far above MAX_OBJECTS of them.
MAX_ANSWER = 64 * 2**20

_CHILD = Path(__file__).with_name("hdf5_walk.py")
_INCOMPLETE = "the download is incomplete: delete it and download it again"
_MAX_RANK = 32  # HDF5's limit

_DTYPES = {
    name: np.dtype(name)
    for name in ("<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8")
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}


@dataclass(frozen=True, slots=True)
class Window:
    """An HDF5 file inside of another file: its first byte and its size in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ManifestDataset:
    """Where a dataset's values lie: C order, in one piece, from `offset` in bytes within the HDF5 file."""

    path: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Size of the values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Manifest:
    """The datasets by path, and the attributes ``layer_names``, ``weight_names``, ``name`` of groups by path."""

    groups: Mapping[str, Mapping[str, list[str]]]
    datasets: Mapping[str, ManifestDataset]


def read_manifest(file: BinaryIO, window: Window) -> Manifest:
    """Return the places of the datasets of an HDF5 file.

    Parameters
    ----------
    file
        The open file, with a descriptor.
    window
        Where in it the HDF5 file lies.

    Returns
    -------
    Manifest
        Every dataset lies inside of the window, and none overlaps another.

    Raises
    ------
    MalformedError
        The file is damaged, cut short, not of Keras, or has links, chunks, data elsewhere or types that are
        not read; or HDF5 crashed on it or did not end.
    """
    answer = _parse(_ask_child(file, window))
    match answer:
        case {"refused": [str(reason), str(advice)]}:
            raise MalformedError(_printable(reason), _printable(advice))
    return check_manifest(answer, window.size)


def check_manifest(answer: Any, size: int) -> Manifest:
    """Check the child process's answer against the size of the file.

    Parameters
    ----------
    answer
        Parsed JSON.
    size
        Of the HDF5 file in bytes.

    Raises
    ------
    MalformedError
        It is no manifest, or one that does not fit the file.
    """
    match answer:
        case {"groups": dict(groups), "datasets": list(rows)} if len(groups) + len(rows) <= MAX_OBJECTS:
            datasets = [_dataset(row, size) for row in rows]
            _refuse_overlaps(datasets)
            by_path = {each.path: each for each in datasets}
            if len(by_path) == len(rows):
                return Manifest({_path(path): _group(value) for path, value in groups.items()}, by_path)
    raise _no_manifest()


def read_dataset(file: BinaryIO, window: Window, dataset: ManifestDataset) -> np.ndarray:
    """Read the values of one dataset of a checked manifest.

    Parameters
    ----------
    file
        The open file.
    window
        Where in it the HDF5 file lies.
    dataset
        Of the manifest of that file.

    Returns
    -------
    np.ndarray
        An array of its own with the dataset's shape and dtype.

    Raises
    ------
    MalformedError
        The file has become shorter, or no array can have the shape.
    """
    try:
        if dataset.size == 0:
            return np.zeros(dataset.shape, dataset.dtype)
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"no array can have the shape {dataset.shape}") from error
    count = math.prod(dataset.shape)
    file.seek(window.offset + dataset.offset)
    values = np.fromfile(file, dataset.dtype, count)
    if values.size < count:
        raise MalformedError(f"dataset {shorten(dataset.path)} is cut short", _INCOMPLETE)
    return values.reshape(dataset.shape)


# The child process


def _ask_child(file: BinaryIO, window: Window) -> bytearray:
    numbers = (window.offset, window.size, CPU_SECONDS, MEMORY_BYTES)
    packages = ("featcache", "h5py", "numpy")
    answer = bytearray()
    try:
        with child_process(_CHILD, numbers, packages=packages, file=file, seconds=WALL_SECONDS) as child:
            assert child.stdout is not None
            # In pieces: one read of the limit would take memory for all of it.
            while len(answer) <= MAX_ANSWER and (piece := child.stdout.read(2**16)):
                answer += piece
            if len(answer) <= MAX_ANSWER:
                child.wait()
    except OSError as error:
        raise MalformedError(
            f"no process can be started to read its structure ({error.strerror})",
            f"featcache runs the Python that it runs under, {sys.executable!r}: see whether that can be run",
        ) from error
    if child.returncode:
        raise _died(child.returncode)
    return answer


def _died(code: int) -> MalformedError:
    if code > 0:
        return MalformedError(
            f"the process that reads its structure failed with status {code}",
            f"run `{sys.executable} -I -c 'import h5py'` to see whether h5py works, else the file is damaged",
        )
    return MalformedError(f"its structure {end_of(code, 'HDF5')}", DAMAGED)


# The child process's answer


def _parse(answer: bytearray) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise _no_manifest() from error


def _no_manifest() -> MalformedError:
    return MalformedError("the process that reads its structure answers with no list of datasets", DAMAGED)


def _dataset(row: Any, size: int) -> ManifestDataset:
    match row:
        case [str(path), str(name), list(shape), int() | None as offset, int(stored)] if (
            name in _DTYPES and len(shape) <= _MAX_RANK and all(type(n) is int and n >= 0 for n in shape)
        ):
            dataset = ManifestDataset(_path(path), _DTYPES[name], tuple(shape), offset or 0)
        case _:
            raise _no_manifest()
    what = f"dataset {shorten(path)} of shape {dataset.shape}"
    if dataset.size and offset is None:
        raise MalformedError(f"{what} has no values in the file", _INCOMPLETE)
    if dataset.size and dataset.size != stored:
        raise MalformedError(f"{what} takes {dataset.size:,} bytes, but {stored:,} are stored")
    if dataset.size and not 0 <= dataset.offset <= size - dataset.size:
        raise MalformedError(
            f"{what} lies in bytes {dataset.offset:,} to {dataset.offset + dataset.size:,}, "
            f"but the file has {size:,}",
            _INCOMPLETE,
        )
    return dataset


def _refuse_overlaps(datasets: Iterable[ManifestDataset]) -> None:
    placed = sorted((each for each in datasets if each.size), key=lambda each: each.offset)
    for before, after in itertools.pairwise(placed):
        if before.offset + before.size > after.offset:
            raise MalformedError(
                f"datasets {shorten(before.path)} and {shorten(after.path)} share bytes of the file"
            )


def _group(attributes: Any) -> dict[str, list[str]]:
    if not isinstance(attributes, dict) or not all(isinstance(names, list) for names in attributes.values()):
        raise _no_manifest()
    if not all(
        isinstance(name, str) and len(name) <= MAX_NAME for names in attributes.values() for name in names
    ):
        raise _no_manifest()
    return attributes


def _path(path: str) -> str:
    if len(path) > MAX_DEPTH * (MAX_NAME + 1) or not path.startswith("/"):
        raise _no_manifest()
    return path


def _printable(text: str, limit: int = 400) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in text[:limit])
