"""Stratified random splits, drawn by a seed and the images' content, not by file names or order."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from featcache.core.tasks import REGRESSION
from featcache.errors import DataError
from featcache.splits.copies import join_copies

_BINS = 5
"""Number of ranges that regression targets are cut into, as strata."""
_FEW = 5
"""Least number of images with the same labels that are a stratum of their own (multilabel)."""


def draw_stratified(
    keys: Sequence[bytes],
    labels: np.ndarray,
    *,
    fraction: float,
    seed: int,
    units: Sequence[Hashable] | None = None,
) -> np.ndarray:
    """Choose about `fraction` of the rows of each class, and never a part of the copies of an image.

    Rows are ranked by ``sha256(seed, key)`` within their class and the first are taken. With content hashes
    as keys the choice survives renaming and moving files, and adding images changes it for few others. Exact
    duplicates (equal keys, hence equal ranks) that the border or different labels would divide go to the side that
    brings the classes nearer to their shares.

    Parameters
    ----------
    keys
        One per row, such as the sha256 of the image.
    labels
        int ``[N]``; classes are stratified.
    fraction
        Between 0 and 1. A class of at least two different images gives at least one row and keeps at least one.
    seed
        Another seed, another choice.
    units
        ``[N]``: equal for rows that stay together; by default the keys.

    Returns
    -------
    numpy.ndarray
        bool ``[N]``, true where chosen.
    """
    labels = np.asarray(labels)
    chosen = _draw_rows(keys, labels, fraction, seed)
    return _keep_whole(keys if units is None else units, labels, chosen, fraction=fraction, seed=seed)


def _draw_rows(keys: Sequence[bytes], labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the first rows of each class by rank, bool ``[N]``; the border may divide copies."""
    ranks = np.array([hashlib.sha256(b"%d:" % seed + key).digest() for key in keys], dtype="S32")
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        take = round(len(rows) * fraction)
        if fraction > 0 and len(rows) > 1:
            take = min(max(take, 1), len(rows) - 1)
        chosen[rows[np.argsort(ranks[rows], kind="stable")[:take]]] = True
    return chosen


def draw_grouped(
    keys: Sequence[bytes],
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    fraction: float,
    seed: int,
    purpose: str = "testing",
    together: bool = True,
) -> np.ndarray:
    """Choose about `fraction` of the rows of each class, all rows of a group or none of them.

    Groups are gone through in the order of ``sha256(seed, name)``, and one is chosen where that brings the classes
    nearer to their shares: where the sum over classes of (chosen - share)² / rows gets smaller. Where every row is
    alone this is what `draw_stratified` does, but for classes of very few rows. Groups with copies of one image
    count as one.

    Parameters
    ----------
    keys
        One per row, such as the sha256 of the image.
    labels
        int ``[N]``.
    groups
        Name of each row's group; a row without one (``""``) stays with those of its own key.
    fraction
        Between 0 and 1. A class keeps rows outside, and gives some where its groups allow both.
    seed
        Another seed, another choice.
    purpose
        What the chosen rows are for; it stands in the message.
    together
        Whether groups that hold copies of one image are drawn as one; featcache once did not.

    Returns
    -------
    numpy.ndarray
        bool ``[N]``, true where chosen.

    Raises
    ------
    DataError
        If nothing can be chosen, because every group holds a class's only rows.
    """
    names = [
        hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest() if group else key
        for group, key in zip(groups, keys, strict=True)
    ]
    names = join_copies(names, keys) if together else names
    members = _class_counts(names, np.asarray(labels))
    order = sorted(set(names), key=lambda name: hashlib.sha256(b"%d:" % seed + name).digest())
    chosen = _choose_groups([members[name] for name in order], fraction) if fraction else set()
    if fraction and not chosen:
        raise DataError(
            f"{len(members)} groups: none can be put aside for {purpose}, because each holds all images of some class; "
            "give groups that several of an image's class belong to, or splits of your own"
        )
    picked = {order[number] for number in chosen}
    return np.array([name in picked for name in names], bool)


