"""Turn rows of path and label, from tables and split lists, into a dataset."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from featcache.core.disk.store_urls import is_url
from featcache.core.tasks import MULTICLASS, UNLABELLED
from featcache.core.warning import warn, warn_all
from featcache.datasets.dataset import Dataset, Record, features_alone, space_at_end
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.file_state import file_state
from featcache.datasets.names import confusable, natural_key, shortened, shown, told_apart
from featcache.datasets.paths.finding import Finder, regular_file, taken_twice
from featcache.datasets.paths.near import described
from featcache.datasets.remote.rows import RemoteFile, remote_files
from featcache.errors import DataError, MissingExtraError, MissingFileError, UsageError

_WHOLE = re.compile(r"[+-]?\d{1,18}")

_File = os.stat_result | RemoteFile | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a table or list.

    Parameters
    ----------
    place
        Its place in the file, such as ``"photos.csv, line 3"``.
    id
        Name of the image, as written.
    path
        Where its file should be.
    label
        Name of its class.
    split, group, target
        As in `featcache.datasets.Record`.
    given
        The path as it is written, where an option or another spelling led from it to `path`.
    """

    place: str
    id: str
    path: str
    label: str
    split: str = ""
    group: str = ""
    target: tuple[float, ...] | None = None
    given: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """The values that must be equal in all rows of the same file."""
        label = self.label if self.target is None else " ".join(f"{value:g}" for value in self.target)
        return {"label": label, "split": self.split, "group": self.group}


def to_dataset(
    entries: Sequence[Entry],
    classes: Sequence[str],
    *,
    spec: str,
    name: str,
    lookup: str,
    location: str,
    folder: str | os.PathLike[str],
    skipped: Mapping[str, int] | None = None,
    task: str = MULTICLASS,
    least_classes: int = 2,
    finder: Finder | None = None,
) -> Dataset:
    """Turn rows into records.

    A file that is named again with the same label, split and group is another row of the same image: its id gets
    ``#2``, ``#3``. A file that does not exist stays in, to be quarantined like every other that cannot be read.

    Parameters
    ----------
    entries
        At least one.
    classes
        Names of the classes, in order; every label is one of them. In multilabel and regression
        datasets, names of the targets.
    spec, name, location, skipped, task
        As in `featcache.datasets.Dataset`.
    lookup
        Where files are looked for and how to change that, for the message where none exists.
    folder
        Where files are expected. Others are read, too, as the table or list is the user's own; a warning says so once.
    least_classes
        Fewer are refused.
    finder
        Finds files that are not at their path, from their id; ``None`` where that was done. A warning says what was
        found in another spelling, and which option would find what is still missing.

    Raises
    ------
    DataError
        If there are too few classes, or a file is named twice with different labels, splits or groups, or by two
        names that `finder` leads to it.
    MissingFileError
        If not one of the files exists.
    """
    elsewhere = _elsewhere(entries, finder, os.path.abspath(folder), spec)
    files = [elsewhere.get(number) or regular_file(entry.path) for number, entry in enumerate(entries)]
    if finder is not None:
        entries, files = locate(entries, files, finder, spec)
    refuse_merged(entries)
    _refuse_contradictions(entries)
    if task == MULTICLASS and len(classes) < least_classes:
        raise DataError(
            f"{spec} holds one class ({classes[0]}); a classifier needs at least two; {features_alone(spec)}"
        )
    labels = {label: index for index, label in enumerate(classes)}
    ids = unique_ids([entry.id for entry in entries])
    _tell_what_is_missing(entries, files, finder, os.path.abspath(folder), spec, lookup)
    _tell_what_is_elsewhere(entries, files, os.path.abspath(folder), spec)
    warn_all(f"{spec}: {note}" for note in confused(entries, files))
    records = [
        Record(
            id=own,
            label=labels[entry.label] if entry.target is None and task != UNLABELLED else -1,
            split=entry.split,
            read=file.read if isinstance(file, RemoteFile) else partial(read_regular_file, entry.path),
            size=file.st_size if file else 0,
            mtime_ns=file.st_mtime_ns if file else 0,
            group=entry.group,
            target=entry.target,
            state=_state(file),
        )
        for entry, own, file in zip(entries, ids, files, strict=True)
    ]
    return Dataset(spec, name, tuple(classes), records, dict(skipped or {}), task, location)


