"""Create a cache file with its header, identity and row table, before any features."""

import errno
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featcache.cache.header import Header, version_of
from featcache.cache.layout import FORMAT, RowTable, storage_plan
from featcache.cache.memory_file import MemoryFile
from featcache.core.disk.files import PinnedFile, reserve, write_at
from featcache.core.disk.syncing import sync_file

# Large datasets start on a page of their own: writing rows then never writes a page that holds HDF5's
# headers, and mapped rows are aligned. The user block must be a multiple of it.
_ALIGNMENT = 4096


def write_skeleton(path: Path, identity: Mapping[str, Any], rows: RowTable) -> None:
    """Write everything but the features into a new file, reserve the space for them, and fsync.

    HDF5 builds its structure in memory; the disk is written here, and read back.

    Parameters
    ----------
    path
        Must not exist: opening an existing file for writing would truncate it under its readers.
    identity
        From `featcache.cache.layout.build_identity`.
    rows
        The row table.

    Raises
    ------
    OSError
        If a system call fails, or the bytes read back differ from those written.
    """
    image, header = build_image(identity, rows)
    # Rows' checksums and statuses are written too, as zeros: nothing but features is left to the file system.
    ranges = list(header.ranges_without(lambda name: name.startswith("features/")))
    with path.open("xb", buffering=0) as stream:
        reserve(stream.fileno(), header.size)
        for offset, content in image.pieces([*ranges, (0, header.start)]):
            write_at(stream.fileno(), content, offset)
        sync_file(stream.fileno())
    with PinnedFile(path) as written:
        for offset, content in image.pieces([(0, header.start), *ranges]):
            found = np.empty_like(content)
            written.read_into(found, offset)
            if not np.array_equal(found, content):
                raise OSError(errno.EIO, "what was read back is not what was written")


def build_image(identity: Mapping[str, Any], rows: RowTable) -> tuple[MemoryFile, Header]:
    """Return the bytes of a new file, header included, and the header with the places of its datasets.

    Parameters
    ----------
    identity, rows
        As for `write_skeleton`.
    """
    columns = rows.columns()
    document = np.frombuffer(json.dumps(identity, allow_nan=False).encode(), np.uint8)
    plan = storage_plan(identity, columns["id"].dtype.itemsize)
    start = _room_for(len(plan), sum(map(len, plan)))
    image = MemoryFile()
    created: Any = h5py.File(  # Any: h5py's own types name every kind of object
        image,
        "x",
        locking=False,
        userblock_size=start,
        alignment_threshold=_ALIGNMENT,
        alignment_interval=_ALIGNMENT,
    )
    with created as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = version_of(identity)
        for name, (shape, dtype) in plan.items():
            _preallocate(file, name, shape, dtype)
        file["identity"] = document
        spans = {
            name: (file[name].id.get_offset() or start, file[name].nbytes) for name in [*plan, "identity"]
        }
    for name, values in {"identity": document, **{f"rows/{k}": v for k, v in columns.items()}}.items():
        image.place(spans[name][0], values)
    header = Header(start, image.size, spans)
    header = replace(header, sha256=header.digest(image))
    image.place(0, np.frombuffer(header.encode(version_of(identity)), np.uint8))
    return image, header


def _room_for(datasets: int, characters: int) -> int:
    """Return a power of two as the size of the user block that its text certainly fits into."""
    size = _ALIGNMENT
    while size < 512 + characters + 64 * datasets:
        size *= 2
    return size


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
