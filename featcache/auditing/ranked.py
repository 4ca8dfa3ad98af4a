"""Ranked lists, what each part of an audit hands over: every entry says why, and what it resembles."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Resembled:
    """A photo that another one resembles.

    Parameters
    ----------
    row, id
        Its row in the cache and its name in the dataset.
    label
        Its class, labels or numbers in words; ``""`` without.
    split
        Its split.
    relation
        How the two are alike, in words, such as ``"the same bytes"`` or ``"mirrored"``.
    similarity
        Cosine similarity of the two photos' features.
    """

    row: int
    id: str
    label: str
    split: str
    relation: str
    similarity: float


@dataclass(frozen=True)
class Suspect:
    """One photo, or one cluster of copies, of a ranked list.

    Parameters
    ----------
    row, id, label, split
        The photo: its row in the cache, its name in the dataset, its class in words, its split. Of a cluster the
        photo that is named first.
    score
        How suspicious it is; the larger, the more. Comparable within its list only.
    why
        What speaks against it, in words and numbers.
    certain
        Whether the list's own measure calls it wrong; the rest of a list is there to be looked at.
    suggested
        The class that it seems to have; ``None`` without one.
    resembles
        The photos that say so: the nearest ones, or the other members of its cluster.
    leave_out
        Rows that a list of what to leave out would name: the photo itself, or all members of a cluster but one.
    """

    row: int
    id: str
    label: str
    split: str
    score: float
    why: str
    certain: bool = False
    suggested: str | None = None
    resembles: tuple[Resembled, ...] = ()
    leave_out: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RankedList:
    """What one part of an audit found, the most suspicious first.

    Parameters
    ----------
    kind
        Identifier for programs, such as ``"wrong-labels"``, ``"copies"``, ``"outliers"`` or ``"looks"``.
    title
        What the list is of, in words.
    finding
        The result in one sentence with its number.
    meaning
        What the score says and of which rows it is.
    entries
        The suspects, by descending score.
    figures
        Further numbers, as plain JSON values: shares, intervals, thresholds.
    """

    kind: str
    title: str
    finding: str
    meaning: str
    entries: tuple[Suspect, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def certain(self) -> int:
        """How many entries the list's own measure calls wrong."""
        return sum(entry.certain for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


class AuditedRows(Protocol):
    """The rows of a cache that are audited, as every part of an audit sees them."""

    # ruff: noqa: D102 - featcache.auditing.material.Audited documents them

    # Properties, so that attributes of narrower types serve as well. rows: int ``[M]``, rows of the cache, ascending;
    # ids, splits: ``[M]``, each row's name in the dataset and name of its split; labels: int ``[M]`` class numbers,
    # multilabel bool ``[M, C]``, numbers float ``[M, T]``; sha256: uint8 ``[M, 32]`` of each picture's bytes.

    @property
    def rows(self) -> np.ndarray: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def splits(self) -> Sequence[str]: ...
    @property
    def sha256(self) -> np.ndarray: ...
    @property
    def task(self) -> str: ...

    def vectors(self, places: np.ndarray | slice) -> np.ndarray: ...
    def statistics(self, places: np.ndarray | slice) -> np.ndarray | None: ...
    def label_of(self, place: int) -> str: ...
