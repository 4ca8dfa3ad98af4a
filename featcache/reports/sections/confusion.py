"""Which classes are taken for which others: the confusion matrix, and the photos behind each of its cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.display import counted, escaped, percent, percents
from featcache.metrics.classification import Evaluation, evaluate
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.material import Material
from featcache.reports.pictures import Picture, pictures
from featcache.reports.scored import Scored, scored
from featcache.reports.section import Section

LARGEST = 30
"""Classes of the largest matrix; with more, the pairs that are confused most are shown alone."""

PAIRS, BESIDE_A_MATRIX = 20, 10
"""Pairs of classes in the list of the most confused, without and with a matrix."""

BEHIND_A_CELL = 6
BEHIND_THE_DIAGONAL = 3
MOST_PICTURES = 300
"""Photos behind a cell, behind a cell of right answers, and behind all cells."""


@dataclass(frozen=True)
class Pair:
    """A class that is taken for another.

    Parameters
    ----------
    truth, guess
        Numbers of the true and the predicted class.
    count
        Rows.
    share
        Their share of the rows that have the true class.
    """

    truth: int
    guess: int
    count: int
    share: float


@dataclass(frozen=True)
class Behind:
    """The photos behind a cell: of which classes, what they are in words, and which."""

    truth: int
    guess: int
    words: str
    pictures: list[Picture]

    @property
    def anchor(self) -> str:
        """What a link to them names."""
        return f"confusion-{self.truth}-{self.guess}"


def section(material: Material) -> Section | None:
    """Return the section; ``None`` without scored rows of classes."""
    rows = scored(material)
    if rows is None:
        return None
    found = evaluate(rows.labels, rows.values, classes=rows.classes, split=rows.split)
    pairs = confused_pairs(found.confusion)
    small = len(rows.classes) <= LARGEST
    behind = _behind(material, rows, found.confusion, pairs, diagonal=small)
    links = {(each.truth, each.guess): f"#{each.anchor}" for each in behind}
    listed = pairs[: BESIDE_A_MATRIX if small else PAIRS]
    chart = _chart(rows, listed)
    return Section(
        key="confusion",
        title="Confusion",
        headline=_headline(rows, found, pairs),
        template="confusion.html",
        content={
            "classes": [escaped(name) for name in rows.classes],
            "counts": found.confusion.tolist() if small else None,
            "links": links,
            "pairs": _pair_rows(rows, found.confusion, listed, links),
            "pairs_in_all": len(pairs),
            "behind": behind,
            "pairs_chart": chart,
            "photos": rows.photos,
            "largest": LARGEST,
        },
        data=_data(rows, found, listed, len(pairs), matrix=small),
        charts=() if chart is None else (chart,),
    )


def confused_pairs(confusion: np.ndarray) -> list[Pair]:
    """Return the classes that are taken for others, int ``[C, C]`` by true and predicted class: the most often first.

    Of equally many rows the larger share comes first, then the earlier class.
    """
    support = confusion.sum(axis=1)
    truth, guess = np.nonzero(confusion * ~np.eye(len(confusion), dtype=bool))
    pairs = [
        Pair(t, g, int(confusion[t, g]), float(confusion[t, g] / support[t]))
        for t, g in zip(truth.tolist(), guess.tolist(), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.truth, pair.guess))


def _headline(rows: Scored, found: Evaluation, pairs: Sequence[Pair]) -> str:
    if not pairs:
        photos = rows.photos[0].upper() + rows.photos[1:]
        return f"{photos} are all right" if len(rows) > 1 else f"{photos} is right"
    right = f"{percent(found.accuracy)} right (95 % interval {percents(*found.interval)})"
    first = pairs[0]
    truth, guess = (escaped(rows.classes[number]) for number in (first.truth, first.guess))
    of = int(found.confusion[first.truth].sum())
    return f"{right}; {truth} is taken for {guess} most often ({first.count:,} of its {of:,})"


def _words(rows: Scored, confusion: np.ndarray, truth: int, guess: int) -> str:
    true_name, guessed = (escaped(rows.classes[number]) for number in (truth, guess))
    count, of = int(confusion[truth, guess]), int(confusion[truth].sum())
    what = f"{true_name} taken for {guessed}" if truth != guess else f"{true_name} recognised"
    return f"{what}: {count:,} of {of:,}"


def _pair_rows(
    rows: Scored, confusion: np.ndarray, pairs: Sequence[Pair], links: Mapping[tuple[int, int], str]
) -> list[list[Any]]:
    """Return the cells of the table of pairs: true class, predicted class, photos, of how many, share, other way."""
    return [
        [
            escaped(rows.classes[pair.truth]),
            escaped(rows.classes[pair.guess]),
            {"value": pair.count, "href": links.get((pair.truth, pair.guess))},
            int(confusion[pair.truth].sum()),
            pair.share,
            int(confusion[pair.guess, pair.truth]),
        ]
        for pair in pairs
    ]


def _behind(
    material: Material, rows: Scored, confusion: np.ndarray, pairs: Sequence[Pair], *, diagonal: bool
) -> list[Behind]:
    """Return the photos behind the cells: the surest mistakes of each, and the least sure right answers."""
    asked = [(pair.truth, pair.guess, BEHIND_A_CELL) for pair in (pairs if diagonal else pairs[:PAIRS])]
    if diagonal:
        asked += [(own, own, BEHIND_THE_DIAGONAL) for own in np.flatnonzero(np.diag(confusion)).tolist()]
    behind, left = [], MOST_PICTURES
    for truth, guess, most in asked:
        places = np.flatnonzero((rows.labels == truth) & (rows.guesses == guess))
        surest = rows.confidence[places] * (1 if truth == guess else -1)
        shown = places[np.argsort(surest, kind="stable")][: min(most, left)]
        if not len(shown):
            break
        left -= len(shown)
        words = _words(rows, confusion, truth, guess)
        if len(shown) < len(places):
            words += f"; the {len(shown)} of them that it is {'least' if truth == guess else 'most'} sure of"
        behind.append(Behind(truth, guess, words, pictures(material, rows, shown)))
    return behind


def _chart(rows: Scored, pairs: Sequence[Pair]) -> Chart | None:
    if not pairs:
        return None
    names = tuple(
        f"{escaped(rows.classes[pair.truth])} → {escaped(rows.classes[pair.guess])}" for pair in pairs
    )
    counts = [pair.count for pair in pairs]
    shares = [f"{counted(pair.count, 'photo')}, {percent(pair.share)} of the class" for pair in pairs]
    return Chart(
        name="confused-pairs",
        title="Pairs of classes that are confused most",
        x=Axis("photos", low=0),
        y=Axis("true class → predicted class", "categories", categories=names),
        series=(Series("photos", counts, list(range(len(pairs))), "bars", texts=shares),),
        note=f"How many of {rows.photos} have the first class and are taken for the second.",
        wide=True,
    )


def _data(
    rows: Scored, found: Evaluation, listed: Sequence[Pair], pairs_in_all: int, *, matrix: bool
) -> dict[str, Any]:
    return {
        "split": rows.split,
        "count": found.count,
        "accuracy": found.accuracy,
        "interval": list(found.interval),
        "classes": list(rows.classes),
        "confusion": found.confusion.tolist() if matrix else None,
        "pairs_in_all": pairs_in_all,
        "pairs": [
            {
                "truth": rows.classes[pair.truth],
                "guess": rows.classes[pair.guess],
                "count": pair.count,
                "share": pair.share,
            }
            for pair in listed
        ],
    }
