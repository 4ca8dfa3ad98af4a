"""Parts of a result that a terminal draws and a file reads as plain lines: tables, facts, matrices, curves.

Each part has `lines`, the plain text that pipes, files and ``NO_COLOR`` get, which never changes with the terminal; and
`drawn`, what rich prints on a terminal. Text from data is escaped in both, and is never read as markup.
"""

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from featcache.core.display import escaped, percent

if TYPE_CHECKING:
    from rich.console import RenderableType


class Drawing(Protocol):
    """A part of a result that looks better on a terminal."""

    def lines(self) -> list[str]:
        """Return it as plain text."""
        ...

    def drawn(self, width: int) -> "RenderableType":
        """Return what rich prints on a terminal of `width` columns."""
        ...


Part = str | Drawing
"""A line of text, or what has two forms."""


def plain(parts: Sequence[Part]) -> list[str]:
    """Return the lines of text of a result's parts."""
    return [line for part in parts for line in ([part] if isinstance(part, str) else part.lines())]


class Whole(str):
    """A line that a terminal breaks where it ends, as one of a table that was cut to fit already."""


_FACTS = re.compile(r"  (?=\S).{11} (?=\S)")
"""A line with a name before its text, as `Facts` has them: its text goes on below itself."""


def wrapped(line: str, width: int) -> str:
    """Return a line broken between words, so that a terminal does not break it within one; a path stays whole."""
    if len(line) <= width:
        return line
    indent = 14 if _FACTS.match(line) else len(line) - len(line.lstrip()) + 2
    return textwrap.fill(
        line,
        max(width, indent + 20),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


@dataclass(frozen=True)
class Table:
    """A table whose numbers stand below each other.

    Parameters
    ----------
    columns, rows
        Heads, and the cells of each row.
    right
        Names of the columns that are aligned to the right; they are never broken.
    indent
        Spaces before each line.
    strong
        Numbers of the rows that stand out.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()
    indent: int = 0
    strong: Sequence[int] = ()

    def lines(self) -> list[str]:
        """Return it as plain text."""
        cells = [list(self.columns), *[[escaped(cell) for cell in row] for row in self.rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            padded = (
                cell.rjust(width) if name in self.right else cell.ljust(width)
                for name, cell, width in zip(self.columns, row, widths, strict=True)
            )
            return (" " * self.indent + "  ".join(padded)).rstrip()

        return [line(row) for row in cells]

    def drawn(self, width: int) -> "RenderableType":
        """Return it with a rule below its head; long texts are folded within their column."""
        from rich.box import SIMPLE_HEAD
        from rich.padding import Padding
        from rich.table import Table as RichTable
        from rich.text import Text

        made = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for name in self.columns:
            number = name in self.right
            made.add_column(
                Text(escaped(name)),
                justify="right" if number else "left",
                no_wrap=number,
                overflow="fold",
                min_width=min(len(name), 12),
            )
        for place, row in enumerate(self.rows):
            style = "bold" if place in self.strong else ""
            made.add_row(*(Text(escaped(cell)) for cell in row), style=style)
        return Padding(made, (0, 0, 0, self.indent), expand=False)


@dataclass(frozen=True)
class Facts:
    """Names with what is said of each; a long text goes on below itself.

    Parameters
    ----------
    rows
        Name and text.
    """

    rows: Sequence[tuple[str, str]]

    def lines(self) -> list[str]:
        """Return it as plain text."""
        return [f"  {name:<11} {text}" for name, text in self.rows]

    def drawn(self, width: int) -> "RenderableType":
        """Return it with its names dimmed."""
        from rich.padding import Padding
        from rich.table import Table as RichTable
        from rich.text import Text

        made = RichTable.grid(padding=(0, 1))
        made.add_column(no_wrap=True, min_width=11, style="dim")
        made.add_column(overflow="fold")
        for name, text in self.rows:
            made.add_row(Text(escaped(name)), Text(escaped(text)))
        return Padding(made, (0, 0, 0, 2), expand=False)


BARS = "▁▂▃▄▅▆▇█"
LONGEST = 40
"""Bars of a sparkline, at most."""


def sparkline(values: Sequence[float], most: int = LONGEST) -> str:
    """Return values as a line of bars between the lowest and the highest; those that are not finite are gaps.

    Of more than `most` values (at least 2), evenly spaced ones are drawn, the first and the last among them.
    """
    if len(values) > most:
        step = (len(values) - 1) / (most - 1)
        values = [values[round(place * step)] for place in range(most)]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    low, span = min(finite), max(finite) - min(finite)

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return BARS[round((value - low) / span * (len(BARS) - 1)) if span > 0 else 0]

    return "".join(map(bar, values))


@dataclass(frozen=True)
class Curve:
    """A curve over epochs, which only a terminal shows.

    Parameters
    ----------
    name
        What it is called, in at most eleven letters.
    values
        A value for each epoch; NaN where there is none.
    what
        What the values are, such as ``validation accuracy``.
    shares
        Whether they are shares, which are written as percentages.
    """

    name: str
    values: Sequence[float]
    what: str
    shares: bool = False

    def lines(self) -> list[str]:
        """Return nothing: in a file a curve says less than the numbers above it."""
        return []

    def drawn(self, width: int) -> "RenderableType":
        """Return a line of bars with the first and the last value."""
        from rich.text import Text

        finite = [value for value in self.values if math.isfinite(value)]
        first, last = (self._text(finite[place]) if finite else "none" for place in (0, -1))
        name, said = (
            f"  {escaped(self.name):<11} ",
            f" {self.what} {first} → {last}, {len(self.values)} epochs",
        )
        bars = sparkline(self.values, max(10, min(LONGEST, width - len(name) - len(said))))
        return Text.assemble((name, "dim"), (bars, "cyan"), said, overflow="fold")

    def _text(self, value: float) -> str:
        return percent(value) if self.shares else f"{value:.3f}"


@dataclass(frozen=True)
class OnTerminal:
    """Parts that only a terminal shows, in the place of others.

    Parameters
    ----------
    shown, instead
        Parts for a terminal, and for a file.
    """

    shown: Sequence[Part]
    instead: Sequence[Part] = ()

    def lines(self) -> list[str]:
        """Return what a file gets."""
        return plain(self.instead)

    def drawn(self, width: int) -> "RenderableType":
        """Return what a terminal gets."""
        from rich.console import Group
        from rich.text import Text

        return Group(
            *(Text(escaped(part)) if isinstance(part, str) else part.drawn(width) for part in self.shown)
        )
