"""Names of classes in a file of their own, for labels that are places in it: ``names=classes.txt``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.core.disk.names import read_file, require_file
from featcache.core.documents.json_text import MOST_BYTES, first_repeated, parse
from featcache.datasets.dataset import access_errors
from featcache.datasets.formats.text_lines import text_lines
from featcache.datasets.names import shown, why_not_kept
from featcache.errors import DataError, did_you_mean

EXPECTED = "a name on each line, or in JSON a list of names or an object of numbers and names"
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_WHOLE_OR_FLOAT = re.compile(r"([+-]?\d{1,18})(?:\.0*)?")
_NUMBERED = re.compile(r"(\d{1,9})[\s,:=]+(\S.*)")


@dataclass(frozen=True)
class ClassNames:
    """Names of classes, and the number of each.

    Parameters
    ----------
    file
        Where they are written.
    by_number
        In the order of the file.
    counted
        Whether the numbers are only the names' places, counted from 0.
    """

    file: Path
    by_number: Mapping[int, str]
    counted: bool

    def name(self, labels: Sequence[Sequence[str]], places: Sequence[str]) -> list[list[str]]:
        """Return labels by the names that they are, or are the numbers of.

        Numbers count from 0; or from 1 where they go from 1 to the number of names and the file does not number them.

        Parameters
        ----------
        labels
            Of each row, as written.
        places
            Of each row, for messages.

        Raises
        ------
        DataError
            If a label is neither a number nor a name, or a number has no name; says where.
        """
        known = set(self.by_number.values())
        written = {label for row in labels for label in row}
        if written <= known:
            return [list(row) for row in labels]
        numbers = {label: int(match[1]) for label in written if (match := _WHOLE_OR_FLOAT.fullmatch(label))}
        count = len(self.by_number)
        first = int(
            self.counted and bool(numbers) and min(numbers.values()) == 1 and max(numbers.values()) == count
        )
        for row, place in zip(labels, places, strict=True):
            for label in row:
                if label not in numbers:
                    hint = did_you_mean(label, known)
                    raise DataError(
                        f"{place}: {shown(label)} is neither a number nor a name in {self.file}; {hint}"
                    )
                if numbers[label] - first not in self.by_number:
                    raise DataError(f"{place}: no class {label} in {self.file}, {self._numbers()}")
        return [[self.by_number[numbers[label] - first] for label in row] for row in labels]

    def _numbers(self) -> str:
        count, numbers = len(self.by_number), self.by_number
        if self.counted:
            return f"which names {count}: expected 0 to {count - 1}, or 1 to {count} everywhere"
        return f"which numbers {count}, from {min(numbers)} to {max(numbers)}"

    def order(self, used: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the names that are used, and those that are not, both in the order of the file."""
        taken = set(used)
        names = list(self.by_number.values())
        return [name for name in names if name in taken], [name for name in names if name not in taken]


def read_class_names(file: Path) -> ClassNames:
    """Read names of classes.

    A text file has one on each line, in the order of their numbers from 0; or a number in front of each. JSON has a
    list of them, or an object of numbers and names in whichever direction.

    Raises
    ------
    MissingFileError
        If there is no such file.
    DataError
        If it cannot be read, is too large, or names a class twice.
    """
    with access_errors(file):
        require_file(file, f"names of classes: {EXPECTED}", missing=f"no file {file}; expected {EXPECTED}")
        text = read_file(file, MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise DataError(f"{file} has more than {MOST_BYTES:,} bytes; expected {EXPECTED}")
    is_json = file.suffix.casefold() == ".json" or text.lstrip()[:1] in (b"{", b"[")
    found = _from_json(text, file) if is_json else _from_lines(file)
    names = list(found.by_number.values())
    if not names:
        raise DataError(f"{file} names no class; expected {EXPECTED}")
    if (twice := first_repeated(names)) is not None:
        raise DataError(f"{file} names the class {shown(twice)} twice; expected every class once")
    if wrong := next((name for name in names if why_not_kept(name)), None):
        raise DataError(f"{file}: the name {shown(wrong)} {why_not_kept(wrong)}")
    return found


def _from_lines(file: Path) -> ClassNames:
    lines = [line.strip() for _, line in text_lines(file) if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        by_number = {int(match[1]): match[2] for match in numbered if match}
        if len(by_number) == len(lines):
            return ClassNames(file, by_number, counted=False)
    return ClassNames(file, dict(enumerate(lines)), counted=True)


def _from_json(text: bytes, file: Path) -> ClassNames:
    try:
        found = parse(text)
    except ValueError as error:
        raise DataError(f"{file} is no JSON that can be read: {error}; expected {EXPECTED}") from None
    if isinstance(found, list) and all(isinstance(name, str) and name.strip() for name in found):
        return ClassNames(file, {number: name.strip() for number, name in enumerate(found)}, counted=True)
    pairs = _numbers_and_names(found) if isinstance(found, dict) else None
    if pairs is None:
        raise DataError(f"{file} holds something else; expected {EXPECTED}")
    by_number = dict(sorted(pairs))
    if len(by_number) < len(pairs):
        raise DataError(f"{file} gives two classes one number; expected a number for each")
    return ClassNames(file, by_number, counted=False)


def _numbers_and_names(found: Mapping[str, Any]) -> list[tuple[int, str]] | None:
    """Return the pairs of ``{"0": "cat"}`` or ``{"cat": 0}``; ``None`` of others."""
    if all(type(value) is int for value in found.values()):
        return [(number, name.strip()) for name, number in found.items() if name.strip()]
    if all(_WHOLE.fullmatch(key) and isinstance(name, str) and name.strip() for key, name in found.items()):
        return [(int(key), name.strip()) for key, name in found.items()]
    return None