def _keep_whole(
    units: Sequence[Hashable], labels: np.ndarray, chosen: np.ndarray, *, fraction: float, seed: int
) -> np.ndarray:
    """Return a choice of rows in which no unit is divided, and every other row is where it was."""
    sides: dict[Hashable, set[bool]] = defaultdict(set)
    for unit, side in zip(units, chosen.tolist(), strict=True):
        sides[unit].add(side)
    if all(len(both) == 1 for both in sides.values()):
        return chosen
    order = sorted(sides, key=lambda unit: hashlib.sha256(b"%d:%r" % (seed, unit)).digest())
    counts = _class_counts(units, labels)
    settled = {n: True in sides[unit] for n, unit in enumerate(order) if len(sides[unit]) == 1}
    whole = {order[n] for n in _choose_groups([counts[unit] for unit in order], fraction, settled)}
    return np.array([unit in whole for unit in units], bool)


def _class_counts(names: Sequence[Hashable], labels: np.ndarray) -> dict[Hashable, Counter[int]]:
    """Return how many rows of each class every group has, classes in order."""
    found: dict[Hashable, Counter[int]] = defaultdict(Counter)
    for name, label in zip(names, labels.tolist(), strict=True):
        found[name][label] += 1
    # Classes in one order, so that sums do not round otherwise where the rows come in another.
    return {name: Counter(dict(sorted(counts.items()))) for name, counts in found.items()}


_UNSETTLED: Mapping[int, bool] = {}


def _choose_groups(
    groups: Sequence[Counter[int]], fraction: float, settled: Mapping[int, bool] = _UNSETTLED
) -> set[int]:
    """Return the numbers of the chosen groups, which are given by how many rows of each class they hold.

    Those that are `settled` are chosen or not as that says; not chosen, they still serve a class that has no row.
    """
    rows = sum(groups, Counter())
    chosen = {number for number, side in settled.items() if side}
    taken = sum((groups[number] for number in chosen), Counter())

    def cost(group: Counter[int]) -> float:
        """Return the change of the distance from the shares if this group is chosen too."""
        return sum(
            count * (2 * (taken[label] - fraction * rows[label]) + count) / rows[label]
            for label, count in group.items()
        )

    def spared(group: Counter[int]) -> bool:
        return all(taken[label] + count < rows[label] for label, count in group.items())

    def take(number: int) -> None:
        taken.update(groups[number])
        chosen.add(number)

    for number, group in enumerate(groups):
        if number not in settled and cost(group) < 0 and spared(group):
            take(number)
    for label in sorted(rows):
        if taken[label]:
            continue
        others: Iterable[int] = (
            n for n, g in enumerate(groups) if label in g and n not in chosen and spared(g)
        )
        nearest = min(others, key=lambda number: cost(groups[number]), default=None)
        if nearest is not None:
            take(nearest)
    return chosen


def strata(task: str, targets: np.ndarray) -> np.ndarray:
    """Return the stratum of each image, int ``[N]``, for drawing splits of multilabel and regression tasks.

    Multilabel: images with the same set of labels are a stratum; sets that fewer than 5 images have are one stratum
    together, so that rare ones are drawn from too. Regression: 5 ranges of equally many images by the first target.

    Parameters
    ----------
    task
        `featcache.core.tasks.MULTILABEL` or `featcache.core.tasks.REGRESSION`.
    targets
        float ``[N, T]``.
    """
    if task == REGRESSION:
        # By rank, so that equal numbers in unlucky places do not make a range empty; equal ones stay together.
        _, place, counts = np.unique(targets[:, 0], return_inverse=True, return_counts=True)
        before = np.cumsum(counts) - counts
        return (before[place] * _BINS // max(1, len(targets))).astype(np.int64)
    _, own, counts = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
    return np.where(counts[own.reshape(-1)] < _FEW, -1, own.reshape(-1))
