"""The photos and what was said of them: a sample, the surest mistakes, the least sure right answers, and each class."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.display import escaped, percent
from featcache.reports.material import Material
from featcache.reports.pictures import Picture, neighbours, pictures
from featcache.reports.scored import Scored, scored
from featcache.reports.section import Section

SAMPLE, MISTAKES, UNSURE = 24, 24, 24
"""Photos of the sample, of the surest mistakes, and of the least sure right answers."""

OF_CLASSES = 400
"""Photos of all classes together."""

OF_A_CLASS = 8
"""Most photos of one class: half mistakes, half right answers."""


@dataclass(frozen=True)
class OfClass:
    """Photos of one class: its number, its name and what is shown, its surest mistakes and least sure right answers."""

    number: int
    words: str
    mistakes: list[Picture]
    unsure: list[Picture]


def section(material: Material) -> Section | None:
    """Return the section; ``None`` without scored rows of classes."""
    rows = scored(material)
    if rows is None:
        return None
    sample = _sample(len(rows), material.seed)
    mistakes, unsure = surest_mistakes(rows)[:MISTAKES], least_sure(rows)[:UNSURE]
    shown = list(dict.fromkeys([*mistakes.tolist(), *unsure.tolist(), *sample.tolist()]))
    near = neighbours(material, shown)
    groups = {
        name: pictures(material, rows, places, near)
        for name, places in (("mistakes", mistakes), ("unsure", unsure), ("sample", sample))
    }
    wrong = int((~rows.right).sum())
    return Section(
        key="predictions",
        title="Photos",
        headline=_headline(rows, wrong),
        template="predictions.html",
        content={
            **groups,
            "wrong": wrong,
            "right": len(rows) - wrong,
            "by_class": _by_class(material, rows),
            "pictured": any(each.thumbnail for each in groups["sample"]),
            "moved": material.moved,
            "near": bool(near),
            "photos": rows.photos,
        },
        data={
            "split": rows.split,
            "count": len(rows),
            "wrong": wrong,
            **{name: [_json(rows, picture) for picture in held] for name, held in groups.items()},
        },
    )


def surest_mistakes(rows: Scored) -> np.ndarray:
    """Return the places of the wrong answers, int ``[n]``, the surest first."""
    wrong = np.flatnonzero(~rows.right)
    return wrong[np.argsort(-rows.confidence[wrong], kind="stable")]


def least_sure(rows: Scored) -> np.ndarray:
    """Return the places of the right answers, int ``[n]``, the least sure first."""
    right = np.flatnonzero(rows.right)
    return right[np.argsort(rows.confidence[right], kind="stable")]


def _sample(count: int, seed: int) -> np.ndarray:
    """Return places of rows drawn at random, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE])


def _headline(rows: Scored, wrong: int) -> str:
    if not wrong:
        least = float(rows.confidence.min())
        return f"No mistake among {rows.photos}; the least sure answer has {percent(least)}"
    first = int(surest_mistakes(rows)[0])
    guess, truth = (escaped(rows.classes[number]) for number in (rows.guesses[first], rows.labels[first]))
    mistakes = f"{wrong:,} mistake{'s' if wrong > 1 else ''}"
    return f"{mistakes}; it is surest of calling {truth} {guess} ({percent(float(rows.confidence[first]))})"


def _by_class(material: Material, rows: Scored) -> list[OfClass]:
    """Return photos of the classes that have rows; of more classes fewer each, so that the page stays small."""
    held = np.unique(rows.labels)
    each = min(OF_A_CLASS, OF_CLASSES // len(held)) // 2
    if not each:
        return []
    mistakes, unsure = surest_mistakes(rows), least_sure(rows)
    found = []
    for number in held.tolist():
        wrong, right = (places[rows.labels[places] == number] for places in (mistakes, unsure))
        words = f"{escaped(rows.classes[number])}: {len(right):,} right, {len(wrong):,} wrong"
        shown = [pictures(material, rows, places[:each]) for places in (wrong, right)]
        found.append(OfClass(number, words, *shown))
    return found


def _json(rows: Scored, picture: Picture) -> dict[str, Any]:
    row = picture.row
    return {
        **picture.to_json(),
        "file": rows.names[row],
        "truth": rows.classes[rows.labels[row]],
        "guess": rows.classes[rows.guesses[row]],
        "probability": float(rows.confidence[row]),
        "truth_probability": float(rows.values[row, rows.labels[row]]),
    }
