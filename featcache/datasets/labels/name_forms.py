"""Forms that names of files have where they tell a class: ``cat.0.jpg``, ``great_dane_12.jpg``, ``12-dog.png``."""

import os
import re
from collections import Counter
from collections.abc import Sequence

from featcache.core.display import some

_BETWEEN = " ._-"
_LETTER = re.compile(r"[^\W\d_]")
_END = re.compile(r"( ?)\((\d+)\)\Z")
_LEAST = 2
"""Images of each class on average, below which a form is chance."""

Reading = tuple[str, str]
"""A pattern without the suffix, and the label that it finds."""


def told_classes(names: Sequence[str]) -> tuple[str, Counter[str]] | None:
    """Return the pattern by which names tell classes, and how many images each class would have.

    Parameters
    ----------
    names
        Of files, without folders.

    Returns
    -------
    tuple or None
        A template or regular expression for `featcache.datasets.labels.file_names`, which fits every name; ``None``
        where no form gives two classes or more with at least two images on average.
    """
    ended = [os.path.splitext(name) for name in names]
    suffixes = {suffix for _, suffix in ended}
    suffix = suffixes.pop() if len(suffixes) == 1 else ""
    for read in (_number_behind, _number_before, _first_word):
        found = [read(stem) for stem, _ in ended]
        patterns = {own[0] for own in found if own}
        classes = Counter(own[1] for own in found if own)
        if None in found or len(patterns) != 1 or not _plausible(classes):
            continue
        (pattern,) = patterns
        if "(?P" in pattern:
            return rf"{pattern}\.\w+$", classes
        return pattern + suffix, classes
    return None


def in_words(pattern: str, classes: Counter[str], besides: str = "") -> str:
    """Return what a pattern would give, such as ``"2 classes: cat 12, dog 13"``; with other options behind it."""
    counts = some([f"{name} {count}" for name, count in sorted(classes.items())])
    more = f" {besides}" if besides else ""
    return (
        f"--label-from '{pattern}'{more} (label_from= in Python) would give {len(classes)} classes: {counts}"
    )


def _plausible(classes: Counter[str]) -> bool:
    return len(classes) > 1 and classes.total() >= _LEAST * len(classes)


def _number_behind(stem: str) -> Reading | None:
    """Read ``cat.0``, ``cat_0``, ``cat (0)`` and ``cat0``."""
    if counted := _END.search(stem):
        label, pattern = stem[: counted.start()], f"{{label}}{counted[1]}({{}})"
    else:
        rest = stem.rstrip("0123456789")
        if rest == stem:
            return None
        between = rest[-1:] if rest[-1:] in _BETWEEN else ""
        label = rest[: len(rest) - len(between)]
        pattern = f"{{label}}{between}{{}}" if between else r"(?P<label>.*\D)\d+"
    return (pattern, label) if _LETTER.search(label) and label == label.strip() else None


def _number_before(stem: str) -> Reading | None:
    """Read ``0_cat``, ``0-cat``."""
    rest = stem.lstrip("0123456789")
    if rest == stem or rest[:1] not in _BETWEEN or not rest[1:].strip(_BETWEEN):
        return None
    return (f"{{}}{rest[0]}{{label}}", rest[1:]) if _LETTER.search(rest) else None


def _first_word(stem: str) -> Reading | None:
    """Read ``cat_a3f9``, where what is behind the label is no number."""
    between = next((sign for sign in "_.-" if sign in stem.strip(sign)), "")
    if not between:
        return None
    pattern = rf"^(?P<label>[^{re.escape(between)}]+){re.escape(between)}.*"
    found = re.match(pattern, stem)
    return (pattern, found["label"]) if found and _LETTER.search(found["label"]) else None
