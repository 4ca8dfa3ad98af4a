"""Read a cache: every row that is handed out was checked against its checksum."""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from featcache.cache.layout import (
    PRESENT,
    LayerSpec,
    decode_ids,
    offsets_of,
    partial_path,
    read_identity,
    row_crc,
    row_crcs,
    table_digest,
)
from featcache.errors import (
    DataError,
    IntegrityError,
    MissingFileError,
    UnknownNameError,
    did_you_mean,
)

_BLOCK_BYTES = 1 << 26


class FeatureCache:
    """The features of one dataset under one recipe, open for reading.

    The identity and the row table are verified on opening, each row when it is read. The file is mapped, not
    loaded; the handle survives ``fork`` and pickling (each process maps the file itself).

    Parameters
    ----------
    path
        The cache file.

    Raises
    ------
    MissingFileError
        If there is no such file; says how far an unfinished one is.
    IntegrityError
        If it is no cache, truncated, damaged, edited by hand, or of a newer format.

    Examples
    --------
    >>> cache = FeatureCache("photos-mobilenet_v2.h5")  # doctest: +SKIP
    >>> features, labels = cache.arrays("train")  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._map: mmap.mmap | None = None
        self._open()

    # Opening ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if not self.path.is_file():
            raise MissingFileError(_missing(self.path))
        try:
            with h5py.File(self.path, "r") as file:
                self.identity: dict[str, Any] = read_identity(file)
                self._offsets = offsets_of(file, self.identity, self.path.stat().st_size)
                columns = {name: file[f"rows/{name}"][()] for name in _COLUMNS}
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            if isinstance(error, IntegrityError):
                raise
            raise IntegrityError(f"{self.path} cannot be read as a cache: {_first_line(error)}") from error
        if table_digest(columns) != self.identity["rows"]["sha256"]:
            raise IntegrityError(f"{self.path}: the row table does not match its checksum: damaged or edited")
        self.ids = decode_ids(columns["id"])
        self.sha256: np.ndarray = columns["sha256"]
        self.labels: np.ndarray = columns["label"]
        self._splits: np.ndarray = columns["split"]
        self.status: np.ndarray = columns["status"]
        self.sizes: np.ndarray = columns["size"]
        self.mtimes_ns: np.ndarray = columns["mtime_ns"]

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            with self.path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def close(self) -> None:
        """Unmap the file; it is mapped again when needed."""
        self._map = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])

    def __fspath__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"FeatureCache({str(self.path)!r}, {len(self)} rows, layers {', '.join(self.layers)})"

    # What it is ---------------------------------------------------------------------------------------------

    @property
    def layers(self) -> dict[str, LayerSpec]:
        """Layer names to shape, dtype and fingerprint."""
        return {name: LayerSpec.from_json(value) for name, value in self.identity["layers"].items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; labels are indices into them."""
        return tuple(self.identity["dataset"]["classes"])

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.identity["dataset"]["splits"])

    @property
    def recipe(self) -> dict[str, Any]:
        """All that decided the features; see `featcache.identity.Recipe`."""
        return self.identity["recipe"]

    @property
    def backbone(self) -> str:
        """``arch.tag`` of the backbone."""
        return self.identity["provenance"]["backbone"]

    def layer(self, name: str | None = None) -> str:
        """Return a layer's name: the given one if the cache holds it, or the first.

        Raises
        ------
        UnknownNameError
            With the layers that are there.
        """
        if name is None:
            return next(iter(self.layers))
        if name not in self.layers:
            raise UnknownNameError(f"{self.path} holds no layer {name!r}; {did_you_mean(name, self.layers)}")
        return name

    # Rows ---------------------------------------------------------------------------------------------------

    def rows_of(self, split: str | None = None) -> np.ndarray:
        """Return the numbers of the rows of a split (all splits: ``None`` or ``"all"``) that have features.

        Raises
        ------
        UnknownNameError
            If the cache has no such split.
        """
        present = self.status == PRESENT
        if split in (None, "all"):
            return np.flatnonzero(present)
        if split not in self.splits:
            raise UnknownNameError(
                f"{self.path} has no split {split!r}; {did_you_mean(split, [*self.splits, 'all'])}"
            )
        return np.flatnonzero(present & (self._splits == self.splits.index(split)))

    def split_names(self) -> list[str]:
        """Return the split of every row."""
        return [self.splits[index] for index in self._splits]

    def features(self, rows: Sequence[int] | np.ndarray, layer: str | None = None) -> np.ndarray:
        """Return the features of some rows, each verified.

        Parameters
        ----------
        rows
            int ``[n]`` row numbers, in any order.
        layer
            Layer name; the cache's first by default.

        Returns
        -------
        numpy.ndarray
            ``[n, …]`` in the stored dtype.

        Raises
        ------
        IntegrityError
            Naming the damaged rows. Missing data is never zeros.
        """
        name = self.layer(layer)
        rows = np.asarray(rows, np.int64)
        values = self._raw(name)[rows]
        expected = row_crcs(values, self.layers[name].fingerprint, rows)
        bad = rows[(self._crcs(name)[rows] != expected) | (self.status[rows] != PRESENT)]
        if len(bad):
            raise IntegrityError(
                f"{self.path}: {len(bad)} rows of layer {name} are damaged or missing, the first is row {bad[0]} "
                f"({self.ids[bad[0]]}); delete the file and extract again"
            )
        return values

    def arrays(self, split: str | None = None, layer: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return features ``[n, …]`` and labels int32 ``[n]`` of a split, in row order, verified.

        Images that could not be read have no features and are left out of both.
        """
        rows = self.rows_of(split)
        if not len(rows):
            raise DataError(f"{self.path} has no readable image in split {split or 'all'!r}")
        return self.features(rows, layer), self.labels[rows]

    def intact(self) -> np.ndarray:
        """Return bool ``[N]``: rows whose checksum holds in every layer, quarantined ones included.

        Reads the whole file, in blocks.
        """
        good = np.ones(len(self), bool)
        for name, spec in self.layers.items():
            stored = self._crcs(name)
            raw = self._raw(name)
            step = max(1, _BLOCK_BYTES // max(spec.row_bytes, 1))
            for first in range(0, len(self), step):
                rows = np.arange(first, min(first + step, len(self)))
                there = rows[stored[rows] != 0]
                good[rows[stored[rows] == 0]] = False
                good[there] &= stored[there] == self._expected(raw[there], spec, there)
        return good

    def _expected(self, values: np.ndarray, spec: LayerSpec, rows: np.ndarray) -> np.ndarray:
        expected = row_crcs(values, spec.fingerprint, rows)
        for position in np.flatnonzero(self.status[rows] != PRESENT):
            row = int(rows[position])
            expected[position] = row_crc(b"", spec.fingerprint, row, int(self.status[row]))
        return expected

    def _raw(self, layer: str) -> np.ndarray:
        spec = self.layers[layer]
        return self._array(f"features/{layer}", (len(self), *spec.shape), spec.dtype)

    def _crcs(self, layer: str) -> np.ndarray:
        return self._array(f"crc32/{layer}", (len(self),), "<u4")

    def _array(self, path: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        kind = np.dtype(dtype).newbyteorder("<")
        count = int(np.prod(shape, dtype=np.int64))
        if not count:
            return np.zeros(shape, kind)
        # The length was checked on opening; a file truncated since must not become a bus error.
        if self.path.stat().st_size < self._offsets[path] + count * kind.itemsize:
            raise IntegrityError(f"{self.path} became shorter while it was open")
        return np.frombuffer(self._mapped(), kind, count, self._offsets[path]).reshape(shape)


_COLUMNS = ("id", "sha256", "label", "split", "status", "size", "mtime_ns")


def _missing(path: Path) -> str:
    unfinished = partial_path(path)
    if not unfinished.is_file():
        return f"no cache {path}; make one with: featcache extract DATASET --output {path}"
    try:
        with FeatureCache(unfinished) as cache:
            share = f"{100 * float(np.mean(cache.intact())):.0f} % complete"
    except IntegrityError:
        share = "just begun"
    return f"{path} is not finished ({share}); run the same featcache extract command again to go on"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
