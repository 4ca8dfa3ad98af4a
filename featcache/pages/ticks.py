"""Ends and ticks of an axis, and how its numbers are written: one home for SVG and matplotlib."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from featcache.core.display import escaped, percent, percents
from featcache.pages.chart import Axis, Chart, Series, Unit

_SECONDS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
NAMELESS = "(no name)"
"""What is shown for an empty name."""
_ROUND_TIMES = (
    ((1e-3, (1, 2, 5, 10, 20, 50, 100, 200, 500)), (1, (1, 2, 5, 10, 20)), (60, (0.5, 1, 2, 5, 10, 20)),
     (3600, (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))),
    ((1e-3, (1, 10, 100)), (1, (1, 3, 10, 30)), (60, (1, 3, 10, 30)), (3600, (1, 3, 10, 30, 100, 300, 1000))),
    ((1e-3, (1, 10, 100)), (1, (1, 10)), (60, (1, 10)), (3600, (1, 10, 100, 1000))),
    ((1e-3, (1,)), (1, (1,)), (60, (1,)), (3600, (1, 100))),
)  # fmt: skip
_TIMES = [[factor * size for size, factors in times for factor in factors] for times in _ROUND_TIMES]
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Frame:
    """An axis that is ready to be drawn.

    Parameters
    ----------
    low, high
        Its ends.
    ticks
        Places and their texts.
    log
        Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def shows(self, value: float) -> bool:
        """Return whether a value has a place on the axis at all, on it or beyond its ends."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def share(self, value: float) -> float:
        """Return how far along the axis a value stands: 0 at its low end, 1 at its high end."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return (value - low) / (high - low)


def frames(chart: Chart, *, most_x: int = 7, most_y: int = 6) -> tuple[Frame, Frame]:
    """Return both axes of a chart.

    Parameters
    ----------
    chart
        The chart.
    most_x, most_y
        About how many ticks there is room for.
    """
    lies = lying(chart)
    bars = any(series.mark == "bars" for series in chart.series)
    x = [value for series in chart.series for value in series.x]
    y = [value for series in chart.series for value in series.y]
    along = x if lies else y
    along += [value for series in chart.series for value in (*series.low, *series.high)]
    if chart.stacked:
        along += [start + size for places in stacks(chart) for start, size in places]
    x += [place for place, _ in chart.marked]
    y += [place for place, _ in chart.levels]
    if bars and chart.x.scale == "linear" and not lies:
        step = slot(chart)
        x += [end for value in x if math.isfinite(value) for end in (value - step / 2, value + step / 2)]
    return (
        frame(chart.x, x, most=most_x, zero=bars and lies, outwards=lies),
        frame(chart.y, y, most=most_y, zero=bars and not lies, outwards=not lies),
    )


def lying(chart: Chart) -> bool:
    """Return whether the values of a chart are on its `x`, and the names on its `y`."""
    return chart.y.scale == "categories"


def slot(chart: Chart) -> float:
    """Return how far bars stand apart: 1 for categories, else the smallest distance between two."""
    if "categories" in (chart.x.scale, chart.y.scale):
        return 1.0
    bars = [series for series in chart.series if series.mark == "bars"]
    places = sorted({float(place) for series in bars for place in series.x if math.isfinite(place)})
    return min((after - before for before, after in pairwise(places)), default=1.0)


def stacks(chart: Chart) -> list[list[tuple[float, float]]]:
    """Return start and size of every bar of every series of bars, stacked on those before it."""
    reached: dict[float, float] = {}
    found = []
    for series in chart.series:
        if series.mark != "bars":
            continue
        places, sizes = (series.y, series.x) if lying(chart) else (series.x, series.y)
        bars = []
        for place, size in zip(places, sizes, strict=True):
            start = reached.get(place, 0.0) if chart.stacked else 0.0
            bars.append((start, size))
            if math.isfinite(size):
                reached[place] = start + size
        found.append(bars)
    return found


