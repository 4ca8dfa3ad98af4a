"""Selection of the rows of a cache that train, validate and test a head; used by everything that trains one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError, UsageError
from featcache.splits.copies import join_copies
from featcache.splits.folds import grouped_folds, stratified_folds
from featcache.splits.groups import read_groups
from featcache.splits.left_out import leave_out
from featcache.splits.other_classes import refuse_other_classes
from featcache.splits.shuffled import SliceOrder
from featcache.splits.slices import ALL
from featcache.splits.stratified import draw_grouped, draw_stratified, strata

NONE = "none"
"""The value of `SplitSpec.val` or `SplitSpec.test` that asks for no rows, although the cache has such a split."""

_NOTHING = np.zeros(0, np.int64)


class CachedRows(Protocol):
    """The part of `featcache.FeatureCache` that a selection needs: the row table."""

    # ruff: noqa: D102 - FeatureCache documents them

    @property
    def path(self) -> Path: ...
    @property
    def task(self) -> str: ...
    @cached_property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def targets(self) -> np.ndarray | None: ...
    @cached_property
    def groups(self) -> tuple[str, ...] | None: ...
    @property
    def sha256(self) -> np.ndarray: ...
    @property
    def splits(self) -> Sequence[str]: ...
    @property
    def classes(self) -> Sequence[str]: ...
    def rows_of(self, split: str, *, order: SliceOrder | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class SplitSpec:
    """The request for training, validation and test rows.

    Parameters
    ----------
    train
        A split or slice; see `featcache.splits.slices`.
    val, test
        The same, or ``"none"``. By default the cache's own val and test splits, where it has them.
    val_fraction
        Share of the training rows that is held out where there are no validation rows.
    group_by
        Regular expression over ids: what it finds is an image's group. By default the groups that the cache holds.
        The held-out share is drawn by whole groups.
    seed
        Of the held-out share, and of `shuffle_slices`.
    shuffle_slices
        Cut slices in an order that spreads every class evenly, instead of that in which rows stand; see
        `featcache.splits.shuffled`.
    exclude
        Ids of rows that are left out of all parts, once these are divided: the others stay where they are. Ids that
        are no row's leave out nothing.
    """

    train: str = "train"
    val: str | None = None
    test: str | None = None
    val_fraction: float = 0.2
    group_by: str | None = None
    seed: int = 0
    shuffle_slices: bool = False
    exclude: tuple[str, ...] = ()

    @classmethod
    def from_training(cls, training: Mapping[str, Any], *, val_fraction: float, seed: int) -> Self:
        """Return the request that a classifier was trained with, from its training record.

        Parameters
        ----------
        training
            With `to_json`'s values as ``"selection"``, which records of older versions of featcache lack.
        val_fraction, seed
            From its settings, which is all that an older record has.
        """
        known = {field.name for field in fields(cls)}
        told = {name: value for name, value in training.get("selection", {}).items() if name in known}
        told["exclude"] = tuple(told.get("exclude", ()))
        return cls(**{"val_fraction": val_fraction, "seed": seed, **told})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the ids to leave out only where there are some."""
        values = {**asdict(self), "exclude": list(self.exclude)}
        return (
            values if self.exclude else {name: value for name, value in values.items() if name != "exclude"}
        )


@dataclass(frozen=True)
class Selection:
    """Row numbers of the three parts.

    `held_out` says how validation rows were chosen, and `left_out` how many rows of which part a list left out.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    held_out: str
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def pool(self) -> np.ndarray:
        """The training and validation rows, int ``[n]`` in ascending order."""
        return np.union1d(self.train, self.val)


def select_rows(cache: CachedRows, parts: SplitSpec) -> Selection:
    """Choose training, validation and test rows of a cache, or of another object with the same row table.

    Where no validation rows are asked for and the cache has none of its own, a stratified share of the training rows
    is held out, drawn by content (see `featcache.splits.stratified`), and by whole groups where images have groups.

    Raises
    ------
    DataError
        If there is no training split, fewer than two classes in the rows that train, or a class that is left out whole.
    UsageError
        If a part is no slice of the cache, holds no image, or shares rows with another part.
    """
    return leave_out(cache, _divided(cache, parts), parts.exclude)


def _divided(cache: CachedRows, parts: SplitSpec) -> Selection:
    """Return the three parts, before rows are left out of them."""
    chosen = _named(cache, parts)
    if len(chosen.val) or parts.val == NONE or not parts.val_fraction:
        return chosen
    rows, share = chosen.train, {"fraction": parts.val_fraction, "seed": parts.seed}
    keys, groups = keys_of(cache, rows), groups_of(cache, rows, parts.group_by)
    if groups is None:
        held, how = draw_stratified(keys, strata_of(cache, rows), **share), "stratified"
    else:
        held = draw_grouped(keys, strata_of(cache, rows), groups, **share, purpose=_VALIDATION)
        how = "stratified, whole groups"
    told = f"{parts.val_fraction:g} of {parts.train}, {how}, seed {parts.seed}"
    return replace(chosen, train=rows[~held], val=rows[held], held_out=told)


_VALIDATION = "validation (say which rows validate with --val SLICE, or --val none)"


def select_named_rows(
    cache: CachedRows, parts: SplitSpec, *, judging: Sequence[str] = ("val", "test")
) -> Selection:
    """Return the rows that the request names, without holding out a share; raises as `select_rows` does.

    The parts that are `judging` must have classes that train; with folds that is the test part alone.
    """
    return leave_out(cache, _named(cache, parts, judging=judging), parts.exclude)


def _named(cache: CachedRows, parts: SplitSpec, *, judging: Sequence[str] = ("val", "test")) -> Selection:
    _require_train_split(cache, parts)
    order = slice_order(cache, parts)
    train = cache.rows_of(parts.train, order=order)
    if cache.task == MULTICLASS and len(np.unique(cache.labels[train])) < 2:
        why = "" if parts.train == "train" else f" ({parts.train}: {len(train)} rows; {UNSORTED})"
        raise DataError(f"{cache.path}: the readable training images are of fewer than two classes{why}")
    val, test = (_rows_asked_for(cache, name, getattr(parts, name), order) for name in ("val", "test"))
    _refuse_overlap(cache, parts, {"train": train, "val": val, "test": test})
    if cache.task == MULTICLASS:
        judged = {"val": val, "test": test}
        for name in judging:
            refuse_other_classes(cache, parts, name, train, judged[name])
    own = "the dataset's own split" if parts.val in (None, "val") else f"rows {parts.val}"
    shuffled = f", shuffled, seed {parts.seed}" if parts.shuffle_slices else ""
    return Selection(train, val, test, own + shuffled if len(val) else "none")


def _require_train_split(cache: CachedRows, parts: SplitSpec) -> None:
    if parts.train != "train" or "train" in cache.splits:
        return
    first = next((name for name in cache.splits if re.fullmatch(r"[\w-]+", name)), ALL)
    raise DataError(
        f"{cache.path} has no train split; it has {', '.join(cache.splits)}; say which rows train and test, such as "
        f"--train '{first}[:80%]' --test '{first}[80%:]'"
    )


def slice_order(cache: CachedRows, parts: SplitSpec) -> SliceOrder | None:
    """Return the order in which a request's slices are cut; ``None`` for that in which rows stand."""
    if not parts.shuffle_slices:
        return None
    rows = np.arange(len(cache.sha256))
    groups = groups_of(cache, rows, parts.group_by)
    return SliceOrder.drawn(keys_of(cache, rows), strata_of(cache, rows), groups, seed=parts.seed)


