"""How objects read in a terminal, a notebook and a data frame."""

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from featcache.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas


def escaped(text: str) -> str:
    """Return text that is safe to print: undecodable names and control characters are shown escaped."""
    # What turns the direction of writing (U+202A to U+202E, U+2066 to U+2069) is not printable to Python, either.
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


SPLIT_WORDS = {"val": "validation", "test": "test"}
"""What the rows that judge a head are called in messages."""


def percent(share: float) -> str:
    """Return a share in the one form in which everything is printed: ``"91.2 %"``."""
    return f"{100 * share:.1f} %"


def percents(low: float, high: float) -> str:
    """Return an interval of shares, such as ``"88.6–93.4 %"``."""
    return f"{100 * low:.1f}–{100 * high:.1f} %"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as ``"1 photo"`` and ``"2 classes"``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and how many there are beyond them."""
    more = f", … ({len(names)})" if len(names) > most else ""
    return ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[:most]) + more


SHOWN_ROWS = 30
"""Rows of a notebook's table at most."""

_SHOWN_TEXT = 400
"""Letters of a cell of a notebook's table at most."""


def html_table(
    title: str,
    rows: Iterable[Sequence[Any]],
    columns: Sequence[str] = (),
    note: str = "",
    *,
    right: Sequence[str] = (),
) -> str:
    """Return a table for a notebook; every text in it is escaped, and colours are those of the notebook.

    Of more than `SHOWN_ROWS` rows the first are shown, and how many there are beyond them.

    Parameters
    ----------
    title
        Its caption.
    rows
        Cells of each row.
    columns
        Heads of the columns, if they have any.
    note
        A line below the table.
    right
        Heads of the columns that are aligned to the right, such as those of numbers.
    """
    listed = list(rows)
    sides = ["right" if name in right else "left" for name in columns]

    def line(cells: Sequence[Any], tag: str) -> str:
        placed = zip(cells, chain(sides, repeat("left")), strict=False)
        inner = "".join(f'<{tag} style="text-align:{side}">{_html(cell)}</{tag}>' for cell, side in placed)
        return f"<tr>{inner}</tr>"

    more = f"the first {SHOWN_ROWS} of {len(listed)}" if len(listed) > SHOWN_ROWS else ""
    head = f"<thead>{line(columns, 'th')}</thead>" if columns else ""
    body = "".join(line(row, "td") for row in listed[:SHOWN_ROWS])
    below = "".join(f"<p>{_html(text)}</p>" for text in (more, note) if text)
    return f"<table><caption>{_html(title)}</caption>{head}<tbody>{body}</tbody></table>{below}"


def _html(value: Any) -> str:
    """Return a value as text of a page: neither its tags nor what turns the direction of writing is obeyed."""
    text = escaped(str(value))
    return html.escape(text if len(text) <= _SHOWN_TEXT else f"{text[: _SHOWN_TEXT - 1]}…")


def data_frame(rows: "Mapping[str, Any] | Sequence[Mapping[str, Any]]") -> "pandas.DataFrame":
    """Return rows, or columns by name, as a data frame.

    Raises
    ------
    MissingExtraError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError(
            "a data frame needs pandas, which is not installed; pip install pandas"
        ) from error
    return pandas.DataFrame(rows)