def frame(
    axis: Axis, values: Iterable[float], *, most: int = 6, zero: bool = False, outwards: bool = True
) -> Frame:
    """Return an axis with nice ticks that holds all finite values.

    Parameters
    ----------
    axis
        What it shows.
    values
        All that stands on it; what is not finite does not count, nor what a logarithm has no place for.
    most
        About how many ticks there is room for.
    zero
        Whether it begins or ends at 0, as bars do.
    outwards
        Whether its ends are rounded to ticks; otherwise there is just a little room about the values.
    """
    if axis.scale == "categories":
        count = max(1, len(axis.categories))
        return Frame(
            -0.5,
            count - 0.5,
            tuple((float(i), escaped(n) or NAMELESS) for i, n in enumerate(axis.categories)),
        )
    log = axis.scale == "log"
    fit = [float(v) for v in values if math.isfinite(v) and (v > 0 or not log)]
    whole = bool(fit) and not axis.unit and all(value == round(value) for value in fit)
    if log:
        return _log_frame(axis, fit, most)
    return _linear_frame(axis, [*fit, 0.0] if zero else fit, most, whole, outwards)


def _linear_frame(axis: Axis, fit: Sequence[float], most: int, whole: bool, outwards: bool) -> Frame:
    low, high = min(fit, default=0.0), max(fit, default=1.0)
    low = low if axis.low is None else axis.low
    high = high if axis.high is None else axis.high
    if not high - low > 1e-9 * max(abs(low), abs(high)):  # what floats cannot tell apart is one value
        middle, room = low, abs(low) * 0.1 or 0.5
        room = max(room, 1.0) if whole else room
        low = middle - room if axis.low is None else low
        high = max(middle + room, low + room) if axis.high is None else low + room
        if axis.unit == "percent" and 0 <= middle <= 1:
            low, high = max(0.0, low), min(1.0, high)
    divisor, ending = _unit(axis.unit, max(abs(low), abs(high)))
    step = _step((high - low) / divisor, most, whole)
    within = axis.unit == "percent" and low >= 0 and high <= 1
    room = 0.0 if outwards else 0.02 * (high - low)
    if axis.low is None:
        low = _down(low / divisor, step) * divisor if outwards else low - room
    if axis.high is None:
        high = -_down(-high / divisor, step) * divisor if outwards else high + room
    if within:
        low, high = max(0.0, low), min(1.0, high)
    first, last = math.ceil(low / divisor / step - 1e-6), math.floor(high / divisor / step + 1e-6)
    places = [_times(number, step) for number in range(first, last + 1)]
    ticks = tuple((place * divisor, _tick(place, step, places) + ending) for place in places)
    return Frame(low, high, ticks)


def _log_frame(axis: Axis, fit: Sequence[float], most: int) -> Frame:
    low, high = min(fit, default=1.0), max(fit, default=10.0)
    low = _one_two_five(low, -1) if axis.low is None or axis.low <= 0 else axis.low
    high = _one_two_five(high, 1) if axis.high is None or axis.high <= 0 else axis.high
    if not high > low:
        low, high = low / 2, high * 2
    if axis.unit == "seconds":
        low = max((t for t in _TIMES[0] if t <= low), default=low) if axis.low is None else low
        high = min((t for t in _TIMES[0] if t >= high), default=high) if axis.high is None else high
    places = _log_places(low, high, axis.unit, most)
    return Frame(low, high, tuple((place, number_text(place, axis.unit)) for place in places), log=True)


