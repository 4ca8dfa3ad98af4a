"""Pairs of classes: those whose labels are mixed up, and those that features cannot separate."""

from collections.abc import Iterable

import numpy as np

from featcache.auditing.evidence import similarity
from featcache.auditing.labels.confident import overlapping_pairs
from featcache.auditing.labels.held_out import held_out
from featcache.auditing.labels.wrong_labels import class_quality
from featcache.auditing.material import Audited
from featcache.auditing.ranked import RankedList, Resembled, Suspect
from featcache.core.display import counted, percent, percents
from featcache.metrics.intervals import wilson_interval

LISTED = 100
"""Pairs of a list at most; of 1,000 classes there are half a million."""

SHOWN = 3
"""Photos that stand for a pair."""

SEPARATED = 0.75
"""Share of a pair's photos told apart, by chance a half, below which features do not separate its classes."""

MIXED = 0.05
"""Share of a pair's photos that are estimated to be labelled as the other class from which it is called mixed up."""


def find_overlaps(rows: Audited) -> RankedList:
    """Rank pairs of classes by how many photos of one are estimated to be labelled as the other.

    Parameters
    ----------
    rows
        Of a multiclass cache.

    Returns
    -------
    RankedList
        Its score is the estimated share of the two classes' photos that are labelled as the other one, by
        ``cleanlab.dataset.find_overlapping_classes``. An entry's photo is the one that fits its label least.
    """
    found, classes, places, quality = class_quality(rows)
    labels = rows.labels[places]
    entries = []
    for *pair, count in overlapping_pairs(quality, len(places))[:LISTED]:
        if count <= 0:
            break
        one, other = classes[pair].tolist()
        own = np.flatnonzero((labels == one) | (labels == other))
        share = count / len(own)
        across = found.probabilities[places[own], np.where(labels[own] == one, other, one)]
        examples = places[own][np.argsort(-across, kind="stable")[:SHOWN]]
        names = rows.classes[one], rows.classes[other]
        why = f"about {count} of {len(own):,} photos labelled {names[0]} or {names[1]} are the other ({percent(share)})"
        entries.append(_pair(rows, names, share, why, examples, certain=share >= MIXED))
    entries.sort(key=lambda entry: -entry.score)
    mixed = sum(entry.certain for entry in entries)
    return RankedList(
        kind="overlaps",
        title="Classes whose labels overlap",
        finding=f"{counted(mixed, 'pair')} of classes with {percent(MIXED)} of their photos or more probably labelled "
        "as the other",
        meaning="estimated share of the two classes' photos that are labelled as the other one (confident learning); "
        "such classes may need one name, or a clearer rule",
        entries=tuple(entries),
        figures={"pairs": mixed, "threshold": MIXED},
    )


def find_inseparable(rows: Audited) -> RankedList:
    """Rank pairs of classes by how badly held-out heads tell their photos apart.

    Parameters
    ----------
    rows
        Of a multiclass cache.

    Returns
    -------
    RankedList
        Its score is the share of the two classes' photos that are taken for the other, each class counting half; at
        0.5 they are guessed. Certain where the upper end of its accuracy's 95 % interval is below `SEPARATED`.
    """
    found = held_out(rows)
    guessed = found.probabilities.argmax(axis=1)
    judged = found.judged
    size = np.bincount(rows.labels[judged], minlength=len(rows.classes))
    confused = np.zeros((len(rows.classes), len(rows.classes)), np.int64)
    np.add.at(confused, (rows.labels[judged], guessed[judged]), 1)
    np.fill_diagonal(confused, 0)
    shares = confused / np.maximum(size, 1)[:, None]
    both = np.triu((shares + shares.T) / 2)
    order = np.argsort(-both, axis=None, kind="stable")[:LISTED]
    entries = []
    for one, other in zip(*np.unravel_index(order, both.shape), strict=True):
        score = float(both[one, other])
        if score <= 0:
            break
        count = int(size[one] + size[other])
        low, high = (1 - end for end in reversed(wilson_interval(score * count, count)))
        examples = _taken_for(rows, found.probabilities, judged, int(one), int(other))
        names = rows.classes[int(one)], rows.classes[int(other)]
        why = (
            f"{confused[one, other]} of {size[one]:,} {names[0]} are taken for {names[1]}, "
            f"{confused[other, one]} of {size[other]:,} the other way: told apart in {percent(1 - score)} "
            f"({percents(low, high)}; by chance 50 %)"
        )
        entries.append(_pair(rows, names, score, why, examples, certain=high < SEPARATED))
    bad = sum(entry.certain for entry in entries)
    accuracy = float((guessed == rows.labels)[judged].mean())
    return RankedList(
        kind="inseparable",
        title="Classes that these features do not separate",
        finding=f"{counted(bad, 'pair')} of classes told apart in fewer than {percent(SEPARATED)} of their photos",
        meaning="share of the two classes' photos that heads which learnt from other photos take for the other class; "
        "another backbone, a larger input or fine-tuning may help",
        entries=tuple(entries),
        figures={
            "pairs": bad,
            "threshold": SEPARATED,
            "accuracy": round(accuracy, 6),
        },
    )


def _taken_for(
    rows: Audited, probabilities: np.ndarray, judged: np.ndarray, one: int, other: int
) -> np.ndarray:
    """Return the places of the photos of a pair that are taken for the other class, the surest first."""
    guessed = probabilities.argmax(axis=1)
    labels = rows.labels
    places = np.flatnonzero(
        judged & (((labels == one) & (guessed == other)) | ((labels == other) & (guessed == one)))
    )
    return places[np.argsort(-probabilities[places].max(axis=1), kind="stable")[:SHOWN]]


def _pair(
    rows: Audited, names: tuple[str, str], score: float, why: str, examples: Iterable[int], *, certain: bool
) -> Suspect:
    """Return the entry of a pair of classes; its photo is the first of the examples."""
    first, *others = (int(place) for place in examples)
    return Suspect(
        row=int(rows.rows[first]),
        id=rows.ids[first],
        label=f"{names[0]} / {names[1]}",
        split=rows.splits[first],
        score=round(score, 6),
        why=why,
        certain=certain,
        resembles=tuple(
            Resembled(
                int(rows.rows[place]), rows.ids[place], rows.label_of(place), rows.splits[place],
                "the same mistake", similarity(rows, first, place),
            )
            for place in others
        ),
    )  # fmt: skip
