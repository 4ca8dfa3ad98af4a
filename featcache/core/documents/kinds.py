"""Kinds of values, of which formats are made.

A format reads as a description of the document::

    LAYER = Record(
        {"name": Text(1, 1000), "shape": Items(Whole(1, 2**31), most=8), "dtype": Text(choices=("float16", "float32"))},
        {"views": Whole(1, 10_000)},  # which may be missing
    )

Code behind the check relies on it. What does not fit is refused with the key, what stands there and what was expected.
Keys that a format does not name are left alone: a newer featcache may write more.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from featcache.core.documents.json_text import MOST_VALUES, first_repeated

_LONGEST_SHOWN = 40


class Misfit(ValueError):  # noqa: N818 - what it is about, as in `Interrupted`
    """A value that does not fit a format.

    Parameters
    ----------
    problem
        What is wrong with it, such as ``"is 'seven', expected a whole number"``.
    place
        Keys and indices that lead to it, such as ``".layers[0].shape"``.
    """

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"{place.lstrip('.') or 'it'} {problem}")
        self.problem, self.place = problem, place

    def inside(self, step: str) -> "Misfit":
        """Return the same, as seen from the object or list around it."""
        return Misfit(self.problem, step + self.place)


def shown(value: Any) -> str:
    """Return a value of a document for a message: short and printable."""
    if isinstance(value, str):
        return f"'{printable(value)}'"
    if isinstance(value, dict):
        return "an object"
    return f"a list of {len(value)}" if isinstance(value, list) else printable(json.dumps(value))


def printable(text: str) -> str:
    """Return a text of a document for a message: shortened, and what cannot be printed escaped."""
    text = text[: _LONGEST_SHOWN + 1]
    text = text if text.isprintable() and text.isascii() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


class Kind:
    """What a value may be. The class itself is any value: of what is recorded, and not used."""

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        return "any value"

    def check(self, value: Any) -> None:
        """Raise `Misfit` for a value that is something else."""
        if not self._accepts(value):
            raise Misfit(f"is {shown(value)}, expected {self.expected}")
        self._check_parts(value)

    def _accepts(self, value: Any) -> bool:
        return True

    def _check_parts(self, value: Any) -> None:
        """Check what is in an object or a list."""


ANYTHING = Kind()


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number within limits; by default one of 64 bits."""

    least: int = -(2**63)
    most: int = 2**63 - 1

    @property
    def expected(self) -> str:
        """The limits in words."""
        if self == Whole():
            return "a whole number of 64 bits"
        few = self.most < 2**31
        return (
            f"a whole number of {self.least} to {self.most}"
            if few
            else f"a whole number of at least {self.least}"
        )

    def _accepts(self, value: Any) -> bool:
        return type(value) is int and self.least <= value <= self.most


@dataclass(frozen=True)
class Number(Kind):
    """A finite number within limits."""

    least: float = -math.inf
    most: float = math.inf

    @property
    def expected(self) -> str:
        """The limits in words."""
        if self.least < -1e30:
            return "a number" + (f" of at most {self.most:g}" if self.most < math.inf else "")
        return f"a number of at least {self.least:g}" + (
            f", at most {self.most:g}" if self.most < math.inf else ""
        )

    def _accepts(self, value: Any) -> bool:
        return type(value) in (int, float) and self.least <= value <= self.most


class Flag(Kind):
    """True or false."""

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        return "true or false"

    def _accepts(self, value: Any) -> bool:
        return type(value) is bool


@dataclass(frozen=True)
class Text(Kind):
    """A text with so many characters, or one of some words, or one that a pattern matches as a whole.

    Parameters
    ----------
    least, most
        Number of characters.
    choices
        The words that it may be; any where there are none.
    pattern, means
        Regular expression, and what it means.
    """

    least: int = 0
    most: int = 10_000
    choices: Collection[str] = ()
    pattern: str = ""
    means: str = ""

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return self.means or f"a text of {self.least} to {self.most:,} characters"

    def _accepts(self, value: Any) -> bool:
        return (
            isinstance(value, str)
            and self.least <= len(value) <= self.most
            and (not self.choices or value in self.choices)
            and (not self.pattern or re.fullmatch(self.pattern, value) is not None)
        )


