"""A dataset: records with lazily read bytes, class names and splits; every input format is opened as one."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from featcache.core.argument_types import spelled
from featcache.core.disk.storage import storage_error
from featcache.core.display import some
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION, TASKS, UNLABELLED
from featcache.datasets.names import require_kept
from featcache.datasets.record_columns import RecordColumns, columns_of, ids_of
from featcache.errors import DataError, FeatcacheError, ImageError, StorageError

UNSPLIT = ""
"""Split of the records of a dataset without splits; `featcache.splits.stratified` then draws one."""


def space_at_end(path: str | os.PathLike[str]) -> str:
    """Return a hint for messages about a missing path whose name ends in a space; ``""`` for others."""
    name = os.fspath(path)
    return f" ({name!r} ends in a space)" if name != name.rstrip() else ""


_WITHOUT_LABELS: ContextVar[Callable[[str], str] | None] = ContextVar("_WITHOUT_LABELS", default=None)


@contextmanager
def labels_needed(instead: Callable[[str], str]) -> Iterator[None]:
    """Say within what else than an extraction is done with images without labels; the outermost such saying holds.

    Parameters
    ----------
    instead
        Given the spec of the images, returns the end of an error about their labels.
    """
    token = _WITHOUT_LABELS.set(_WITHOUT_LABELS.get() or instead)
    try:
        yield
    finally:
        _WITHOUT_LABELS.reset(token)


def features_alone(spec: str) -> str:
    """Return how features of images without labels are had, as the end of an error about their labels.

    Where `labels_needed` says what else is done with such images, that is returned.
    """
    if instead := _WITHOUT_LABELS.get():
        return instead(spec)
    if spelled("unlabelled").startswith("--"):
        return f"for features without labels: featcache extract {shlex.quote(spec)} --unlabelled"
    return f"for features without labels: featcache.extract({spec!r}, unlabelled=True)"


@contextmanager
def access_errors(path: str | os.PathLike[str], verb: str = "read") -> Iterator[None]:
    """Raise what the operating system refuses to tell of a dataset as `DataError`; errors of featcache pass."""
    try:
        yield
    except StorageError as error:
        raise DataError(str(error)) from error
    except FeatcacheError:
        raise
    except OSError as error:
        raise DataError(str(storage_error(error, Path(path), verb))) from error


def why_unread(error: OSError | MemoryError | ImageError, nbytes: int = 0) -> ImageError:
    """Return what `Record.read` raised as the reason for which an image is set aside.

    Parameters
    ----------
    error
        Of the system, of Python, or one that is such a reason already.
    nbytes
        Size of the image.
    """
    if isinstance(error, ImageError):
        return error
    if isinstance(error, MemoryError):
        return ImageError("out of memory", f"no {nbytes:,} bytes to read it into")
    return ImageError("unreadable file", error.strerror or str(error))


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a dataset.

    Parameters
    ----------
    id
        Stable name, relative to the dataset, with forward slashes.
    label
        Index into the dataset's classes.
    split
        ``"train"``, ``"val"``, ``"test"``, or `UNSPLIT`.
    read
        Returns the encoded bytes; raises ``OSError`` for what may pass, or `featcache.errors.ImageError` if it is never
        read: there are too many bytes, it is a device, or outside of the dataset.
    size, mtime_ns
        As the file system states them (bytes, nanoseconds; 0 where there is none): recorded, never identity.
    group
        Name of the image's group (a patient, a place, a day): drawn splits keep a group on one side. Empty if the image
        has none.
    target
        Labels 0 or 1 of a multilabel dataset, numbers of a regression (`Dataset.task`); `label` is -1 then.
    state
        Of the file, or files, that the image is in (`featcache.datasets.file_state`): while it is the same, what was
        read from there needs no hashing again. Empty where the image is always to be read.
    """

    id: str
    label: int
    split: str
    read: Callable[[], bytes]
    size: int = 0
    mtime_ns: int = 0
    group: str = ""
    target: tuple[float, ...] | None = None
    state: bytes = b""


