"""Names of images, classes and splits: what a cache cannot store as it was given is refused before any work."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from featcache.errors import DataError

MOST = 10_000
"""Longest name in characters."""
_MOST_DIGITS = 1000
"""Of a number in a name; Python converts no more than 4300, and takes long for many."""


def why_not_kept(name: str) -> str:
    r"""Return why a cache cannot hold a name, as the end of a sentence about it; nothing if it can.

    Examples
    --------
    >>> why_not_kept("cat/1.jpg"), why_not_kept("cat\0")
    ('', 'holds a NUL byte')
    """
    if "\0" in name:
        return "holds a NUL byte"
    if len(name) > MOST:
        return f"has {len(name):,} characters; expected at most {MOST:,}"
    if name.isascii():  # by far the most, and at once
        return ""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "holds half of a surrogate pair; write the whole character"
    return ""


def shown(name: str) -> str:
    """Return a name for a message: quoted, and the beginning of a long one."""
    return repr(shortened(name))


def shortened(name: str) -> str:
    """Return a name for a message: the beginning of a long one."""
    return name if len(name) <= 100 else f"{name[:80]}…"


def confusable(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of different names that people take for one.

    Names of a group are equal once their Unicode form (NFKC), upper and lower case, and spaces around them do not
    count: what one system writes as ``"é"``, another writes as ``"e"`` with an accent behind it.

    Parameters
    ----------
    names
        Of classes, folders or files; the same name may come again.

    Returns
    -------
    list of tuple
        Of two names or more each; groups, and names in them, in the order in which they come first.

    Examples
    --------
    >>> confusable(["cat", "dog", "Cat", "cat ", "cat"])
    [('cat', 'Cat', 'cat ')]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(folded(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def alike(classes: Sequence[str]) -> Iterator[str]:
    """Yield notes for the user on the classes that are `confusable`."""
    for group in confusable(classes):
        yield (
            f"classes {told_apart(group)} differ only in case, blanks or the form of their letters; if they are one, "
            "write it the same way everywhere"
        )


def told_apart(names: Sequence[str]) -> str:
    r"""Return `confusable` names for a message: those that look the same with the numbers of their letters.

    Examples
    --------
    >>> told_apart(("cat", "Cat"))
    "'cat' and 'Cat'"
    >>> told_apart(("\u00e9", "e\u0301")) == r"'\xe9' and 'e\u0301'"
    True
    """
    looks = {unicodedata.normalize("NFKC", name) for name in names}
    return " and ".join(map(repr if len(looks) == len(names) else ascii, names))


def folded(name: str, form: Literal["NFC", "NFKC"] = "NFKC") -> str:
    r"""Return what names have in common that differ in case, blanks at their ends and Unicode form alone.

    Parameters
    ----------
    name
        Of a class, a folder or a file.
    form
        ``"NFKC"`` also takes for one what looks alike, such as a raised 2 and a 2; ``"NFC"`` only what is one letter,
        however it is stored.

    Examples
    --------
    >>> folded("Cafe\u0301 ") == folded("caf\u00e9"), folded("m\u00b2"), folded("m\u00b2", "NFC")
    (True, 'm2', 'm²')
    """
    if name.isascii():  # by far the most, and at once
        return name.casefold().strip()
    # Twice: what folding the case leaves may have another form.
    return unicodedata.normalize(form, unicodedata.normalize(form, name).casefold()).strip()


def require_kept(ids: Iterable[str], spec: str) -> None:
    """Raise `DataError` naming the first image whose id a cache cannot hold.

    Parameters
    ----------
    ids
        Of all images of a dataset.
    spec
        The dataset, for the message.
    """
    for row, name in enumerate(ids):
        if why := why_not_kept(name):
            raise DataError(f"{spec}: the name of image {row}, {shown(name)}, {why}")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which numbers count as numbers: 1, 2, 10 and not 1, 10, 2."""
    parts = (part for part in re.split(r"(\d+)", name) if part)
    numbers_as_numbers = (
        (0, int(part), "") if part.isdecimal() and len(part) <= _MOST_DIGITS else (1, 0, part.casefold())
        for part in parts
    )
    return (*numbers_as_numbers, (2, 0, name))
