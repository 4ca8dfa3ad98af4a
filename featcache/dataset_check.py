"""A look at every image of a dataset before anything is computed: what they are, and what is wrong with them.

No backbone is loaded and JAX is not imported. Images are decoded by the function that extractions decode with, so that
what is unreadable here is quarantined there, for the same reason. Copies are found by the sha256 of the bytes.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from featcache.checks import Finding, class_counts, duplicates
from featcache.decoding import PictureFacts, examine
from featcache.errors import DataError, ImageError, UsageError
from featcache.progress import OnProgress, Progress
from featcache.schedule import default_workers, ordered_map
from featcache.sources import Dataset, Record, open_dataset
from featcache.tasks import ANSWERS, CLASSES

JSON_VERSION = 1
SMALL = 224
"""Pixels of the shorter side below which most networks have to enlarge a picture."""

_NAMED = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp .dib",
    "TIFF": ".tif .tiff",
    "PPM": ".ppm .pgm .pbm .pnm",
    "AVIF": ".avif",
}
_FORMAT_OF = {extension: name for name, extensions in _NAMED.items() for extension in extensions.split()}


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of some amounts; zeros where there are none."""

    min: int = 0
    median: int = 0
    max: int = 0

    @classmethod
    def of(cls, values: Sequence[int]) -> "Spread":
        """Return that of `values`."""
        if not values:
            return cls()
        found = np.array(values)
        return cls(int(found.min()), int(np.median(found)), int(found.max()))


@dataclass(frozen=True)
class Copies:
    """Images of the same bytes.

    Parameters
    ----------
    sha256
        Of the bytes, in hexadecimal digits.
    ids, splits, labels
        Of each of them; a label is a class's name, or the answers or numbers as text.
    """

    sha256: str
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def leak(self) -> bool:
        """Whether they lie in several splits."""
        return len(set(self.splits)) > 1

    @property
    def contradict(self) -> bool:
        """Whether they have different labels."""
        return len(set(self.labels)) > 1

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"leak": self.leak, "contradict": self.contradict}