def _elsewhere(
    entries: Sequence[Entry], finder: Finder | None, folder: str, spec: str
) -> dict[int, RemoteFile]:
    """Return what is told of the images that are named by URLs; where none can be asked, of their copies here."""
    urls = {number: entry for number, entry in enumerate(entries) if is_url(entry.path)}
    if finder is not None and finder.options:  # map= names the copies of a bucket that are on this disk
        urls = {number: entry for number, entry in urls.items() if not finder.find(entry.id, entry.place)}
    try:
        return remote_files({number: entry.path for number, entry in enumerate(entries)}, {*urls})
    except (MissingExtraError, UsageError) as error:
        names = [entry.id for entry in urls.values()]
        near = None if finder is None else described(names, finder.base, finder.roots[0], spec)
        if near is None or not near.mends:
            raise
        raise MissingFileError(f"{spec}: {error}. On this disk {near.text}") from error


def _state(file: _File) -> bytes:
    if isinstance(file, RemoteFile):
        return file.state
    return file_state(file) if file else b""


def confused(entries: Sequence[Entry], files: Sequence[_File]) -> Iterator[str]:
    """Yield what looks like one file under several names, as notes for the user.

    Names of files that are all there, each another, are their owner's business.
    """
    place = {entry.id: number for number, entry in enumerate(entries)}
    for group in confusable(place):
        there = [files[place[name]] for name in group]
        if None in there or len({(file.st_dev, file.st_ino) for file in there if file}) < len(group):
            lines = " and ".join(entries[place[name]].place for name in group[:2])
            yield (
                f"paths {told_apart(group)} ({lines}) differ only in case, blanks or the form of their letters, and "
                "are not files of their own; write what the file is called"
            )


def order_classes(labels: Iterable[str], *, where: object) -> list[str]:
    """Return class names in order: whole numbers by value, others in the natural order that folders have.

    Parameters
    ----------
    labels
        Of all images.
    where
        The file that they are written in, for the message.

    Raises
    ------
    DataError
        If two spellings stand for one number.
    """
    names = set(labels)
    if not all(map(_WHOLE.fullmatch, names)):
        return sorted(names, key=natural_key)
    spelled: dict[int, str] = {}
    for name in sorted(names):
        other = spelled.setdefault(int(name), name)
        if other != name:
            raise DataError(
                f"{where}: labels {shown(other)} and {shown(name)} stand for the same number; write one of them "
                "everywhere"
            )
    return [spelled[value] for value in sorted(spelled)]


def unique_ids(names: Sequence[str]) -> Iterator[str]:
    """Yield names, ``#2``, ``#3`` and so on added where one comes again; no name is given twice."""
    taken, used = set(names), Counter[str]()
    for name in names:
        used[name] += 1
        if used[name] == 1:
            yield name
            continue
        while f"{name}#{used[name]}" in taken:
            used[name] += 1
        yield f"{name}#{used[name]}"


def locate(
    entries: Sequence[Entry], files: Sequence[_File], finder: Finder, spec: str
) -> tuple[Sequence[Entry], list[_File]]:
    """Return entries and files of what is meant by given paths; a warning says which were written otherwise.

    Another spelling is not taken for a file that a second row names, too: which of the two is right is not known.
    """
    spelled = [False] * len(entries)
    located, found = list(entries), list(files)
    for number, entry in enumerate(entries):
        if isinstance(files[number], RemoteFile) or (finder.is_plain and files[number]):
            continue
        meant = finder.find(entry.id, entry.place)
        if meant is not None and meant.path != entry.path:
            located[number] = replace(entry, path=meant.path, given=entry.id)
            found[number] = regular_file(meant.path)
            spelled[number] = meant.spelled
    for number in list(taken_twice([entry.path for entry in located], spelled)):
        located[number], found[number], spelled[number] = entries[number], files[number], False
    tell_spellings([entry for entry, own in zip(located, spelled, strict=True) if own], len(entries), spec)
    return located, found


