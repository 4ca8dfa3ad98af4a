"""Cells of tables: values as text, lists written as text, and several labels with a sign between them."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcache.datasets.names import shown, why_not_kept
from featcache.errors import DataError

SEPARATORS = {"|": "|", ";": ";", ",": ",", "/": "/", "+": "%2B", "&": "%26", " ": "space"}
"""Signs between labels, the plainest first, and how they are written in a spec."""

_WORDS = {"space": " ", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|"}
_QUOTED = r"""(?:"[^"\\]*"|'[^'\\]*')"""
_PYTHON_LIST = re.compile(rf"\[\s*(?:{_QUOTED}\s*(?:,\s*{_QUOTED}\s*)*)?\]")
_LONGEST = 100_000
"""Characters of a cell that is read as a list."""


def read_separator(text: str) -> str:
    """Return the sign that ``sep=`` names, by itself or in words such as ``space``."""
    return _WORDS.get(text.casefold(), text)


def split_cell(text: str, separator: str) -> list[str]:
    """Return the labels in a cell without the spaces around them; empty ones do not count."""
    parts = text.split() if separator == " " else text.split(separator)
    return [part for part in map(str.strip, parts) if part]


def as_text(value: Any, role: str, where: str) -> str:
    """Return a value as text; only a group may be empty.

    Raises
    ------
    DataError
        If it is missing, or cannot be text.
    """
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, float):
        value = "" if value != value else repr(value)  # not a number: how data frames write what is missing
    elif isinstance(value, int):
        value = str(value)
    elif value is not None and not isinstance(value, str):
        raise DataError(f"{where}: a value of type {type(value).__name__}; expected text")
    found = value or ""
    found = found if role == "path" else found.strip()
    if not found and role != "group":
        raise DataError(f"{where}: no {role}; expected one in every row")
    if why := why_not_kept(found):
        advice = "; is this a UTF-16 file? save it as UTF-8" if "\0" in found else ""
        raise DataError(f"{where}: {shown(found)} {why}{advice}")
    return found


# Lists written as text --------------------------------------------------------------------------------------


def lists_in_text(values: Sequence[Any]) -> list[Any] | None:
    """Return the cells of a column with lists in the place of their text, as ``["a", "b"]``.

    Lists are those of JSON, and of names as Python writes them (``['a', 'b']``), which data frames save.

    Returns
    -------
    list or None
        ``None`` where fewer than half of the cells are lists of names or numbers: then they are names.
    """
    found = [_as_list(value) if isinstance(value, str) else value for value in values]
    read = sum(
        isinstance(own, list) and isinstance(value, str) for own, value in zip(found, values, strict=True)
    )
    return found if read and 2 * read >= len(values) else None


def _as_list(text: str) -> Any:
    """Return the list that a text is, or the text."""
    bare = text.strip()
    if not (bare.startswith("[") and bare.endswith("]")) or len(bare) > _LONGEST:
        return text
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        if not _PYTHON_LIST.fullmatch(bare):
            return text
        return [quoted[1:-1] for quoted in re.findall(_QUOTED, bare)]
    plain = all(isinstance(own, str) or type(own) is int for own in found)
    return found if plain else text


# Several labels in a cell -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Combined:
    """Cells that are combinations of labels.

    Parameters
    ----------
    separator
        The sign between labels.
    cells
        How many different cells hold several labels, of how many.
    labels
        How many different labels there are.
    example
        Such as ``"'scab rust' is 'scab' and 'rust'"``.
    """

    separator: str
    cells: tuple[int, int]
    labels: int
    example: str

    @property
    def option(self) -> str:
        """How it is written in a spec: ``sep=space``."""
        return f"sep={SEPARATORS[self.separator]}"


def combined(cells: Iterable[str]) -> Combined | None:
    """Return how cells are combinations of one another, by counting; ``None`` where they are not.

    Behind ``|`` and ``;`` are labels wherever one of them recurs. Around other signs, which names of classes hold too
    (``polar bear`` and ``black bear``), all parts of a cell must be cells of their own, for most of the cells with the
    sign; or the cells must be far more than the parts that they are made of, as all combinations are.
    """
    different = list(dict.fromkeys(cells))
    for separator in SEPARATORS:
        if not any(separator in cell for cell in different):
            continue
        parts = {cell: split_cell(cell, separator) for cell in different}
        several = {cell: own for cell, own in parts.items() if len(own) > 1}
        if several and _RULES.get(separator, _alone_or_many)(several, parts):
            best = min(
                several, key=lambda cell: (not all(part in parts for part in several[cell]), len(cell))
            )
            labels = {part for own in parts.values() for part in own}
            example = f"{shown(best)} is {' and '.join(map(shown, several[best][:4]))}"
            return Combined(separator, (len(several), len(different)), len(labels), example)
    return None


Parts = Mapping[str, Sequence[str]]


def _recur(several: Parts, parts: Parts) -> bool:
    """Return whether a part of the cells with several comes again in another cell."""
    counts = Counter(part for own in parts.values() for part in set(own))
    return any(counts[part] > 1 for own in several.values() for part in own)


def _all_recur(several: Parts, parts: Parts) -> bool:
    """Return whether in most of the cells with several every part comes again in another cell."""
    counts = Counter(part for own in parts.values() for part in set(own))
    return 2 * sum(all(counts[part] > 1 for part in own) for own in several.values()) >= len(several)


def _alone_or_many(several: Parts, parts: Parts) -> bool:
    alone = sum(all(part in parts for part in own) for own in several.values())
    labels = {part for own in parts.values() for part in own}
    return 5 * alone >= 4 * len(several) or len(parts) >= 2 * len(labels)


_RULES: Mapping[str, Callable[[Parts, Parts], bool]] = {"|": _recur, ";": _recur, ",": _all_recur}
"""What shows that a sign is between labels; `_alone_or_many` for others."""
