"""Clusters of photos that are copies, or nearly: which member stays, how the others are alike to it, and why."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from featcache.auditing.copies.evidence import Colours, SmallPictures, Verdict, judge
from featcache.auditing.copies.near_rows import similarities
from featcache.auditing.ranked import AuditedRows, Resembled, Suspect
from featcache.core.display import counted, some
from featcache.splits.copies import Joined

EXACT = "the same bytes"
BY_WAY = "nearly the same, by way of another copy"

_JUDGES = ("test", "val", "dev")
_LEARNS = "train"


@dataclass(frozen=True)
class Clusters:
    """Photos that are one, and photos that are nearly one.

    Parameters
    ----------
    rows
        The audited rows.
    exact
        ``[N]``: the places of each different picture, those of its exact copies.
    firsts
        int ``[N]``: the first of these. What follows speaks of pictures by their positions here.
    colours, shown
        What further pairs are judged by.
    joined
        Pictures that are copies.
    found
        Pairs that were judged, the nearest first.
    """

    rows: AuditedRows
    exact: Sequence[Sequence[int]]
    firsts: np.ndarray
    colours: Colours
    shown: SmallPictures
    joined: Joined
    found: Mapping[tuple[int, int], Verdict]

    def certain(self) -> list[Suspect]:
        """Return the clusters of copies."""
        best = self._best(self.joined.root, certain=True)
        found = _gathered(range(len(self.exact)), self.joined.root)
        entries = []
        for root, numbers in found.items():
            members = {place: number for number in numbers for place in self.exact[number]}
            if len(members) > 1:
                entries.append(self._entry(members, best.get(root), certain=True))
        return entries

    def worth_a_look(self) -> list[Suspect]:
        """Return the clusters of photos that are alike; of each cluster of copies one member."""
        near: Joined = Joined()
        pairs = [
            (self.joined.root(first), self.joined.root(second))
            for (first, second), verdict in self.found.items()
            if not verdict.certain
        ]
        # Two copies of one photo may both be alike to a third.
        pairs = [pair for pair in pairs if pair[0] != pair[1]]
        for pair in pairs:
            near.join(pair)
        best = self._best(lambda number: near.root(self.joined.root(number)), certain=False)
        found = _gathered(sorted({number for pair in pairs for number in pair}), near.root)
        return [
            self._entry({int(self.firsts[number]): number for number in numbers}, best[root], certain=False)
            for root, numbers in found.items()
        ]

    def _best(self, root: Callable[[int], int], *, certain: bool) -> dict[int, Verdict]:
        """Return what was found about the nearest pair of each cluster."""
        best: dict[int, Verdict] = {}
        for (first, _), verdict in self.found.items():
            if verdict.certain == certain:
                best.setdefault(root(first), verdict)
        return best

    def _entry(self, members: Mapping[int, int], best: Verdict | None, *, certain: bool) -> Suspect:
        """Describe a cluster of places, each with the number of its picture."""
        rows = self.rows
        labels = Counter(map(rows.label_of, members))
        kept, *others = self._by_standing(members, labels)
        splits = sorted({rows.splits[place] for place in members}, key=_split_rank)
        nearness = 1.0 if best is None else 1 - best.ratio
        return Suspect(
            row=int(rows.rows[kept]),
            id=rows.ids[kept],
            label=rows.label_of(kept),
            split=rows.splits[kept],
            score=round(nearness + (len(labels) > 1) + 2 * (len(splits) > 1), 4),
            why=_why(len(members), splits, labels, best, certain=certain),
            certain=certain,
            resembles=self._resembled(members, kept, others),
            leave_out=tuple(sorted(int(rows.rows[place]) for place in others)) if certain else (),
        )

    def _by_standing(self, members: Mapping[int, int], labels: Counter[str]) -> list[int]:
        """Return the places of a cluster, the one that is to stay first."""
        sizes = dict.fromkeys(members.values(), 0)
        if len(sizes) > 1:
            for number in sizes:
                small = self.shown.of(number)
                sizes[number] = 0 if small is None else small.width * small.height

        def standing(place: int) -> tuple[int, int, int, int]:
            rank, _ = _split_rank(self.rows.splits[place])
            return rank, -labels[self.rows.label_of(place)], -sizes[members[place]], place

        return sorted(members, key=standing)

    def _resembled(
        self, members: Mapping[int, int], kept: int, others: Sequence[int]
    ) -> tuple[Resembled, ...]:
        rows = self.rows
        pairs = np.array([[members[kept], members[place]] for place in others])
        alike = np.ones(len(pairs))
        different = pairs[:, 0] != pairs[:, 1]
        if different.any():
            alike[different] = similarities(rows.vectors, self.firsts, pairs[different])
        return tuple(
            Resembled(
                row=int(rows.rows[place]),
                id=rows.ids[place],
                label=rows.label_of(place),
                split=rows.splits[place],
                relation=self._relation(*pair),
                similarity=round(float(value), 6),
            )
            for place, pair, value in zip(others, pairs.tolist(), alike, strict=True)
        )

    def _relation(self, kept: int, other: int) -> str:
        """Return how a member is alike to the one that stays, compared now if it was not before."""
        if kept == other:
            return EXACT
        first, second = min(kept, other), max(kept, other)
        verdict = self.found.get((first, second)) or judge(
            0.0, self.colours.between(first, second), self.shown.likeness(first, second)
        )
        return BY_WAY if verdict is None else verdict.relation


def _gathered(numbers: Iterable[int], root: Callable[[int], int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for number in numbers:
        found[root(number)].append(number)
    return found


def _split_rank(split: str) -> tuple[int, str]:
    """Return how readily a photo of a split goes, by its name: what judges goes after what is learnt from."""
    name = split.casefold()
    for rank, start in enumerate(_JUDGES):
        if name.startswith(start):
            return rank, name
    return len(_JUDGES) + name.startswith(_LEARNS), name


def _why(
    files: int, splits: Sequence[str], labels: Counter[str], best: Verdict | None, *, certain: bool
) -> str:
    """Say what a cluster is: a leak first, then contradictory labels, then the evidence."""
    several = len(splits) > 1
    what = (
        f"{counted(files, 'file')} of one photo" if certain else f"{counted(files, 'photo')} nearly the same"
    )
    where = f" in {' and '.join(name or 'no split' for name in splits)}" if several else ""
    parts = [f"{'a leak: ' if several and certain else ''}{what}{where}"]
    if len(labels) > 1:
        wrong = ", so that all but one of these labels are wrong" if certain else ""
        parts.append(f"labels differ ({some(sorted(labels))}){wrong}")
    parts.append(EXACT if best is None else best.words())
    return "; ".join(parts)
