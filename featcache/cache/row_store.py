"""The rows of one open cache file: their bytes, and which are present and intact."""

import itertools
import mmap
import os
import threading
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from featcache.cache.checksums import PRESENT, block_crcs, quarantined_crcs, row_crcs
from featcache.cache.extraction_cost import ExtractionCost, read_cost
from featcache.cache.header import read_layout
from featcache.core.disk.files import PinnedFile
from featcache.errors import IntegrityError, UsageError

_MANY_BYTES = 1 << 24
"""From here on, checking blocks pays."""


class StoredRows:
    """Rows of a file, each with the result of its checksum; the caller decides what to do with damaged ones.

    Statuses and checksums are those of the moment of opening.

    Parameters
    ----------
    path
        A cache file, finished or not.

    Raises
    ------
    MissingFileError
        If there is none.
    IntegrityError
        If its headers or its row table are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.file = PinnedFile(path)
        self.layout = read_layout(self.file)
        self.count = self.layout.count
        self.status = self.layout.columns["status"]
        self.crcs: Mapping[str, np.ndarray] = {name: self._read_crcs(name) for name in self.layout.layers}
        self._map: mmap.mmap | None = None

    def close(self) -> None:
        """Close the file."""
        self._map = None
        self.file.close()

    def cost(self) -> ExtractionCost | None:
        """Return what the extraction took; ``None`` where the file does not say, or the line is damaged."""
        return read_cost(self.file)

    def written(self) -> np.ndarray:
        """Return bool ``[N]``: rows that have a checksum in every layer; nothing is verified."""
        return np.all([crcs != 0 for crcs in self.crcs.values()], axis=0)

    def read(
        self, rows: np.ndarray, layer: str, *, views: np.ndarray | None = None, verify: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return features of int ``[n]`` rows, and bool ``[n]``: which of them are intact.

        Quarantined and missing rows are not, whatever their bytes are. Without `verify`, all others are taken to
        be intact.

        Parameters
        ----------
        rows, layer
            What to read.
        views
            int ``[n]``: the view of each row, whose features ``[n, …]`` are returned; ``None``: all views of
            each, ``[n, V, …]``.
        verify
            Whether to check them. A row has one checksum: all of its views are read for it.
        """
        spec = self.layout.layers[layer]
        good = (self.status[rows] == PRESENT) & (self.crcs[layer][rows] != 0)
        shape = (spec.views, *spec.shape) if views is None else spec.shape
        values = np.empty((len(rows), *shape), spec.stored)
        if verify:
            self._read_and_check(rows, layer, views, values, good)
        else:
            self._fill(rows if views is None else rows * spec.views + views, layer, values)
        return values, good

    def _fill(self, places: np.ndarray, layer: str, values: np.ndarray) -> None:
        """Read items of the size of those of `values` at their places: rows, or views counted through all rows."""
        start, size = self.layout.offsets[f"features/{layer}"], values[:1].nbytes
        self.file.read_runs(values, [(a, b, start + int(places[a]) * size) for a, b in runs(places)])

    def _read_and_check(
        self, rows: np.ndarray, layer: str, views: np.ndarray | None, values: np.ndarray, good: np.ndarray
    ) -> None:
        spec, crcs = self.layout.layers[layer], self.crcs[layer][rows]
        step = rows_in_block(spec.row_bytes)
        blocks = self._expected(rows, layer, step)
        chosen = None if spec.views == 1 else views

        def work(first: int, last: int) -> None:
            block, part = rows[first:last], values[first:last]
            if chosen is not None:  # whole rows for the moment of a block; what is kept is one view of each
                part = np.empty((last - first, spec.views, *spec.shape), spec.stored)
            self._fill(block, layer, part)
            if blocks is None or zlib.crc32(part.data) != blocks[first // step]:
                good[first:last] &= row_crcs(part, spec.fingerprint, block) == crcs[first:last]
            if chosen is not None:
                values[first:last] = part[np.arange(last - first), chosen[first:last]]

        map_ranges(work, len(rows), step)

    def chosen_views(self, view: int | np.ndarray | str, layer: str, count: int) -> np.ndarray | None:
        """Return the view of each of `count` rows, int ``[n]``; ``None`` for all of them.

        Raises
        ------
        UsageError
            If the layer does not have a view, or `view` is neither one number nor one for each row.
        """
        held = self.layout.layers[layer].views
        if isinstance(view, str):
            if view == "all":
                return None
            raise UsageError(f"view {view!r}: expected a number, a number for each row, or 'all'")
        numbers = np.asarray(view)
        if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (count,)):
            raise UsageError(
                f"view of type {numbers.dtype} and shape {numbers.shape}: expected a whole number, or one for each "
                f"of {count} rows, or 'all'"
            )
        outside = numbers[(numbers < 0) | (numbers >= held)]
        if outside.size:
            has = f"views 0 to {held - 1}" if held > 1 else "one view, 0, of each image"
            raise UsageError(f"{self.file.path} has no view {outside.flat[0]} of {layer}; it holds {has}")
        return np.broadcast_to(numbers.astype(np.int64), (count,))

    def quarantined(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows whose status says that they have no features, and whether their checksum agrees."""
        rows = np.flatnonzero(self.status != PRESENT)
        expected = quarantined_crcs(self.status[rows], self.layout.layers[layer].fingerprint, rows)
        return rows, self.crcs[layer][rows] == expected

    def intact(self) -> np.ndarray:
        """Return bool ``[N]``: rows whose checksum holds in every layer, quarantined ones included."""
        return np.all([self.intact_in(name) for name in self.layout.layers], axis=0)

    def intact_in(self, layer: str, on_rows: Callable[[int], None] = lambda count: None) -> np.ndarray:
        """Return bool ``[N]``: rows whose checksum holds in one layer, quarantined ones included.

        Reads the whole layer, a block at a time, of which nothing is kept; `on_rows` is called with the number of rows
        of each.
        """
        spec, crcs = self.layout.layers[layer], self.crcs[layer]
        good = (self.status == PRESENT) & (crcs != 0)
        step = rows_in_block(spec.row_bytes)
        rows = np.arange(self.count)
        blocks = self._expected(rows, layer, step)
        own = threading.local()

        def work(first: int, last: int) -> None:
            # One buffer for each thread, that stays in its core's cache: fresh memory costs more than checking.
            if not hasattr(own, "buffer"):
                own.buffer = np.empty((min(step, self.count), spec.row_bytes), np.uint8)
            part, block = own.buffer[: last - first], rows[first:last]
            self._fill(block, layer, part)
            if blocks is None or zlib.crc32(part.data) != blocks[first // step]:
                good[first:last] &= row_crcs(part, spec.fingerprint, block) == crcs[first:last]

        map_ranges(work, self.count, step, on_rows)
        rows, agrees = self.quarantined(layer)
        good[rows] = agrees
        return good

    def _expected(self, rows: np.ndarray, layer: str, step: int) -> np.ndarray | None:
        """Return the CRC-32 that each block of `step` rows should have; ``None`` where there are too few to ask."""
        spec = self.layout.layers[layer]
        if len(rows) * spec.row_bytes < _MANY_BYTES:
            return None
        return block_crcs(self.crcs[layer][rows], spec.fingerprint, rows, spec.row_bytes, step)

    def mapped(self, layer: str) -> np.ndarray:
        """Return all rows ``[N, V, …]`` of a layer as a read-only view of the file; nothing is verified."""
        spec = self.layout.layers[layer]
        shape = (self.count, spec.views, *spec.shape)
        start = self.layout.offsets[f"features/{layer}"]
        if self.file.size < start + self.count * spec.row_bytes:
            raise IntegrityError(f"{self.file.path} became shorter while it was open: it was truncated")
        if self._map is None:
            self._map = mmap.mmap(self.file.descriptor, 0, access=mmap.ACCESS_READ)
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._map, spec.stored, count, start).reshape(shape)

    def _read_crcs(self, layer: str) -> np.ndarray:
        crcs = np.empty(self.count, "<u4")
        self.file.read_into(crcs, self.layout.offsets[f"crc32/{layer}"])
        return crcs


def runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Split row numbers into ranges of consecutive ones, each of which is one read or write."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return [(a, b) for a, b in itertools.pairwise([0, *breaks.tolist(), len(rows)]) if b > a]


BLOCK_BYTES = 1 << 22
"""Larger ones wait less for the interpreter lock; smaller ones are still in the core's cache when checked."""


_FEW = 8
"""Fewer blocks than this are not worth starting threads for."""


def rows_in_block(row_bytes: int) -> int:
    """Return how many rows make a block."""
    return max(1, BLOCK_BYTES // max(1, row_bytes))


def map_ranges(
    work: Callable[[int, int], None],
    count: int,
    step: int,
    on_done: Callable[[int], None] = lambda count: None,
) -> None:
    """Call ``work(first, last)`` over ranges of `step` that cover `count` items; `on_done` with the size of each.

    Reading, and checking a whole block, release the interpreter lock.
    """
    ranges = [(first, min(first + step, count)) for first in range(0, count, step)]
    if len(ranges) < _FEW:
        for first, last in ranges:
            work(first, last)
            on_done(last - first)
        return
    with ThreadPoolExecutor(min(4, _cores()), thread_name_prefix="featcache-read") as pool:
        # Here, and not in the threads: it may raise, as an interrupted command does.
        done = pool.map(lambda pair: work(*pair), ranges)
        try:
            for (first, last), _ in zip(ranges, done, strict=True):
                on_done(last - first)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))  # in a container, fewer than the machine has
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