@dataclass(frozen=True)
class DatasetCheck:
    """What is in a dataset. Apart from `images` and `unreadable`, only readable images are counted.

    Parameters
    ----------
    spec
        The dataset.
    images
        How many there are.
    classes
        Names of the classes; of the answers or numbers, where `task` says that images have these.
    task
        One of `featcache.tasks.TASKS`.
    counts
        Split to class to number of images (of images of which an answer is yes; empty where images have numbers).
        The split of a dataset without splits is called ``""``.
    formats, modes
        By content; modes in Pillow's words.
    misnamed
        Id and format of each image whose extension names another format.
    width, height, nbytes
        Pixels, once upright, and bytes of a file.
    small
        Images whose shorter side has fewer than `SMALL` pixels.
    total_bytes
        Of all files that could be read from disk.
    orientations
        EXIF orientations other than upright; an extraction turns these images.
    transparent
        Images with transparent colours or an alpha channel; an extraction lays them on white.
    several
        Ids of images with several frames or pages, of which the first is taken.
    unreadable
        Id, reason and detail of each image that cannot be decoded.
    skipped
        Files left out by the source: why, and how many.
    copies
        Images of the same bytes.
    findings
        What is probably a mistake about splits and classes.
    """

    spec: str
    images: int
    classes: tuple[str, ...]
    task: str
    counts: Mapping[str, Mapping[str, int]]
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    misnamed: Mapping[str, str]
    width: Spread
    height: Spread
    nbytes: Spread
    small: int
    total_bytes: int
    orientations: Mapping[int, int]
    transparent: int
    several: tuple[str, ...]
    unreadable: Mapping[str, tuple[str, str]] = field(repr=False)
    skipped: Mapping[str, int]
    copies: tuple[Copies, ...] = field(repr=False)
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Copies, ...]:
        """Images that are in several splits."""
        return tuple(found for found in self.copies if found.leak)

    @property
    def missing(self) -> dict[str, list[str]]:
        """Split to the classes that have no image in it, where there are such."""
        without = {
            split: [name for name, n in counts.items() if not n] for split, counts in self.counts.items()
        }
        return {split: names for split, names in without.items() if names}

    @property
    def imbalance(self) -> dict[str, float]:
        """Split to how many times its largest class is larger than its smallest that is not empty."""
        present = {split: [n for n in counts.values() if n] for split, counts in self.counts.items()}
        return {split: max(found) / min(found) for split, found in present.items() if found}

    def require_sound(self) -> None:
        """Refuse a dataset in which an image is unreadable, or is in several splits.

        Raises
        ------
        DataError
            With the first of them.
        """
        problems = []
        if self.unreadable:
            name, (reason, _) = next(iter(self.unreadable.items()))
            problems.append(
                f"{len(self.unreadable)} of {self.images} images cannot be read ({name}: {reason})"
            )
        if self.leaks:
            first = self.leaks[0]
            problems.append(f"{len(self.leaks)} images are in several splits ({' = '.join(first.ids[:3])})")
        if problems:
            raise DataError(
                f"{self.spec}: {'; '.join(problems)}; remove or repair them, or check without --strict"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, everything listed."""
        return {
            "version": JSON_VERSION,
            **asdict(self),
            "orientations": {str(number): count for number, count in self.orientations.items()},
            "unreadable": {
                name: {"reason": reason, "detail": detail}
                for name, (reason, detail) in self.unreadable.items()
            },
            "copies": [found.to_json() for found in self.copies],
            "missing": self.missing,
            "imbalance": {split: round(ratio, 3) for split, ratio in self.imbalance.items()},
        }


def check_dataset(
    spec: str | Path | Dataset,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> DatasetCheck:
    """Read and decode every image of a dataset and say what they are; nothing is computed, nothing written.

    Parameters
    ----------
    spec
        As for `featcache.extract`, or an opened dataset.
    data_dir
        Where TFDS's datasets are prepared; see `featcache.open_dataset`.
    workers
        Threads; one per core by default.
    on_progress
        Called with a `Progress` after every image.

    Returns
    -------
    DatasetCheck
        Formats, sizes, balance, copies and everything that cannot be read.

    Raises
    ------
    UsageError
        If the spec is none, or `workers` is below 1.
    DataError
        If the dataset is missing, empty, or of a single class.

    Examples
    --------
    >>> found = check_dataset("photos/")                         # doctest: +SKIP
    >>> found.formats, found.unreadable                          # doctest: +SKIP
    ({'JPEG': 2936}, {'roses/1.jpg': ('truncated', 'JPEG of 900 bytes: image file is truncated')})
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: expected at least 1")
    data = open_dataset(spec, data_dir=data_dir)
    progress = Progress("check", total=len(data.records))
    looks = []
    for look in ordered_map(_look, data.records, workers=workers or default_workers(), ahead=64):
        looks.append(look)
        progress.done += 1
        if on_progress is not None:
            on_progress(progress)
    return _summary(data, looks)


# One image ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of an image: a few numbers, whatever its size."""

    nbytes: int = 0
    sha256: bytes = b""
    facts: PictureFacts | None = None
    failure: tuple[str, str] = ("", "")


def _look(record: Record) -> _Look:
    try:
        data = record.read()
    except OSError as error:
        return _Look(failure=("unreadable file", error.strerror or str(error)))
    try:
        facts = examine(data)
    except ImageError as error:
        return _Look(len(data), failure=(error.reason, error.detail))
    return _Look(len(data), hashlib.sha256(data).digest(), facts)


def _said_format(name: str) -> str | None:
    """Return the format that an id's extension stands for; tables add ``#2`` to ids that come again."""
    return _FORMAT_OF.get(PurePosixPath(re.sub(r"#\d+$", "", name)).suffix.casefold())


# All of them --------------------------------------------------------------------------------------------------


def _summary(data: Dataset, looks: Sequence[_Look]) -> DatasetCheck:
    both = list(zip(data.records, looks, strict=True))
    rows = [number for number, look in enumerate(looks) if look.facts is not None]
    good = [(data.records[row], looks[row].facts) for row in rows]
    pictures = [facts for _, facts in good if facts is not None]
    return DatasetCheck(
        spec=data.spec,
        images=len(both),
        classes=data.classes,
        task=data.task,
        counts=_counts(data, rows),
        formats=_ranked(facts.format for facts in pictures),
        modes=_ranked(facts.mode for facts in pictures),
        misnamed={
            record.id: facts.format
            for record, facts in good
            if facts is not None and _said_format(record.id) not in (None, facts.format)
        },
        width=Spread.of([facts.width for facts in pictures]),
        height=Spread.of([facts.height for facts in pictures]),
        nbytes=Spread.of([looks[row].nbytes for row in rows]),
        small=sum(min(facts.width, facts.height) < SMALL for facts in pictures),
        total_bytes=sum(look.nbytes for look in looks),
        orientations=_ranked(facts.orientation for facts in pictures if facts.orientation != 1),
        transparent=sum(facts.transparent for facts in pictures),
        several=tuple(record.id for record, facts in good if facts is not None and facts.several),
        unreadable={record.id: look.failure for record, look in both if look.facts is None},
        skipped=dict(data.skipped),
        copies=_copies(data, looks, rows),
        findings=tuple(_findings(data, looks, rows)),
    )


def _ranked(values: Any) -> dict[Any, int]:
    return dict(Counter(values).most_common())


def _counts(data: Dataset, rows: Sequence[int]) -> dict[str, dict[str, int]]:
    """Count the images of each class in each split, in the order of the classes; of numbers nothing."""
    counts = {split: np.zeros(len(data.classes), np.int64) for split in data.splits}
    for row in rows:
        record = data.records[row]
        if data.task == CLASSES:
            counts[record.split][record.label] += 1
        elif data.task == ANSWERS:
            counts[record.split] += np.array(record.target) > 0
    if data.task not in (CLASSES, ANSWERS):
        return {split: {} for split in counts}
    return {split: dict(zip(data.classes, found.tolist(), strict=True)) for split, found in counts.items()}


def _copies(data: Dataset, looks: Sequence[_Look], rows: Sequence[int]) -> tuple[Copies, ...]:
    groups: dict[bytes, list[int]] = {}
    for row in rows:
        groups.setdefault(looks[row].sha256, []).append(row)

    def copies(digest: bytes, same: Sequence[int]) -> Copies:
        records = [data.records[row] for row in same]
        return Copies(
            digest.hex(),
            tuple(record.id for record in records),
            tuple(record.split for record in records),
            tuple(_label(data, record) for record in records),
        )

    return tuple(copies(digest, same) for digest, same in groups.items() if len(same) > 1)


def _label(data: Dataset, record: Record) -> str:
    if data.task == CLASSES:
        return data.classes[record.label]
    return ",".join(f"{value:g}" for value in record.target or ())


def _findings(data: Dataset, looks: Sequence[_Look], rows: Sequence[int]) -> list[Finding]:
    """Find what `featcache.train_head` would warn about, with the splits that the source gives."""
    labels = np.array([record.label for record in data.records], np.int64)
    splits = np.array([record.split for record in data.records])
    readable = np.zeros(len(labels), bool)
    readable[rows] = True
    parts = {split or "dataset": np.flatnonzero(readable & (splits == split)) for split in data.splits}
    found = duplicates(
        [look.sha256 for look in looks],
        labels,
        parts,
        ids=[record.id for record in data.records],
        classes=data.classes if data.task == CLASSES else None,
    )
    if data.task == CLASSES:
        found += class_counts({part: labels[numbers] for part, numbers in parts.items()}, data.classes)
    return found
