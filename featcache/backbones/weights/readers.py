"""Third-party weight files as named numpy arrays, without the frameworks that wrote them.

Weight files are data: nothing in them is imported or executed, every size that they declare is checked
against the file before memory is taken for it, and every fault raises a `WeightsError` that names
the file. The reader is chosen by the file's content, never by its name. Torch and safetensors files are
read whole; for HDF5 files, which can only be of Keras, another process finds the places of the values.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import safetensors

from featcache.backbones.weights.keras_files import (
    WEIGHTS_ENTRY,
    doubled_name,
    read_keras_archive,
    read_keras_hdf5,
)
from featcache.backbones.weights.levels import Levels
from featcache.backbones.weights.torch_files import read_torch_legacy, read_torch_zip
from featcache.backbones.weights.torch_pickle import MalformedError, shorten
from featcache.backbones.weights.zip_entries import zip_entries
from featcache.core.disk.contents import HDF5, looks_like
from featcache.core.disk.names import open_regular_file, require_file
from featcache.errors import MissingFileError, StorageError, WeightsError

SUPPORTED = (
    "supported are torch .pth/.pt files (legacy and zip), .safetensors, and Keras .h5, .weights.h5 and .keras"
)

MAX_HEADER = 2**23
"""Bytes of a safetensors file's header, 100 for each tensor: the parser's own limit, 100 MB, takes it 54 s and 3 GB."""

_SAFETENSORS_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a weights file.

    Parameters
    ----------
    path
        A torch checkpoint (legacy or zip), a safetensors file, or weights or a model of Keras (HDF5 of both
        layouts, or a ``.keras`` archive), under whatever name.

    Returns
    -------
    dict of str to np.ndarray
        Every tensor under its name in the file (of Keras ``{layer}.{leaf}``, see
        `featcache.backbones.weights.keras_files`), with its shape and dtype there (bfloat16 as
        `ml_dtypes.bfloat16`): C-contiguous, aligned arrays that keep nothing else of the file in memory.
        A training checkpoint's wrapping (`featcache.backbones.weights.levels.WRAPPERS`) is taken off.

    Raises
    ------
    WeightsError
        The file is missing, damaged, cut short, of another format, holds anything but tensors, or has NaN
        or infinite values.

    Examples
    --------
    >>> tensors = read_tensors("mobilenet_v2-b0353104.pth")  # doctest: +SKIP
    >>> tensors["features.0.0.weight"].shape  # doctest: +SKIP
    (32, 3, 3, 3)
    """
    levels = read_levels(path)
    if levels.doubled:
        raise WeightsError(f"{path}: {doubled_name(*levels.doubled)}")
    tensors = dict(next(iter(levels.sets.values())))
    check_finite(tensors, path)
    return tensors


