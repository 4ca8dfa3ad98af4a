"""Checks of rows: copies across splits, contradictory labels, groups in several splits, rare classes.

Every check is a pure function and returns its findings; an empty list means that all is well. Checks of features
are in `featcache.checks.features`; here nothing needs JAX.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np

from featcache.cache import FeatureCache
from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError
from featcache.splits.copies import conflicting_copies, grouped_copies
from featcache.splits.other_classes import EXPECTED
from featcache.splits.selection import UNSORTED


@dataclass(frozen=True)
class Finding:
    """A probable mistake.

    Parameters
    ----------
    code
        Identifier for programs: ``"chance-level"``, ``"not-finite"``, ``"same-rows"``, ``"constant-features"``,
        ``"conflicting-labels"``, ``"leak"``, ``"torn-groups"``, ``"below-floor"``, ``"imbalance"``,
        ``"tiny-classes"``, ``"unseen-classes"``, ``"unjudged-classes"``, ``"below-chance"`` or ``"unfinished"``.
    message
        What was found, in numbers, and what to do.
    """

    code: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return asdict(self)


def check_rows(
    cache: FeatureCache, parts: Mapping[str, np.ndarray], *, class_weights: str = "none"
) -> list[Finding]:
    """Check which rows a head is trained and measured on; needs no features.

    Parameters
    ----------
    cache
        Whose rows.
    parts
        Name to row numbers, such as ``train``, ``val`` and ``test``; the first is trained on.
    class_weights
        ``"none"``, ``"balanced"`` or weights by class, as in `featcache.heads.settings.Settings`.

    Returns
    -------
    list of Finding
        Of `duplicates` (by the images' sha256), `torn_groups` and `class_counts`.
    """
    keys = [digest.tobytes() for digest in cache.sha256]
    parts = {_known_as(cache, part, numbers): numbers for part, numbers in parts.items()}
    if cache.task != MULTICLASS:
        return duplicates(keys, cache.labels, parts, ids=cache.ids)
    labels = {part: cache.labels[numbers] for part, numbers in parts.items()}
    return [
        *duplicates(keys, cache.labels, parts, ids=cache.ids, classes=cache.classes),
        *([] if cache.groups is None else torn_groups(cache.groups, parts)),
        *class_counts(labels, cache.classes, class_weights=class_weights),
    ]


WHOLE = "dataset"
"""What a part is called that is all of a dataset without splits."""


def _known_as(cache: FeatureCache, part: str, rows: np.ndarray) -> str:
    """Return what the user knows a part as: of a dataset without a val split, validation rows are held out of train."""
    if part != "val" or part in cache.splits or not len(rows):
        return part
    origin = [split for split in cache.splits if np.isin(rows[0], cache.rows_of(split))]
    return f"held-out {origin[0]}" if origin and origin[0] else "held-out"


def _rows_of(part: str) -> str:
    return "images" if part == WHOLE else f"{part} rows"


def _score_of(part: str) -> str:
    return f"{'validation' if part.startswith('held-out') else part} score"


def require_finite(x: np.ndarray, rows: np.ndarray, cache: FeatureCache, layer: str) -> None:
    """Raise `DataError` if features to train on or to evaluate hold NaN or infinity.

    Parameters
    ----------
    x
        Features float ``[n, D]``.
    rows
        Their row numbers in `cache`, ``[n]``.
    cache, layer
        Where they come from.

    Raises
    ------
    DataError
        Naming the images.
    """
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        names = _some(cache.ids[row] for row in rows[bad])
        raise DataError(
            f"{len(bad)} of {len(x)} rows of {cache.path}, layer {layer}, hold NaN or infinity ({names}); extract "
            "again with --dtype float32 and --compute-dtype float32, into another file, or remove these images"
        )


# ---- copies


def duplicates(
    keys: Sequence[bytes],
    labels: np.ndarray,
    parts: Mapping[str, np.ndarray],
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> list[Finding]:
    """Find copies that contradict each other, and copies on both sides of a split.

    Parameters
    ----------
    keys
        ``[N]``: equal for equal rows, such as the sha256 of the image.
    labels
        int ``[N]``.
    parts
        Name to row numbers; the first is trained on.
    ids, classes
        Names of rows and classes; their numbers by default.

    Returns
    -------
    list of Finding
        ``conflicting-labels`` of the first part, and ``leak`` for each two parts, or nothing.
    """
    groups = {part: grouped_copies(keys, rows) for part, rows in parts.items()}
    called = _Names(ids, classes, labels)
    first = next(iter(parts), None)
    found = [] if first is None else _conflicts(first, groups[first], labels, called)
    for known, asked in combinations(parts, 2):
        pairs = [
            (row, groups[known][key][0])
            for key, rows in groups[asked].items()
            if key in groups[known]
            for row in rows
        ]
        if not pairs:
            continue
        examples = _some(f"{called.row(a)} = {called.row(b)}" for a, b in sorted(pairs))
        message = (
            f"{len(pairs)} of {len(parts[asked])} {_rows_of(asked)} are copies of {_rows_of(known)} ({examples}): "
            f"the {_score_of(asked)} is too good; remove the copies from one of the two, or split anew"
        )
        found.append(Finding("leak", message))
    return found


def torn_groups(groups: tuple[str, ...], parts: Mapping[str, np.ndarray]) -> list[Finding]:
    """Find groups with rows in several splits, where the dataset's own splits or slices cut them.

    Parameters
    ----------
    groups
        Name of each row's group ``[N]``, empty for none.
    parts
        Name to row numbers.

    Returns
    -------
    list of Finding
        ``torn-groups`` for each two parts, or nothing.
    """
    held = {part: {groups[row] for row in rows.tolist()} - {""} for part, rows in parts.items()}
    found = []
    for known, asked in combinations(parts, 2):
        if torn := sorted(held[known] & held[asked]):
            message = (
                f"{len(torn)} of {len(held[asked])} groups in {asked} have rows in {known} too ({_some(torn)}): the "
                f"{_score_of(asked)} says little of new groups; split by whole groups, as --val-fraction does"
            )
            found.append(Finding("torn-groups", message))
    return found


def _conflicts(
    part: str, groups: Mapping[bytes, list[int]], labels: np.ndarray, called: "_Names"
) -> list[Finding]:
    pairs = conflicting_copies(groups.values(), labels)
    if not pairs:
        return []
    examples = _some(f"{called.labelled(a)} = {called.labelled(b)}" for a, b in pairs)
    place = "the dataset" if part == WHOLE else part
    message = (
        f"{len(pairs)} {'images are' if len(pairs) > 1 else 'image is'} in {place} more than once with different "
        f"labels ({examples}): no head can learn both; correct the labels, or remove the copies"
    )
    return [Finding("conflicting-labels", message)]


@dataclass(frozen=True)
class _Names:
    """Names of rows in messages."""

    ids: Sequence[str] | None
    classes: Sequence[str] | None
    labels: np.ndarray

    def row(self, row: int) -> str:
        return f"row {row}" if self.ids is None else self.ids[row]

    def labelled(self, row: int) -> str:
        label = int(self.labels[row])
        return f"{self.row(row)} ({f'class {label}' if self.classes is None else self.classes[label]})"


# ---- classes


def class_counts(
    labels: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    class_weights: str = "none",
    ratio: float = 10.0,
    least: int = 5,
) -> list[Finding]:
    """Find classes that are rare, too rare to learn, or absent from a split.

    Parameters
    ----------
    labels
        Part to labels int ``[n]``; the first is trained on.
    classes
        Names.
    class_weights
        ``"none"``, ``"balanced"`` or weights by class.
    ratio
        A largest class so many times the smallest is an imbalance, unless classes are weighted.
    least
        A class of fewer training rows is tiny.

    Returns
    -------
    list of Finding
        ``imbalance``, ``tiny-classes``, ``unseen-classes``, ``unjudged-classes``, or nothing.
    """
    counts = {part: np.bincount(values, minlength=len(classes)) for part, values in labels.items()}
    part, train = next(iter(counts.items()), ("train", np.zeros(len(classes), int)))
    present = np.flatnonzero(train)
    found = []
    if len(present) and train.max() >= ratio * train[present].min() and class_weights == "none":
        large, small = int(train.argmax()), int(present[train[present].argmin()])
        message = (
            f"class {classes[large]} has {train[large]} {_rows_of(part)} and {classes[small]} {train[small]}, "
            f"{train[large] / train[small]:.0f} times fewer; use class weights (--class-weights balanced) or look "
            "at the score of each class"
        )
        found.append(Finding("imbalance", message))
    tiny = present[train[present] < least]
    if len(tiny):
        names = _some(f"{classes[int(label)]}: {train[label]}" for label in tiny)
        message = (
            f"{len(tiny)} of {len(classes)} classes have fewer than {least} {_rows_of(part)} ({names}); "
            "add images, or leave these classes out"
        )
        found.append(Finding("tiny-classes", message))
    for other in list(counts)[1:]:
        unseen = np.flatnonzero((counts[other] > 0) & (train == 0))
        if len(unseen):
            message = (
                f"{counts[other][unseen].sum()} {other} rows are of classes without {part} rows "
                f"({_some(classes[int(label)] for label in unseen)}) and always wrong; split anew, stratified by "
                f"class: {UNSORTED}"
            )
            found.append(Finding("unseen-classes", message))
        expected = train * counts[other].sum() / max(1, train.sum())
        unjudged = np.flatnonzero((counts[other] == 0) & (expected >= EXPECTED))
        if len(unjudged):
            message = (
                f"{len(unjudged)} classes that {part} rows are of have no {other} rows, by chance one had at least "
                f"{expected[unjudged].min():.0f} ({_some(classes[int(label)] for label in unjudged)}): the "
                f"{_score_of(other)} says nothing of them; {UNSORTED}"
            )
            found.append(Finding("unjudged-classes", message))
    return found


def _some(names: Iterable[str], most: int = 3) -> str:
    """Return the first few names and how many more there are."""
    every = list(names)
    more = f", and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
