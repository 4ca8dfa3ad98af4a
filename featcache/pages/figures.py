"""The charts of pages as figures of matplotlib: for notebooks, and as files."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.disk.files import replace_file
from featcache.core.disk.storage import storage_errors
from featcache.errors import MissingExtraError
from featcache.pages.canvas import fitted, text_width
from featcache.pages.chart import Chart, Series
from featcache.pages.palette import LIGHT, SHAPES, place
from featcache.pages.ticks import Frame, frames, lying, slot, stacks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _GRID = "#1d2125", "#565f69", "#e3e5e8"
_MARKERS = dict(zip(SHAPES, ("o", "s", "^", "D", "X", "v", "P", "*"), strict=True))


def figure(*charts: Chart, columns: int = 2) -> "Figure":
    """Draw charts, one in each panel.

    Parameters
    ----------
    charts
        What they show.
    columns
        How many stand side by side.

    Returns
    -------
    matplotlib.figure.Figure
        A figure that no window manager knows: notebooks show it, and nothing has to be closed.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    """
    with _style():
        from matplotlib.figure import Figure

        columns = max(1, min(columns, len(charts)))
        rows = -(-max(1, len(charts)) // columns)
        width = 9.4 if len(charts) == 1 and charts[0].wide else 5.4
        heights = [
            max((_height(chart) for chart in charts[row * columns :][:columns]), default=3)
            for row in range(rows)
        ]
        made = Figure(figsize=(width * columns, sum(heights)), layout="constrained", facecolor="white")
        panels = made.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel()
        for chart, axes in zip(charts, panels, strict=False):
            draw(chart, axes)
        for axes in panels[len(charts) :]:
            axes.set_axis_off()
        return made


def save(chart: Chart, folder: Path) -> list[Path]:
    """Write a chart as SVG and PNG.

    Parameters
    ----------
    chart
        What it shows; its name is that of the files.
    folder
        Where; it is made where it is missing.

    Returns
    -------
    list of pathlib.Path
        Both files; the same chart gives the same bytes.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    StorageError
        If they cannot be written.
    """
    made = figure(chart)
    paths = []
    for ending, metadata in (("svg", dict.fromkeys(("Date", "Creator"))), ("png", {"Software": None})):
        stream = io.BytesIO()
        with _style(), warnings.catch_warnings():
            # A reader's fonts may have what this machine's have not: the SVG's texts are texts.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            made.savefig(stream, format=ending, dpi=160, metadata=metadata)
        path = Path(folder) / f"{chart.name}.{ending}"
        with storage_errors(path, "write the figure"):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, stream.getvalue())
        paths.append(path)
    return paths


def draw(chart: Chart, axes: "Axes") -> None:
    """Draw a chart into axes of matplotlib.

    Parameters
    ----------
    chart
        What it shows.
    axes
        Where.
    """
    x, y = frames(chart, most_x=9 if _inches(axes) > 7 else 6)
    lies = lying(chart)
    starts = iter(stacks(chart))
    groups = [series for series in chart.series if series.mark == "bars"]
    for number, series in enumerate(chart.series):
        colour = place(number, series.colour)
        looks = {"color": LIGHT[colour] if colour >= 0 else _SOFT, "zorder": 2 + number}
        if series.mark == "bars":
            where = (0, 1) if chart.stacked else (groups.index(series), len(groups))
            _draw_bars(chart, series, axes, next(starts), where, looks)
        else:
            _draw_points(series, axes, (x, y), lies, _MARKERS[SHAPES[colour]], looks)
    _draw_lines(chart, axes)
    _finish(chart, axes, x, y)


def _style() -> Any:
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError(
            "figures need matplotlib, which is not installed; pip install 'featcache[report]'"
        ) from error
    # Text stays text, the same chart gives the same bytes, and a `$` in a name is no formula.
    return rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "featcache",
            "font.family": "sans-serif",
            "text.parse_math": False,
            "axes.unicode_minus": True,
        }
    )


def _inches(axes: "Axes") -> float:
    """Return how wide axes are, before their texts are laid out."""
    return axes.get_window_extent().width / axes.figure.dpi


def _height(chart: Chart) -> float:
    if lying(chart):
        names = len(chart.y.categories)
        return max(2.2, 1.1 + names * (0.3 if names <= 12 else 0.22))
    return 3.6


def _draw_bars(
    chart: Chart,
    series: Series,
    axes: "Axes",
    bars: Sequence[tuple[float, float]],
    where: tuple[int, int],
    looks: dict[str, Any],
) -> None:
    lies, (number, count) = lying(chart), where
    gap = 0.22 if "categories" in (chart.x.scale, chart.y.scale) else 0.06
    thick = slot(chart) * (1 - gap) / count
    places = np.asarray(series.y if lies else series.x, float) + (number - (count - 1) / 2) * thick
    starts, sizes = np.array([start for start, _ in bars]), np.array([size for _, size in bars], float)
    there = np.isfinite(places) & np.isfinite(sizes)
    draw_bar = axes.barh if lies else axes.bar
    sides: dict[str, Any] = {"left": starts[there]} if lies else {"bottom": starts[there]}
    draw_bar(
        places[there],
        sizes[there],
        thick,
        label=fitted(series.name, 200),
        edgecolor="white",
        linewidth=0.5,
        **looks,
        **sides,
    )
    if len(series.low) and len(series.high):
        _whiskers(axes, places, series, lies, {**looks, "color": _INK})


def _whiskers(axes: "Axes", places: np.ndarray, series: Series, lies: bool, looks: dict[str, Any]) -> None:
    low, high = np.asarray(series.low, float), np.asarray(series.high, float)
    there = np.isfinite(low) & np.isfinite(high) & np.isfinite(places)
    middle = ((low + high) / 2)[there]
    across, on = (middle, places[there]) if lies else (places[there], middle)
    error: dict[str, Any] = {"xerr" if lies else "yerr": ((high - low) / 2)[there]}
    axes.errorbar(
        across,
        on,
        **error,
        fmt="none",
        capsize=2.5,
        elinewidth=1.3,
        ecolor=looks["color"],
        zorder=looks["zorder"],
    )


def _draw_points(
    series: Series, axes: "Axes", ends: tuple[Frame, Frame], lies: bool, marker: str, looks: dict[str, Any]
) -> None:
    x, y = (
        np.array([value if frame.shows(value) else np.nan for value in values], float)
        for frame, values in zip(ends, (series.x, series.y), strict=True)
    )
    interval = len(series.low) and len(series.high)
    name = fitted(series.name, 200)
    if interval and series.mark in ("line", "band"):
        low, high = np.asarray(series.low, float), np.asarray(series.high, float)
        own: dict[str, Any] = {"label": name} if series.mark == "band" else {}
        axes.fill_between(x, low, high, alpha=0.17, linewidth=0, **looks, **own)
    if series.mark == "band":
        return
    few = np.isfinite(x + y).sum() <= 40
    if series.mark == "line":
        shape = {"marker": marker, "markersize": 4} if few and not series.dashed else {}
        axes.plot(x, y, "--" if series.dashed else "-", linewidth=1.7, label=name, **shape, **looks)
        return
    size = 5 if len(x) <= 500 else 2.5
    axes.plot(
        x,
        y,
        marker,
        linestyle="none",
        markersize=size,
        markeredgewidth=0,
        label=name,
        alpha=1 if few else 0.6,
        rasterized=len(x) > 5000,
        **looks,
    )
    if interval:
        _whiskers(axes, y if lies else x, series, lies, looks)


def _draw_lines(chart: Chart, axes: "Axes") -> None:
    """Draw the marked places and levels with their texts."""
    looks = {"color": _SOFT, "linewidth": 1, "linestyle": (0, (2, 3)), "zorder": 1.5}
    words = {"color": _SOFT, "fontsize": 8, "xytext": (-3, 3), "textcoords": "offset points"}
    for value, text in chart.marked:
        axes.axvline(value, **looks)
        axes.annotate(
            fitted(text, 250),
            (value, 1),
            xycoords=axes.get_xaxis_transform(),
            ha="right",
            va="top",
            **{**words, "xytext": (-3, -3)},
        )
    for value, text in chart.levels:
        axes.axhline(value, **looks)
        axes.annotate(
            fitted(text, 250),
            (1, value),
            xycoords=axes.get_yaxis_transform(),
            ha="right",
            va="bottom",
            **words,
        )


def _finish(chart: Chart, axes: "Axes", x: Frame, y: Frame) -> None:
    """Set ends, ticks, grid, labels and legend, as in the page."""
    from matplotlib.ticker import FixedLocator, NullLocator

    lies = lying(chart)
    for axis, frame, ends in ((axes.xaxis, x, axes.set_xlim), (axes.yaxis, y, axes.set_ylim)):
        if frame.log:
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
        ends(frame.low, frame.high)
        axis.set_major_locator(FixedLocator([value for value, _ in frame.ticks]))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels([fitted(text, 170, middle=True) for _, text in frame.ticks])
    if lies:
        axes.invert_yaxis()
    if chart.x.scale == "categories" and sum(
        text_width(f"{text}  ", 9) for _, text in x.ticks
    ) > 72 * _inches(axes):
        for text in axes.get_xticklabels():
            text.set(rotation=40, ha="right", rotation_mode="anchor")
    rows, columns = _legend_above(chart, axes)
    looks = {"fontsize": 11, "fontweight": "bold", "color": _INK}
    axes.set_title(fitted(chart.title, 480), loc="left", pad=10 + 14 * rows, **looks)
    axes.set_xlabel(fitted(chart.x.label, 400), color=_SOFT)
    axes.set_ylabel(fitted(chart.y.label, 260), color=_SOFT)
    axes.tick_params(colors=_SOFT, labelsize=9, length=0)
    axes.grid(
        axis="x" if lies else "both" if chart.x.scale != "categories" else "y", color=_GRID, linewidth=0.8
    )
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == ("left" if lies else "bottom"))
        spine.set_color(_SOFT)
    if len(chart.series) > 1:
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns, "frameon": False}
        within = {"ncols": 1 + (len(chart.series) > 4), "facecolor": "white", "edgecolor": "none"}
        made = axes.legend(fontsize=8, labelcolor=_INK, **(above if rows else within))
        made.set_in_layout(not rows)
    places = [(px, py) for series in chart.series for px, py in zip(series.x, series.y, strict=True)]
    if not any(x.shows(px) and y.shows(py) for px, py in places):
        axes.text(0.5, 0.5, "no finite value to show", transform=axes.transAxes, ha="center", color=_SOFT)


def _legend_above(chart: Chart, axes: "Axes") -> tuple[int, int]:
    """Return rows and columns of a legend above lying bars, of which it would hide some; 0 rows where it is within."""
    if not lying(chart) or len(chart.series) < 2:
        return 0, 0
    widest = max(text_width(fitted(series.name, 200), 8) for series in chart.series) + 40
    columns = max(1, min(len(chart.series), int(72 * _inches(axes) * 0.8 / widest)))
    return -(-len(chart.series) // columns), columns
