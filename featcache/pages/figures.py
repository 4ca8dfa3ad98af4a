"""Draw charts with matplotlib."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.display import escaped
from featcache.pages.chart import Axis, Chart, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6a3d9a", "#8c6d31")
MUTED = "#777777"

_FORMATS: Mapping[str, str] = {"percent": "{:.0%}", "seconds": "{:g} s", "bytes": "{:g} B"}


def draw(chart: Chart, axes: "Axes") -> None:
    """Draw a chart into axes."""
    for number, series in enumerate(chart.series):
        colour = PALETTE[(number if series.colour is None else series.colour) % len(PALETTE)]
        _series(axes, series, MUTED if series.colour == -1 else colour, lying=chart.y.scale == "categories")
    for place, text in chart.marked:
        axes.axvline(place, color=MUTED, linestyle=":", label=f"_{escaped(text)}")
    for level, text in chart.levels:
        axes.axhline(level, color=MUTED, linestyle=":", label=f"_{escaped(text)}")
    _axis(axes, "x", chart.x)
    _axis(axes, "y", chart.y)
    axes.set_title(escaped(chart.title), parse_math=False)
    if len(chart.series) > 1:
        legend = axes.legend(fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _series(axes: "Axes", series: Series, colour: str, *, lying: bool) -> None:
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    style: dict[str, Any] = {"color": colour, "label": escaped(series.name)}
    low, high = (np.asarray(ends, float) for ends in (series.low, series.high))
    if series.mark == "bars":
        axes.barh(y, x, **style) if lying else axes.bar(x, y, **style)
    elif series.mark == "line":
        axes.plot(x, y, linestyle="--" if series.dashed else "-", marker="." if len(x) < 30 else "", **style)
    elif series.mark == "points":
        axes.plot(x, y, linestyle="", marker="o", markersize=5 if len(x) < 200 else 3, **style)
    if len(low) and series.mark in ("line", "band"):
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    elif len(low):
        axes.hlines(y, low, high, color=colour) if lying else axes.vlines(x, low, high, color=colour)


def _axis(axes: "Axes", name: str, axis: Axis) -> None:
    """Give an axis its label, scale, ends and ticks."""
    axes.set(**{f"{name}label": escaped(axis.label)})
    own = getattr(axes, f"{name}axis")
    own.get_label().set_parse_math(False)
    if axis.scale == "categories":
        own.set_ticks(
            range(len(axis.categories)), [escaped(c)[:40] for c in axis.categories], parse_math=False
        )
    elif axis.scale == "log":
        axes.set(**{f"{name}scale": "log"})
    if axis.unit in _FORMATS:
        own.set_major_formatter(lambda value, _: _FORMATS[axis.unit].format(value))
    axes.set(**{f"{name}lim": (axis.low, axis.high)})
