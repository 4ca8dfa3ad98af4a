"""Create a cache's file: all that HDF5 ever writes, before the first row."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featcache.cache.header import Header
from featcache.cache.layout import FORMAT, RowTable, storage_plan
from featcache.core.files import PinnedFile, reserve, sync_file
from featcache.core.identity import FORMAT_VERSION

# Large datasets start on a page of their own: writing rows then never writes a page that holds HDF5's
# headers, and mapped rows are aligned. The user block must be a multiple of it.
_ALIGNMENT = 4096


def write_skeleton(path: Path, identity: Mapping[str, Any], rows: RowTable) -> None:
    """Write everything but the features into a new file, reserve the space for them, and fsync.

    Parameters
    ----------
    path
        Must not exist: opening an existing file for writing would truncate it under its readers.
    identity
        From `featcache.cache.layout.build_identity`.
    rows
        The row table.
    """
    plan = storage_plan(identity, rows.columns()["id"].dtype.itemsize)
    start = _room_for(len(plan), sum(map(len, plan)))
    created: Any = h5py.File(  # Any: h5py's own types name every kind of object
        path,
        "x",
        locking=False,
        userblock_size=start,
        alignment_threshold=_ALIGNMENT,
        alignment_interval=_ALIGNMENT,
    )
    with created as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        _fill(file, plan, identity, rows)
        spans = {
            name: (file[name].id.get_offset() or start, file[name].nbytes) for name in [*plan, "identity"]
        }
    with path.open("r+b") as stream:
        size = path.stat().st_size
        reserve(stream.fileno(), size)
        with PinnedFile(path) as written:
            digest = Header(start, size, spans).digest(written)
        stream.write(Header(start, size, spans, digest).encoded())
        stream.flush()
        sync_file(stream.fileno())


def _room_for(datasets: int, characters: int) -> int:
    """Return a size of the user block that its text surely fits: a power of two."""
    size = _ALIGNMENT
    while size < 512 + characters + 64 * datasets:
        size *= 2
    return size


def _fill(
    file: Any,
    plan: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    identity: Mapping[str, Any],
    rows: RowTable,
) -> None:
    columns = rows.columns()
    for name, (shape, dtype) in plan.items():
        dataset = _preallocate(file, name, shape, dtype)
        if name.startswith("rows/") and name.removeprefix("rows/") in columns:
            dataset[...] = columns[name.removeprefix("rows/")]
        elif not name.startswith("features/") and len(rows):
            dataset[...] = np.zeros(shape, dtype)
    file["identity"] = np.frombuffer(json.dumps(identity, allow_nan=False).encode(), np.uint8)


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
