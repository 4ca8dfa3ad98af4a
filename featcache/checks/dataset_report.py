"""The report of `featcache.check_dataset`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from featcache.checks.rows import Finding
from featcache.errors import DataError

JSON_VERSION = 1
SENSOR_BITS = (8, 10, 12, 14)
"""Bits that cameras, microscopes and scanners use of the 16 that they store."""
SMALL = 224
"""Pixels of the shorter side below which most networks have to enlarge a picture."""


@dataclass(frozen=True)
class Quartiles:
    """Minimum, median and maximum of some values; zeros without values."""

    min: int = 0
    median: int = 0
    max: int = 0

    @classmethod
    def of(cls, values: Sequence[int]) -> "Quartiles":
        """Return the summary of `values`."""
        if not values:
            return cls()
        found = np.array(values)
        return cls(int(found.min()), int(np.median(found)), int(found.max()))


@dataclass(frozen=True)
class Copies:
    """Images with identical bytes.

    Parameters
    ----------
    sha256
        Of the bytes, in hexadecimal digits.
    ids, splits, labels
        Of each of them; a label is a class's name, or the multilabel or regression targets as text.
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
        Names of the classes, or of the targets of a multilabel or regression dataset.
    task
        One of `featcache.core.tasks.TASKS`.
    counts
        Split to class to number of images (multilabel: images with the label; regression: empty).
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
        Reason to number of files that were left out.
    copies
        Images of the same bytes.
    findings
        Probable mistakes in splits and classes.
    deep
        Pictures of 16-bit grey.
    shallow
        Id and largest value of those, if all of them use fewer than 16 bits; empty otherwise.
    """

    spec: str
    images: int
    classes: tuple[str, ...]
    task: str
    counts: Mapping[str, Mapping[str, int]]
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    misnamed: Mapping[str, str]
    width: Quartiles
    height: Quartiles
    nbytes: Quartiles
    small: int
    total_bytes: int
    orientations: Mapping[int, int]
    transparent: int
    several: tuple[str, ...]
    unreadable: Mapping[str, tuple[str, str]] = field(repr=False)
    skipped: Mapping[str, int]
    copies: tuple[Copies, ...] = field(repr=False)
    findings: tuple[Finding, ...]
    deep: int = 0
    shallow: Mapping[str, int] = field(default_factory=dict, repr=False)

    @property
    def bits(self) -> int:
        """The bits that the values of 16-bit grey take where they do not take all, as sensors have them; else 0."""
        used = max(self.shallow.values(), default=0).bit_length()
        return next((bits for bits in SENSOR_BITS if bits >= used), 16) if used else 0

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
            "bits": self.bits,
            "missing": self.missing,
            "imbalance": {split: round(ratio, 3) for split, ratio in self.imbalance.items()},
        }
