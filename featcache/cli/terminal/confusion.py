"""A confusion matrix in a terminal: shaded where it fits, the largest confusions where it does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.cli.terminal.drawings import Table
from featcache.core.display import escaped

if TYPE_CHECKING:
    import numpy as np
    from rich.console import RenderableType
    from rich.text import Text

MOST = 20
"""Classes of a matrix, and confusions in a list, at most."""

_CORNER = "true \\ predicted"
_LEGEND = "blue: right, red: wrong; fuller: a larger share of the true class"
_COLOURS = {
    True: ("#005fd7", "#005faf", "#5f87af", "#5f5f87"),
    False: ("#d70000", "#af0000", "#af5f5f", "#875f5f"),
}
_LEAST = (0.5, 0.2, 0.08, 0.0)
"""Shares from which a colour is taken. All colours are about as light: white figures are read on each, and none stands
out by its lightness on a dark terminal or on a light one. What grows with the share is how coloured they are. They are
among the 256 that nearly every terminal has: a greyish red between them would be shown grey."""


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Parameters
    ----------
    names
        The classes.
    counts
        int ``[C, C]``: rows are true classes, columns predicted ones.
    """

    names: Sequence[str]
    counts: "np.ndarray"

    def lines(self) -> list[str]:
        """Return the matrix as plain text; with many classes only the largest confusions."""
        if len(self.names) > MOST:
            return [_LARGEST, *self._pairs().lines()]
        columns = (_CORNER, *map(escaped, self.names))
        rows = [(name, *map(str, row)) for name, row in zip(self.names, self.counts.tolist(), strict=True)]
        return Table(columns, rows, right=columns[1:]).lines()

    def drawn(self, width: int) -> "RenderableType":
        """Return the matrix shaded, its columns numbered where names are too long; else the largest confusions."""
        from rich.console import Group

        names = [escaped(name) for name in self.names]
        numbers = [str(number) for number in range(1, len(names) + 1)]
        numbered = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
        for heads, titles in ((names, names), (numbers, numbered)):
            text = None if len(names) > MOST else self._matrix(heads, titles, width)
            if text is not None:
                return text
        return Group(_LARGEST, self._pairs().drawn(width))

    def _matrix(self, heads: Sequence[str], titles: Sequence[str], width: int) -> "Text | None":
        """Return the matrix; ``None`` where it is wider than the terminal."""
        from rich.cells import cell_len
        from rich.text import Text

        digits = len(str(self.counts.max(initial=0)))
        widths = [max(cell_len(head), digits) for head in heads]
        first = max(map(cell_len, (_CORNER, *titles)))
        if first + 1 + sum(widths) + 2 * len(widths) > width:
            return None
        text = Text(no_wrap=True)
        text.append(f"{_CORNER}{' ' * (first - len(_CORNER))} ", "dim")
        for head, room in zip(heads, widths, strict=True):
            text.append(f" {' ' * (room - cell_len(head))}{head} ", "bold")
        for place, (title, row) in enumerate(zip(titles, self.counts.tolist(), strict=True)):
            text.append(f"\n{title}{' ' * (first - cell_len(title))} ", "bold")
            for column, (count, room) in enumerate(zip(row, widths, strict=True)):
                text.append(f" {count:>{room}} ", shade(count / max(sum(row), 1), right=place == column))
        text.append(f"\n{_LEGEND}", "dim")
        return text

    def _pairs(self) -> Table:
        """Return the classes that are taken for each other, the most frequent first."""
        wrong = [
            (count, self.names[i], self.names[j])
            for i, row in enumerate(self.counts.tolist())
            for j, count in enumerate(row)
            if i != j and count
        ]
        rows = [(true, guess, str(count)) for count, true, guess in sorted(wrong, reverse=True)[:MOST]]
        return Table(("true", "predicted", "images"), rows, right=("images",))


_LARGEST = "largest confusions:"


def shade(share: float, *, right: bool) -> str:
    """Return rich's style of a cell that holds this share of its row."""
    if share <= 0:
        return "dim"
    return "white on " + next(
        colour for colour, least in zip(_COLOURS[right], _LEAST, strict=True) if share > least
    )
