"""What the row table alone says: classes that are rare, and groups with photos on both sides of a split."""

from collections import defaultdict

import numpy as np

from featcache.auditing.evidence import similarity
from featcache.auditing.material import Audited
from featcache.auditing.ranked import RankedList, Resembled, Suspect
from featcache.checks.rows import WHOLE, class_counts, torn_groups
from featcache.core.display import counted
from featcache.core.tasks import MULTILABEL
from featcache.errors import UsageError

RATIO, LEAST = 10.0, 5
SHOWN = 5


def find_imbalance(rows: Audited) -> RankedList:
    """Rank classes by how many times the largest class is larger.

    Parameters
    ----------
    rows
        Of a multiclass or multilabel cache; of labels the photos that have them are counted.

    Returns
    -------
    RankedList
        Certain from `RATIO` times on, or for fewer than `LEAST` photos (see `featcache.checks.rows.class_counts`).
        An entry's photo is the first of its class; a class without photos has no entry.
    """
    several = rows.task == MULTILABEL
    members = [
        np.flatnonzero(rows.labels[:, label] if several else rows.labels == label)
        for label in range(len(rows.classes))
    ]
    counts = np.array([len(own) for own in members])
    largest = int(counts.max(initial=0))
    entries = []
    for label in np.argsort(counts, kind="stable").tolist():
        own = members[label]
        if not len(own):
            continue
        ratio = largest / len(own)
        first = int(own[0])
        entries.append(
            Suspect(
                row=int(rows.rows[first]),
                id=rows.ids[first],
                label=rows.classes[label],
                split=rows.splits[first],
                score=round(ratio, 6),
                why=f"{counted(len(own), 'photo')}; the largest class, {rows.classes[int(counts.argmax())]}, has "
                f"{largest:,}, {ratio:.1f} times as many",
                certain=ratio >= RATIO or len(own) < LEAST,
            )
        )
    named = {name: int(count) for name, count in zip(rows.classes, counts, strict=True)}
    return RankedList(
        kind="imbalance",
        title="Rare classes",
        finding=_imbalance(rows, entries, several),
        meaning="how many times the largest class has as many photos",
        entries=tuple(entries),
        figures={"counts": named, "empty": [name for name, count in named.items() if not count]},
    )


def _imbalance(rows: Audited, entries: list[Suspect], several: bool) -> str:
    if not several:
        found = class_counts({WHOLE: rows.labels}, rows.classes, ratio=RATIO, least=LEAST)
        if found:
            return "; ".join(finding.message for finding in found)
    bad = sum(entry.certain for entry in entries)
    return f"{counted(bad, 'class')} of {len(rows.classes):,} with fewer than a tenth of the largest, or than {LEAST}"


def find_torn_groups(rows: Audited) -> RankedList:
    """Rank groups that have photos in several splits by how many they have.

    Parameters
    ----------
    rows
        Of a cache whose photos have groups.

    Returns
    -------
    RankedList
        Every entry is certain; it resembles photos of the group in other splits. Nothing is named to be left out: which
        side is to go is for who divided the photos to say.

    Raises
    ------
    UsageError
        If no photo has a group.
    """
    if rows.groups is None:
        raise UsageError(
            f"{rows.path}: no photo has a group, so none can be on both sides of a split; extract again from a table "
            "with a column of groups, or leave this list out"
        )
    members: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(rows.groups):
        if group:
            members[group].append(place)
    torn = {group: own for group, own in members.items() if len({rows.splits[place] for place in own}) > 1}
    entries = [_torn(rows, group, own) for group, own in torn.items()]
    entries.sort(key=lambda entry: -entry.score)
    parts = {
        split: np.array([place for place, own in enumerate(rows.splits) if own == split])
        for split in dict.fromkeys(rows.splits)
    }
    said = [finding.message for finding in torn_groups(rows.groups, parts)]
    return RankedList(
        kind="groups",
        title="Groups on both sides of a split",
        finding="; ".join(said) or f"none of {counted(len(members), 'group')} has photos in several splits",
        meaning="photos of the group; its rows in one split tell a head about those in the other",
        entries=tuple(entries),
        figures={"torn": len(torn), "groups": len(members)},
    )


def _torn(rows: Audited, group: str, members: list[int]) -> Suspect:
    first = members[0]
    others = [place for place in members if rows.splits[place] != rows.splits[first]]
    held = {
        split: sum(rows.splits[place] == split for place in members) for split in dict.fromkeys(rows.splits)
    }
    told = ", ".join(f"{count} in {split}" for split, count in held.items() if count)
    return Suspect(
        row=int(rows.rows[first]),
        id=rows.ids[first],
        label=rows.label_of(first),
        split=rows.splits[first],
        score=float(len(members)),
        why=f"group {group}: {told}",
        certain=True,
        resembles=tuple(
            Resembled(
                int(rows.rows[place]), rows.ids[place], rows.label_of(place), rows.splits[place],
                "the same group", similarity(rows, first, place),
            )
            for place in others[:SHOWN]
        ),
    )  # fmt: skip