@dataclass(frozen=True, repr=False)
class Dataset:
    """Records, the names of their classes, and why files were left out.

    Parameters
    ----------
    spec
        As the user wrote it.
    name
        Short name for output files.
    classes
        Class names; a record's label is an index into them.
    records
        In a stable order. A list is copied: what is appended to it later is no part of the dataset.
    skipped
        Reason to number of files that were left out.
    task
        One of `featcache.core.tasks.TASKS`: multiclass, multilabel or regression. `classes` names the labels or the
        targets of the last two.
    location
        Where the images are read from: an absolute path, and what else decides which image an id stands for. Hashes are
        remembered for it alone. Empty where there is no such place: then every image is read.
    why_absent
        Given the id of an image that is not among the records, returns why it cannot be said to be gone, such as a
        folder above it that is a broken link; an empty text if it is gone. ``None`` where every absent image is gone.

    Raises
    ------
    DataError
        If the id of a record cannot be stored: it holds NUL or half of a surrogate pair, or is too long.
    """

    spec: str
    name: str
    classes: tuple[str, ...]
    records: Sequence[Record]
    skipped: Mapping[str, int] = field(default_factory=dict)
    task: str = MULTICLASS
    location: str = ""
    why_absent: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.records, list) or not isinstance(self.records, Sequence):
            object.__setattr__(self, "records", list(self.records))
        require_kept(ids_of(self.records), self.spec)

    def __repr__(self) -> str:
        named = ", ".join(name for name in self.splits if name != UNSPLIT)
        return (
            f"Dataset({self.spec!r}, {len(self.records)} images, {len(self.classes)} {self.task}: "
            f"{some(self.classes)}{f'; splits {named}' if named else ''})"
        )

    @cached_property
    def columns(self) -> RecordColumns:
        """What is known of the records, as arrays."""
        return columns_of(self.records)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits present, in the order train, val, test, others."""
        present = {*self.columns.split_names}
        usual = [name for name in ("train", "val", "test") if name in present]
        return (*usual, *sorted(present - set(usual)))


def require_usable(data: Dataset) -> None:
    """Raise `DataError` if a dataset that a program has put together cannot be what a cache holds.

    It has no images, a label that is no index into its classes, a size below 0, or targets of other numbers than there
    are names of them.
    """
    if not len(data.records):
        raise DataError(f"dataset {data.spec!r} holds no images; expected one at least")
    if data.task not in (*TASKS, UNLABELLED):
        raise DataError(
            f"dataset {data.spec!r}: no task {data.task!r}; expected one of {', '.join(TASKS)} or {UNLABELLED}"
        )
    try:
        own = data.columns
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"dataset {data.spec!r}: a label, a size or a time of its records is no whole number of 64 bits ({error})"
        ) from error
    least, most = (0, len(data.classes) - 1) if data.task == MULTICLASS else (-1, -1)
    wrong = (own.labels < least) | (own.labels > most)
    if wrong.any():
        row = int(np.argmax(wrong))
        expected = (
            f"0 to {most}, an index into its classes"
            if data.task == MULTICLASS
            else f"-1, as its task is {data.task}"
        )
        raise DataError(
            f"dataset {data.spec!r}: label {own.labels[row]} of {own.ids[row]!r}; expected {expected}"
        )
    if (own.sizes < 0).any():
        row = int(np.argmax(own.sizes < 0))
        raise DataError(
            f"dataset {data.spec!r}: size {own.sizes[row]} of {own.ids[row]!r}; expected 0 or more bytes"
        )
    if data.task in (MULTILABEL, REGRESSION):
        for record in data.records:
            if len(record.target or ()) != len(data.classes):
                raise DataError(
                    f"dataset {data.spec!r}: {len(record.target or ())} targets of {record.id!r}; expected one for "
                    f"each of {len(data.classes)} names"
                )
