"""How well each answer of a multilabel classifier is given: scores with intervals, curves, and its surest mistakes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from featcache.core.display import escaped, percent, percents
from featcache.core.tasks import MULTILABEL
from featcache.metrics.multilabel import MultilabelEvaluation, evaluate_multilabel
from featcache.metrics.ranking import rank
from featcache.reports.class_rows import MOST_ROWS, ClassRow, class_row, listing
from featcache.reports.curves_by_class import precision_recall_chart, roc_chart
from featcache.reports.material import Material
from featcache.reports.pictures import Picture
from featcache.reports.scored import Scored, scored
from featcache.reports.section import Section

OF_AN_ANSWER = 6
"""Most photos shown of an answer's false yes, and as many of its missed ones."""

MOST_PICTURES = 400
"""Photos of all answers together."""


@dataclass(frozen=True)
class OfAnswer:
    """The surest mistakes of an answer: said yes to photos that are without it, and said no to photos that have it."""

    words: str
    false_yes: list[Picture]
    missed: list[Picture]


def section(material: Material) -> Section | None:
    """Return the section; ``None`` without scored rows of a multilabel classifier."""
    rows = scored(material, MULTILABEL)
    if rows is None:
        return None
    found = evaluate_multilabel(rows.labels, rows.values, classes=rows.classes, split=rows.split)
    known, yes = rows.labels > 0.5, rows.values > 0.5
    rankings = [rank(known[:, t], rows.values[:, t]) for t in range(len(rows.classes))]
    said, right = yes.sum(axis=0), (yes & known).sum(axis=0)
    listed = [
        class_row(score, said=int(said[t]), right=int(right[t]), ranking=rankings[t])
        for t, score in enumerate(found.answers)
    ]
    order, worst = listing(listed)
    by_name = {listed[t].name: rankings[t] for t in order}
    charts = tuple(
        chart
        for chart in (
            precision_recall_chart(by_name, name="answers-precision-recall", photos=rows.photos),
            roc_chart(by_name, name="answers-roc", photos=rows.photos),
        )
        if chart is not None
    )
    return Section(
        key="answers",
        title="Answers",
        headline=_headline(found, [listed[t] for t in worst]),
        template="multilabel.html",
        content={
            "cells": [listed[t].cells for t in order[:MOST_ROWS]],
            "worst_first": order is worst,
            "unlisted": max(0, len(listed) - MOST_ROWS),
            "numbers": _numbers(rows, found),
            "drawn": charts,
            "by_answer": _by_answer(material, rows, order),
            "moved": material.moved,
            "photos": rows.photos,
        },
        data={**found.to_json(), "answers": [asdict(each) for each in listed]},
        charts=charts,
    )


def _headline(found: MultilabelEvaluation, worst: Sequence[ClassRow]) -> str:
    right = f"{percent(found.accuracy)} of the answers right (95 % interval {percents(*found.interval)})"
    if found.accuracy == 1:
        return right
    held = [each for each in worst if each.support]
    if not held:
        return f"{right}; no photo has any of them"
    if held[0].f1 == 1:
        return f"{right}; every photo that has one is found"
    first = held[0]
    found_of = f"{first.right:,} of its {first.support:,} found"
    # Where most of what is said is wrong, that much is found says little.
    others = f", and {first.said - first.right:,} others taken for it" if first.said > first.right else ""
    return f"{right}; the hardest is {first.shown_name}: {found_of}{others}"


def _numbers(rows: Scored, found: MultilabelEvaluation) -> list[tuple[str, str, str]]:
    """Return the numbers over all answers: value, name, and what it means."""
    of, mean = f"Of {rows.photos}.", found.mean_average_precision
    ranked = "How well the photos that have an answer are ranked before all others; the mean over the answers"
    return [
        (percent(found.accuracy), "accuracy", f"The share of right answers, yes or no, at a probability of 50 %. {of}"),
        ("–" if mean is None else percent(mean), "mean average precision", f"{ranked}. {of}"),
        (percent(found.f1), "F1", f"The harmonic mean of precision and recall; the mean over all answers. {of}"),
        (f"{found.loss:.3f}", "loss", f"The mean cross-entropy of an answer in nats; guessing costs 0.693. {of}"),
    ]  # fmt: skip


def _by_answer(material: Material, rows: Scored, order: Sequence[int]) -> list[OfAnswer]:
    """Return the surest mistakes of every answer; of more answers fewer each, so that the page stays small."""
    each, found = min(OF_AN_ANSWER, MOST_PICTURES // (2 * len(order))), []
    for t in order if each else ():
        probability, known = rows.values[:, t], rows.labels[:, t] > 0.5
        false_yes = np.flatnonzero((probability > 0.5) & ~known)
        missed = np.flatnonzero((probability <= 0.5) & known)
        if not len(false_yes) + len(missed):
            continue
        surest = false_yes[np.argsort(-probability[false_yes], kind="stable")][:each]
        furthest = missed[np.argsort(probability[missed], kind="stable")][:each]
        name = escaped(rows.classes[t])
        words = f"{name}: {len(false_yes):,} times yes where it is no, {len(missed):,} missed"
        shown = [
            [_picture(material, rows, place, t) for place in held.tolist()] for held in (surest, furthest)
        ]
        found.append(OfAnswer(words, *shown))
    return found


def _picture(material: Material, rows: Scored, place: int, t: int) -> Picture:
    has = [escaped(name) for name, yes in zip(rows.classes, rows.labels[place] > 0.5, strict=True) if yes]
    name, probability = escaped(rows.classes[t]), float(rows.values[place, t])
    return Picture(
        name=escaped(rows.names[place]),
        thumbnail=material.sprites.of(rows.names[place]),
        kind="wrong",
        caption=f"{name} {percent(probability)}; it has {', '.join(has) or 'none'}",
        probabilities=((name, probability),),
        row=place,
    )
