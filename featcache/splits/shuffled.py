"""Slices of shuffled rows: every slice holds its share of each class, and copies and groups whole.

A folder's rows are sorted by class, so that ``train[80%:]`` is the last class alone. Here rows are put in an order in
which each class is spread evenly, drawn by content as the other splits are: renaming or moving files changes nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featcache.splits.copies import join_copies


@dataclass(frozen=True)
class SliceOrder:
    """The order that slices are cut in.

    Parameters
    ----------
    units
        int ``[N]``: equal for rows that stay together, and the place of each such unit in a random order.
    labels
        int ``[N]``: classes, or other strata, each of which is spread over the whole order.
    """

    units: np.ndarray
    labels: np.ndarray

    @classmethod
    def drawn(
        cls, keys: Sequence[bytes], labels: np.ndarray, groups: Sequence[str] | None, *, seed: int
    ) -> "SliceOrder":
        """Draw an order by the images' keys ``[N]``, such as their sha256, and by their groups, ``""`` for none."""
        named = [
            b"g" + group.encode("utf-8", "surrogatepass") if group else b"k" + key
            for group, key in zip(groups or [""] * len(keys), keys, strict=True)
        ]
        names = join_copies(named, keys)
        order = sorted(set(names), key=lambda name: hashlib.sha256(b"%d:" % seed + name).digest())
        places = {name: place for place, name in enumerate(order)}
        return cls(np.array([places[name] for name in names], np.int64), np.asarray(labels))

    def arrange(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows ``[n]`` in this order, and the places where they may be cut, 0 and n among them.

        The rows of a class come at even distances: its k-th of n at the share (k + 1/2) / n of the whole. A unit of
        several classes counts for the one of most of its rows.
        """
        members: dict[int, list[int]] = {}
        for row in rows.tolist():
            members.setdefault(int(self.units[row]), []).append(row)
        strata: dict[int, list[int]] = {}
        for unit in sorted(members):
            counts = Counter(self.labels[members[unit]].tolist())
            strata.setdefault(min(counts, key=lambda label: (-counts[label], label)), []).append(unit)
        order: list[tuple[float, int]] = []
        for units in strata.values():
            sizes = np.array([len(members[unit]) for unit in units])
            middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
            order += zip(middles.tolist(), units, strict=True)
        ordered = [members[unit] for _, unit in sorted(order)]
        return (
            np.array([row for own in ordered for row in own], np.int64),
            np.cumsum([0, *map(len, ordered)]),
        )
