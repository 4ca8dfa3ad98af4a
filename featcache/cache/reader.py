"""Read a cache; every row that is returned was checked against its checksum."""

import os
import reprlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from featcache.cache.checksums import PRESENT
from featcache.cache.given_folder import near_caches, refuse_others
from featcache.cache.layout import LayerSpec, partial_path
from featcache.cache.metadata import CacheMetadata
from featcache.cache.plots import CachePlots
from featcache.cache.row_store import StoredRows
from featcache.cache.verification import Verification, verify_rows
from featcache.core.argument_types import checked_types
from featcache.core.disk.names import require_file
from featcache.core.disk.store_urls import redacted, url_of_path
from featcache.core.identity import fingerprint
from featcache.core.progress import OnProgress
from featcache.errors import (
    DataError,
    IdentityError,
    IntegrityError,
    UnknownNameError,
    UsageError,
    did_you_mean,
)
from featcache.splits.shuffled import SliceOrder
from featcache.splits.slices import ALL, rows_in

View = int | np.ndarray | Literal["all"]
"""The number of a view, 0 being the plain image; int ``[n]``, one for each row; or every view."""

A_CACHE = "a cache, the file that featcache extract writes"
GO_ON = "run the same featcache extract command again to go on"


class FeatureCache(CacheMetadata, CachePlots):
    """The features of one dataset under one recipe, open for reading.

    The identity and the row table are verified on opening, each row when it is read. The object keeps
    reading the file that it opened, even if the path is replaced later; it survives ``fork``, and pickling as long as
    the path names the same features (each process opens the file itself).

    Parameters
    ----------
    path
        The cache file.

    Raises
    ------
    MissingFileError
        If there is no such file; for an unfinished one, the message gives the share that is complete.
    IntegrityError
        If it is no cache, truncated, damaged, edited by hand, or of a newer format.

    Attributes
    ----------
    identity
        The document that says what the cache is, views included; see ``docs/reference/cache-format.md``.
    layers
        Layer names to shape, dtype, number of views, and fingerprint of the plain images' features; the first is
        the default.
    sha256, labels, status, sizes, mtimes_ns
        The row table. Sizes and times are 0 where there are none. Labels are -1 where there are targets.
    targets
        float32 ``[N, T]``: labels 0 and 1 (multilabel) or numbers (regression); ``None`` in a multiclass cache.

    Examples
    --------
    >>> cache = FeatureCache("photos-mobilenet_v2.h5")  # doctest: +SKIP
    >>> features, labels = cache.arrays("train")  # doctest: +SKIP
    """

    @checked_types()
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        refuse_others(self.path, FeatureCache)
        require_file(self.path, A_CACHE, missing=lambda: _missing(self.path))
        self._stored = StoredRows(self.path)
        layout = self._stored.layout
        self.identity: dict[str, Any] = layout.identity
        # View 0 of several is what a cache of plain images holds, and is known by the same fingerprint.
        self.layers: dict[str, LayerSpec] = {
            name: spec if self.views == 1 else replace(spec, fingerprint=fingerprint(self.recipe, name))
            for name, spec in layout.layers.items()
        }
        columns = {name: _read_only(column) for name, column in layout.columns.items()}
        self._ids: np.ndarray = columns["id"]
        self.sha256: np.ndarray = columns["sha256"]
        self.labels: np.ndarray = columns["label"]
        self.status: np.ndarray = columns["status"]
        self._splits: np.ndarray = columns["split"]
        self.sizes: np.ndarray = columns["size"]
        self.mtimes_ns: np.ndarray = columns["mtime_ns"]
        self.targets: np.ndarray | None = columns.get("target")
        self._groups: np.ndarray | None = columns.get("group")

    def close(self) -> None:
        """Close the file; the object cannot read features after that."""
        self._stored.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "identity": self.identity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])
        # Row numbers chosen in one process must mean the same rows in another.
        if any(self.identity[part] != state["identity"][part] for part in ("rows", "layers")):
            raise IdentityError(f"{self.path} was replaced since this object was pickled; open it again")

    def __fspath__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"FeatureCache({str(self.path)!r}, {len(self)} rows, layers {', '.join(self.layers)})"

    # Properties ---------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return self._stored.file.size

    @checked_types()
    def layer(self, name: str | None = None) -> str:
        """Return a layer's name: the given one if the cache holds it, or the first.

        Raises
        ------
        UnknownNameError
            Naming the layers of the cache.
        """
        if name is None:
            return next(iter(self.layers))
        if name not in self.layers:
            raise UnknownNameError(f"{self.path} holds no layer {name!r}; {did_you_mean(name, self.layers)}")
        return name

    # Rows ---------------------------------------------------------------------------------------------------

    @checked_types()
    def rows_of(self, split: str | None = None, *, order: SliceOrder | None = None) -> np.ndarray:
        """Return the numbers of the rows of a split or slice (``None`` or ``"all"``: of all) that have features.

        Slices, such as ``"train[:80%]"``, are cut over all rows, those without features included; see
        `featcache.splits.slices`, also for `order`.

        Raises
        ------
        UsageError
            If the slice does not fit this cache; `UnknownNameError` if there is no such split.
        IntegrityError
            If it is not certain which rows have features.
        """
        rows = rows_in(
            ALL if split is None else split, self.splits, self._splits, origin=str(self.path), order=order
        )
        missing = self.quarantined()
        return rows[~np.isin(rows, missing)] if len(missing) else rows

    def quarantined(self) -> np.ndarray:
        """Return the numbers of the rows without features, because their image could not be read.

        Raises
        ------
        IntegrityError
            If a row's checksum does not confirm that: a damaged status must not make a row disappear.
        """
        for name in self.layers:
            rows, agrees = self._stored.quarantined(name)
            self._refuse(rows[~agrees], name)
        return np.flatnonzero(self.status != PRESENT)

    def written(self) -> np.ndarray:
        """Return bool ``[N]``: rows that have a checksum in every layer; nothing is verified."""
        return self._stored.written()

    def usable(self) -> np.ndarray:
        """Return bool ``[N]``: rows whose features may be copied.

        In an unfinished cache each is verified: a kill may have left half a row. In a finished one that is
        left to the copying.
        """
        written = self.written()
        return (self.status == PRESENT) & (written if written.all() else self.intact())

    def intact(self) -> np.ndarray:
        """Return bool ``[N]``: rows whose checksum holds in every layer, quarantined ones included."""
        return self._stored.intact()

    def intact_in(self, layer: str) -> np.ndarray:
        """Return bool ``[N]``: rows whose checksum holds in one layer, quarantined ones included."""
        return self._stored.intact_in(layer)

    # Features -----------------------------------------------------------------------------------------------

    @checked_types()
    def features(
        self,
        rows: Sequence[int] | np.ndarray,
        layer: str | None = None,
        *,
        verify: bool = True,
        view: View = 0,
    ) -> np.ndarray:
        """Return the features of some rows.

        Parameters
        ----------
        rows
            int ``[n]`` row numbers, in any order.
        layer
            Layer name; the cache's first by default.
        verify
            Whether to check every row against its checksum, which costs about as much as reading it; of V views,
            one checksum is over all.
        view
            See `View`.

        Returns
        -------
        numpy.ndarray
            ``[n, …]`` in the stored dtype; ``[n, V, …]`` of all views.

        Raises
        ------
        UsageError
            If there is no such row or view.
        IntegrityError
            Naming the damaged rows. Missing data is never zeros.
        DataError
            If a row's image could not be read, so that it has no features.
        """
        name = self.layer(layer)
        numbers = self._check_rows(rows)
        views = self._stored.chosen_views(view, name, len(numbers))
        values, good = self._stored.read(numbers, name, views=views, verify=verify)
        if not good.all():
            self._refuse_quarantined(numbers[~good])
            self._refuse(numbers[~good], name)
        return values

    @checked_types()
    def arrays(
        self,
        split: str | None = None,
        layer: str | None = None,
        *,
        verify: bool = True,
        view: int | Literal["all"] = 0,
        order: SliceOrder | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return features ``[n, …]`` (as `features` does) and labels int32 ``[n]`` of a split or slice (see `rows_of`).

        For multilabel and regression caches, targets float32 ``[n, T]`` take the place of labels. Images that could not
        be read have no features and are left out of both.
        """
        rows = self.rows_of(split, order=order)
        if not len(rows):
            raise DataError(f"{self.path} has no readable image in split {split or 'all'!r}")
        return self.features(rows, layer, verify=verify, view=view), self.known[rows]

    @checked_types()
    def mapped(self, layer: str | None = None, *, view: int | Literal["all"] = 0) -> np.ndarray:
        """Return all rows of a layer as a read-only window on the file, without loading them.

        For caches larger than memory and for many random reads. Rows are *not* verified (`verify` does that),
        those of quarantined images are NaN (`rows_of` leaves them out), and a program that shortens the file
        meanwhile ends this process with a bus error.

        Parameters
        ----------
        layer, view
            As for `features`, but not a view for each row.

        Returns
        -------
        numpy.ndarray
            ``[N, …]``, which one view of several is with gaps; ``[N, V, …]`` of all views.

        Raises
        ------
        IntegrityError
            If the cache is not finished.
        """
        if not self.written().all():
            raise IntegrityError(self._unfinished())
        name = self.layer(layer)
        chosen = self._stored.chosen_views(view, name, 1)
        stored = self._stored.mapped(name)
        return stored if chosen is None else stored[:, chosen[0]]

    def verify(self, *, on_progress: OnProgress | None = None) -> Verification:
        """Check every row and return which are damaged, by id and layer; see `featcache.cache.maintenance`."""
        return verify_rows(self._stored, on_progress)

    # Exports ------------------------------------------------------------------------------------------------

    @checked_types()
    def to_numpy(self, layer: str | None = None) -> np.ndarray:
        """Return the features ``[n, …]`` of all readable plain images, in row order, verified."""
        return self.features(self.rows_of(), layer)

    @checked_types()
    def to_npz(self, path: str | os.PathLike[str]) -> Path:
        """Write the plain images' features into a numpy archive; see `featcache.cache.exports.to_npz`."""
        from featcache.cache.exports import to_npz

        return to_npz(self, path)

    @checked_types()
    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write the plain images' features into a Parquet table; see `featcache.cache.exports.to_parquet`."""
        from featcache.cache.exports import to_parquet

        return to_parquet(self, path)

    # Refusals -----------------------------------------------------------------------------------------------

    def _check_rows(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        try:
            numbers = np.asarray(rows, np.int64).reshape(-1)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"rows {reprlib.repr(rows)}: expected numbers of rows, int [n]") from None
        outside = numbers[(numbers < 0) | (numbers >= len(self))]
        if len(outside):
            raise UsageError(f"{self.path} has no row {outside[0]}; its rows are 0 to {len(self) - 1}")
        return numbers

    def _refuse_quarantined(self, bad: np.ndarray) -> None:
        rows = np.intersect1d(bad, self.quarantined())
        if len(rows):
            raise DataError(
                f"{self.path}: row {rows[0]} ({self.ids[rows[0]]}) has no features, its image could not be "
                "read; rows_of() gives the rows that have"
            )

    def _refuse(self, bad: np.ndarray, layer: str) -> None:
        """Raise if there are bad rows: the file is unfinished, or they are damaged."""
        if not len(bad):
            return
        if not self.written().all():
            raise IntegrityError(self._unfinished())
        raise IntegrityError(
            f"{self.path}: {len(bad)} rows of layer {layer} are damaged, the first is row {bad[0]} "
            f"({self.ids[bad[0]]}); to compute them again run: featcache cache repair {self.path}, then the "
            "same featcache extract command"
        )

    def _unfinished(self) -> str:
        return f"{self.path} is not finished ({share_written(self)}); {GO_ON}"


def share_written(cache: FeatureCache) -> str:
    """Return the share of rows that are written, such as ``"62 % complete"``; rounded down."""
    written = cache.written()
    return f"{100 * int(written.sum()) // max(1, len(written))} % complete"


def _missing(path: Path) -> str:
    if not path.name:
        return f"no cache {str(path)!r}; give the path of a file made by featcache extract"
    if url := url_of_path(path):
        return (
            f"{redacted(url)}: caches are read at random places, and from a disk only; copy it first, as with aws s3 "
            "cp, gcloud storage cp or curl -O, and name the copy"
        )
    unfinished = partial_path(path)
    if not unfinished.is_file():
        return f"no cache {path}; {near_caches(path)}"
    try:
        with FeatureCache(unfinished) as cache:
            share = share_written(cache)
    except (IntegrityError, DataError):
        share = "just begun"
    return f"{path} is not finished ({share}); {GO_ON}"


def _read_only(column: np.ndarray) -> np.ndarray:
    column.flags.writeable = False
    return column
