"""How far the numbers of a regression are off: predicted against true, residuals, and the photos that are off most."""

from dataclasses import asdict, dataclass

import numpy as np

from featcache.core.display import counted, escaped, percent
from featcache.core.tasks import REGRESSION
from featcache.metrics.intervals import mean_interval
from featcache.metrics.regression import RegressionEvaluation, evaluate_regression
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.material import Material
from featcache.reports.pictures import Picture
from featcache.reports.scored import Scored, scored
from featcache.reports.section import Section

WORST = 24
"""Photos that are off most."""

DRAWN = 4
"""Targets with charts of their own; of more, those that are explained worst."""

POINTS = 1000
"""Points of a scatter; of more rows as many are drawn at random."""

BINS = 21
"""Bars of a histogram of residuals."""


@dataclass(frozen=True)
class TargetRow:
    """The errors of one target, in its own units.

    Parameters
    ----------
    name
        Of the target.
    mae, interval
        Mean absolute error, and its 95 % interval over rows.
    median
        Median absolute error: half of the rows are off by less.
    rmse, r2
        As in `featcache.metrics.regression.TargetScore`.
    bias
        Mean of predicted minus true.
    guessing
        Mean absolute error of the one number that is best for all rows, the median of the truth.
    """

    name: str
    mae: float
    interval: tuple[float, float]
    median: float
    rmse: float
    r2: float
    bias: float
    guessing: float


def section(material: Material) -> Section | None:
    """Return the section; ``None`` without scored rows of a regression."""
    rows = scored(material, REGRESSION)
    if rows is None:
        return None
    found = evaluate_regression(rows.labels, rows.values, classes=rows.classes, split=rows.split)
    listed = [_row(rows, found, t) for t in range(len(rows.classes))]
    order = sorted(range(len(listed)), key=lambda t: listed[t].r2)
    drawn = sorted(order[:DRAWN])
    charts = tuple(
        chart for t in drawn for chart in (_scatter(rows, listed[t], t, material.seed), _histogram(rows, t))
    )
    worst = off_most(rows)[:WORST].tolist()
    shown = [_picture(material, rows, place) for place in worst]
    return Section(
        key="numbers",
        title="Numbers",
        headline=_headline(found, listed),
        template="regression.html",
        content={
            "numbers": _numbers(rows, found, listed),
            "cells": [_cells(each) for each in listed],
            "drawn": charts,
            "undrawn": len(listed) - len(drawn),
            "worst": shown,
            "moved": material.moved,
            "photos": rows.photos,
        },
        data={
            **found.to_json(),
            "numbers": [asdict(each) for each in listed],
            "worst": [
                {
                    "file": rows.names[place],
                    "predicted": rows.values[place].tolist(),
                    "true": rows.labels[place].tolist(),
                }
                for place in worst
            ],
        },
        charts=charts,
    )


def off_most(rows: Scored) -> np.ndarray:
    """Return the places of the rows, int ``[N]``, those first that are off most.

    Of several targets the largest error counts, each in units of the standard deviation of its truth.
    """
    spread = rows.labels.std(axis=0, dtype=np.float64)
    errors = np.abs(rows.values.astype(np.float64) - rows.labels) / np.where(spread > 0, spread, 1.0)
    return np.argsort(-errors.max(axis=1), kind="stable")


def _row(rows: Scored, found: RegressionEvaluation, t: int) -> TargetRow:
    true, own = rows.labels[:, t].astype(np.float64), found.numbers[t]
    residuals = rows.values[:, t] - true
    return TargetRow(
        name=own.name,
        mae=own.mae,
        interval=mean_interval(np.abs(residuals)),
        median=float(np.median(np.abs(residuals))),
        rmse=own.rmse,
        r2=own.r2,
        bias=float(residuals.mean()),
        guessing=float(np.abs(true - np.median(true)).mean()),
    )


def _headline(found: RegressionEvaluation, listed: list[TargetRow]) -> str:
    explained = (
        f"{percent(found.r2)} of the variance explained"
        if found.r2 > 0
        else "no better than guessing the mean"
    )
    if len(listed) > 1:
        worst = min(listed, key=lambda each: each.r2)
        return f"{explained}, the mean of {len(listed)} numbers; {escaped(worst.name)} is off most, by {_n(worst.mae)}"
    own = listed[0]
    median = f"half of the photos by less than {_n(own.median)}"
    return f"{escaped(own.name)} is off by {_n(own.mae)} on average, {median}; {explained}"


