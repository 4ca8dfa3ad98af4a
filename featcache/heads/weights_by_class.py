"""Weights that are given class by class: ``{"roses": 5, "daisy": 1}`` in Python, ``roses=5,daisy=1`` as text.

Settings keep them as text, sorted by name, so that equal weights are equal settings. A name that holds one of ``,;="``
or begins or ends with a blank stands in double quotes, as in JSON: ``"salt, pepper"=2``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from featcache.core.argument_types import spelled
from featcache.errors import UsageError, did_you_mean

NAME = "class_weights"
WORDS = ("none", "balanced")
EXAMPLE = "weights by class, such as roses=5,daisy=1"
LEAST, MOST = 1e-9, 1e9
"""Weights between which float32 holds a row's weight exactly enough."""

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ITEM = re.compile(rf'\s*(?:({_QUOTED})\s*|([^,;="]*))(?:=([^,;=]*))?(?:([,;])|$)')
_WHOLE = re.compile(r"-?[0-9]+")


def is_weights(text: Any) -> bool:
    """Whether a text is of weights by class; raises `UsageError` where they are written wrongly."""
    if not isinstance(text, str) or text in WORDS or "=" not in text:
        return False
    read_weights(text)
    return True


def read_weights(given: Any) -> str | dict[Any, float]:
    """Return ``"none"``, ``"balanced"`` or another word as it is, and weights by what their classes are called.

    Parameters
    ----------
    given
        A word, text such as ``"roses=5,daisy=1"``, or a mapping.

    Raises
    ------
    UsageError
        It is neither, names a class twice, or a weight is no number that can be learnt with.
    """
    if isinstance(given, str) and "=" not in given:
        return given
    if isinstance(given, str):
        pairs = [(name, weight) for name, weight, _ in _parts(given)]
    elif isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        raise UsageError(
            f"{spelled(NAME)} {given!r}: expected none, balanced, or a weight for each class, such as "
            "{'roses': 5, 'daisy': 1}"
        )
    found: dict[Any, float] = {}
    for key, weight in pairs:
        if isinstance(key, bool) or not isinstance(key, str | Integral):
            raise UsageError(f"{spelled(NAME)}: the key {key!r} is neither a class's name nor its number")
        if key in found:
            raise UsageError(f"{spelled(NAME)}: {key!r} is weighted twice; leave one out")
        found[key] = _weight(key, weight)
    return found


def weightings(text: str) -> list[str]:
    """Return the texts of several weightings: ``none,balanced,a=2,b=3;a=4`` are four, the third of two classes."""
    found: list[str] = []
    joins = False
    for name, weight, end in _parts(text, words=True):
        item = _quoted(name) + ("" if weight is None else f"={weight}")
        if joins and weight is not None:
            found[-1] += f",{item}"
        else:
            found.append(item)
        joins = weight is not None and end == ","
    return found


def named_weights(given: Any, classes: Sequence[str]) -> str:
    """Return weights as settings keep them, by name; a word as it is, and ``"none"`` for no weights.

    Parameters
    ----------
    given
        As `read_weights` takes it, or ``None``. A class is named, or is a whole number: its place among the classes.
    classes
        Names of all classes, in their order.

    Raises
    ------
    UsageError
        A class is unknown, is weighted twice, or is a number with two meanings; or no class weighs anything.
    """
    read = "none" if given is None else read_weights(given)
    if isinstance(read, str):
        return read
    found: dict[str, float] = {}
    for key, weight in read.items():
        name = _class_of(key, classes)
        if name in found:
            raise UsageError(
                f"{spelled(NAME)}: class {name!r} is weighted twice, once by its number; leave one out"
            )
        found[name] = weight
    if not any(found.get(name, 1.0) for name in classes):
        raise UsageError(
            f"{spelled(NAME)}: every class weighs 0, so there is nothing to learn; give one above 0"
        )
    return ",".join(f"{_quoted(name)}={_number(found[name])}" for name in sorted(found)) or "none"


def weights_of(text: str, classes: Sequence[str]) -> list[float]:
    """Return the weight of each class; 1 for those that are not named.

    Parameters
    ----------
    text
        Weights by class, as text.
    classes
        Names of all classes, in their order.

    Raises
    ------
    UsageError
        A class is unknown.
    """
    read = read_weights(named_weights(text, classes))
    assert isinstance(read, dict)
    return [read.get(name, 1.0) for name in classes]


def _class_of(key: Any, classes: Sequence[str]) -> str:
    if not isinstance(key, str):
        return _class_at(int(key), classes)
    if key in classes:
        return key
    if not _WHOLE.fullmatch(key) or any(map(_WHOLE.fullmatch, classes)):
        raise UsageError(f"{spelled(NAME)}: no class {key!r}; {did_you_mean(key, classes)}")
    return _class_at(int(key), classes)


def _class_at(key: int, classes: Sequence[str]) -> str:
    """Return a class by its number, unless the number may be the name of another."""
    numbers = any(map(_WHOLE.fullmatch, classes))
    here = classes[key] if 0 <= key < len(classes) else None
    if here is not None and (not numbers or here == str(key)):
        return here
    if str(key) in classes:
        other = (
            f"class number {key}, which is {here!r}" if here else f"class number {key}, which there is not"
        )
        raise UsageError(
            f"{spelled(NAME)}: {key} may mean the class {str(key)!r}, or {other}; give its name as text: "
            f"{{{str(key)!r}: …}}" + (f" or {{{here!r}: …}}" if here else "")
        )
    if here is None:
        raise UsageError(f"{spelled(NAME)}: no class number {key}; there are {len(classes)}, numbered from 0")
    raise UsageError(
        f"{spelled(NAME)}: no class is called {key}, and class number {key} is {here!r}; if that is meant, give its "
        f"name as text: {{{here!r}: …}}"
    )


def _parts(text: str, *, words: bool = False) -> Iterable[tuple[str, Any, str]]:
    """Yield name, weight as text, and what follows; a name without a weight has ``None``, where words are allowed."""
    place = 0
    while place < len(text):
        match = _ITEM.match(text, place)
        quoted, bare, weight, end = match.groups() if match else (None, None, None, None)
        name = _unquoted(quoted) if quoted else (bare or "").strip()
        wrong = weight is None and not (words and name)
        if match is None or not name or wrong or (end == ";" and not words):
            raise UsageError(
                f"{spelled(NAME)} {text!r}: expected {EXAMPLE}; a name with , ; = or quotes stands in double quotes"
            )
        yield name, weight, end or ""
        place = match.end()


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return ""


def _quoted(name: str) -> str:
    plain = name and not re.search(r'[,;="]', name) and name == name.strip()
    return name if plain else json.dumps(name, ensure_ascii=False)


def _number(weight: float) -> str:
    short = f"{weight:g}"
    return short if float(short) == weight else repr(weight)


def _weight(key: Any, given: Any) -> float:
    try:
        number = isinstance(given, str | Real) and not isinstance(given, bool)
        weight = float(given) if number else float("nan")
    except (ValueError, OverflowError):
        weight = float("nan")
    if weight == 0 or LEAST <= weight <= MOST:
        return abs(weight)
    raise UsageError(
        f"{spelled(NAME)}: the weight {given!r} of {key!r}: expected 0, or a number of {LEAST:g} to {MOST:g}"
    )
