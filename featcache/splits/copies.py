"""Rows that are one: copies of an image, which are drawn together with the groups that hold them."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T", str, bytes)
N = TypeVar("N", str, bytes, int)


def join_copies(names: Sequence[T], keys: Sequence[Hashable]) -> list[T]:
    """Join groups that hold copies of one image, so that whatever divides groups divides no copies.

    Parameters
    ----------
    names
        Name of each row's group ``[N]``.
    keys
        ``[N]``: equal for equal images, such as the sha256 of their bytes.

    Returns
    -------
    list
        The name of what each row is drawn with ``[N]``: the least of the joined groups' names, whatever the order of
        the rows. A group without copies elsewhere keeps its name.

    Examples
    --------
    >>> join_copies(["p1", "p2", "p3", "p3"], [b"x", b"x", b"y", b"z"])
    ['p1', 'p1', 'p3', 'p3']
    """
    first: dict[Hashable, T] = {}
    joined = Joined()
    for name, key in zip(names, keys, strict=True):
        if (other := first.setdefault(key, name)) != name:
            joined.join((other, name))
    return [joined.root(name) for name in names]


class Joined:
    """Sets of names that are joined bit by bit, each called by the least of its names (union and find)."""

    def __init__(self) -> None:
        self._parent: dict[Any, Any] = {}

    def root(self, name: N) -> N:
        """Return the least name that a name is joined with: itself, where it is joined with none."""
        while (above := self._parent.get(name, name)) != name:
            self._parent[name] = self._parent.get(above, above)
            name = above
        return name

    def join(self, names: Iterable[Any]) -> None:
        """Join names, and what each of them is joined with."""
        least = min(roots := {self.root(name) for name in names})
        self._parent |= dict.fromkeys(roots, least)


def grouped_copies(keys: Sequence[bytes], rows: Iterable[int]) -> dict[bytes, list[int]]:
    """Return the row numbers of every image, in their order, by its key."""
    found: dict[bytes, list[int]] = {}
    for row in rows:
        found.setdefault(keys[row], []).append(int(row))
    return found


def conflicting_copies(copies: Iterable[list[int]], labels: np.ndarray) -> list[tuple[int, int]]:
    """Return the first row of each image whose copies have different labels, and the first one that contradicts it.

    Parameters
    ----------
    copies
        The row numbers of every image, as in `grouped_copies`.
    labels
        ``[N]``, or for other tasks than multiclass ``[N, T]``.
    """
    found = []
    for rows in copies:
        own = labels[rows].reshape(len(rows), -1)
        other = np.flatnonzero((own != own[0]).any(axis=1))
        found += [(rows[0], rows[other[0]])] if len(other) else []
    return sorted(found)
