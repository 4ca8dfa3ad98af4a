"""The part of a cache that HDF5 writes and reads: everything but the rows, once at the start.

Rows are plain bytes at the offsets that `read_layout` returns; HDF5 has closed the file before the first one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featcache.cache.files import reserve, sync_file
from featcache.cache.layout import (
    FORMAT,
    ROW_COLUMNS,
    LayerSpec,
    RowTable,
    data_bytes,
    hints_digest,
    layers_of,
    storage_plan,
    table_digest,
)
from featcache.errors import IntegrityError
from featcache.identity import FORMAT_VERSION

START_AGAIN = "restore it from a copy, or delete it and run the same featcache extract command again"

# Large datasets start on a page of their own: writing rows then never writes a page that holds HDF5's
# headers, and mapped rows are aligned.
_ALIGNMENT = 4096


@dataclass(frozen=True)
class Layout:
    """What a file's HDF5 part says: read once, after which rows are plain bytes at known offsets.

    Parameters
    ----------
    identity
        The verified identity document.
    layers
        Its layers.
    offsets
        Where each preallocated dataset starts, in bytes.
    columns
        The row table; its identifying columns are verified.
    hints_hold
        Whether sizes and times match their checksum.
    """

    identity: dict[str, Any]
    layers: dict[str, LayerSpec]
    offsets: dict[str, int]
    columns: dict[str, np.ndarray]
    hints_hold: bool

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.identity["rows"]["count"]


def read_layout(path: Path) -> Layout:
    """Read and verify everything but the rows.

    Raises
    ------
    IntegrityError
        If the file is no cache, truncated, damaged, edited by hand, or of a newer format.
    """
    try:
        # HDF5's own locks are off: they fail on some network file systems, and `WriteLock` does their work.
        opened: Any = h5py.File(path, "r", locking=False)  # Any: h5py's own types name every kind of object
        with opened as file:
            identity = read_identity(file)
            offsets = offsets_of(file, identity, path.stat().st_size)
            columns = {name: file[f"rows/{name}"][()] for name in ("id", *ROW_COLUMNS)}
    except IntegrityError:
        raise
    # Damaged headers make h5py raise nearly anything: OSError, KeyError, RuntimeError, MemoryError, …
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise IntegrityError(f"{path} cannot be read as a cache: {reason}; {START_AGAIN}") from error
    if table_digest(columns) != identity["rows"]["sha256"]:
        raise IntegrityError(
            f"{path}: the row table does not match its checksum: damaged or edited; {START_AGAIN}"
        )
    hints_hold = hints_digest(columns) == identity["rows"]["hints_sha256"]
    return Layout(identity, layers_of(identity), offsets, columns, hints_hold)


def offsets_of(file: Any, identity: Mapping[str, Any], size: int) -> dict[str, int]:
    """Return where each preallocated dataset starts in the file, in bytes.

    Every dataset is compared with what the identity says it must be (shape, dtype, contiguous) and with the
    file's `size`: a flipped bit in HDF5's own headers, which carry no checksum, must not be able to make
    intact bytes mean something else.

    Raises
    ------
    IntegrityError
        If anything differs, or the file is shorter than its layout.
    """
    name = file.filename
    if "rows/id" not in file:
        raise IntegrityError(f"{name} has no row table: it is damaged; {START_AGAIN}")
    plan = storage_plan(identity, file["rows/id"].dtype.itemsize)
    offsets = {}
    for path, (shape, dtype) in plan.items():
        dataset = file.get(path)
        if not isinstance(dataset, h5py.Dataset) or (dataset.shape, dataset.dtype) != (shape, dtype):
            raise IntegrityError(
                f"{name}: {path} is not what the file's identity says: damaged; {START_AGAIN}"
            )
        offset = dataset.id.get_offset()
        length = data_bytes(shape, dtype)
        if length and (offset is None or dataset.chunks is not None or offset + length > size):
            raise IntegrityError(
                f"{name}: {path} reaches beyond the file: truncated or damaged; {START_AGAIN}"
            )
        offsets[path] = offset or 0
    return offsets


def read_identity(file: Any) -> dict[str, Any]:
    """Return the identity of an open cache file, checked against its own sha256.

    Raises
    ------
    IntegrityError
        If the file is no cache, is of a newer format, or its identity is damaged.
    """
    name = file.filename
    if file.attrs.get("format") != FORMAT:
        raise IntegrityError(f"{name} is an HDF5 file but not a featcache cache")
    version = int(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise IntegrityError(
            f"{name} has format version {version}, this featcache reads up to {FORMAT_VERSION}: "
            "upgrade featcache"
        )
    if "identity" not in file or "identity_sha256" not in file:
        raise IntegrityError(f"{name} has no identity: it is damaged or was never finished; {START_AGAIN}")
    document = bytes(file["identity"][()])
    if hashlib.sha256(document).digest() != bytes(file["identity_sha256"][()]):
        raise IntegrityError(
            f"{name}: the identity does not match its checksum: damaged or edited by hand; {START_AGAIN}"
        )
    return json.loads(document)


def write_skeleton(path: Path, identity: Mapping[str, Any], rows: RowTable) -> None:
    """Write everything but the features: headers, identity, row table; then reserve the space and fsync."""
    document = json.dumps(identity, allow_nan=False).encode()
    columns = rows.columns()
    with h5py.File(
        path, "x", locking=False, alignment_threshold=_ALIGNMENT, alignment_interval=_ALIGNMENT
    ) as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        for name, (shape, dtype) in storage_plan(identity, columns["id"].dtype.itemsize).items():
            dataset = _preallocate(file, name, shape, dtype)
            column = columns.get(name.removeprefix("rows/"))
            if name.startswith("rows/") and column is not None:
                dataset[...] = column
            elif not name.startswith("features/") and len(rows):
                dataset[...] = np.zeros(shape, dtype)
        file["identity_sha256"] = np.frombuffer(hashlib.sha256(document).digest(), np.uint8)
        file["identity"] = np.frombuffer(document, np.uint8)
    with path.open("r+b") as stream:
        reserve(stream.fileno(), path.stat().st_size)
        sync_file(stream.fileno())


def _preallocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(dtype, logical=True)
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=properties, lcpl=links))
