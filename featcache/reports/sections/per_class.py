"""How well each class is found: precision, recall, F1 and average precision with intervals, and the curves."""

from dataclasses import asdict
from math import log

import numpy as np

from featcache.core.display import percent
from featcache.metrics.classification import Evaluation, evaluate
from featcache.metrics.ranking import rank
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.class_rows import MOST_ROWS, NARROW, ClassRow, class_row, listing
from featcache.reports.curves_by_class import precision_recall_chart, roc_chart
from featcache.reports.material import Material
from featcache.reports.scored import Scored, scored
from featcache.reports.section import Section

DRAWN = 30
"""Classes in the chart of the F1."""


def section(material: Material) -> Section | None:
    """Return the section; ``None`` without scored rows of classes."""
    rows = scored(material)
    if rows is None:
        return None
    found = evaluate(rows.labels, rows.values, classes=rows.classes, split=rows.split)
    rankings = [rank(rows.labels == c, rows.values[:, c]) for c in range(len(rows.classes))]
    said, right = found.confusion.sum(axis=0), np.diag(found.confusion)
    listed = [
        class_row(score, said=int(said[c]), right=int(right[c]), ranking=rankings[c])
        for c, score in enumerate(found.classes)
    ]
    order, worst = listing(listed)
    by_name = {listed[c].name: rankings[c] for c in order}
    precisions = [each.average_precision for each in listed if each.average_precision is not None]
    mean_precision = sum(precisions) / len(precisions)
    charts = tuple(
        chart
        for chart in (
            _f1_chart([listed[c] for c in worst], rows),
            precision_recall_chart(by_name, name="precision-recall", photos=rows.photos),
            roc_chart(by_name, name="roc", photos=rows.photos),
        )
        if chart is not None
    )
    return Section(
        key="per-class",
        title="Classes",
        headline=_headline([listed[c] for c in worst]),
        template="per_class.html",
        content={
            "cells": [listed[c].cells for c in order[:MOST_ROWS]],
            "worst_first": order is worst,
            "unlisted": max(0, len(listed) - MOST_ROWS),
            "numbers": _numbers(rows, found, mean_precision),
            "drawn": charts,
            "photos": rows.photos,
        },
        data={
            "split": rows.split,
            "count": found.count,
            "balanced_accuracy": found.balanced_accuracy,
            "f1_macro": found.f1_macro,
            "mean_average_precision": mean_precision,
            "top5": found.top5,
            "loss": found.loss,
            "classes": [asdict(each) for each in listed],
        },
        charts=charts,
    )


def _headline(worst: list[ClassRow]) -> str:
    held = [each for each in worst if each.support]
    without = len(worst) - len(held)
    missing = f"; {without} class{'es have' if without > 1 else ' has'} no photo here" if without else ""
    if held[0].f1 == 1:
        return f"Every class is recognised without a mistake{missing}"
    first = held[0]
    found = f"{percent(first.recall)} of its {first.support:,} photo{'s' if first.support > 1 else ''} found"
    precise = (
        f", and {percent(first.precision)} of what is called {first.shown_name} is right"
        if first.said
        else ""
    )
    return f"The hardest class is {first.shown_name}: {found}{precise}{missing}"


def _numbers(rows: Scored, found: Evaluation, mean_precision: float) -> list[tuple[str, str, str]]:
    """Return the numbers over all classes: value, name, and what it means."""
    numbers = [
        ("balanced accuracy", percent(found.balanced_accuracy), "the mean recall of the classes that have photos, so "
         "that a rare class counts as much as a frequent one"),
        ("macro F1", percent(found.f1_macro), "the mean F1 of the classes that have photos or were predicted"),
        ("mean average precision", percent(mean_precision), "how well each class's photos are ranked before all "
         "others, whatever the threshold; the mean over the classes that have photos"),
        ("loss", f"{found.loss:.3f}", f"the mean cross-entropy in nats; guessing all {len(rows.classes)} classes alike "
         f"would cost {log(len(rows.classes)):.3f}"),
    ]  # fmt: skip
    if found.top5 is not None:
        numbers.insert(2, ("top 5", percent(found.top5), "the right class is among the five most probable"))
    return [
        (value, name, f"{meaning[0].upper()}{meaning[1:]}. Of {rows.photos}.")
        for name, value, meaning in numbers
    ]


def _f1_chart(worst: list[ClassRow], rows: Scored) -> Chart | None:
    told = [(each, ends) for each in worst if (ends := each.f1_interval) is not None][:DRAWN]
    if not told:
        return None
    cut = (
        f" The {DRAWN} lowest of {len(worst)} classes."
        if len(told) < len(worst) and len(told) == DRAWN
        else ""
    )
    words = [f"F1 {percent(each.f1)}, {percent(a)} to {percent(b)}" for each, (a, b) in told]
    return Chart(
        name="f1-by-class",
        title="F1 by class, with 95 % intervals",
        x=Axis("F1: the harmonic mean of precision and recall", unit="percent", high=1),
        y=Axis("class", "categories", categories=tuple(each.shown_name for each, _ in told)),
        series=(
            Series(
                "F1",
                [each.f1 for each, _ in told],
                list(range(len(told))),
                "points",
                low=[low for _, (low, _) in told],
                high=[high for _, (_, high) in told],
                texts=words,
            ),
        ),
        note=f"Intervals that overlap far are hardly told apart: more photos would make them shorter.{cut} Of "
        f"{rows.photos}.",
        wide=len(told) > NARROW,
    )
