"""Create, fill, resume and publish a cache.

The protocol and the measurements behind it are in ``docs/cache-format.md``: everything HDF5 is written,
closed and fsynced before the first row; rows and checksums then go to known offsets with ``pwrite``, so that
no HDF5 metadata changes while a kill can happen.
"""

import errno
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featcache.cache.layout import (
    FORMAT,
    LayerSpec,
    RowTable,
    offsets_of,
    partial_path,
    read_identity,
    row_crc,
    row_crcs,
    storage_plan,
)
from featcache.cache.reader import FeatureCache
from featcache.errors import IntegrityError, StorageError, UsageError
from featcache.identity import FORMAT_VERSION, canonical_json

FSYNC_EVERY_S = 5.0


class CacheWriter:
    """An unfinished cache that rows are written into, in any order, by one process.

    Use `create` or `resume`; then `write` and `quarantine` rows, and `publish`.

    Parameters
    ----------
    target
        The final path. The file is written beside it under `partial_path`.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = partial_path(target)
        with h5py.File(self.path, "r") as file:
            self.identity = read_identity(file)
            self._offsets = offsets_of(file, self.identity, self.path.stat().st_size)
        self.layers = {k: LayerSpec.from_json(v) for k, v in self.identity["layers"].items()}
        self.count: int = self.identity["rows"]["count"]
        self._descriptor = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        self._synced = time.monotonic()

    @classmethod
    def create(cls, target: Path, *, identity: Mapping[str, Any], rows: RowTable) -> "CacheWriter":
        """Preallocate a new cache; an unfinished one under the same name is replaced.

        Parameters
        ----------
        target
            The final path; its folder is created.
        identity
            From `featcache.cache.layout.build_identity`.
        rows
            The row table.

        Raises
        ------
        StorageError
            If the disk is too full, read-only or gone.
        """
        path = partial_path(target)
        fresh = path.with_name(path.name + ".new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)  # never open an existing path with 'w': it truncates open files
            _require_space(target.parent, identity, rows)
            _lay_out(fresh, identity, rows)
            os.replace(fresh, path)
            sync_folder(target.parent)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise _storage_error(error, path) from error
        return cls(target)

    @classmethod
    def resume(cls, target: Path) -> "CacheWriter | None":
        """Open the unfinished cache of `target`, or return ``None`` if there is none worth resuming.

        A file that was killed while being created has no identity yet and holds no rows: nothing is lost by
        making it anew.
        """
        path = partial_path(target)
        if not path.exists():
            return None
        try:
            return cls(target)
        except (OSError, IntegrityError, KeyError, ValueError):
            return None

    def done(self) -> np.ndarray:
        """Return bool ``[N]``: rows whose features are there and intact in every layer.

        Every checksum is verified, not only looked at; quarantined rows count as not done, so that they are
        tried again.
        """
        with FeatureCache(self.path) as cache:
            return cache.intact() & (cache.status == 0)

    def write(self, indices: np.ndarray, features: Mapping[str, np.ndarray]) -> None:
        """Store rows: features first, then their checksums.

        Parameters
        ----------
        indices
            int ``[n]`` row numbers.
        features
            Layer to ``[n, …]`` in any float dtype; converted to the stored one.

        Raises
        ------
        UsageError
            If a value does not fit the stored dtype.
        StorageError
            If the disk is full or gone; rows already committed stay valid.
        """
        for layer, spec in self.layers.items():
            values = _stored(features[layer], spec, layer, indices)
            crcs = row_crcs(values, spec.fingerprint, indices)
            for first, last in _runs(indices):
                self._put(f"features/{layer}", indices[first], values[first:last])
                self._put(f"crc32/{layer}", indices[first], crcs[first:last].astype("<u4"))
        self._sync_sometimes()

    def quarantine(self, index: int, status: int) -> None:
        """Mark a row as without features; `status` is 1 + an index into the quarantine reasons."""
        self._put("rows/status", index, np.array([status], np.uint8))
        for layer, spec in self.layers.items():
            crc = row_crc(b"", spec.fingerprint, index, status)
            self._put(f"crc32/{layer}", index, np.array([crc], "<u4"))
        self._sync_sometimes()

    def clear(self, index: int) -> None:
        """Make a quarantined row absent again, before it is tried once more."""
        for layer in self.layers:
            self._put(f"crc32/{layer}", index, np.zeros(1, "<u4"))
        self._put("rows/status", index, np.zeros(1, np.uint8))

    def sync(self) -> None:
        """Make all rows written so far survive a power cut."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
                raise _storage_error(error, self.path) from error
        self._synced = time.monotonic()

    def publish(self) -> FeatureCache:
        """Verify every row and give the file its final name.

        Raises
        ------
        IntegrityError
            If a row is missing or damaged; the file stays unfinished and can be resumed.
        """
        self.sync()
        self.close()
        with FeatureCache(self.path) as cache:
            bad = np.flatnonzero(~cache.intact())
        if len(bad):
            raise IntegrityError(
                f"{self.path}: {len(bad)} of {self.count} rows are missing or damaged (first: {bad[0]}); "
                "run the same command again to compute them"
            )
        try:
            self.path.chmod(0o444)
            os.replace(self.path, self.target)
            sync_folder(self.target.parent)
        except OSError as error:
            raise _storage_error(error, self.target) from error
        return FeatureCache(self.target)

    def close(self) -> None:
        """Close the file; committed rows stay."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _put(self, path: str, index: int | np.integer, values: np.ndarray) -> None:
        row_bytes = values.nbytes // len(values)
        offset = self._offsets[path] + int(index) * row_bytes
        data = memoryview(np.ascontiguousarray(values)).cast("B")
        try:
            while data:
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise _storage_error(error, self.path) from error

    def _sync_sometimes(self) -> None:
        if time.monotonic() - self._synced > FSYNC_EVERY_S:
            self.sync()


def _stored(values: np.ndarray, spec: LayerSpec, layer: str, indices: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(values, np.dtype(spec.dtype).newbyteorder("<"))
    if stored.shape[1:] != spec.shape:
        raise UsageError(f"layer {layer}: rows of shape {stored.shape[1:]}, the cache holds {spec.shape}")
    flat = stored.reshape(len(stored), -1)
    finite = np.isfinite(flat).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        largest = float(np.abs(np.asarray(values[row], np.float64)).max())
        raise UsageError(
            f"layer {layer}, row {int(indices[row])}: a value of {largest:g} does not fit {spec.dtype}"
            + ("; use --dtype float32" if spec.dtype == "float16" and np.isfinite(largest) else "")
        )
    return stored


def _runs(indices: np.ndarray) -> list[tuple[int, int]]:
    """Split row numbers into ranges of consecutive ones, each written at once."""
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    edges = [0, *breaks.tolist(), len(indices)]
    return [(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]


def needed_bytes(identity: Mapping[str, Any], id_bytes: int) -> int:
    """Return the size in bytes of a cache of this identity, HDF5's own headers estimated."""
    plan = storage_plan(identity, id_bytes)
    return sum(int(np.prod(s, dtype=np.int64)) * d.itemsize for s, d in plan.values()) + 65536


