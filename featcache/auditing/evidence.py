"""The photos that an entry of a list resembles: its nearest ones, as evidence."""

from collections.abc import Sequence

import numpy as np

from featcache.auditing.material import Audited
from featcache.auditing.ranked import Resembled

NEAREST = 3
SHOWN, LEAST_SHOWN = 1000, 200
"""Entries of a list that come with evidence, the first ones: to search for all would be what a list saves."""

COMPARISONS = 100_000_000
"""Comparisons from which fewer entries come with evidence, down to `LEAST_SHOWN`: with more than 100,000 photos."""


def shown(rows: int) -> int:
    """Return how many entries of a list come with evidence, of so many photos."""
    return min(SHOWN, max(LEAST_SHOWN, COMPARISONS // max(1, rows)))


def nearest_as_evidence(rows: Audited, places: Sequence[int] | np.ndarray) -> list[tuple[Resembled, ...]]:
    """Return the photos that are nearest to some, by the cosine of their features, for the first `shown` places.

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
        these.
    """
    from featcache.classifier.scored.nearest_photos import nearest_photos

    asked = np.asarray(places, np.int64)[: shown(len(rows))]
    beyond: list[tuple[Resembled, ...]] = [()] * (len(places) - len(asked))
    if not len(asked) or len(rows) < 2:
        return [()] * len(asked) + beyond
    done = 0

    def went_on(count: int) -> None:
        nonlocal done
        done += count
        rows.tell("evidence", done)

    similarity, found = nearest_photos(
        rows.cache,
        rows.layer,
        rows.rows,
        rows.vectors(asked),
        most=NEAREST,
        not_these=rows.rows[asked],
        on_rows=went_on,
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
