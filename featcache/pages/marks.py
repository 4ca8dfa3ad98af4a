"""Series to shapes: bars, whiskers, lines, areas and marks as paths of SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featcache.pages.canvas import Canvas
from featcache.pages.chart import Chart, Series
from featcache.pages.lines import runs, thinned
from featcache.pages.palette import marker
from featcache.pages.ticks import lying, point_text, slot

_MOST_MARKERS = 40
_SPARSE = 9


@dataclass(frozen=True)
class Shape:
    """One element: a path with its class and what it says."""

    kind: str
    path: str
    text: str = ""


def bars_of(
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


def points_of(chart: Chart, series: Series, canvas: Canvas, shape: str, texts: bool) -> list[Shape]:
    """Return area, line, whiskers and marks of a series that is not made of bars."""
    at = np.array([canvas.across(v) if canvas.x.shows(v) else np.nan for v in series.x], float)
    on = _upright(canvas, series.y)
    shapes = []
    interval = len(series.low) and len(series.high)
    if series.mark in ("line", "band") and interval:
        low, high = _upright(canvas, series.low), _upright(canvas, series.high)
        shapes += [Shape("area", path) for path in _areas(at, low, high)]
    if series.mark == "band":
        return shapes
    inside = _inside(canvas, at, on)
    if series.mark == "line":
        shapes += [Shape("line dashed" if series.dashed else "line", path) for path in _line(at, on)]
    elif interval:
        along = series.y if lying(chart) else series.x
        for index in np.flatnonzero(inside):
            shapes += _whisker(series, int(index), canvas, along[int(index)], lying(chart))
    return shapes + _marks(chart, series, (at, on, inside), shape, texts)


def _upright(canvas: Canvas, values: Sequence[float]) -> np.ndarray:
    """Return the vertical places of values, NaN where they have none; what is far outside is cut off anyway."""
    places = [canvas.upright(value) if canvas.y.shows(value) else np.nan for value in values]
    return np.clip(np.array(places, float), -1e5, 1e5)


def _marks(
    chart: Chart,
    series: Series,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    shape: str,
    texts: bool,
) -> list[Shape]:
    """Return the marks of points: all where there are few, some along a longer line; many points are one path."""
    at, on, inside = places
    found = [int(index) for index in np.flatnonzero(inside)]
    if series.mark == "points" and not texts:
        dots = sorted({f"M{at[i]:.1f} {on[i]:.1f}h0" for i in found})
        return [Shape("dots", "".join(dots))] if dots else []
    if series.mark == "points" or (len(found) <= _MOST_MARKERS and not series.dashed):
        return [Shape("mark", marker(shape, at[i], on[i]), point_text(chart, series, i)) for i in found]
    few = _spread(found, min(60, max(8, 600 // len(chart.series))))
    shapes = [Shape("hit", marker("square", at[i], on[i], 7), point_text(chart, series, i)) for i in few]
    if series.dashed or len(chart.series) == 1:
        return shapes
    return [
        Shape("mark still", "".join(marker(shape, at[i], on[i]) for i in _spread(found, _SPARSE))),
        *shapes,
    ]


def _spread(found: list[int], most: int) -> list[int]:
    """Return some of the indices, evenly spread."""
    places = np.linspace(0, len(found) - 1, min(len(found), most)).round().astype(int)
    return [found[index] for index in np.unique(places)]


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