def _require_space(folder: Path, identity: Mapping[str, Any], rows: RowTable) -> None:
    needed = needed_bytes(identity, rows.columns()["id"].dtype.itemsize)
    available = _free_bytes(folder)
    if available is not None and needed > available:
        raise OSError(errno.ENOSPC, f"needs {needed / 1e6:.1f} MB, has {available / 1e6:.1f} MB")


def _free_bytes(folder: Path) -> int | None:
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


def _lay_out(path: Path, identity: Mapping[str, Any], rows: RowTable) -> None:
    """Write everything but the features: headers, identity, row table; then reserve the space and fsync."""
    document = canonical_json(identity)
    columns = rows.columns()
    with h5py.File(path, "x") as file:
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
        # Last: a file without identity was never finished being created.
        file["identity"] = np.frombuffer(document, np.uint8)
    with path.open("r+b") as stream:
        _reserve(stream.fileno(), path.stat().st_size)
        os.fsync(stream.fileno())


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


def _reserve(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # not on macOS and Windows
        os.truncate(descriptor, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.truncate(descriptor, size)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _storage_error(error: OSError, path: Path) -> StorageError:
    advice = {
        errno.ENOSPC: "free some space, or write elsewhere with --output",
        errno.EDQUOT: "your quota is used up: free some space, or write elsewhere with --output",
        errno.EROFS: "the file system is read-only: write elsewhere with --output",
        errno.EACCES: "you may not write there: write elsewhere with --output",
    }.get(error.errno or 0, "rows already written are safe; run the same command again")
    return StorageError(f"cannot write {path}: {error.strerror or error}; {advice}")
