"""Copies of a photo, exact and near: clusters, those that lie in several splits first."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featcache.auditing.copies.clusters import Clusters
from featcache.auditing.copies.evidence import Colours, SmallPictures, Verdict, verdicts
from featcache.auditing.copies.near_rows import RATIO, SMALL, Pairs, near_pairs
from featcache.auditing.photos import Pictures, reader
from featcache.auditing.ranked import AuditedRows, RankedList, Suspect
from featcache.core.display import counted
from featcache.core.progress import OnProgress, Progress
from featcache.splits.copies import Joined, grouped_copies

MOST_COMPARED = 20_000
"""Pairs of pictures that are compared at most, the nearest first: about two minutes."""

_MEANING = (
    "two kinds of evidence: the distance of the features over the distance that is usual around them, and the "
    "pictures themselves, laid on each other as they are, mirrored and cropped (their 4×4 colours where the pictures "
    "are not to be read). The score of a cluster is how near its two nearest members are, 0 to 1, plus 1 where labels "
    "differ, plus 2 where it lies in several splits. One photo of a cluster stays, the others are to be left out. Of a "
    "leak the copy that tests stays and the one that trains goes, so that the test set stays what earlier scores were "
    "measured on; within a split one stays that has the label of most, and of these the largest picture"
)


def find_copies(
    rows: AuditedRows,
    *,
    pictures: Pictures = "found",
    seed: int = 0,
    most_compared: int = MOST_COMPARED,
    on_progress: OnProgress | None = None,
) -> RankedList:
    """Find exact and near copies within and across splits, also re-encoded, resized, slightly cropped or mirrored.

    Parameters
    ----------
    rows
        The audited rows.
    pictures
        What reads the photo with an id, or ``"found"``: of the dataset of the cache, where it is still there. With
        ``None`` the cached colours are the second evidence, and crops are listed as worth a look only.
    seed
        Of the rows that say what is usual, where there are more than 8,192.
    most_compared
        Pairs of pictures that are compared at most; further pairs are judged by their colours.
    on_progress
        Told how many rows have been compared with all others, then how many pairs have been judged.

    Returns
    -------
    RankedList
        One entry for each cluster. Those that are ``certain`` are copies, exact or by both kinds of evidence; the
        others are worth a look, such as the next shot of one scene.

    Raises
    ------
    DataError
        If features hold NaN or infinity.
    """
    groups = grouped_copies([digest.tobytes() for digest in rows.sha256], range(len(rows.ids)))
    exact = list(groups.values())
    firsts = np.array([places[0] for places in exact], np.int64)
    pairs = near_pairs(rows.vectors, firsts, seed=seed, on_rows=_told(on_progress, "features", len(firsts)))
    colours = Colours(rows, firsts, np.concatenate([pairs.first, pairs.second]), seed=seed)
    shown = SmallPictures(
        reader(rows, pictures) if len(pairs.first) else None, [rows.ids[places[0]] for places in exact]
    )
    told = _told(on_progress, "pictures", len(pairs.first))
    joined, found = _judged(pairs, colours, shown, most_compared, told)
    clusters = Clusters(rows, exact, firsts, colours, shown, joined, found)
    entries = sorted(
        [*clusters.certain(), *clusters.worth_a_look()],
        key=lambda entry: (not entry.certain, -entry.score, entry.row),
    )
    return _listed(entries, rows, pairs, shown)


def _told(on_progress: OnProgress | None, note: str, total: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if on_progress is not None:
            on_progress(Progress("copies", done, total, note=note))

    return tell


def _judged(
    pairs: Pairs, colours: Colours, shown: SmallPictures, most: int, told: Callable[[int], None]
) -> tuple[Joined, dict[tuple[int, int], Verdict]]:
    """Return the rows that are copies, joined, and what was found about each pair, the nearest first."""
    joined: Joined = Joined()
    found: dict[tuple[int, int], Verdict] = {}

    def known(first: int, second: int) -> bool:
        return joined.root(first) == joined.root(second)

    for first, second, verdict in verdicts(pairs, colours, shown, known, most=most, on_pairs=told):
        found[first, second] = verdict
        if verdict.certain:
            joined.join([first, second])
    return joined, found


def _listed(entries: Sequence[Suspect], rows: AuditedRows, pairs: Pairs, shown: SmallPictures) -> RankedList:
    certain = [entry for entry in entries if entry.certain]
    leaks = [entry for entry in certain if _splits(entry) > 1]
    conflicts = [
        entry for entry in certain if len({entry.label, *(own.label for own in entry.resembles)}) > 1
    ]
    relations = Counter(own.relation for entry in certain for own in entry.resembles)
    figures: dict[str, Any] = {
        "rows": len(rows.ids),
        "clusters": len(certain),
        "leaks": len(leaks),
        "different_labels": len(conflicts),
        "worth_a_look": len(entries) - len(certain),
        "files_to_leave_out": sum(len(entry.leave_out) for entry in certain),
        "relations": dict(relations.most_common()),
        "near_pairs": len(pairs.first),
        "pictures_compared": shown.compared,
        "ratio": RATIO,
        "estimated": len(rows.ids) > SMALL,
    }
    return RankedList(
        "copies",
        "Copies of a photo",
        _finding(certain, len(leaks), len(conflicts), len(entries) - len(certain)),
        _MEANING,
        tuple(entries),
        figures,
    )


def _splits(entry: Suspect) -> int:
    return len({entry.split, *(own.split for own in entry.resembles)})


def _finding(certain: Sequence[Suspect], leaks: int, conflicts: int, others: int) -> str:
    look = f"; {counted(others, 'cluster')} of photos that are nearly the same to look at" if others else ""
    if not certain:
        return f"No photo is there more than once{look}."
    files = sum(1 + len(entry.resembles) for entry in certain)
    parts = [
        f"{leaks} of them in several splits, which leaks" if leaks else "none of them in several splits",
        *([f"{conflicts} with labels that differ"] if conflicts else []),
    ]
    has = "is" if len(certain) == 1 else "are"
    return f"{counted(len(certain), 'photo')} {has} there more than once, as {files:,} files: {', '.join(parts)}{look}."
