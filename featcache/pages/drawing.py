"""A chart's numbers as places and paths of a drawing, its legend and its table; templates write the elements."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from featcache.core.display import escaped
from featcache.pages.canvas import Canvas, canvas_of, fitted, numbered, rows_of_marks
from featcache.pages.chart import Chart
from featcache.pages.marks import Shape, bars_of, points_of
from featcache.pages.palette import SHAPES, marker, place
from featcache.pages.ticks import interval_text, lying, number_text, place_text, stacks

MOST_TEXTS = 500
"""How many points of a chart say something when they are hovered, above which they are one path."""
MOST_VALUES = 50
"""How many points of a chart stand in a table below it."""

MOST_NAMES = 25
"""How many names a wide chart may have to be drawn a second time, for phones."""


@dataclass(frozen=True)
class Layer:
    """The elements of one series, with the class of its colour."""

    colour: str
    name: str
    shapes: tuple[Shape, ...]


def drawing(chart: Chart) -> dict[str, Any]:
    """Return all places and paths of a chart's drawing, for the template.

    Parameters
    ----------
    chart
        What it shows.
    """
    canvas, turned = canvas_of(chart)
    texts = sum(len(series.x) for series in chart.series) <= MOST_TEXTS
    starts = iter(stacks(chart))
    groups = [series for series in chart.series if series.mark == "bars"]
    layers = []
    for number, series in enumerate(chart.series):
        colour = place(number, series.colour)
        if series.mark == "bars":
            where = (0, 1) if chart.stacked else (groups.index(series), len(groups))
            shapes = bars_of(chart, series, canvas, next(starts), where)
        else:
            shapes = points_of(chart, series, canvas, SHAPES[colour], texts)
        layers.append(Layer(f"c{colour}" if colour >= 0 else "ref", escaped(series.name), tuple(shapes)))
    return {
        "chart": chart,
        "canvas": canvas,
        "turned": turned,
        "x_ticks": _x_ticks(chart, canvas, turned),
        "y_ticks": _y_ticks(chart, canvas),
        "layers": layers,
        "marked": _marked(chart, canvas),
        "levels": _levels(chart, canvas),
        "numbers": _bar_numbers(chart, canvas),
        "empty": not any(layer.shapes for layer in layers),
        "x_label": fitted(chart.x.label, canvas.right - canvas.left),
        "y_label": fitted(chart.y.label, canvas.width),
        "says": _says(chart),
    }


def narrow(chart: Chart) -> Chart | None:
    """Return a wide chart of few names as phones show it, where the best must not lie beyond the edge.

    Parameters
    ----------
    chart
        What it shows.

    Returns
    -------
    Chart or None
        ``None`` where the chart is not wide, or its names do not lie or are many: it is scrolled.
    """
    few = len(chart.y.categories) <= MOST_NAMES
    return replace(chart, wide=False) if chart.wide and lying(chart) and few else None


def legend(chart: Chart) -> list[dict[str, Any]]:
    """Return the entries of a legend: name, class of the colour, and the paths of a key of 26 by 12 units.

    Parameters
    ----------
    chart
        What it is of.
    """
    entries = []
    for number, series in enumerate(chart.series):
        colour = place(number, series.colour)
        shape = marker(SHAPES[colour], 13, 6)
        dashes = "line dashed" if series.dashed else "line"
        kinds = {
            "line": [(dashes, "M1 6h24"), *([] if series.dashed else [("mark", shape)])],
            "points": [("mark", shape)],
            "bars": [("bar", "M7 0h12v12h-12z")],
            "band": [("area", "M1 1h24v10h-24z")],
        }
        entries.append(
            {
                "name": escaped(series.name),
                "colour": f"c{colour}" if colour >= 0 else "ref",
                "paths": kinds[series.mark],
            }
        )
    return entries


def values(chart: Chart) -> list[tuple[str, str, str, str]]:
    """Return series, place, value and interval of each point, as texts; none where there are over `MOST_VALUES`.

    Parameters
    ----------
    chart
        What it shows.
    """
    if sum(len(series.x) for series in chart.series) > MOST_VALUES:
        return []
    lies = lying(chart)
    unit = (chart.x if lies else chart.y).unit
    rows = []
    for series in chart.series:
        lows = zip(series.low, series.high, strict=True)
        between = [interval_text(low, high, unit) if isfinite(low + high) else "" for low, high in lows]
        for index, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            texts = place_text(chart.x, x), place_text(chart.y, y)
            place, value = texts[::-1] if lies else texts
            rows.append((escaped(series.name), place, value, between[index] if between else ""))
    return rows


def _bar_numbers(chart: Chart, canvas: Canvas) -> list[dict[str, Any]]:
    if not numbered(chart):
        return []
    series = chart.series[0]
    return [
        {"x": canvas.across(max(x, 0)) + 5, "y": canvas.upright(y) + 4, "text": number_text(x, chart.x.unit)}
        for x, y in zip(series.x, series.y, strict=True)
        if canvas.x.shows(x) and canvas.y.shows(y) and canvas.x.share(max(x, 0)) <= 1
    ]


def _x_ticks(chart: Chart, canvas: Canvas, turned: bool) -> list[dict[str, Any]]:
    if chart.x.scale != "categories":
        return [{"at": canvas.across(value), "text": text, "full": text} for value, text in canvas.x.ticks]
    room = (canvas.right - canvas.left) / max(1, len(canvas.x.ticks))
    every = max(1, int(-(-13 // room))) if room < 13 else 1
    most = 120 if turned else room
    return [
        {"at": canvas.across(value), "text": fitted(text, most, middle=True), "full": text}
        for value, text in canvas.x.ticks[::every]
    ]


def _y_ticks(chart: Chart, canvas: Canvas) -> list[dict[str, Any]]:
    del chart
    return [
        {"at": canvas.upright(value), "text": fitted(text, canvas.left - 10, middle=True), "full": text}
        for value, text in canvas.y.ticks
    ]


def _marked(chart: Chart, canvas: Canvas) -> list[dict[str, Any]]:
    lines = []
    for number, (value, text) in enumerate(chart.marked):
        if canvas.x.shows(value) and 0 <= canvas.x.share(value) <= 1:
            at = canvas.across(value)
            end = at > (canvas.left + canvas.right) / 2
            room = (at - canvas.left) if end else canvas.width - at
            row = number % max(1, rows_of_marks(chart))
            lines.append(
                {"at": at, "text": fitted(text, room, 11), "end": end, "y": canvas.top - 4 - 14 * row}
            )
    return lines


def _levels(chart: Chart, canvas: Canvas) -> list[dict[str, Any]]:
    return [
        {"at": canvas.upright(value), "text": fitted(text, canvas.right - canvas.left, 11)}
        for value, text in chart.levels
        if canvas.y.shows(value) and 0 <= canvas.y.share(value) <= 1
    ]


def _says(chart: Chart) -> str:
    names = ", ".join(escaped(series.name) for series in chart.series[:8])
    more = ", …" if len(chart.series) > 8 else ""
    return (
        f"{escaped(chart.note)} {escaped(chart.y.label)} by {escaped(chart.x.label)}: {names}{more}.".strip()
    )
