"""The photos that an entry of a list resembles: its nearest ones, as evidence."""

from collections.abc import Sequence

import numpy as np

from featcache.auditing.material import Audited
from featcache.auditing.ranked import Resembled

NEAREST = 3
SHOWN = 1000
"""Entries of a list that come with evidence, the first ones: to search for all would be what a list saves."""


def nearest_as_evidence(rows: Audited, places: Sequence[int] | np.ndarray) -> list[tuple[Resembled, ...]]:
    """Return the photos that are nearest to some, by the cosine of their features, for the first `SHOWN` places.

    Parameters
    ----------
    rows
        Among which they are looked for.
    places
        int ``[n]``.

    Returns
    -------
    list
        For each place `NEAREST` photos, the nearest first, or as many as there are beside it; none for the places after
        the first `SHOWN`.
    """
    from featcache.classifier.scored.nearest_photos import nearest_photos

    asked = np.asarray(places, np.int64)[:SHOWN]
    beyond: list[tuple[Resembled, ...]] = [()] * (len(places) - len(asked))
    if not len(asked) or len(rows) < 2:
        return [()] * len(asked) + beyond
    similarity, found = nearest_photos(
        rows.cache, rows.layer, rows.rows, rows.vectors(asked), most=NEAREST, not_these=rows.rows[asked]
    )
    near = np.where(found < 0, -1, np.searchsorted(rows.rows, found))
    told = [
        tuple(
            _resembled(rows, place, int(other), float(value))
            for other, value in zip(*pair, strict=True)
            if other >= 0
        )
        for place, *pair in zip(asked.tolist(), near, similarity, strict=True)
    ]
    return told + beyond


def _resembled(rows: Audited, place: int, other: int, similarity: float) -> Resembled:
    same = bool((rows.sha256[place] == rows.sha256[other]).all())
    return Resembled(
        row=int(rows.rows[other]),
        id=rows.ids[other],
        label=rows.label_of(other),
        split=rows.splits[other],
        relation="the same bytes" if same else "nearest photo",
        similarity=round(similarity, 6),
    )


def similarity(rows: Audited, one: int, other: int) -> float:
    """Return the cosine of two photos' features; 0 where one has none."""
    x, y = rows.vectors(np.array([one, other])).astype(np.float64)
    length = np.linalg.norm(x) * np.linalg.norm(y)
    return round(float(x @ y / length), 6) if length else 0.0
