"""Stratified random splits, drawn by a seed and the images' content, not by file names or order."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from featcache.core.tasks import REGRESSION
from featcache.errors import DataError

_BINS = 5
"""Number of ranges that regression targets are cut into, as strata."""
_FEW = 5
"""Least number of images with the same labels that are a stratum of their own (multilabel)."""


def draw_stratified(keys: Sequence[bytes], labels: np.ndarray, *, fraction: float, seed: int) -> np.ndarray:
    """Choose about `fraction` of the rows of each class.

    Rows are ranked by ``sha256(seed, key)`` within their class and the first are taken. With content hashes
    as keys the choice survives renaming and moving files, adding images changes it for few others, and exact
    duplicates (equal keys, hence equal ranks) end up on one side but for the one pair on the border.

    Parameters
    ----------
    keys
        One per row, such as the sha256 of the image.
    labels
        int ``[N]``; classes are stratified.
    fraction
        Between 0 and 1. A class of at least two rows gives at least one row and keeps at least one.
    seed
        Another seed, another choice.

    Returns
    -------
    numpy.ndarray
        bool ``[N]``, true where chosen.
    """
    labels = np.asarray(labels)
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
) -> np.ndarray:
    """Choose about `fraction` of the rows of each class, all rows of a group or none of them.

    Groups are gone through in the order of ``sha256(seed, name)``, and one is chosen where that brings the classes
    nearer to their shares: where the sum over classes of (chosen - share)² / rows gets smaller. Where every row is
    alone this is what `draw_stratified` does, but for classes of very few rows. Rows with equal keys in two named
    groups may come to different sides.

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
    members: dict[bytes, Counter[int]] = defaultdict(Counter)
    for name, label in zip(names, np.asarray(labels).tolist(), strict=True):
        members[name][label] += 1
    order = sorted(members, key=lambda name: hashlib.sha256(b"%d:" % seed + name).digest())
    # Classes in one order, so that sums do not round otherwise where the rows come in another.
    counts = [Counter(dict(sorted(members[name].items()))) for name in order]
    chosen = _choose_groups(counts, fraction) if fraction else set()
    if fraction and not chosen:
        raise DataError(
            f"{len(members)} groups: none can be put aside for {purpose}, because each holds all images of some class; "
            "give groups that several of an image's class belong to, or splits of your own"
        )
    picked = {order[number] for number in chosen}
    return np.array([name in picked for name in names], bool)


def _choose_groups(groups: Sequence[Counter[int]], fraction: float) -> set[int]:
    """Return the numbers of the chosen groups, which are given by how many rows of each class they hold."""
    rows = sum(groups, Counter())
    taken: Counter[int] = Counter()
    chosen: set[int] = set()

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
        if cost(group) < 0 and spared(group):
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
