"""The two containers of ``torch.save``, legacy and zip, as named numpy arrays.

`featcache.backbones.weights.torch_pickle` reads the object inside them as inert records; here the records are
checked against the bytes of the file and only then become arrays.
"""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from featcache.backbones.weights.levels import WRAPPERS, Levels
from featcache.backbones.weights.torch_pickle import (
    MalformedError,
    NumberKey,
    Storage,
    Tensor,
    read_stream,
    shorten,
)
from featcache.backbones.weights.zip_entries import zip_entries

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_PROTOCOL = 1001

# Tensors may share a storage (tied weights), but must not turn a small file into a large memory.
MAX_EXPANSION = 8

_STATE_DICT_ONLY = "save the weights alone: torch.save(model.state_dict(), path)"
_INCOMPLETE = "the download is incomplete: delete it and download it again"


def read_torch_legacy(data: bytes) -> Levels:
    """Read a checkpoint in the format that ``torch.save`` wrote before 1.6.

    The file is five pickle streams (magic number, protocol, system, object, storage keys), then for each
    key a count of elements in 8 bytes and the elements, little-endian.

    Parameters
    ----------
    data
        The whole file.

    Returns
    -------
    Levels
        The tensors of each level in the file's order, each an array of its own; NaN is allowed.

    Raises
    ------
    MalformedError
        The bytes are not such a checkpoint, or not one of tensors alone.

    References
    ----------
    ``_legacy_save`` in ``torch/serialization.py``.
    """
    magic = read_stream(data)
    if magic.value != TORCH_MAGIC:
        raise MalformedError(
            "a Python pickle that torch.save did not write; featcache unpickles no objects", _STATE_DICT_ONLY
        )
    protocol = read_stream(data, magic.end)
    if protocol.value != TORCH_PROTOCOL:
        raise MalformedError(f"its protocol is not {TORCH_PROTOCOL}, the only one that torch has had")
    system = read_stream(data, protocol.end)
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise MalformedError("it was saved on a big-endian machine", "save it again on a little-endian one")
    content = read_stream(data, system.end)
    keys = read_stream(data, content.end)
    blobs = _legacy_blobs(data, keys.value, keys.end, content.storages)
    return _arrays(_state_dicts(content.value), blobs, len(data))


def read_torch_zip(data: bytes) -> Levels:
    """Read a checkpoint in the format that ``torch.save`` writes since 1.6.

    The file is a zip archive of one folder with ``data.pkl`` (the object), ``byteorder`` (since 2.1) and
    one uncompressed file ``data/KEY`` for each storage. The archive's checksums are verified.

    Parameters
    ----------
    data
        The whole file.

    Returns
    -------
    Levels
        The tensors of each level in the file's order, each an array of its own; NaN is allowed.

    Raises
    ------
    MalformedError
        The bytes are not such a checkpoint, or not one of tensors alone.

    References
    ----------
    ``_save`` in ``torch/serialization.py``.
    """
    entries = _entries(data)
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise MalformedError("a zip archive that torch.save did not write (no data.pkl)", _STATE_DICT_ONLY)
    root = roots[0]
    if root + "byteorder" in entries and _entry(data, entries[root + "byteorder"]) != b"little":
        raise MalformedError("it was saved on a big-endian machine", "save it again on a little-endian one")
    content = read_stream(bytes(_entry(data, entries[root + "data.pkl"])))
    blobs = {}
    for key, storage in content.storages.items():
        entry = entries.get(f"{root}data/{key}")
        if entry is None or entry.file_size != storage.count * storage.dtype.itemsize:
            raise MalformedError(f"storage {shorten(key)} is absent or of another size than declared")
        blobs[key] = _entry(data, entry)
    return _arrays(_state_dicts(content.value), blobs, len(data))


