"""Lists joined by an image's number, as CUB-200-2011 and NABirds are unpacked, and the lists of Oxford's pets.

``images.txt`` has a line ``ID PATH`` for each image, ``image_class_labels.txt`` a line ``ID CLASS``, ``classes.txt`` a
line ``CLASS NAME``, and ``train_test_split.txt``, which may be missing, a line ``ID 1`` for an image that trains and
``ID 0`` for one that tests.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.formats.listed_files import Entry
from featcache.datasets.formats.text_lines import text_lines
from featcache.datasets.names import shortened, shown
from featcache.errors import DataError, did_you_mean

IMAGES, LABELS, CLASSES, SPLIT = "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"
_SPLITS = {"1": "train", "0": "test"}
_PET = re.compile(r"(?P<name>(?P<label>\S+)_\d+)((?:\s+\d+){2,3})")

Find = Callable[[str], tuple[str, str, str] | None]
"""From the name of an image to its whole name, its path, and the name as written where another one led there.

``None`` where there is no such file.
"""


def are_joined(root: Path) -> bool:
    """Return whether a folder holds lists that are joined by images' numbers."""
    return all((root / name).is_file() for name in (IMAGES, LABELS, CLASSES))


def joined_entries(
    root: Path, find: Find, skipped: Counter[str], no_file: str
) -> tuple[list[Entry], list[str]]:
    """Return the images of lists that are joined by numbers, and the names of all classes, in their file's order.

    Parameters
    ----------
    root
        The folder that holds the lists.
    find
        How an image is found by its name.
    skipped
        Counts of what is left out, to be added to.
    no_file
        The reason for images without a file.

    Raises
    ------
    DataError
        If an image has no class or no split, a class has no name or that of another, or something is listed twice.
    """
    names = _pairs(root / CLASSES, "class")
    labels = _pairs(root / LABELS, "image")
    splits = _pairs(root / SPLIT, "image") if (root / SPLIT).is_file() else None
    entries = [
        Entry(
            place=place,
            id=found[0],
            path=found[1],
            label=_class_of(own, labels, names, root),
            split=UNSPLIT if splits is None else _split_of(own, splits, root),
            given=found[2],
        )
        for own, (name, place) in _pairs(root / IMAGES, "image").items()
        if (found := _found(name, find, skipped, no_file))
    ]
    _refuse_one_name_for_two(labels, names, root)
    return entries, [name for name, _ in names.values()]


def pet_label(line: str) -> tuple[str, str] | None:
    """Return the name and the breed in a line of the lists of Oxford's pets, such as ``Abyssinian_100 1 1 1``.

    The numbers behind the name are the class, the species and the breed within its species; the breed's name is that of
    the image without its number. ``None`` for other lines.
    """
    match = _PET.fullmatch(line)
    return (match["name"], match["label"]) if match else None


def _pairs(file: Path, what: str) -> dict[str, tuple[str, str]]:
    """Return the first word of each line to what follows it, and the line's place."""
    pairs: dict[str, tuple[str, str]] = {}
    for number, text in text_lines(file):
        key, _, value = text.strip().partition(" ")
        place = f"{file}, line {number}"
        if not key:
            continue
        if not value.strip():
            raise DataError(
                f"{place}: {shown(key)} stands alone; expected the {what}'s number and what belongs to it"
            )
        if key in pairs:
            raise DataError(
                f"{place}: the {what} {shortened(key)} is listed twice, also in {pairs[key][1]}; keep one"
            )
        pairs[key] = value.strip(), place
    return pairs


def _found(name: str, find: Find, skipped: Counter[str], no_file: str) -> tuple[str, str, str] | None:
    found = find(name)
    if found is None:
        skipped[no_file] += 1
    return found


def _class_of(
    own: str, labels: Mapping[str, tuple[str, str]], names: Mapping[str, tuple[str, str]], root: Path
) -> str:
    if own not in labels:
        raise DataError(
            f"{root / LABELS} has no class for the image {own} of {IMAGES}; expected one for each"
        )
    number, place = labels[own]
    if number not in names:
        raise DataError(
            f"{place}: class {number!r} is not in {root / CLASSES}; {did_you_mean(number, names)}"
        )
    return names[number][0]


def _split_of(own: str, splits: Mapping[str, tuple[str, str]], root: Path) -> str:
    if own not in splits:
        raise DataError(
            f"{root / SPLIT} does not say where the image {own} of {IMAGES} belongs; expected 1 or 0"
        )
    number, place = splits[own]
    if number not in _SPLITS:
        raise DataError(f"{place}: {number!r}; expected 1 for an image that trains, 0 for one that tests")
    return _SPLITS[number]


def _refuse_one_name_for_two(
    labels: Mapping[str, tuple[str, str]], names: Mapping[str, tuple[str, str]], root: Path
) -> None:
    """Refuse one name of two classes that have images; of classes above them, as NABirds has, it may repeat."""
    taken: dict[str, str] = {}
    for number in dict.fromkeys(number for number, _ in labels.values()):
        if number in names and (other := taken.setdefault(names[number][0], number)) != number:
            raise DataError(
                f"{root / CLASSES} gives the classes {other} and {number} one name, {names[number][0]!r}; "
                "expected every class once"
            )
