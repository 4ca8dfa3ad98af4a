"""Labels and splits in MATLAB files: Oxford's Flowers, Stanford's Cars and Dogs, as their archives are unpacked.

- Flowers 102: ``setid.mat`` (``trnid``, ``valid``, ``tstid``), ``imagelabels.mat`` and ``jpg/image_00001.jpg``.
- Cars: ``cars_train_annos.mat``, ``cars_test_annos_withlabels.mat`` (or ``cars_test_annos.mat``, without labels) and
  ``cars_meta.mat``, in the folder or in ``devkit/``, with ``cars_train/`` and ``cars_test/``; or ``cars_annos.mat`` of
  all with ``car_ims/``.
- Dogs: ``train_list.mat``, ``test_list.mat`` and ``Images/``.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featcache.core.display import some
from featcache.datasets.formats.joined_lists import Find
from featcache.datasets.formats.listed_files import Entry, order_classes
from featcache.datasets.matlab.mat_file import read_mat
from featcache.errors import DataError

_FLOWERS = {"trnid": "train", "valid": "val", "tstid": "test"}
_CAR_PARTS = (
    ("cars_train_annos.mat", "train", "cars_train"),
    ("cars_test_annos_withlabels.mat", "test", "cars_test"),
    ("cars_test_annos.mat", "test", "cars_test"),
)
_DOG_PARTS = (("train_list.mat", "train"), ("test_list.mat", "test"))


class _Row(NamedTuple):
    """An image: the file that names it, its own name, its class, and its split."""

    file: Path
    name: str
    label: str
    split: str


def are_mat_lists(root: Path) -> bool:
    """Return whether a folder holds the MATLAB files of one of the datasets."""
    return _reader(root) is not None


def mat_entries(root: Path, find: Find, skipped: Counter[str], no_file: str) -> tuple[list[Entry], list[str]]:
    """Return the images that the MATLAB files in a folder name, and the names of all classes, in order.

    Parameters
    ----------
    root
        The folder, for which `are_mat_lists` holds.
    find, skipped, no_file
        As of `featcache.datasets.formats.joined_lists.joined_entries`.

    Raises
    ------
    DataError
        If a file cannot be read, or lacks what is expected in it.
    """
    read = _reader(root)
    rows, classes = read(root, skipped) if read else ([], [])
    entries = []
    for number, row in enumerate(rows, 1):
        if (found := find(row.name)) is None:
            skipped[no_file] += 1
            continue
        place = f"{row.file}, image {number}"
        entries.append(Entry(place, found[0], found[1], row.label, row.split, given=found[2]))
    return entries, classes or order_classes((row.label for row in rows), where=root)


def _reader(root: Path) -> "Callable[[Path, Counter[str]], tuple[list[_Row], list[str]]] | None":
    if all((root / name).is_file() for name in ("setid.mat", "imagelabels.mat")):
        return _flowers
    if _beside(root, "cars_annos.mat"):
        return _cars_in_one
    if _beside(root, _CAR_PARTS[0][0]):
        return _cars
    return _dogs if (root / _DOG_PARTS[0][0]).is_file() else None


def _beside(root: Path, name: str) -> Path | None:
    """Return the place of a file in the folder or in its ``devkit/``."""
    return next((place for place in (root / name, root / "devkit" / name) if place.is_file()), None)


def _within(root: Path, *folders: str) -> str:
    """Return the first of some folders that is there, as the beginning of names; nothing where none is."""
    return next((f"{folder}/" for folder in folders if (root / folder).is_dir()), "")


def _flowers(root: Path, skipped: Counter[str]) -> tuple[list[_Row], list[str]]:
    splits, file = read_mat(root / "setid.mat"), root / "imagelabels.mat"
    labels = _whole(read_mat(file), "labels", file)
    above = _within(root, "jpg")
    rows = []
    for variable, split in _FLOWERS.items():
        for number in _whole(splits, variable, root / "setid.mat"):
            if not 1 <= number <= len(labels):
                raise DataError(
                    f"{root / 'setid.mat'}: {variable} names image {number}, and {file} has {len(labels)} labels; "
                    "expected numbers from 1 on"
                )
            rows.append(
                _Row(root / "setid.mat", f"{above}image_{number:05d}.jpg", str(labels[number - 1]), split)
            )
    return rows, []


def _cars(root: Path, skipped: Counter[str]) -> tuple[list[_Row], list[str]]:
    meta = _beside(root, "cars_meta.mat")
    classes = _class_names(read_mat(meta), meta) if meta else []
    rows: list[_Row] = []
    for name, split, folder in _CAR_PARTS:
        file = _beside(root, name)
        if file is None or split in {row.split for row in rows}:
            continue
        above = _within(root, f"{folder}/{folder}", folder)
        annotations = _structures(read_mat(file), file)
        labelled = [own for own in annotations if "class" in own]
        if len(labelled) < len(annotations):
            skipped[f"without labels ({name})"] += len(annotations) - len(labelled)
        rows += (
            _Row(file, above + _text(own, "fname", file), _class(own, classes, file), split)
            for own in labelled
        )
    return rows, classes


def _cars_in_one(root: Path, skipped: Counter[str]) -> tuple[list[_Row], list[str]]:
    file = _beside(root, "cars_annos.mat") or root
    held = read_mat(file)
    classes = _class_names(held, file)
    rows = [
        _Row(
            file,
            _text(own, "relative_im_path", file),
            _class(own, classes, file),
            "test" if _whole(own, "test", file)[:1] == [1] else "train",
        )
        for own in _structures(held, file)
    ]
    return rows, classes


def _dogs(root: Path, skipped: Counter[str]) -> tuple[list[_Row], list[str]]:
    above = _within(root, "Images")
    rows: list[_Row] = []
    for name, split in _DOG_PARTS:
        file = root / name
        names = read_mat(file).get("file_list") if file.is_file() else []
        if not isinstance(names, list) or not all(isinstance(own, str) and "/" in own for own in names):
            raise DataError(
                f"{file} has no file_list of names such as n02085620-Chihuahua/n02085620_5927.jpg"
            )
        rows += (_Row(file, above + own, own.split("/")[-2], split) for own in names)
    return rows, []


# Values -------------------------------------------------------------------------------------------------------


def _whole(held: Mapping[str, Any], name: str, file: Path) -> list[int]:
    values = held.get(name)
    if not isinstance(values, np.ndarray) or not np.array_equal(values, np.trunc(values)):
        raise DataError(f"{file} has no whole numbers called {name!r}; {_known(held)}")
    return [int(value) for value in values]


def _text(held: Mapping[str, Any], name: str, file: Path) -> str:
    value = held.get(name)
    if not isinstance(value, str) or not value:
        raise DataError(f"{file}: an image has no text called {name!r}; {_known(held)}")
    return value


def _structures(held: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    found = held.get("annotations")
    if not isinstance(found, list) or not found or not all(isinstance(own, dict) for own in found):
        raise DataError(f"{file} has no structures called 'annotations'; {_known(held)}")
    return found


def _class_names(held: Mapping[str, Any], file: Path) -> list[str]:
    names = held.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{file} has no names called 'class_names'; {_known(held)}")
    if len({*names}) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"{file} names the class {twice!r} twice; expected every class once")
    return names


def _class(held: Mapping[str, Any], classes: list[str], file: Path) -> str:
    """Return the name of the class of a car, or its number where there are no names."""
    number = next(iter(_whole(held, "class", file)), 0)
    if not classes:
        return str(number)
    if not 1 <= number <= len(classes):
        raise DataError(f"{file}: class {number}, but {len(classes)} are named; expected 1 to {len(classes)}")
    return classes[number - 1]


def _known(held: Mapping[str, Any]) -> str:
    return f"known: {some([*held])}" if held else "it holds nothing"