def _rows_asked_for(cache: CachedRows, name: str, asked: str | None, order: SliceOrder | None) -> np.ndarray:
    """Return the rows of ``"val"`` or ``"test"``: those asked for, or the cache's own split, or none."""
    if asked is None:
        return cache.rows_of(name) if name in cache.splits else _NOTHING
    if asked == NONE and NONE not in cache.splits:
        return _NOTHING
    rows = cache.rows_of(asked, order=order)
    if not len(rows):
        raise UsageError(
            f"{cache.path}: {name} {asked} holds no readable image; give another slice, or {NONE}"
        )
    return rows


def _refuse_overlap(cache: CachedRows, parts: SplitSpec, rows: Mapping[str, np.ndarray]) -> None:
    told = []
    for one, other in combinations(rows, 2):
        both = np.intersect1d(rows[one], rows[other])
        if not len(both):
            continue
        names = ", ".join(cache.ids[row] for row in both[:3].tolist()) + (", …" if len(both) > 3 else "")
        asked = getattr(parts, other)
        said = (
            f"the cache's own {other} split is taken unless --{other} says another slice, or {NONE}"
            if asked is None
            else "give slices that exclude each other, such as --train 'train[:80%]' --val 'train[80%:]' (without "
            "--train all of the train split trains)"
        )
        told.append(
            f"{len(both)} of the {len(rows[other])} {other} rows ({asked or other}) are {one} rows "
            f"({getattr(parts, one) or one}) too ({names}); {said}"
        )
    if told:
        raise UsageError(f"{cache.path}: " + "\n  ".join(told))


def draw_folds(
    cache: CachedRows, rows: np.ndarray, *, folds: int, group_by: str | None, seed: int
) -> np.ndarray:
    """Return the fold of each row, int ``[n]``: stratified, drawn by content, with groups and copies in one fold.

    Raises
    ------
    DataError
        If there are fewer different images, or groups, than folds.
    """
    labels, keys = strata_of(cache, rows), keys_of(cache, rows)
    groups = groups_of(cache, rows, group_by)
    if groups is None:
        return stratified_folds(keys, labels, folds=folds, seed=seed)
    # A row without a group forms one with the copies of its image.
    named = [group or key.hex() for group, key in zip(groups, keys, strict=True)]
    return grouped_folds(join_copies(named, keys), labels, folds=folds, seed=seed)


# Keys, strata and groups for drawing ---------------------------------------------------------------------------


def keys_of(cache: CachedRows, rows: np.ndarray) -> list[bytes]:
    """Return the keys that rows are drawn by, equal for equal images: the sha256 of their bytes."""
    return [cache.sha256[row].tobytes() for row in rows]


def strata_of(cache: CachedRows, rows: np.ndarray) -> np.ndarray:
    """Return the stratum of each row, int ``[n]``: its class, or for other tasks what `strata` gives."""
    if cache.task == MULTICLASS or cache.targets is None:
        return cache.labels[rows]
    return strata(cache.task, cache.targets[rows])


def groups_of(cache: CachedRows, rows: np.ndarray, group_by: str | None) -> list[str] | None:
    """Return the group of each row, ``""`` for none; ``None`` where rows have no groups.

    Parameters
    ----------
    cache, rows
        Which rows.
    group_by
        Regular expression over ids, see `featcache.splits.groups.read_groups`; ``None``: the cache's own groups.

    Raises
    ------
    UsageError
        If the expression is none, or finds nothing in some id.
    """
    if group_by is not None:
        return read_groups([cache.ids[row] for row in rows.tolist()], group_by)
    groups = None if cache.groups is None else [cache.groups[row] for row in rows.tolist()]
    return groups if groups and any(groups) else None


UNSORTED = (
    "a slice such as train[:80%] loses whole classes where rows are sorted by class, as in folders; with "
    "--shuffle-slices it does not, nor does the share that --val-fraction draws"
)
"""Why rows that train may lack classes, and what to do."""
