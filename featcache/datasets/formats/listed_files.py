"""Turn rows of path and label, from tables and split lists, into a dataset."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from featcache.core.tasks import MULTICLASS, UNLABELLED
from featcache.core.warning import warn, warn_all
from featcache.datasets.dataset import Dataset, Record, features_alone, space_at_end
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.file_state import file_state
from featcache.datasets.names import confusable, natural_key, told_apart
from featcache.errors import DataError, MissingFileError

_WHOLE = re.compile(r"[+-]?\d{1,18}")


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
    """

    place: str
    id: str
    path: str
    label: str
    split: str = ""
    group: str = ""
    target: tuple[float, ...] | None = None

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

    Raises
    ------
    DataError
        If there are too few classes, or a file is named twice with different labels, splits or groups.
    MissingFileError
        If not one of the files exists.
    """
    _refuse_contradictions(entries)
    if task == MULTICLASS and len(classes) < least_classes:
        raise DataError(
            f"{spec} holds one class ({classes[0]}); a classifier needs at least two; {features_alone(spec)}"
        )
    labels = {label: index for index, label in enumerate(classes)}
    ids = unique_ids([entry.id for entry in entries])
    files = [_regular_file(entry.path) for entry in entries]
    if not any(files):
        first = entries[0]
        raise MissingFileError(
            f"{spec}: not one of {len(entries)} images exists; {first.place} names {first.id!r}, "
            f"looked for as {first.path}{space_at_end(first.path)}; {lookup}"
        )
    _tell_what_is_elsewhere(entries, os.path.abspath(folder), spec)
    warn_all(f"{spec}: {note}" for note in confused(entries, files, classes))
    records = [
        Record(
            id=own,
            label=labels[entry.label] if entry.target is None and task != UNLABELLED else -1,
            split=entry.split,
            read=partial(read_regular_file, entry.path),
            size=file.st_size if file else 0,
            mtime_ns=file.st_mtime_ns if file else 0,
            group=entry.group,
            target=entry.target,
            state=file_state(file) if file else b"",
        )
        for entry, own, file in zip(entries, ids, files, strict=True)
    ]
    return Dataset(spec, name, tuple(classes), records, dict(skipped or {}), task, location)


def confused(
    entries: Sequence[Entry], files: Sequence[os.stat_result | None], classes: Sequence[str]
) -> Iterator[str]:
    """Yield what looks like one class or one file under several names, as notes for the user.

    Names of files that are all there, each another, are their owner's business.
    """
    for group in confusable(classes):
        yield (
            f"classes {told_apart(group)} differ only in case, blanks or the form of their letters; if they are one, "
            "write it the same way everywhere"
        )
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
                f"{where}: labels {other!r} and {name!r} stand for the same number; write one of them everywhere"
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


def _tell_what_is_elsewhere(entries: Sequence[Entry], folder: str, spec: str) -> None:
    """Warn of images that are not below a folder as they are written; links are the user's own business."""
    below = folder.rstrip(os.sep) + os.sep
    elsewhere = [entry for entry in entries if not os.path.abspath(entry.path).startswith(below)]
    if elsewhere:
        warn(
            f"{spec}: {len(elsewhere)} of {len(entries)} images are outside of {folder}, such as "
            f"{elsewhere[0].id!r}; they are read. If this list is not your own, look at what it names"
        )


def _regular_file(path: str) -> os.stat_result | None:
    """Return what the file system says of a file, by which the next run sees that it need not be read again."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