def _n(value: float) -> str:
    return f"{value:.4g}"


def _between(ends: tuple[float, float]) -> str:
    return f"{_n(ends[0])} to {_n(ends[1])}"


def _numbers(
    rows: Scored, found: RegressionEvaluation, listed: list[TargetRow]
) -> list[tuple[str, str, str]]:
    """Return the numbers over all targets: value, name, and what it means."""
    of = f"Of {rows.photos}."
    over = f", the mean of {len(listed)} numbers" if len(listed) > 1 else ""
    guess = np.mean([each.guessing for each in listed])
    return [
        (_n(found.mae), "mean absolute error", f"95 % interval {_between(found.interval)}{over}. {of}"),
        (f"{found.r2:.3f}", "R²", f"The share of the variance that it explains{over}; 0 for guessing the mean. {of}"),
        (_n(found.rmse), "root mean squared error", f"Counts large errors more{over}. {of}"),
        (_n(float(guess)), "guessing would be off by", f"With the median of the truth for every photo{over}. {of}"),
    ]  # fmt: skip


def _cells(row: TargetRow) -> list[object]:
    """Return the cells of a target in the table."""
    return [
        escaped(row.name),
        {"value": row.mae, "text": f"{_n(row.mae)} ({_between(row.interval)})"},
        row.median,
        row.rmse,
        {"value": row.r2, "text": f"{row.r2:.3f}"},
        row.bias,
        row.guessing,
    ]


def _picture(material: Material, rows: Scored, place: int) -> Picture:
    told = [
        f"{escaped(name)}: {_n(float(said))}, truly {_n(float(true))}"
        for name, said, true in zip(rows.classes, rows.values[place], rows.labels[place], strict=True)
    ]
    return Picture(
        name=escaped(rows.names[place]),
        thumbnail=material.sprites.of(rows.names[place]),
        kind="plain",
        caption="; ".join(told[:3]),
        row=place,
    )


# Charts -----------------------------------------------------------------------------------------------------


def _scatter(rows: Scored, own: TargetRow, t: int, seed: int) -> Chart:
    places = np.sort(np.random.default_rng(seed).permutation(len(rows))[:POINTS])
    true, said = rows.labels[places, t].astype(float), rows.values[places, t].astype(float)
    ends = [float(min(true.min(), said.min())), float(max(true.max(), said.max()))]
    some = f" {POINTS:,} of them, drawn at random." if len(rows) > POINTS else ""
    return Chart(
        name=f"predicted-true-{t + 1}",
        title=f"{escaped(own.name)}: predicted against true",
        x=Axis("true"),
        y=Axis("predicted"),
        series=(
            Series("equal", ends, ends, colour=-1, dashed=True),
            Series(
                "photos",
                true.tolist(),
                said.tolist(),
                "points",
                colour=0,
                texts=[
                    f"{escaped(rows.names[p])}: {_n(b)}, truly {_n(a)}"
                    for p, a, b in zip(places, true, said, strict=True)
                ],
            ),
        ),
        note=f"Points on the dashed line are exact; above it, too large. Of {rows.photos}.{some}",
    )


def _histogram(rows: Scored, t: int) -> Chart:
    residuals = rows.values[:, t].astype(np.float64) - rows.labels[:, t]
    widest = float(np.abs(residuals).max()) or 1.0
    edges = np.linspace(-widest, widest, BINS + 1)
    counts = np.histogram(residuals, edges)[0].tolist()
    return Chart(
        name=f"residuals-{t + 1}",
        title=f"{escaped(rows.classes[t])}: residuals",
        x=Axis("predicted minus true"),
        y=Axis("photos", low=0),
        series=(
            Series(
                "photos",
                ((edges[1:] + edges[:-1]) / 2).tolist(),
                counts,
                "bars",
                colour=0,
                texts=[
                    f"{counted(count, 'photo')} off by {_n(low)} to {_n(high)}"
                    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
                ],
            ),
        ),
        note=f"How many photos are off by how much; to the right, too large. Of {rows.photos}.",
    )