def _legacy_blobs(
    data: bytes, keys: Any, position: int, storages: Mapping[str, Storage]
) -> dict[str, memoryview]:
    """Return the bytes of each storage, which are in the order of the keys up to the end of the file."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise MalformedError("its list of storages is no list of names")
    if sorted(keys) != sorted(storages):
        raise MalformedError("its list of storages is not that of the storages which its tensors refer to")
    view, blobs = memoryview(data), {}
    for key in keys:
        count, start = storages[key].count, position + 8
        position = start + count * storages[key].dtype.itemsize
        if position > len(data):
            raise MalformedError(
                f"storage {shorten(key)} ends at byte {position:,}, but the file at {len(data):,}",
                _INCOMPLETE,
            )
        if int.from_bytes(view[start - 8 : start], "little") != count:
            raise MalformedError(f"storage {shorten(key)} has another size than the tensors that refer to it")
        blobs[key] = view[start:position]
    if position != len(data):
        raise MalformedError(f"{len(data) - position:,} bytes follow its last storage")
    return blobs


def _entries(data: bytes) -> dict[str, zipfile.ZipInfo]:
    """Return the entries of a zip archive by name."""
    listed = zip_entries(io.BytesIO(data))
    entries = {entry.filename: entry for entry in listed}
    if len(entries) < len(listed):
        raise MalformedError("two entries of the archive have the same name")
    return entries


def _entry(data: bytes, entry: zipfile.ZipInfo) -> memoryview:
    """Return a view of an uncompressed entry's bytes (`ZipFile.read` would copy them)."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise MalformedError(f"entry {shorten(entry.filename)} is compressed, which torch.save never does")
    header = entry.header_offset
    lengths = data[header + 26 : header + 30] if header >= 0 else b""
    if len(lengths) < 4 or not data.startswith(b"PK\x03\x04", header):
        raise MalformedError(f"entry {shorten(entry.filename)} is not where the archive's directory says")
    # The local header is 30 bytes, the name, and an extra field (torch pads with it, to align the data).
    start = header + 30 + sum(struct.unpack("<HH", lengths))
    view = memoryview(data)[start : start + entry.file_size]
    if len(view) < entry.file_size or zlib.crc32(view) != entry.CRC:
        raise MalformedError(f"entry {shorten(entry.filename)} does not match its checksum")
    return view


def _state_dicts(content: Any) -> dict[str, dict[str, Tensor]]:
    """Return the named tensors of a checkpoint's object by level, or under ``""`` where it has none."""
    if not isinstance(content, dict):
        raise MalformedError(
            f"it holds a value of type {_kind(content)}, not a dictionary of tensors", _STATE_DICT_ONLY
        )
    known = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
    # Of the known ones the first is what counts, and must be as it should be; others may be anything.
    found = {key: _checked(content[key]) for key in known[:1]}
    for key in dict.fromkeys((*known[1:], *content)):
        value = {} if key in found else content[key]
        if _is_state_dict(value):
            found[key] = value
        elif isinstance(value, dict):
            found |= {f"{key}.{name}": inner for name, inner in value.items() if _is_state_dict(inner)}
    return found or {"": _checked(content)}


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(tensor, Tensor) and not isinstance(name, NumberKey) for name, tensor in value.items()
        )
    )


def _checked(weights: dict[str, Any]) -> dict[str, Tensor]:
    for name, value in weights.items():
        if isinstance(name, NumberKey):
            raise MalformedError(f"a tensor is named by the {name[:80]}", _STATE_DICT_ONLY)
        if not isinstance(value, Tensor):
            raise MalformedError(f"{shorten(name)} is of type {_kind(value)}, not a tensor", _STATE_DICT_ONLY)
    if not weights:
        raise MalformedError("it holds no tensor", _STATE_DICT_ONLY)
    return weights


def _kind(value: Any) -> str:
    return type(value).__name__.lower()


def _arrays(
    levels: Mapping[str, Mapping[str, Tensor]], blobs: Mapping[str, bytes | memoryview], size: int
) -> Levels:
    """Copy tensors out of their storages, given the bytes of each storage and the size of the file."""
    named = [pair for tensors in levels.values() for pair in tensors.items()]
    for name, tensor in named:
        _check_bounds(name, tensor)
    total = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for _, tensor in named)
    if total > MAX_EXPANSION * size:
        raise MalformedError(f"its tensors would take {total:,} bytes, but the file has {size:,}")
    return Levels(
        {
            level: {name: _array(tensor, blobs[tensor.storage.key]) for name, tensor in tensors.items()}
            for level, tensors in levels.items()
        }
    )


def _check_bounds(name: str, tensor: Tensor) -> None:
    values, inside = math.prod(tensor.shape), tensor.storage.count
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    # The count is limited too because with a stride of 0 any shape ends inside.
    if values and (last >= inside or values > inside):
        raise MalformedError(
            f"tensor {shorten(name)} of shape {tensor.shape} reaches outside of its {inside:,} stored values"
        )


def _array(tensor: Tensor, blob: bytes | memoryview) -> np.ndarray:
    """Copy one tensor, whose bounds have been checked, out of its storage."""
    dtype = tensor.storage.dtype
    if math.prod(tensor.shape) == 0:
        return _empty(tensor.shape, dtype)
    steps = [
        step * dtype.itemsize if n > 1 else 0 for n, step in zip(tensor.shape, tensor.strides, strict=True)
    ]
    return np.ndarray(tensor.shape, dtype, blob, tensor.offset * dtype.itemsize, steps).copy(order="C")


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    try:
        return np.zeros(shape, dtype)
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"no array can have the shape {shape}") from error
