"""Photos unlike the others of their class: far from even their nearest ones."""

import numpy as np

from featcache.auditing.evidence import nearest_as_evidence
from featcache.auditing.material import Audited
from featcache.auditing.ranked import RankedList, Suspect
from featcache.auditing.smallest import smallest
from featcache.auditing.suspects import suspect
from featcache.core.display import counted
from featcache.core.tasks import MULTICLASS
from featcache.heads.feature_table import blocks
from featcache.heads.scaling import unit_length

NEIGHBOURS = 5
"""k: the distance to the k-th nearest photo of the class. A pair of odd photos that are alike is odd, too, with 5."""

COMPARED, LEAST_COMPARED = 4_000, 1_000
"""Photos of a class that others are compared with; of a larger class, a draw of so many (see `find_outliers`)."""

COMPARISONS = 400_000_000
"""Comparisons from which a draw is smaller, down to `LEAST_COMPARED`: with more than 100,000 photos."""

LISTED, LEAST_LISTED = 0.02, 30
FAR = 4.0
"""Robust deviations above its class's usual distance at which a photo is called an outlier."""

_BYTES, _STRIP = 1 << 26, 2048


def find_outliers(rows: Audited) -> RankedList:
    """Rank photos by how far they are from the other photos of their class.

    Parameters
    ----------
    rows
        Of any cache; without classes all photos are one class.

    Returns
    -------
    RankedList
        Its score is the distance (1 minus the cosine) to the k-th nearest photo of the class, in robust standard
        deviations of its class above the class's median: an odd photo of a uniform class counts as one of a varied
        class. From `FAR` on an entry is certain; nothing is left out for being odd.

    Notes
    -----
    The k-th neighbour's distance is the outlier score of Ramaswamy, Rastogi and Shim (2000). Of a class of more than
    `COMPARED` photos, each is compared with a draw of so many, which ranks outliers as well as all do (Sugiyama and
    Borgwardt, "Rapid distance-based outlier detection via sampling", NeurIPS 2013): time grows with the rows, not with
    their square. Of more than 100,000 photos draws are smaller: see `compared`.
    """
    labels = rows.labels if rows.task == MULTICLASS else np.zeros(len(rows), np.int64)
    distance, score = np.zeros(len(rows)), np.zeros(len(rows))
    done = 0
    for label in np.unique(labels):
        rows.tell("outliers", done)
        places = np.flatnonzero(labels == label)
        done += len(places)
        if len(places) <= NEIGHBOURS:
            continue
        distance[places] = own = _to_neighbour(rows, places)
        middle = np.median(own)
        spread = 1.4826 * np.median(np.abs(own - middle))
        score[places] = (own - middle) / (spread if spread > 0 else 1)
    order = np.argsort(-score, kind="stable")[: max(LEAST_LISTED, round(LISTED * len(rows)))]
    far = int((score >= FAR).sum())
    order = np.union1d(order, np.flatnonzero(score >= FAR)) if far > len(order) else order
    order = order[np.argsort(-score[order], kind="stable")]
    near = nearest_as_evidence(rows, order)
    entries = tuple(
        _outlier(rows, int(place), float(score[place]), float(distance[place]), evidence)
        for place, evidence in zip(order, near, strict=True)
    )
    of = "of their class" if rows.task == MULTICLASS else "of the dataset"
    return RankedList(
        kind="outliers",
        title="Photos unlike the others",
        finding=f"{counted(far, 'photo')} of {len(rows):,} far from the other photos {of}",
        meaning=f"distance (1 − cosine) to the {NEIGHBOURS}th nearest photo of the class, in robust standard "
        f"deviations above the class's median; from {FAR:g} on it counts as far",
        entries=entries,
        figures={"far": far, "neighbours": NEIGHBOURS, "rows": len(rows)},
    )


def _outlier(rows: Audited, place: int, score: float, distance: float, evidence: tuple) -> Suspect:
    name = f" {rows.label_of(place)}" if rows.task == MULTICLASS else ""
    why = f"{score:.1f} deviations farther from other{name} photos than they are (distance {distance:.3f})"
    # An odd photo may be what a class needs most: none is named to be left out.
    return suspect(
        rows, place, score=score, why=why, certain=score >= FAR, evidence=evidence, leave_out=False
    )


def compared(rows: int) -> int:
    """Return how many photos of a class others are compared with at most, of so many photos in all."""
    return min(COMPARED, max(LEAST_COMPARED, COMPARISONS // max(1, rows)))


def _to_neighbour(rows: Audited, places: np.ndarray) -> np.ndarray:
    """Return the distance of each of some photos to its k-th nearest one among them, float64 ``[n]``.

    In numpy: a program of XLA's would be compiled anew for every class of another size.
    """
    drawn, most = places, compared(len(rows))
    if len(places) > most:
        drawn = np.sort(np.random.default_rng(rows.seed).permutation(places)[:most])
    known = -unit_length(rows.vectors(drawn)).T
    found = np.zeros(len(places))
    for part in blocks(len(places), len(known), _BYTES):
        asked = places[part]
        x = unit_length(rows.vectors(asked))
        # One more than asked for: a photo that was drawn finds itself.
        near = [
            smallest(x[start : start + _STRIP] @ known, NEIGHBOURS + 1) for start in range(0, len(x), _STRIP)
        ]
        *_, without, beyond = np.concatenate(near).astype(np.float64).T
        itself = np.isin(asked, drawn, assume_unique=True)
        found[part] = 1 + np.where(itself, beyond, without)
    return found
