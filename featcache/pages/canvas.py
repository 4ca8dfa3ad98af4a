"""Where the axes of a chart are in its drawing, and how much of a text there is room for."""

import unicodedata
from dataclasses import dataclass

from featcache.core.display import escaped
from featcache.pages.chart import Chart
from featcache.pages.ticks import Frame, frames, lying


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


def canvas_of(chart: Chart) -> tuple[Canvas, bool]:
    """Return where the axes are, and whether the names below `x` are turned."""
    width, height = (940.0, 340.0) if chart.wide else (440.0, 280.0)
    lies = lying(chart)
    x, y = frames(chart, most_x=9 if chart.wide else 5, most_y=6)
    widest = max((text_width(text) for _, text in y.ticks), default=0)
    left = min(widest + 14, width * (0.42 if lies else 0.3))
    top = 16 + (18 if chart.y.label else 0) + 14 * rows_of_marks(chart)
    # Room for the half of the last text below, and for the numbers behind lying bars.
    behind = 52 if lies and numbered(chart) else 16
    right = width - max(
        behind, text_width(x.ticks[-1][1]) / 2 + 2 if x.ticks and chart.x.scale != "categories" else 0
    )
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


def numbered(chart: Chart) -> bool:
    """Return whether each bar has its number behind it: lying bars of one series, without intervals."""
    (first, *others) = chart.series or (None,)
    return first is not None and not others and first.mark == "bars" and not len(first.low) and lying(chart)


def rows_of_marks(chart: Chart) -> int:
    """Return in how many rows the texts of marked places stand above the chart, so that neighbours do not meet."""
    return min(2, len(chart.marked))


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