def read_levels(path: str | Path) -> Levels:
    """Read all sets of tensors of a weights file: levels of a checkpoint, models inside of a Keras model.

    Parameters
    ----------
    path
        As for `read_tensors`.

    Returns
    -------
    Levels
        The first is what `read_tensors` returns; NaN is allowed.

    Raises
    ------
    WeightsError
        As for `read_tensors`, but for NaN and infinite values.
    """
    path = Path(path)
    try:
        return _read(path)
    except MalformedError as error:
        raise WeightsError(f"{path}: {error}") from error
    except MissingFileError as error:
        raise WeightsError(str(error)) from error
    except StorageError:
        raise
    except MemoryError as error:
        raise WeightsError(f"{path} does not fit into memory; use a machine with more of it") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def check_finite(tensors: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Refuse weights with NaN or infinite values.

    Parameters
    ----------
    tensors
        Named arrays of any shape; integer and boolean ones always pass.
    path
        Where they came from, for the message.

    Raises
    ------
    WeightsError
        Naming the first five of the affected tensors, and how many there are.
    """
    affected = [name for name, array in tensors.items() if _is_float(array) and not np.isfinite(array).all()]
    if affected:
        names = ", ".join(shorten(name) for name in affected[:5]) + (", …" if len(affected) > 5 else "")
        raise WeightsError(
            f"{path}: {len(affected)} of {len(tensors)} tensors have NaN or infinite values ({names}); "
            "the file is damaged or its training diverged: download it again, or use another checkpoint"
        )


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Read a safetensors file; its own parser checks every size against the file.

    Parameters
    ----------
    data
        The whole file.

    Returns
    -------
    dict of str to np.ndarray
        As from `read_tensors`, sorted by name; NaN is allowed.

    Raises
    ------
    MalformedError
        The bytes are not such a file, its header is larger than `MAX_HEADER`, or a tensor is of a type that is not
        read (8-bit floats).

    References
    ----------
    https://huggingface.co/docs/safetensors
    """
    header = int.from_bytes(data[:8], "little")
    if MAX_HEADER < header <= len(data):
        raise MalformedError(f"its header has {header:,} bytes, and at most {MAX_HEADER:,} are read")
    try:
        views = dict(safetensors.deserialize(data))
        return {name: _safetensor(name, views[name]) for name in sorted(views)}
    except safetensors.SafetensorError as error:
        # Some of the parser's messages quote the header, which may be of any file.
        why = "" if set("`'\"") & set(str(error)) else f" ({error})"
        raise MalformedError(f"damaged or incomplete as a safetensors file{why}") from error


def _safetensor(name: str, view: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = view["dtype"], view["shape"]
    if dtype not in _SAFETENSORS_DTYPES:
        raise MalformedError(f"tensor {shorten(name)} is of type {dtype}", "save it as F32, F16 or BF16")
    try:
        return np.frombuffer(view["data"], _SAFETENSORS_DTYPES[dtype]).reshape(shape)
    # An empty tensor may declare other sizes that no array can have.
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"tensor {shorten(name)} has the impossible shape {shape[:8]}") from error


def _is_float(array: np.ndarray) -> bool:
    # numpy does not count bfloat16 among its floating types.
    return np.issubdtype(array.dtype, np.inexact) or array.dtype == ml_dtypes.bfloat16


def _read_zip(file: BinaryIO) -> Levels:
    """Read a zip archive of Keras or torch, recognised by its entries."""
    names = {entry.filename for entry in zip_entries(file)}
    if names & {WEIGHTS_ENTRY, "config.json"}:
        return read_keras_archive(file)
    return _from_bytes(read_torch_zip)(file)


_Reader = Callable[[BinaryIO], Levels]


def _from_bytes(read: Callable[[bytes], Levels]) -> _Reader:
    """Return a reader of open files that calls a reader of bytes."""

    def read_file(file: BinaryIO) -> Levels:
        file.seek(0)
        return read(file.read())

    return read_file


# The first bytes of what is read. A safetensors file begins with the length of its header (at most 100 MB,
# the parser's own limit), then the header's brace. It comes first: a header of 640 bytes begins as a pickle does
# (b"\x80\x02"), whereas nothing else has four zeros and a brace there.
_READERS: tuple[tuple[bytes, _Reader], ...] = (
    (rb".{3}[\x00-\x05]\x00{4}\{", _from_bytes(lambda data: Levels({"": read_safetensors(data)}))),
    (rb"PK\x03\x04", _read_zip),
    (rb"\x80[\x02-\x05]", _from_bytes(read_torch_legacy)),
    (HDF5, read_keras_hdf5),
)

# The first bytes of what is often found in the place of weights, what it is, and what to do next.
_IMPOSTORS = (
    (
        rb"\s*<(!doctype html|html|head|\?xml|error)",
        "it is an error or login page, saved instead of weights",
        "open the URL in a browser to see what it answers, then download the file again",
    ),
    (
        rb"version https://git-lfs",
        "it is a Git LFS pointer, saved instead of weights",
        "run `git lfs pull`, or download from the /resolve/ URL rather than /raw/",
    ),
    (
        rb'\s*\{\s*"',
        "it is a JSON text (often an error message), saved instead of weights",
        "read it, then download the file again",
    ),
    (rb"\x1f\x8b", "it is a gzip archive", f"unpack it first; {SUPPORTED}"),
)


def _read(path: Path) -> Levels:
    missing = f"{path}: no such file; check the path, or download the weights first"
    require_file(path, "a weights file", missing=missing, error=WeightsError)
    with os.fdopen(open_regular_file(path)[0], "rb") as file:
        return _choose_reader(file.read(256))(file)


def _choose_reader(head: bytes) -> _Reader:
    if not head:
        raise MalformedError("the file is empty", "delete it and download it again")
    for pattern, reader in _READERS:
        if re.match(pattern, head, re.DOTALL):
            return reader
    for pattern, what, advice in _IMPOSTORS:
        if re.match(pattern, head, re.IGNORECASE):
            raise MalformedError(what, advice)
    seems = looks_like(head)
    raise MalformedError(f"it is {f'{seems}, ' if seems else ''}no known format of weights", SUPPORTED)
