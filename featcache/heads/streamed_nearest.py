"""The nearest rows of a table that is larger than memory: rows come in blocks, and each is looked at once.

`featcache.heads.nearest.nearest_rows` has every row at hand and multiplies on the device. Here time goes into getting
the rows: read, widened from float16, and multiplied while they are in the processor's cache.
"""

from types import ModuleType
from typing import Any

import numpy as np

from featcache.errors import DataError, UsageError

STRIP_ROWS = 2048
"""Rows that are widened and multiplied at a time: of 1,280 features, 10 MB.

Of fewer, threads of BLAS spend their time waiting for each other.
"""

STRIP_BYTES = 1 << 26
"""Similarities of one strip at most: of many queries a strip has fewer rows."""

FEW_QUERIES = 8
"""Queries that are multiplied one by one."""

_LEAST, _MOST = np.float32(1e-30), np.float32(1e30)
"""Squared norms between which float32 neither overflows nor loses digits."""


class StreamedNearest:
    """The k nearest rows to each query by cosine similarity, among the rows that have come so far.

    Parameters
    ----------
    query
        float ``[Q, D]``, finite.
    most
        How many to find for each, k.
    not_these
        int ``[Q]``: for each query the number of a row that is not to be found; -1 for none.

    Attributes
    ----------
    similarity : numpy.ndarray
        float32 ``[Q, k]``: the nearest first, of equal ones the row that came first; ``-inf`` where no row is.
    found : numpy.ndarray
        int64 ``[Q, k]``: numbers of the rows; -1 where no row is.

    Raises
    ------
    DataError
        If a query or a row is not finite.
    UsageError
        If a query has another width than the rows.

    Notes
    -----
    Similarities are good to about 1e-6; rows that differ by less come in any order.
    """

    def __init__(self, query: np.ndarray, most: int, not_these: np.ndarray | None = None) -> None:
        self._query = np.array(query, np.float32)
        self._query /= _norms(self._query, "queries", np.arange(len(query)))[:, None]
        self._not_these = np.full(len(query), -1) if not_these is None else np.asarray(not_these)
        self.similarity = np.full((len(query), most), -np.inf, np.float32)
        self.found = np.full((len(query), most), -1, np.int64)

    def add(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Look at further rows.

        Parameters
        ----------
        numbers
            int ``[B]``: their numbers.
        rows
            float16 or float32 ``[B, D]``.
        """
        if rows.shape[1:] != self._query.shape[1:]:
            raise UsageError(f"rows {rows.shape} and queries {self._query.shape}: expected the same width")
        step = max(1, min(STRIP_ROWS, STRIP_BYTES // (4 * max(1, len(self._query)))))
        for start in range(0, len(rows), step):
            self._add_strip(numbers[start : start + step], widened(rows[start : start + step]))

    def _add_strip(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        norms = _norms(rows, "rows", numbers)
        near = _products(self._query, rows) / norms
        for column in np.flatnonzero(np.isin(numbers, self._not_these)):
            near[self._not_these == numbers[column], column] = -np.inf
        # Only a row that is nearer than some query's last one changes anything: soon these are few.
        columns = np.flatnonzero((near > self.similarity[:, -1:]).any(axis=0))
        if not len(columns):
            return
        similarity = np.concatenate([self.similarity, near[:, columns]], axis=1)
        new = np.broadcast_to(numbers[columns], (len(near), len(columns)))
        found = np.concatenate([self.found, np.where(near[:, columns] > -np.inf, new, -1)], axis=1)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, : self.found.shape[1]]
        self.similarity = np.take_along_axis(similarity, order, axis=1)
        self.found = np.take_along_axis(found, order, axis=1)


def _products(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return ``query · rows``, float32 ``[Q, B]``.

    Of few queries by the thread that asks: BLAS would wake others for each strip, which cost more than they do.
    """
    if len(query) <= FEW_QUERIES:
        return np.stack([np.einsum("nd,d->n", rows, each) for each in query])
    return query @ rows.T


def one_vector(features: Any, xp: ModuleType = np) -> Any:
    """Return one vector for each image, float32 ``[N, D]``: the mean over the places of maps and tokens."""
    flat = xp.asarray(features, np.float32)
    # Not len(): the number of images is open where a classifier is exported.
    return flat if flat.ndim == 2 else flat.reshape(flat.shape[0], -1, flat.shape[-1]).mean(axis=1)


def widened(values: np.ndarray) -> np.ndarray:
    """Return values as float32, in an array of its own.

    numpy's wheels widen float16 one by one, which takes longer than all else in a search (ten times as long as this).
    The bits of a float16, three places to the right in the wider exponent, are the number divided by 2^112: numbers
    below the normal range included, but for NaN and infinity, which come out as 65,536 and more, and are returned as
    NaN both.
    """
    if values.dtype != np.float16:
        return np.array(values, np.float32)
    bits = np.left_shift(values.view(np.int16), 13, dtype=np.int32)
    bits &= np.int32(-0x70002000)  # the sign was spread over four places
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)
    if wide.size and (wide.max() >= 65_536 or wide.min() <= -65_536):
        wide[np.abs(wide) >= 65_536] = np.nan
    return wide


def _norms(rows: np.ndarray, what: str, numbers: np.ndarray) -> np.ndarray:
    """Return the norm of each row, float32 ``[B]``; 1 of a row of zeros, so that it is similar to nothing.

    Rows whose squares float32 does not hold are scaled in place: their direction stays.
    """
    squares = np.einsum("nd,nd->n", rows, rows)
    odd = np.flatnonzero(~((squares > _LEAST) & (squares < _MOST)))
    if len(odd):
        largest = np.abs(rows[odd]).max(axis=1, initial=0.0)
        if (bad := ~np.isfinite(largest)).any():
            number = numbers[odd[bad][0]]
            raise DataError(
                f"row {number} of the {what} holds NaN or infinity; leave it out, or extract it again"
            )
        rows[odd] /= np.where(largest > 0, largest, 1.0)[:, None]
        squares[odd] = np.einsum("nd,nd->n", rows[odd], rows[odd])
    return np.sqrt(np.where(squares > 0, squares, 1.0))
