"""Charts as inline SVG: a chart's numbers become places and paths here, ``templates/charts.html`` writes the elements.

Only numbers and escaped texts reach the SVG. Colours are CSS variables of the page, so that one drawing serves light,
dark and print. What a point says is its ``<title>``: browsers show it without a script, ``page.js`` shows it nicer.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.display import escaped
from featcache.pages.chart import Chart, Series
from featcache.pages.lines import runs, thinned
from featcache.pages.palette import SHAPES, marker, place
from featcache.pages.ticks import Frame, frames, interval_text, lying, number_text, place_text, point_text, slot, stacks

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_TEXTS = 500
"""How many points of a chart say something when they are hovered, above which they are one path."""
MOST_VALUES = 50
"""How many points of a chart stand in a table below it."""
_MOST_MARKERS = 40
_SPARSE = 9


@dataclass(frozen=True)
class Canvas:
    """Where the axes of a chart are, in units of the drawing.

    Parameters
    ----------
    width, height
        The drawing.
    left, top, right, bottom
        The area between the axes.
    x, y
        Its axes.
    """

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    x: Frame
    y: Frame
    down: bool

    def across(self, value: float) -> float:
        """Return the horizontal place of a value on `x`."""
        return self.left + self.x.share(value) * (self.right - self.left)

    def upright(self, value: float) -> float:
        """Return the vertical place of a value on `y`; names of lying bars run down, the first on top."""
        share = self.y.share(value)
        return self.top + (share if self.down else 1 - share) * (self.bottom - self.top)


@dataclass(frozen=True)
class Shape:
    """One element: a path with its class and what it says."""

    kind: str
    path: str
    text: str = ""


@dataclass(frozen=True)
class Layer:
    """The elements of one series, with the class of its colour."""

    colour: str
    name: str
    shapes: tuple[Shape, ...]


def chart_svg(chart: Chart) -> "Markup":
    """Draw a chart as an ``<svg>`` element for a page of `featcache.pages.page`.

    Parameters
    ----------
    chart
        What it shows.

    Returns
    -------
    markupsafe.Markup
        The element; the same chart gives the same text.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    """
    from markupsafe import Markup

    from featcache.pages.page import environment

    macros: Any = environment().get_template("charts.html").module
    return Markup(macros.svg(drawing(chart)))  # noqa: S704 - the outcome of an escaping template


def drawing(chart: Chart) -> dict[str, Any]:
    """Return all places and paths of a chart's drawing, for the template.

    Parameters
    ----------
    chart
        What it shows.
    """
    canvas, turned = _canvas(chart)
    texts = sum(len(series.x) for series in chart.series) <= MOST_TEXTS
    starts = iter(stacks(chart))
    groups = [series for series in chart.series if series.mark == "bars"]
    layers = []
    for number, series in enumerate(chart.series):
        colour = place(number, series.colour)
        if series.mark == "bars":
            where = (0, 1) if chart.stacked else (groups.index(series), len(groups))
            shapes = _bars(chart, series, canvas, next(starts), where)
        else:
            shapes = _points(chart, series, canvas, SHAPES[colour], texts)
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


def legend(chart: Chart) -> list[dict[str, str]]:
    """Return the entries of a legend: name, class of the colour, and the path of a key of 26 by 12 units."""
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
    """Return series, place, value and interval of each point, as texts; none where there are over `MOST_VALUES`."""
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


def text_width(text: str, size: float = 12) -> float:
    """Return about how wide a text is, in units of its drawing: fonts differ from reader to reader."""
    wide = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return wide * size * 0.54


def fitted(text: str, room: float, size: float = 12, *, middle: bool = False) -> str:
    """Return a text, cut with an ellipsis where it is wider than there is room.

    Parameters
    ----------
    text
        The text.
    room, size
        Width and size of letters, in units of the drawing.
    middle
        Whether it is cut in its middle: names often differ in their ends only.
    """
    text = escaped(text)
    if text_width(text, size) <= room:
        return text
    for letters in range(len(text) - 1, 0, -1):
        back = letters * 2 // 5 if middle else 0
        cut = text[: letters - back].rstrip() + "…" + (text[-back:].lstrip() if back else "")
        if text_width(cut, size) <= room:
            return cut
    return "…"


# Layout -----------------------------------------------------------------------------------------------------


def _canvas(chart: Chart) -> tuple[Canvas, bool]:
    """Return where the axes are, and whether the names below `x` are turned."""
    width, height = (940.0, 340.0) if chart.wide else (440.0, 280.0)
    lies = lying(chart)
    x, y = frames(chart, most_x=9 if chart.wide else 5, most_y=6)
    widest = max((text_width(text) for _, text in y.ticks), default=0)
    left = min(widest + 14, width * (0.42 if lies else 0.3))
    top = 16 + (18 if chart.y.label else 0) + 14 * _rows_of_marks(chart)
    # Room for the half of the last text below, and for the numbers behind lying bars.
    behind = 52 if lies and _numbered(chart) else 16
    right = width - max(behind, text_width(x.ticks[-1][1]) / 2 + 2 if x.ticks and chart.x.scale != "categories" else 0)
    turned, below = False, 24.0
    if chart.x.scale == "categories" and x.ticks:
        room = (right - left) / len(x.ticks)
        longest = max(text_width(text) for _, text in x.ticks)
        turned = longest > room - 6
        below = min(longest, 120) * 0.72 + 22 if turned else below
    below += 18 if chart.x.label else 0
    if lies:
        pitch = _pitch(len(y.ticks), sum(series.mark == "bars" for series in chart.series), chart.stacked)
        height = top + max(1, len(y.ticks)) * pitch + below
    return Canvas(width, height, left, top, right, height - below, x, y, lies), turned


def _pitch(names: int, series: int, stacked: bool) -> float:
    """Return the height of a lying name: less where there are many, more where bars stand side by side."""
    side_by_side = 1 if stacked else max(1, series)
    return max(26.0 if names <= 12 else 20.0 if names <= 40 else 15.0, 7.0 * side_by_side + 6)


def _numbered(chart: Chart) -> bool:
    """Return whether each bar has its number behind it: lying bars of one series, without intervals."""
    (first, *others) = chart.series or (None,)
    return first is not None and not others and first.mark == "bars" and not len(first.low) and lying(chart)


def _bar_numbers(chart: Chart, canvas: Canvas) -> list[dict[str, Any]]:
    if not _numbered(chart):
        return []
    series = chart.series[0]
    return [
        {"x": canvas.across(max(x, 0)) + 5, "y": canvas.upright(y) + 4, "text": number_text(x, chart.x.unit)}
        for x, y in zip(series.x, series.y, strict=True)
        if canvas.x.shows(x) and canvas.y.shows(y) and canvas.x.share(max(x, 0)) <= 1
    ]


def _rows_of_marks(chart: Chart) -> int:
    return min(2, len(chart.marked))


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
            row = number % max(1, _rows_of_marks(chart))
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


# Marks ------------------------------------------------------------------------------------------------------


def _bars(
    chart: Chart, series: Series, canvas: Canvas, bars: Sequence[tuple[float, float]], where: tuple[int, int]
) -> list[Shape]:
    """Return the bars of a series; `where`: its number among those that stand side by side, and how many they are."""
    lies = lying(chart)
    number, count = where
    values, names = (canvas.x, canvas.y) if lies else (canvas.y, canvas.x)
    gap = 0.22 if "categories" in (chart.x.scale, chart.y.scale) else 0.06
    thick = slot(chart) * (1 - gap) / count
    shapes = []
    for index, (start, size) in enumerate(bars):
        at = series.y[index] if lies else series.x[index]
        if not (names.shows(at) and values.shows(start + size)):
            continue
        near = at + (number - count / 2) * thick
        ends = [
            min(1.0, max(0.0, values.share(end) if values.shows(end) else 0.0))
            for end in (start, start + size)
        ]
        middle = near + thick / 2
        path = _rectangle(canvas, lies, (near, near + thick), ends)
        shapes.append(Shape("bar", path, point_text(chart, series, index)))
        shapes += _whisker(series, index, canvas, middle, lies)
    return shapes


def _rectangle(canvas: Canvas, lies: bool, sides: tuple[float, float], ends: Sequence[float]) -> str:
    if lies:
        top, bottom = (canvas.upright(side) for side in sides)
        left, right = (canvas.left + end * (canvas.right - canvas.left) for end in ends)
    else:
        left, right = (canvas.across(side) for side in sides)
        top, bottom = (canvas.bottom - end * (canvas.bottom - canvas.top) for end in ends)
    return f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}z"


def _whisker(series: Series, index: int, canvas: Canvas, at: float, lies: bool) -> list[Shape]:
    """Return the interval about one value, with short ends across it."""
    if index >= len(series.low) or index >= len(series.high):
        return []
    ends = series.low[index], series.high[index]
    frame = canvas.x if lies else canvas.y
    if not all(frame.shows(end) for end in ends):
        return []
    if lies:
        y, (a, b) = (
            canvas.upright(at),
            (_within(canvas.across(end), canvas.left, canvas.right) for end in ends),
        )
        return [Shape("whisker", f"M{a:.1f} {y:.1f}H{b:.1f}M{a:.1f} {y - 3:.1f}v6M{b:.1f} {y - 3:.1f}v6")]
    x, (a, b) = canvas.across(at), (_within(canvas.upright(end), canvas.top, canvas.bottom) for end in ends)
    return [Shape("whisker", f"M{x:.1f} {a:.1f}V{b:.1f}M{x - 3:.1f} {a:.1f}h6M{x - 3:.1f} {b:.1f}h6")]


def _within(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))


def _points(chart: Chart, series: Series, canvas: Canvas, shape: str, texts: bool) -> list[Shape]:
    """Return area, line, whiskers and marks of a series that is not made of bars."""
    at = np.array([canvas.across(v) if canvas.x.shows(v) else np.nan for v in series.x], float)
    on = np.array([canvas.upright(v) if canvas.y.shows(v) else np.nan for v in series.y], float)
    shapes = []
    interval = len(series.low) and len(series.high)
    if series.mark in ("line", "band") and interval:
        low, high = (
            np.array([canvas.upright(v) if canvas.y.shows(v) else np.nan for v in end], float)
            for end in (series.low, series.high)
        )
        shapes += [Shape("area", path) for path in _areas(at, low, high)]
    if series.mark == "band":
        return shapes
    inside = _inside(canvas, at, on)
    if series.mark == "line":
        shapes += [Shape("line dashed" if series.dashed else "line", path) for path in _line(at, on)]
    elif interval:
        along = series.y if lying(chart) else series.x
        for index in np.flatnonzero(inside):
            shapes += _whisker(series, int(index), canvas, along[index], lying(chart))
    return shapes + _marks(chart, series, (at, on, inside), shape, texts)


def _marks(
    chart: Chart,
    series: Series,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    shape: str,
    texts: bool,
) -> list[Shape]:
    """Return the marks of points: all where there are few, some along a longer line; many points are one path."""
    at, on, inside = places
    found = np.flatnonzero(inside)
    if series.mark == "points" and not texts:
        dots = sorted({f"M{at[i]:.1f} {on[i]:.1f}h0" for i in found})
        return [Shape("dots", "".join(dots))] if dots else []
    if series.mark == "points" or (len(found) <= _MOST_MARKERS and not series.dashed):
        return [Shape("mark", marker(shape, at[i], on[i]), point_text(chart, series, int(i))) for i in found]
    few = (
        found[np.unique(np.linspace(0, len(found) - 1, min(len(found), 60)).round().astype(int))]
        if len(found)
        else found
    )
    shapes = [Shape("hit", marker("square", at[i], on[i], 7), point_text(chart, series, int(i))) for i in few]
    if series.dashed or len(chart.series) == 1:
        return shapes
    sparse = few[:: max(1, len(few) // _SPARSE)]
    return [Shape("mark still", "".join(marker(shape, at[i], on[i]) for i in sparse)), *shapes]


def _inside(canvas: Canvas, at: np.ndarray, on: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        across = (at >= canvas.left - 0.5) & (at <= canvas.right + 0.5)
        return across & (on >= canvas.top - 0.5) & (on <= canvas.bottom + 0.5)


def _line(at: np.ndarray, on: np.ndarray) -> list[str]:
    return [
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in thinned(at[run], on[run]))
        for run in runs(at, on)
        if len(run) > 1
    ]


def _areas(at: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[str]:
    paths = []
    for run in runs(at, low + high):
        there = thinned(at[run], high[run])
        back = thinned(at[run], low[run])[::-1]
        if len(run) > 1:
            paths.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (*there, *back)) + "z")
    return paths
