"""How objects read in a terminal, a notebook and a data frame."""

import html
from collections.abc import Iterable, Mapping, Sequence
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


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and how many there are beyond them."""
    more = f", … ({len(names)})" if len(names) > most else ""
    return ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[:most]) + more


def html_table(title: str, rows: Iterable[Sequence[Any]], columns: Sequence[str] = (), note: str = "") -> str:
    """Return a table for a notebook; every text in it is escaped.

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
    """

    def line(cells: Sequence[Any], tag: str) -> str:
        inner = "".join(f'<{tag} style="text-align:left">{html.escape(str(cell))}</{tag}>' for cell in cells)
        return f"<tr>{inner}</tr>"

    head = f"<thead>{line(columns, 'th')}</thead>" if columns else ""
    body = "".join(line(row, "td") for row in rows)
    below = f"<p>{html.escape(note)}</p>" if note else ""
    return f"<table><caption>{html.escape(title)}</caption>{head}<tbody>{body}</tbody></table>{below}"


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