SHA256 = Text(pattern="[0-9a-f]{64}", means="64 hexadecimal digits")

PRINTABLE = Text(pattern=r"[^\x00-\x1f\x7f-\x9f]*", means="a text without control characters")

PATH = Text(1, 4096, pattern="[^\0\ud800-\udc7f\udd00-\udfff]+", means="the path of a file")
"""What the operating system can be given: no zero byte, and lone surrogates only of names that are no UTF-8."""


@dataclass(frozen=True)
class Maybe(Kind):
    """Another kind of value, or null."""

    kind: Kind

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        return f"{self.kind.expected}, or null"

    def _accepts(self, value: Any) -> bool:
        return value is None or self.kind._accepts(value)

    def _check_parts(self, value: Any) -> None:
        if value is not None:
            self.kind._check_parts(value)


@dataclass(frozen=True)
class Items(Kind):
    """A list of so many values of one kind; texts may be asked to differ."""

    kind: Kind
    least: int = 0
    most: int = MOST_VALUES
    distinct: bool = False

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most:,}"
        return f"a list of {count} values"

    def _accepts(self, value: Any) -> bool:
        return isinstance(value, list) and self.least <= len(value) <= self.most

    def _check_parts(self, value: Any) -> None:
        for index, item in enumerate(value):
            _check_at(self.kind, f"[{index}]", item)
        if self.distinct and (twice := first_repeated(value)) is not None:
            raise Misfit(f"holds {shown(twice)} twice, expected each name once")


class _Object(Kind):
    """An object, with whatever keys."""

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        return "an object"

    def _accepts(self, value: Any) -> bool:
        return isinstance(value, dict)


@dataclass(frozen=True)
class Table(_Object):
    """An object with any keys, whose values are all of one kind."""

    kind: Kind = ANYTHING
    names: Text = field(default_factory=Text)

    def _check_parts(self, value: Any) -> None:
        for name, item in value.items():
            if not self.names._accepts(name):
                raise Misfit(f"has the key {shown(name)}, expected {self.names.expected}")
            _check_at(self.kind, f".{printable(name)}", item)


@dataclass(frozen=True)
class Record(_Object):
    """An object with some keys, each with its own kind of value.

    Parameters
    ----------
    required
        The keys that are always there.
    optional
        Those that may be missing.
    closed
        Whether there are no others; else others are left alone.
    """

    required: Mapping[str, Kind]
    optional: Mapping[str, Kind] = field(default_factory=dict)
    closed: bool = False

    def _check_parts(self, value: Any) -> None:
        for name, kind in self.required.items():
            if name not in value:
                raise Misfit(f"is missing, expected {kind.expected}", f".{name}")
        kinds = {**self.required, **self.optional}
        for name, kind in kinds.items():
            if name in value:
                _check_at(kind, f".{name}", value[name])
        if self.closed and (unknown := next((name for name in value if name not in kinds), None)) is not None:
            raise Misfit(f"has the key {shown(unknown)}, expected {', '.join(kinds)}")


@dataclass(frozen=True)
class Word(Kind):
    """One word, or a value of another kind."""

    word: str
    kind: Kind

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        return f"'{self.word}' or {self.kind.expected}"

    def _accepts(self, value: Any) -> bool:
        return value == self.word or self.kind._accepts(value)

    def _check_parts(self, value: Any) -> None:
        if value != self.word:
            self.kind._check_parts(value)


def _check_at(kind: Kind, step: str, item: Any) -> None:
    try:
        kind.check(item)
    except Misfit as misfit:
        raise misfit.inside(step) from None
