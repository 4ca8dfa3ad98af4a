"""What a chart shows: axes, series, the sentence below it. Drawn as SVG by templates, and by matplotlib.

A chart is described once and drawn twice: inline in a page (`featcache.pages.svg`), and as a figure for notebooks and
``--figures`` (`featcache.pages.figures`). So a page and a notebook cannot show different numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from featcache.core.tasks import REGRESSION, SCORES

Scale = Literal["linear", "log", "categories"]
Mark = Literal["line", "points", "bars", "band"]
Unit = Literal["", "percent", "seconds", "bytes"]


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Parameters
    ----------
    label
        What it shows, with its unit in words, such as ``validation accuracy``.
    scale
        ``categories``: places 0, 1, … with the names of `categories`.
    unit
        How numbers are written on it; ``percent``: values between 0 and 1.
    categories
        Names of the places.
    low, high
        Its ends; ``None``: those of the values, rounded outwards (of values along which a line runs: with little room).
    """

    label: str
    scale: Scale = "linear"
    unit: Unit = ""
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def score_axis(task: str, rows: str = "validation") -> Axis:
    """Return an axis of scores of a task, with what they are called and whose rows they are of."""
    return Axis(f"{rows} {SCORES.get(task, 'score')}".strip(), unit="" if task == REGRESSION else "percent")


@dataclass(frozen=True)
class Series:
    """Values of one name.

    Parameters
    ----------
    name
        What the legend calls it.
    x, y
        Places and values, equally many; values that are not finite leave a gap.
    mark
        ``line`` (joined, with points where there are few), ``points``, ``bars`` (from 0), or ``band`` (only the area
        between `low` and `high`).
    low, high
        Ends of an interval about each value (`y`; `x` where the categories are on `y`), drawn as whiskers
        (``points``, ``bars``) or as an area (``line``, ``band``); empty without.
    colour
        Place in the palette, which tells the first eight apart in both themes and without colour vision; ``None``: its
        own place in the chart. -1 is the colour of the text, muted, for references.
    texts
        What is said of each point when it is hovered or read; empty: its coordinates.
    dashed
        Whether its line is dashed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    mark: Mark = "line"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int | None = None
    texts: Sequence[str] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart.

    Parameters
    ----------
    name
        Name of its file under ``--figures``, without ending: small letters, digits and hyphens.
    title
        What it shows, short, in words; also its name for screen readers.
    x, y
        Its axes. Bars of categories on `y` lie: long names of classes stay readable.
    series
        What is drawn, the first at the back.
    note
        One sentence: what it means and which rows it is of.
    marked
        Places on `x` with a vertical line, each with its text (the epoch that was kept).
    levels
        Places on `y` with a horizontal line, each with its text (chance).
    wide
        Whether it takes the page's whole width; otherwise two stand side by side.
    stacked
        Whether bars of one place stand on each other; otherwise side by side.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    note: str
    marked: tuple[tuple[float, str], ...] = ()
    levels: tuple[tuple[float, str], ...] = ()
    wide: bool = False
    stacked: bool = False
