"""Create, fill, resume and publish a cache.

The protocol and the measurements behind it are in ``docs/reference/cache-format.md``: everything HDF5 is written,
closed and fsynced before the first row; rows and checksums then go to known offsets with ``pwrite``, so that
no HDF5 metadata changes while a kill can happen.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache.checksums import PRESENT, quarantined_crcs, row_crcs
from featcache.cache.documents import require_writable
from featcache.cache.extraction_cost import ROOM, ExtractionCost, cost_span
from featcache.cache.header import read_layout
from featcache.cache.layout import (
    LayerSpec,
    RowTable,
    fresh_path,
    needed_bytes,
    partial_path,
)
from featcache.cache.reader import FeatureCache
from featcache.cache.row_store import runs
from featcache.cache.set_aside import make_writable, refuse_finished
from featcache.core.columns.name_column import NameColumn
from featcache.core.disk.files import PinnedFile, write_at
from featcache.core.disk.storage import ELSEWHERE, require_space, storage_error
from featcache.core.disk.syncing import sync_file, sync_name
from featcache.core.warning import warn
from featcache.errors import FeatcacheError, IntegrityError, StorageError, UsageError

FSYNC_EVERY_S = 5.0

_KEPT = "rows already written are safe, the same command goes on from them"


class CacheWriter:
    """An unfinished cache that rows are written into, in any order, by one process.

    Use `create` or `resume`; then `write` and `quarantine` rows, and `publish`.

    Parameters
    ----------
    target
        The final path. The file is written beside it under `partial_path`.

    Raises
    ------
    IntegrityError
        If the unfinished file is damaged.
    StorageError
        If it cannot be opened for writing.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = partial_path(target)
        _break_links(self.path, target)
        with PinnedFile(self.path) as file:
            layout = read_layout(file)
        self.identity = layout.identity
        self.layers: dict[str, LayerSpec] = layout.layers
        self.count = layout.count
        self._offsets = layout.offsets
        self._ids = layout.columns["id"]
        self._status: np.ndarray = layout.columns["status"].copy()
        self._descriptor = _open_to_write(self.path)
        self._synced = time.monotonic()
        self._holds_rows = False

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
        UsageError
            If the identity holds what no reader would open, such as a class of too long a name; or a finished cache has
            the unfinished one's name.
        StorageError
            If the disk is too full, read-only or gone.
        """
        require_writable(identity)
        refuse_finished(partial_path(target), target)
        from featcache.cache.create import write_skeleton  # loads h5py, which readers do without

        fresh = fresh_path(target)
        needed = needed_bytes(identity, rows.columns()["id"].dtype.itemsize)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)  # never open an existing path with 'w': it truncates open files
            require_space(partial_path(target), needed, elsewhere=ELSEWHERE)
            write_skeleton(fresh, identity, rows)
            os.replace(fresh, partial_path(target))
            sync_name(partial_path(target))
        except OSError as error:
            _discard(fresh)
            if isinstance(error, FeatcacheError):
                raise
            raise storage_error(error, partial_path(target), elsewhere=ELSEWHERE, needs=needed) from error
        return cls(target)

    @classmethod
    def resume(cls, target: Path) -> "CacheWriter | None":
        """Open the unfinished cache of `target`; return ``None`` if there is none that can be resumed.

        One whose headers or row table are damaged cannot be resumed, because none of its rows could be identified.

        Raises
        ------
        StorageError
            If it exists but cannot be opened: it must not be replaced then.
        """
        if not partial_path(target).exists():
            return None
        try:
            return cls(target)
        except IntegrityError:
            return None

    def done(self) -> np.ndarray:
        """Return bool ``[N]``: rows whose features are present and intact in every layer.

        Every checksum is verified, not only looked at; quarantined rows count as not done, so that they are
        tried again.
        """
        with FeatureCache(self.path) as cache:
            self._holds_rows = bool(cache.written().any())
            return cache.intact() & (cache.status == PRESENT)

    def write(self, indices: np.ndarray | Sequence[int], features: Mapping[str, np.ndarray]) -> None:
        """Store rows: features first, then their checksums.

        Parameters
        ----------
        indices
            int ``[n]`` row numbers, each once.
        features
            Layer to ``[n, …]``, or ``[n, V, …]`` of V views, in any float dtype; converted to the stored one.

        Raises
        ------
        UsageError
            If a value does not fit the stored dtype, with the image and the layer.
        StorageError
            If the disk is full or gone; rows already committed stay valid.
        """
        rows = self._check_rows(indices)
        stored = {name: self._stored(features[name], name, rows) for name in self.layers}
        self._clear(rows[self._status[rows] != PRESENT])
        for name, values in stored.items():
            crcs = row_crcs(values, self.layers[name].fingerprint, rows).astype("<u4")
            for first, last in runs(rows):
                self._put(f"features/{name}", rows[first], values[first:last])
                self._put(f"crc32/{name}", rows[first], crcs[first:last])
        self._holds_rows = self._holds_rows or len(rows) > 0
        self._sync_sometimes()

    def quarantine(self, index: int, status: int) -> None:
        """Mark a row as without features; `status` is 1 + an index into the quarantine reasons.

        Its features become NaN: a program that reads the file without looking at the status must not take
        whatever is there for values.
        """
        row = self._check_rows([index])
        self._put("rows/status", index, np.array([status], np.uint8))
        self._status[index] = status
        for name, spec in self.layers.items():
            self._put(f"features/{name}", index, np.full((1, *spec.row_shape), np.nan, spec.stored))
            crcs = quarantined_crcs(self._status[row], spec.fingerprint, row)
            self._put(f"crc32/{name}", index, crcs.astype("<u4"))
        self._holds_rows = True
        self._sync_sometimes()

    def sync(self) -> None:
        """Make all rows written so far survive a power cut."""
        try:
            kept = sync_file(self._descriptor)
        except OSError as error:
            raise self._failure(error, self.path) from error
        if not kept:
            warn(f"{self.path.parent} cannot fsync: rows survive a kill of featcache, not a power cut")
        self._synced = time.monotonic()

    def publish(self, cost: ExtractionCost | None = None) -> FeatureCache:
        """Verify every row and give the file its final name.

        Parameters
        ----------
        cost
            What this run took, to be recorded.

        Raises
        ------
        IntegrityError
            If a row is missing or damaged; the file stays unfinished and can be resumed.
        """
        if cost is not None:
            self._record(cost.encode())
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
            self.path.chmod(self.path.stat().st_mode & 0o555)  # read-only, and no more readable than before
            os.replace(self.path, self.target)
            sync_name(self.target)
        except OSError as error:
            raise self._failure(error, self.target) from error
        return FeatureCache(self.target)

    def _record(self, line: bytes) -> None:
        """Write a line behind the header, if it fits there."""
        with PinnedFile(self.path) as file:
            offset, room = cost_span(file)
        if len(line) <= room:
            self._write(np.frombuffer(line.ljust(min(room, ROOM), b"\0"), np.uint8), offset)

    def close(self) -> None:
        """Close the file; committed rows stay."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(StorageError):  # whatever ended the block is the error to report
                self.sync()
        self.close()

    def _check_rows(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        rows = np.asarray(indices, np.int64)
        # A row beyond the end would be written over another dataset.
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.count:
            raise UsageError(f"{self.path} has rows 0 to {self.count - 1}, not {rows.min()} to {rows.max()}")
        return rows

    def _stored(self, values: np.ndarray, layer: str, rows: np.ndarray) -> np.ndarray:
        spec = self.layers[layer]
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(values, spec.stored)
        if stored.shape == (len(rows), spec.views, *spec.shape):
            stored = stored.reshape(len(rows), *spec.row_shape)
        if stored.shape != (len(rows), *spec.row_shape):
            raise UsageError(
                f"layer {layer}: features of shape {stored.shape}, expected {(len(rows), *spec.row_shape)}"
            )
        finite = np.isfinite(stored).all(axis=tuple(range(1, stored.ndim)))
        if not finite.all():
            position = int(np.flatnonzero(~finite)[0])
            raise UsageError(self._overflow(np.asarray(values[position]), layer, int(rows[position])))
        return stored

    def _overflow(self, values: np.ndarray, layer: str, row: int) -> str:
        dtype = self.layers[layer].dtype
        largest = float(np.abs(values.astype(np.float64)).max())
        name = NameColumn(self._ids)[row]
        advice = "; use --dtype float32" if np.isfinite(largest) else ": the network's output is not finite"
        return f"layer {layer}, row {row} ({name}): a value of {largest:g} does not fit {dtype}{advice}"

    def _clear(self, rows: np.ndarray) -> None:
        """Make quarantined rows absent before they are written; any kill in between leaves them absent."""
        for row in rows.tolist():
            for layer in self.layers:
                self._put(f"crc32/{layer}", row, np.zeros(1, "<u4"))
            self._put("rows/status", row, np.array([PRESENT], np.uint8))
            self._status[row] = PRESENT

    def _put(self, path: str, index: int | np.integer, values: np.ndarray) -> None:
        self._write(values, self._offsets[path] + int(index) * (values.nbytes // len(values)))

    def _write(self, values: np.ndarray, offset: int) -> None:
        try:
            write_at(self._descriptor, values, offset)
        except OSError as error:
            raise self._failure(error, self.path) from error

    def _failure(self, error: OSError, path: Path) -> StorageError:
        return storage_error(error, path, elsewhere=ELSEWHERE, kept=_KEPT if self._holds_rows else "")

    def _sync_sometimes(self) -> None:
        if time.monotonic() - self._synced > FSYNC_EVERY_S:
            self.sync()


def _break_links(path: Path, target: Path) -> None:
    """Make a file one of its own that has other names, too: rows are written in place, and a backup must not change."""
    fresh = fresh_path(target)
    try:
        status = path.stat()
        if status.st_nlink < 2:
            return
        require_space(path, status.st_size, elsewhere=ELSEWHERE)
        fresh.unlink(missing_ok=True)
        shutil.copy(path, fresh)
        with fresh.open("rb") as copy:
            sync_file(copy.fileno())
        os.replace(fresh, path)
        sync_name(path)
    except OSError as error:
        _discard(fresh)
        if isinstance(error, FeatcacheError):
            raise
        raise storage_error(error, path, elsewhere=ELSEWHERE) from error


def _open_to_write(path: Path) -> int:
    try:
        if not os.access(path, os.W_OK):
            # Killed between being made read-only and getting its final name.
            make_writable(path)
        return os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise storage_error(error, path, elsewhere=ELSEWHERE) from error


def _discard(path: Path) -> None:
    with contextlib.suppress(
        OSError
    ):  # the disk that failed fails again: the first error is the one to report
        path.unlink(missing_ok=True)