def tell_spellings(entries: Sequence[Entry], count: int, spec: str) -> None:
    """Warn of images that were found by another spelling of their names."""
    if entries:
        first = entries[0]
        warn(
            f"{spec}: {len(entries)} of {count} images are written otherwise than their files are called (case, "
            f"blanks, slashes, %20 or the form of letters), and taken: {first.place} names {first.given!a}, and "
            f"{first.path!a} is there"
        )


def refuse_merged(entries: Sequence[Entry]) -> None:
    """Raise `DataError` if an option leads two given paths to one file."""
    if not any(entry.given for entry in entries):
        return
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(os.path.normpath(entry.path), entry)
        names = other.given or other.id, entry.given or entry.id
        if names[0] != names[1] and (other.given or entry.given):
            raise DataError(
                f"{other.place} names {names[0]!r} and {entry.place} names {names[1]!r}, and by the options both are "
                f"the file {entry.path}; correct one of the rows, or the option"
            )


def _tell_what_is_missing(
    entries: Sequence[Entry],
    files: Sequence[_File],
    finder: Finder | None,
    folder: str,
    spec: str,
    lookup: str,
) -> None:
    """Raise if no image exists; warn if some do not, with an option that would find them."""
    missing = [entry for entry, file in zip(entries, files, strict=True) if not file]
    if not missing or (finder is None and len(missing) < len(entries)):
        return
    none = len(missing) == len(entries)
    first, near = missing[0], None
    if finder is not None:
        names = [entry.id for entry in missing]
        near = described(names, finder.base, finder.roots[0], spec, some_exist=not none)
    if none:
        raise MissingFileError(
            f"{spec}: not one of {len(entries)} images exists; {_short(first.place, spec)} names {shown(first.id)}, "
            f"looked for as {shortened(first.path)}{space_at_end(shortened(first.path))}; "
            f"{near.text if near and near.mends else lookup}"
            + ("" if near is None or near.mends else f"; {near.text}")
        )
    if near is not None:
        warn(
            f"{spec}: {len(missing)} of {len(entries)} images are missing, such as {shown(first.id)} "
            f"({_short(first.place, spec)}); {near.text if near.mends else 'they get no features until they are there'}"
        )


def _short(place: str, spec: str) -> str:
    """Return a place in a file without the folders above it, where the spec beside it names them."""
    file, comma, line = place.rpartition(", ")
    return f"{os.path.basename(file)}{comma}{line}" if comma and file in spec else place


def _refuse_contradictions(entries: Sequence[Entry]) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(os.path.normpath(entry.path), entry)
        if other is entry or other.facts == entry.facts:
            continue
        word = next(word for word, value in other.facts.items() if value != entry.facts[word])
        raise DataError(
            f"{entry.id!r} has {word} {other.facts[word]!r} in {other.place} and {entry.facts[word]!r} in "
            f"{entry.place}; keep the row that is right"
        )


def _tell_what_is_elsewhere(entries: Sequence[Entry], files: Sequence[_File], folder: str, spec: str) -> None:
    """Warn of images that are not below a folder as they are written; links are the user's own business."""
    below = folder.rstrip(os.sep) + os.sep
    # URLs are plainly elsewhere; a table that was fetched names no files at all.
    named = (entry for entry, file in zip(entries, files, strict=True) if not isinstance(file, RemoteFile))
    elsewhere = [entry for entry in named if not os.path.abspath(entry.path).startswith(below)]
    if elsewhere:
        warn(
            f"{spec}: {len(elsewhere)} of {len(entries)} images are outside of {folder}, such as "
            f"{elsewhere[0].id!r}; they are read. If this list is not your own, look at what it names"
        )