def _log_places(low: float, high: float, unit: Unit, most: int) -> list[float]:
    """Return ticks between two ends: as many as there is room for, at round times where they are times."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    shapes = (((1, 2, 5), 1), ((1, 3), 1), *(((1,), every) for every in (1, 2, 3, 5, 10, 20, 50, 100)))
    grids = [
        [factor * 10.0**power for power in decades[::every] for factor in factors]
        for factors, every in shapes
    ]
    grids = [*_TIMES, *grids] if unit == "seconds" and low >= _TIMES[0][0] else grids
    places: list[float] = []
    for grid in grids:
        places = [place for place in grid if low * 0.999 <= place <= high * 1.001]
        if len(places) <= most + 1:
            break
    return places


def _one_two_five(value: float, way: int) -> float:
    """Return the nearest of 1, 2, 5, 10, … that is not above (``way`` -1) or not below (1) a value."""
    power = math.floor(math.log10(value))
    steps = [factor * 10.0**decade for decade in range(power - 1, power + 2) for factor in (1, 2, 5)]
    if way < 0:
        return max(step for step in steps if step <= value * (1 + 1e-9))
    return min(step for step in steps if step >= value * (1 - 1e-9))


def _unit(unit: Unit, largest: float) -> tuple[float, str]:
    """Return what the ticks of an axis are divided by, and what is written behind them."""
    if unit == "percent":
        return 0.01, " %"
    sizes = {"seconds": _SECONDS, "bytes": _BYTES}.get(unit, ())
    for size, name in sizes:
        # Minutes from 2 on: "90 s" is easier than "1.5 min".
        if largest >= size * (2 if name in ("h", "min") else 1):
            return size, f" {name}"
    return (sizes[-1][0], f" {sizes[-1][1]}") if sizes else (1.0, "")


def _step(span: float, most: int, whole: bool) -> float:
    """Return 1, 2 or 5 times a power of ten, so that about `most` steps fill a span."""
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return max(1.0, step) if whole else step


def _times(number: int, step: float) -> float:
    # 3 × 0.1 is not 0.3, but 3 / 10 is.
    return number / round(1 / step) if step < 1 else number * step


def _down(value: float, step: float) -> float:
    return _times(math.floor(value / step + 1e-6), step)


def _tick(value: float, step: float, values: Sequence[float]) -> str:
    largest = max(abs(value) for value in values)
    if largest >= 1e7 or step < 1e-5:
        return _power(
            value, 1 + max(2, math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9))
        )
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}".replace("-", "−")


def _power(value: float, digits: int = 3) -> str:
    """Return a number with a power of ten, such as ``"2.5·10⁻⁶"``."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    factor = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    return (power if factor == "1" else f"{factor}·{power}").replace("-", "−")


def number_text(value: float, unit: Unit = "") -> str:
    """Return a number as it is written in a sentence, such as ``"91.2 %"``, ``"2.5 min"`` or ``"1,024"``."""
    if not math.isfinite(value):
        return "no number"
    if unit == "percent":
        return percent(value).replace("-", "−")
    divisor, ending = _unit(unit, 2 * abs(value) if unit == "seconds" and value in (60, 3600) else abs(value))
    value = value / divisor
    if abs(value) >= 1e7 or 0 < abs(value) < 1e-4:
        return _power(value) + ending
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}{ending}".replace("-", "−")
    return f"{value:.4g}{ending}".replace("-", "−")


def interval_text(low: float, high: float, unit: Unit = "") -> str:
    """Return an interval as it is written in a sentence, such as ``"88.6–93.4 %"``."""
    if unit == "percent":
        return percents(low, high).replace("-", "−")
    return f"{number_text(low, unit)} to {number_text(high, unit)}"


def point_text(chart: Chart, series: Series, index: int) -> str:
    """Return what is said of a point when it is hovered."""
    if index < len(series.texts):
        return escaped(series.texts[index])
    x, y = place_text(chart.x, series.x[index]), place_text(chart.y, series.y[index])
    place, value = (y, x) if lying(chart) else (x, y)
    unit = (chart.x if lying(chart) else chart.y).unit
    label = "" if "categories" in (chart.x.scale, chart.y.scale) else f"{escaped(chart.x.label)} "
    said = f"{escaped(series.name)}, {label}{place}: {value}"
    if index < len(series.low) and math.isfinite(series.low[index]) and math.isfinite(series.high[index]):
        said += f" ({interval_text(series.low[index], series.high[index], unit)})"
    return said


def place_text(axis: Axis, value: float) -> str:
    """Return a place on an axis in words: the name of a category, or the number with its unit."""
    if axis.scale == "categories" and math.isfinite(value) and 0 <= round(value) < len(axis.categories):
        return escaped(axis.categories[round(value)]) or NAMELESS
    return number_text(value, axis.unit)
