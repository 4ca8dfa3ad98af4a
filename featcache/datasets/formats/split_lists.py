"""Split lists: ``lists:food-101/``, images in one place and text files that say which of them train and which test.

As Food-101 is unpacked: ``images/CLASS/NUMBER.jpg``, ``meta/train.txt`` and ``meta/test.txt`` with a line
``CLASS/NUMBER`` for each image, and ``meta/classes.txt`` with the names of the classes. Or lists beside the images, as
they are written for Caffe: ``train.txt``, ``val.txt``, ``test.txt`` with lines ``path label``. Or as Oxford's pets and
CUB-200-2011 are unpacked (`featcache.datasets.formats.joined_lists`), or Oxford's flowers and Stanford's cars
(`featcache.datasets.matlab.mat_lists`).
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from featcache.core.disk.names import expanded, meant_folders, require_file, require_folder
from featcache.core.tasks import MULTICLASS, UNLABELLED
from featcache.core.warning import warn
from featcache.datasets.dataset import Dataset, access_errors, features_alone
from featcache.datasets.formats.joined_lists import IMAGES, Find, are_joined, joined_entries, pet_label
from featcache.datasets.formats.listed_files import Entry, order_classes, tell_spellings, to_dataset
from featcache.datasets.formats.text_lines import text_lines
from featcache.datasets.left_out import without_images
from featcache.datasets.matlab.mat_lists import are_mat_lists, mat_entries
from featcache.datasets.paths.finding import taken_twice
from featcache.datasets.paths.listed_images import ListedImages
from featcache.datasets.paths.near import described
from featcache.datasets.paths.options import KEYS, PathOptions, read_roots
from featcache.datasets.spec_options import read_options
from featcache.errors import DataError, MissingFileError, did_you_mean
from featcache.splits.slices import SPLITS

LAYOUTS = (
    "expected meta/train.txt and meta/test.txt beside images/, or train.txt, val.txt, test.txt in the folder, or "
    "images.txt, image_class_labels.txt and classes.txt"
)
_CLASS_FILES = ("classes.txt", "labels.txt")
_NUMBER = re.compile("[0-9]{1,9}")
_ALL_BUT_TEST = "trainval.txt"
"""Where it is not beside lists of its two parts, as in the Pascal challenge, it is the training list."""
_NO_FILE = "in a list, without a file"

_Read = Callable[[Path, ListedImages, Counter[str], str], tuple[Sequence[Entry], list[str]]]


def open_lists(path: str, *, unlabelled: bool = False) -> Dataset:
    """Read split lists and find the images they name; nothing is opened but the lists.

    A line names one image: relative to ``images/`` where there is such a folder, otherwise (or where it is not found
    there) to the folder itself, with or without its suffix. The folder that an image is in names its class, unless a
    label follows the name behind a space or a tab: a whole number is a place in ``classes.txt``, counted from 0, or
    from 1 where the numbers go from 1 to the number of classes; other text is the name itself. Without
    ``classes.txt`` (or ``labels.txt``), classes are in natural order, or by value.

    Entries without a file are left out and counted; a warning says which option would find them. What differs from a
    file's name in spelling alone (case, backslashes, ``%20``, blanks, the form of letters) is taken, with a warning.

    Parameters
    ----------
    path
        The folder; ``~`` is expanded. Options may stand behind it: ``?root=FOLDER`` for the images, ``suffix=.jpg``,
        ``map=OLD:NEW`` (`featcache.datasets.paths.options`).
    unlabelled
        Whether to leave labels out, which need not be there then.

    Raises
    ------
    MissingFileError
        If the folder does not exist, or no entry has a file.
    DataError
        If there are no lists or nothing in them, an entry can mean two files, has no class or an unknown one, is in
        two lists, or there is a single class.
    """
    plain_path, options = read_options("lists", path, KEYS)
    root, paths = expanded(plain_path), PathOptions.read(options.get("suffix"), options.get("map"))
    with access_errors(root):
        require_folder(root, f"a folder of split lists; {LAYOUTS}", missing=f"no folder {root}; {LAYOUTS}")
    files = ListedImages(_bases(root, options.get("root", "")), paths)
    skipped: Counter[str] = Counter()
    read = _reader(root) or partial(_listed, unlabelled=unlabelled)
    entries, classes = read(root, files, skipped, f"lists:{path}")
    classes = [] if unlabelled else classes
    present = {entry.label for entry in entries}
    skipped.update(without_images([name for name in classes if name not in present]))
    return to_dataset(
        entries,
        [name for name in classes if name in present],
        spec=f"lists:{path}",
        name=root.resolve().name or "dataset",
        lookup=LAYOUTS,
        location=f"lists:{root.resolve()}" + "".join(f"?{key}={value}" for key, value in options.items()),
        folder=root,
        skipped=skipped,
        task=UNLABELLED if unlabelled else MULTICLASS,
    )


def _reader(root: Path) -> _Read | None:
    """Return what reads the lists of a folder that are no text files of images alone; ``None`` where they are such."""
    if are_joined(root):
        return partial(_joined, entries_of=joined_entries, lists=root / IMAGES)
    return partial(_joined, entries_of=mat_entries, lists=root) if are_mat_lists(root) else None


def _joined(
    root: Path,
    files: ListedImages,
    skipped: Counter[str],
    spec: str,
    *,
    entries_of: Callable[[Path, Find, Counter[str], str], tuple[Sequence[Entry], list[str]]],
    lists: Path,
) -> tuple[Sequence[Entry], list[str]]:
    entries, classes = entries_of(root, files.find_or_note, skipped, _NO_FILE)
    entries = _without_doubtful(entries, files, skipped, spec)
    _refuse_unusable(entries, skipped, [str(lists)], files, spec, root)
    return entries, classes


def _listed(
    root: Path, files: ListedImages, skipped: Counter[str], spec: str, *, unlabelled: bool
) -> tuple[Sequence[Entry], list[str]]:
    with access_errors(root):
        folder, lists = _find_lists(root)
    entries = [
        entry
        for list_file, split in lists
        for entry in _entries(list_file, split, files, skipped, unlabelled=unlabelled)
    ]
    entries = _without_doubtful(entries, files, skipped, spec)
    _refuse_unusable(entries, skipped, [str(file) for file, _ in lists], files, spec, root)
    return (entries, []) if unlabelled else _name_classes(entries, folder)


def _bases(root: Path, given: str) -> tuple[str, ...]:
    """Return the folders that entries are relative to."""
    if given:
        return tuple(str(base) for base in read_roots(given, root, "the lists' folder"))
    return tuple(str(base) for base in (root / "images", root) if base.is_dir())


def _find_lists(root: Path) -> tuple[Path, list[tuple[Path, str]]]:
    """Return the folder of the lists, and each list with its split."""
    for folder in (root / "meta", root, root / "annotations"):
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        splits = {name: SPLITS.get(Path(name).stem.casefold()) for name in names if name.endswith(".txt")}
        if _ALL_BUT_TEST in splits and not {"train", "val"} & {*splits.values()}:
            splits[_ALL_BUT_TEST] = "train"
        if lists := [(folder / name, split) for name, split in splits.items() if split]:
            for list_file, _ in lists:
                require_file(list_file, "a split list")
            return folder, sorted(lists, key=lambda each: ("train", "val", "test").index(each[1]))
    raise DataError(f"{root} holds no split lists; {meant_folders('lists', root, _holds_lists) or LAYOUTS}")


def _holds_lists(root: Path) -> bool:
    return any((folder / "train.txt").is_file() for folder in (root / "meta", root))


# Lines ------------------------------------------------------------------------------------------------------


def _entries(
    list_file: Path, split: str, files: ListedImages, skipped: Counter[str], *, unlabelled: bool = False
) -> Iterator[Entry]:
    labelled: dict[bool, str] = {}
    for number, text in text_lines(list_file):
        line = text.strip()
        if not line:
            continue
        place = f"{list_file}, line {number}"
        found = _find(line, files)
        if found is None:
            skipped[_NO_FILE] += 1
            continue
        name, path, label, written = found
        given = files.given(written)
        if unlabelled:
            yield Entry(place=place, id=name, path=path, label="", split=split, given=given)
            continue
        if other := labelled.get(not label):
            with_label, without = (place, other) if label else (other, place)
            raise DataError(
                f"{with_label} has a label and {without} has none; write one in every line, or in none"
            )
        labelled.setdefault(bool(label), place)
        label = label or os.path.basename(os.path.dirname(name))
        if not label:
            raise DataError(
                f"{place}: {line!r} has no label and is in no folder that would be one; expected 'CLASS/IMAGE', or "
                f"'IMAGE LABEL'; {features_alone(f'lists:{list_file.parent}')}"
            )
        yield Entry(place=place, id=name, path=path, label=label, split=split, given=given)


def _find(line: str, files: ListedImages) -> tuple[str, str, str, str] | None:
    """Return name, path, label (``""`` if there is none) and written name of a line; names may hold spaces."""
    name, _, label = line.rpartition("\t") if "\t" in line else _last_word(line)
    name = name.strip()
    for find in (files.find, files.find_spelled):
        if "\t" not in line and (found := find(line)):
            return *found, "", line
        if (pet := pet_label(line)) and (found := find(pet[0])):
            return *found, pet[1], pet[0]
        if name and (found := find(name)):
            return *found, label.strip(), name
    files.missing.append(name or line)
    return None


def _without_doubtful(
    entries: Sequence[Entry], files: ListedImages, skipped: Counter[str], spec: str
) -> Sequence[Entry]:
    """Leave out entries in another spelling that name the file of another entry, too; tell of those that stay."""
    spelled = [files.led.get(entry.given, False) for entry in entries]
    doubtful = {*taken_twice([entry.path for entry in entries], spelled)}
    if doubtful:
        skipped[_NO_FILE] += len(doubtful)
    tell_spellings(
        [entry for number, entry in enumerate(entries) if spelled[number] and number not in doubtful],
        len(entries),
        spec,
    )
    return [entry for number, entry in enumerate(entries) if number not in doubtful]


def _last_word(line: str) -> tuple[str, str, str]:
    parts = line.rsplit(None, 1)
    return (parts[0], " ", parts[1]) if len(parts) == 2 else ("", "", line)


def _refuse_unusable(
    entries: Sequence[Entry],
    skipped: Mapping[str, int],
    lists: Sequence[str],
    files: ListedImages,
    spec: str,
    root: Path,
) -> None:
    names = ", ".join(lists)
    if not entries and not skipped:
        raise DataError(f"{names}: no entries; expected a line for each image")
    if not files.missing:
        return
    near = described(files.missing, str(root), files.bases[0], spec, some_exist=bool(entries))
    if entries:
        if near.mends:
            warn(
                f"{spec}: {len(files.missing)} entries have no file, such as {files.missing[0]!r}; {near.text}"
            )
        return
    raise MissingFileError(
        f"{names}: not one of {skipped[_NO_FILE]} entries has a file below {' or '.join(files.bases)}; "
        f"{near.text if near.mends else LAYOUTS}"
    )


# Classes ----------------------------------------------------------------------------------------------------


def _name_classes(entries: Sequence[Entry], folder: Path) -> tuple[Sequence[Entry], list[str]]:
    """Return entries whose labels are names of classes, and the classes in order."""
    file = next((folder / name for name in _CLASS_FILES if (folder / name).is_file()), None)
    if file is None:
        return entries, order_classes((entry.label for entry in entries), where=folder)
    classes = [text.strip() for _, text in text_lines(file) if text.strip()]
    if repeated := [name for name, count in Counter(classes).items() if count > 1]:
        raise DataError(f"{file} names the class {repeated[0]!r} twice; expected every class once")
    known = set(classes)
    unknown = [entry for entry in entries if entry.label not in known]
    if not unknown:
        return entries, classes
    if all(_NUMBER.fullmatch(entry.label) for entry in entries):
        return _numbered(entries, classes, file), classes
    entry = unknown[0]
    raise DataError(
        f"{entry.place}: class {entry.label!r} is not in {file}; {did_you_mean(entry.label, classes)}"
    )


def _numbered(entries: Sequence[Entry], classes: Sequence[str], file: Path) -> Sequence[Entry]:
    numbers = [int(entry.label) for entry in entries]
    start = 1 if min(numbers) >= 1 and max(numbers) == len(classes) else 0
    for entry, number in zip(entries, numbers, strict=True):
        if number - start >= len(classes):
            raise DataError(
                f"{entry.place}: label {number}, but {file} names {len(classes)} classes: expected 0 to "
                f"{len(classes) - 1}, or 1 to {len(classes)}"
            )
    return [
        replace(entry, label=classes[number - start]) for entry, number in zip(entries, numbers, strict=True)
    ]
