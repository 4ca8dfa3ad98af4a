"""Hashes of many images as one array: compared, sorted and looked up without an object of each.

A sha256 has 32 bytes; numpy sorts ``S32`` by bytes. It takes trailing zeros for padding, which changes nothing between
texts of one length: two are equal, or one before the other, as their 32 bytes are.
"""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

BYTES = 32
"""Of one sha256."""

_BLOCK = 4096


class DigestRows(Sequence[bytes]):
    """The rows of an array of hashes as bytes, made when they are asked for.

    Parameters
    ----------
    array
        uint8 ``[N, 32]``.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> "DigestRows": ...

    def __getitem__(self, index: int | slice) -> "bytes | DigestRows":
        return DigestRows(self.array[index]) if isinstance(index, slice) else self.array[index].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        for first in range(0, len(self.array), _BLOCK):
            part = self.array[first : first + _BLOCK].tobytes()
            for start in range(0, len(part), BYTES):
                yield part[start : start + BYTES]


def digest_array(digests: Sequence[bytes] | np.ndarray) -> np.ndarray:
    """Return hashes as uint8 ``[N, 32]``: an array as it is, others joined."""
    if isinstance(digests, np.ndarray):
        return digests
    if isinstance(digests, DigestRows):
        return digests.array
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, BYTES)


def sortable(digests: np.ndarray) -> np.ndarray:
    """Return uint8 ``[N, 32]`` as ``S32 [N]``."""
    return np.ascontiguousarray(digests).reshape(-1, BYTES).view(f"S{BYTES}").reshape(-1)


def is_known(digests: np.ndarray) -> np.ndarray:
    """Return which of the hashes uint8 ``[N, 32]`` are of files that could be read (not all zeros), bool ``[N]``."""
    return np.asarray(digests.any(axis=1))


def last_places(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where each wanted text stands among others, int64 ``[n]``: the last place of several, -1 for nowhere.

    Parameters
    ----------
    keys
        ``S [M]``, in any order.
    wanted
        ``S [n]``.
    """
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    # Looked up in order, neighbours are near each other in memory: 20 times as fast for a million.
    asked = np.argsort(wanted, kind="stable")
    sought = wanted[asked]
    # The stable order has the last of several equal ones just before what is greater.
    before = np.searchsorted(ordered, sought, side="right") - 1
    found = (before >= 0) & (ordered[before] == sought)
    places = np.empty(len(wanted), np.int64)
    places[asked] = np.where(found, order[before], -1)
    return places


def is_among(wanted: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return whether each wanted text ``S [n]`` is among others ``S [M]``, bool ``[n]``."""
    return last_places(keys, wanted) >= 0


def is_repeated(keys: np.ndarray) -> np.ndarray:
    """Return which texts ``S [N]`` are there more than once, bool ``[N]``."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    repeated = np.zeros(len(keys), bool)
    repeated[order[1:][same]] = True
    repeated[order[:-1][same]] = True
    return repeated
