"""The scored rows of a report as its sections read them: checked once, with names and words."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from featcache.core.display import SPLIT_WORDS, escaped
from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError
from featcache.reports.material import Material


@dataclass(frozen=True)
class Scored:
    """The rows that a classifier was scored on.

    Parameters
    ----------
    classes
        Names of the C classes, labels or targets.
    labels
        The truth: int ``[N]``, or ``[N, C]`` of other tasks than multiclass.
    values
        The answers, float ``[N, C]``, finite.
    names
        Names of the photos.
    split
        What the rows are called.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    split: str

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def guesses(self) -> np.ndarray:
        """The most probable class of each row, int ``[N]``."""
        return self.values.argmax(axis=1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """The largest probability of each row, float ``[N]``."""
        return self.values.max(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """Which rows' most probable class is the true one, bool ``[N]``."""
        return self.guesses == self.labels

    @property
    def photos(self) -> str:
        """What the rows are, with their number, such as ``"the 548 test photos"``."""
        photos = f"photo{'s' if len(self) != 1 else ''}"
        if self.split == "all":
            return f"all {len(self):,} {photos}"
        if self.split in SPLIT_WORDS:
            return f"the {len(self):,} {SPLIT_WORDS[self.split]} {photos}"
        return f"the {len(self):,} {photos} of {escaped(self.split)}"


def scored(material: Material, task: str = MULTICLASS) -> Scored | None:
    """Return the scored rows of a report; ``None`` if there are none, or they are of another task.

    Raises
    ------
    DataError
        If an answer or a label is not finite, or no class.
    """
    classifier, values, labels = material.classifier, material.values, material.labels
    if classifier is None or values is None or labels is None or classifier.task != task or not len(labels):
        return None
    values, labels = np.asarray(values), np.asarray(labels)
    names = _names(material, len(labels))
    _require_finite(values, names, "an answer", "the head has diverged: train it with a lower learning rate")
    _require_finite(labels, names, "a label", "give it a number in the table of labels")
    if task == MULTICLASS and not 0 <= labels.min() <= labels.max() < len(classifier.classes):
        raise DataError(
            f"labels {labels.min()}..{labels.max()}; expected 0..{len(classifier.classes) - 1} for "
            f"{len(classifier.classes)} classes"
        )
    return Scored(tuple(classifier.classes), labels, values, names, material.split)


def _names(material: Material, count: int) -> tuple[str, ...]:
    if material.cache is None or material.rows is None:
        return tuple(f"row {row}" for row in range(count))
    ids = material.cache.ids
    return tuple(ids[row] for row in np.asarray(material.rows).tolist())


def _require_finite(given: np.ndarray, names: tuple[str, ...], what: str, next_step: str) -> None:
    bad = np.flatnonzero(~np.isfinite(given.reshape(len(given), -1)).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(given)} rows have {what} that is NaN or infinite, the first is {names[bad[0]]!r}; "
            f"{next_step}"
        )
