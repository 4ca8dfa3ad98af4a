"""Figures of matplotlib for notebooks: made without pyplot, so that nobody's figures and settings change."""

import io
from typing import TYPE_CHECKING

from featcache.core.display import escaped
from featcache.errors import MissingExtraError
from featcache.pages.chart import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT, WRONG = "#1c6fd0", "#c92a2a"
"""Blue for what is right, red for what is wrong; a sign stands beside either, for readers without colour."""

_MOST_NOTE = 400
"""Letters of the note below a figure, at most: the longest of featcache's own is that of a sweep, 280; names of
files in others have no end of their own."""


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, in inches, that a notebook shows as a picture.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "a plot needs matplotlib, which is not installed: pip install 'featcache[report]'"
        ) from error

    class NotebookFigure(Figure):
        """A figure outside of pyplot, which no window and no inline backend knows of: it gives its own picture."""

        def _repr_png_(self) -> bytes:
            written = io.BytesIO()
            self.savefig(written, format="png")
            return written.getvalue()

    return NotebookFigure(figsize=(width, height), layout="constrained")


def chart_figure(chart: Chart, width: float = 6.4, height: float = 4.4) -> "Figure":
    """Return a chart as a figure, with its note below it."""
    from featcache.pages.figures import draw

    figure = new_figure(width, height)
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False}):
        draw(chart, figure.add_subplot())
    note(figure, chart.note)
    return figure


def note(figure: "Figure", text: str) -> None:
    """Write a sentence below a figure: what it means and which rows it is of."""
    figure.supxlabel(shown(text, _MOST_NOTE), fontsize=8, color="#555555", wrap=True, parse_math=False)


def end_of(name: str, most: int = 36) -> str:
    """Return the end of a file's name, which tells it from others, safe to draw and not too long."""
    plain = escaped(name)
    return plain if len(plain) <= most else f"…{plain[1 - most :]}"


def shown(text: str, most: int = 40) -> str:
    """Return text that is safe to draw and not too long."""
    plain = escaped(text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
