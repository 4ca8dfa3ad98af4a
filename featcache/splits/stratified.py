"""Stratified random splits, drawn by a seed and the images' content, not by file names or order."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

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
    start = hashlib.sha256(b"%d:" % seed)

    def rank(key: bytes) -> bytes:
        own = start.copy()
        own.update(key)
        return own.digest()

    ranks = np.fromiter(map(rank, keys), "S32", len(keys))
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
    divided = _divided(units, chosen)
    if not divided:
        return chosen

    def in_order(some: Iterable[Hashable]) -> list[Hashable]:
        return sorted(some, key=lambda unit: hashlib.sha256(b"%d:%r" % (seed, unit)).digest())

    # Few are divided: only of these, and of the images of a class that would have none, there is a count in memory.
    counts = _class_counts(units, labels, of=divided)
    settled = np.fromiter((unit not in divided for unit in units), bool, len(chosen)) & chosen
    shares = _Shares(Counter(labels.tolist()), Counter(labels[settled].tolist()), fraction)
    picked = {unit for unit in in_order(divided) if shares.took(counts[unit])}
    for label in shares.without_rows():
        near = {units[row] for row in np.flatnonzero(labels == label).tolist()} - picked
        own, names = _class_counts(units, labels, of=near), in_order(near)
        nearest = shares.nearest([own[unit] for unit in names])
        if nearest is not None:
            picked.add(names[nearest])
    return np.fromiter((unit in picked for unit in units), bool, len(chosen)) | settled


def _divided(units: Sequence[Hashable], chosen: np.ndarray) -> set[Hashable]:
    """Return the units that have rows on both sides."""
    fewer = 2 * int(chosen.sum()) < len(chosen)  # only the smaller side is kept meanwhile
    inside = {unit for unit, side in zip(units, chosen.tolist(), strict=True) if side == fewer}
    return {
        unit for unit, side in zip(units, chosen.tolist(), strict=True) if side != fewer and unit in inside
    }


def _class_counts(
    names: Sequence[Hashable], labels: np.ndarray, *, of: Set[Hashable] | None = None
) -> dict[Hashable, Counter[int]]:
    """Return how many rows of each class every group has, classes in order; with `of`, of these groups alone."""
    found: dict[Hashable, Counter[int]] = defaultdict(Counter)
    for name, label in zip(names, labels.tolist(), strict=True):
        if of is None or name in of:
            found[name][label] += 1
    # Classes in one order, so that sums do not round otherwise where the rows come in another.
    return {name: Counter(dict(sorted(counts.items()))) for name, counts in found.items()}


@dataclass
class _Shares:
    """How many rows of each class there are, and how many are taken so far."""

    rows: Counter[int]
    taken: Counter[int]
    fraction: float

    def took(self, group: Counter[int]) -> bool:
        """Take a group if that brings the classes nearer to their shares, and leaves rows of each."""
        wanted = self.cost(group) < 0 and self.spared(group)
        if wanted:
            self.taken.update(group)
        return wanted

    def cost(self, group: Counter[int]) -> float:
        """Return the change of the distance from the shares if this group is chosen too."""
        return sum(
            count * (2 * (self.taken[label] - self.fraction * self.rows[label]) + count) / self.rows[label]
            for label, count in group.items()
        )

    def spared(self, group: Counter[int]) -> bool:
        """Return whether rows of each class would be left."""
        return all(self.taken[label] + count < self.rows[label] for label, count in group.items())

    def without_rows(self) -> Iterator[int]:
        """Yield the classes of which none is taken, as it is when their turn comes."""
        return (label for label in sorted(self.rows) if not self.taken[label])

    def nearest(self, groups: Sequence[Counter[int]]) -> int | None:
        """Take the group that costs least of those that leave rows of each class; return its number."""
        others = (number for number, group in enumerate(groups) if self.spared(group))
        found = min(others, key=lambda number: self.cost(groups[number]), default=None)
        if found is not None:
            self.taken.update(groups[found])
        return found


def _choose_groups(groups: Sequence[Counter[int]], fraction: float) -> set[int]:
    """Return the numbers of the chosen groups, which are given by how many rows of each class they hold."""
    rows: Counter[int] = Counter()
    for group in groups:
        rows.update(group)
    shares = _Shares(rows, Counter(), fraction)
    chosen = {number for number, group in enumerate(groups) if shares.took(group)}
    for label in shares.without_rows():
        near = [number for number, group in enumerate(groups) if label in group and number not in chosen]
        nearest = shares.nearest([groups[number] for number in near])
        if nearest is not None:
            chosen.add(near[nearest])
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
