"""How rows become entries of a list: which are listed, in which order, and with what is known of the photo."""

import numpy as np

from featcache.auditing.material import Audited
from featcache.auditing.ranked import Resembled, Suspect

LISTED, LEAST_LISTED = 0.1, 100
"""The list ends after this share of the rows, or so many rows if these are more, or the last that is certain."""


def ranked_places(score: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """Return the numbers of the rows that are listed, by descending score; equal scores in the order of the rows."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(certain[order])
    count = max(LEAST_LISTED, round(LISTED * len(order)), 1 + int(last[-1]) if len(last) else 0)
    return order[:count]


def suspect(
    rows: Audited,
    place: int,
    *,
    score: float,
    why: str,
    certain: bool = False,
    suggested: str | None = None,
    evidence: tuple[Resembled, ...] = (),
    leave_out: bool = True,
) -> Suspect:
    """Return the entry of one photo, which a list of what to leave out names if it is certain, and with `leave_out`."""
    row = int(rows.rows[place])
    return Suspect(
        row=row,
        id=rows.ids[place],
        label=rows.label_of(place),
        split=rows.splits[place],
        score=round(score, 6),
        why=why,
        certain=certain,
        suggested=suggested,
        resembles=evidence,
        leave_out=(row,) if certain and leave_out else (),
    )
