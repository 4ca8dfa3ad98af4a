"""Check a dataset before any features are computed: decode every image and report formats, sizes and mistakes.

No backbone is loaded and JAX is not imported. Images are decoded by the function that extractions decode with, so that
what is unreadable here is quarantined there, for the same reason. Copies are found by the sha256 of the bytes.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from featcache.checks.dataset_report import SENSOR_BITS, SMALL, Copies, DatasetCheck, Quartiles
from featcache.checks.rows import WHOLE, Finding, class_counts, duplicates
from featcache.core.argument_types import checked_types
from featcache.core.parallel import default_workers, ordered_map
from featcache.core.progress import OnProgress, Progress
from featcache.core.tasks import MULTICLASS, MULTILABEL
from featcache.datasets import Dataset, Record, open_dataset
from featcache.datasets.dataset import why_unread
from featcache.errors import ImageError, UsageError
from featcache.images.decoding import PictureFacts, examine
from featcache.images.limits import room_for_file

_NAMED = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp .dib",
    "TIFF": ".tif .tiff",
    "PPM": ".ppm .pgm .pbm .pnm",
    "AVIF": ".avif",
    "HEIC": ".heic .heics .heif .heifs .hif",
    "JPEG XL": ".jxl",
}
_FORMAT_OF = {extension: name for name, extensions in _NAMED.items() for extension in extensions.split()}


@checked_types(but=("splits",))
def check_dataset(
    spec: str | Path | Dataset,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    splits: str | Mapping[str, str] | None = None,
    classes_at: int | None = None,
    unlabelled: bool = False,
    allow_empty_classes: bool = False,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> DatasetCheck:
    """Read and decode every image of a dataset and report what is in it; nothing is written.

    Parameters
    ----------
    spec
        As for `featcache.extract`, or an opened dataset.
    data_dir, label_from, splits, classes_at, unlabelled, allow_empty_classes
        See `featcache.open_dataset`.
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
        If the spec is not valid, or `workers` is below 1.
    DataError
        If the dataset is missing, empty, or of a single class.

    Examples
    --------
    >>> found = check_dataset("photos/")                         # doctest: +SKIP
    >>> found.formats                                            # doctest: +SKIP
    {'JPEG': 2935, 'PNG': 1}
    >>> found.unreadable                                         # doctest: +SKIP
    {'roses/1.jpg': ('truncated', 'JPEG of 900 bytes: image file is truncated (45 bytes not processed)')}
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: expected at least 1")
    data = open_dataset(
        spec,
        data_dir=data_dir,
        label_from=label_from,
        splits=splits,
        classes_at=classes_at,
        unlabelled=unlabelled,
        allow_empty_classes=allow_empty_classes,
    )
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
    """The facts that are kept of an image."""

    nbytes: int = 0
    sha256: bytes = b""
    facts: PictureFacts | None = None
    failure: tuple[str, str] = ("", "")


def _look(record: Record) -> _Look:
    size = record.size
    try:
        with room_for_file(record.size):
            data = record.read()
            size = len(data)
            facts = examine(data)
            return _Look(size, hashlib.sha256(data).digest(), facts)
    except (OSError, MemoryError, ImageError) as error:
        why = why_unread(error, record.size)
        return _Look(size if why is error else 0, failure=(why.reason, why.detail))


def _said_format(name: str) -> str | None:
    """Return the format that an id's extension stands for; tables add ``#2`` to ids that come again."""
    return _FORMAT_OF.get(PurePosixPath(re.sub(r"#\d+$", "", name)).suffix.casefold())


# All of them --------------------------------------------------------------------------------------------------


def _summary(data: Dataset, looks: Sequence[_Look]) -> DatasetCheck:
    both = list(zip(data.records, looks, strict=True))
    rows = [number for number, look in enumerate(looks) if look.facts is not None]
    good = [(data.records[row], looks[row].facts) for row in rows]
    pictures = [facts for _, facts in good if facts is not None]
    deep = {record.id: facts.largest for record, facts in good if facts is not None and facts.largest}
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
        width=Quartiles.of([facts.width for facts in pictures]),
        height=Quartiles.of([facts.height for facts in pictures]),
        nbytes=Quartiles.of([looks[row].nbytes for row in rows]),
        small=sum(min(facts.width, facts.height) < SMALL for facts in pictures),
        total_bytes=sum(look.nbytes for look in looks),
        orientations=_ranked(facts.orientation for facts in pictures if facts.orientation != 1),
        transparent=sum(facts.transparent for facts in pictures),
        several=tuple(record.id for record, facts in good if facts is not None and facts.several),
        unreadable={record.id: look.failure for record, look in both if look.facts is None},
        skipped=dict(data.skipped),
        copies=_copies(data, looks, rows),
        findings=tuple(_findings(data, looks, rows)),
        deep=len(deep),
        shallow=deep if max(deep.values(), default=0) < 2 ** SENSOR_BITS[-1] else {},
    )


def _ranked(values: Any) -> dict[Any, int]:
    return dict(Counter(values).most_common())


def _counts(data: Dataset, rows: Sequence[int]) -> dict[str, dict[str, int]]:
    """Count the images of each class or label in each split, in the order of the classes; nothing for a regression."""
    counts = {split: np.zeros(len(data.classes), np.int64) for split in data.splits}
    for row in rows:
        record = data.records[row]
        if data.task == MULTICLASS:
            counts[record.split][record.label] += 1
        elif data.task == MULTILABEL:
            counts[record.split] += np.array(record.target) > 0
    if data.task not in (MULTICLASS, MULTILABEL):
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
    if data.task == MULTICLASS:
        return data.classes[record.label]
    return ",".join(f"{value:g}" for value in record.target or ())


def _findings(data: Dataset, looks: Sequence[_Look], rows: Sequence[int]) -> list[Finding]:
    """Return what `featcache.train_head` would warn about, with the dataset's own splits."""
    labels = np.array([record.label for record in data.records], np.int64)
    splits = np.array([record.split for record in data.records])
    readable = np.zeros(len(labels), bool)
    readable[rows] = True
    parts = {split or WHOLE: np.flatnonzero(readable & (splits == split)) for split in data.splits}
    found = duplicates(
        [look.sha256 for look in looks],
        labels,
        parts,
        ids=[record.id for record in data.records],
        classes=data.classes if data.task == MULTICLASS else None,
    )
    if data.task == MULTICLASS:
        found += class_counts({part: labels[numbers] for part, numbers in parts.items()}, data.classes)
    return found
