"""Build the row table of a dataset: ids, hashes, labels and splits, which are drawn if the dataset has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from featcache.cache import RowTable
from featcache.cache.layout import table_digest
from featcache.core.columns.digest_array import DigestRows, digest_array, is_known, is_repeated, sortable
from featcache.core.tasks import MULTICLASS, UNLABELLED
from featcache.datasets import Dataset
from featcache.datasets.dataset import UNSPLIT
from featcache.errors import DataError
from featcache.splits.slices import ALL
from featcache.splits.stratified import draw_grouped, draw_stratified, strata

UNREADABLE = b"\0" * 32
"""The hash of a file that could not be read."""


_TOGETHER = ", copies together"
"""Ends the name of a rule that drew other rows than the one that lets a border divide copies."""


@dataclass(frozen=True)
class SplitRule:
    """The rule for a dataset without splits: a seeded, stratified test share.

    Parameters
    ----------
    test_fraction, seed
        The share, and another choice with another seed.
    together
        Whether copies of an image are drawn as one; not so in caches of an earlier featcache, which keep their split.
    """

    test_fraction: float = 0.2
    seed: int = 0
    together: bool = True

    def to_json(self, *, grouped: bool = False, mended: bool = False) -> dict[str, Any]:
        """Return plain JSON values for the cache's identity.

        `grouped` if whole groups were drawn, `mended` if copies would have been divided: where they would not, caches
        of the same images by earlier versions are the same.
        """
        name = ("stratified by group" if grouped else "stratified by content") + _TOGETHER * mended
        return {"rule": name, "test_fraction": self.test_fraction, "seed": self.seed}

    def draw(self, dataset: Dataset, hashes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the mask of test rows, bool ``[N]``; a group is never divided.

        `hashes` are uint8 ``[N, 32]``; `labels` int ``[N]`` are strata: classes, or
        `featcache.splits.stratified.strata` of multilabel and regression targets.

        Raises
        ------
        DataError
            If the groups allow no test share.
        """
        share = {"fraction": self.test_fraction, "seed": self.seed}
        keys = DigestRows(_told_apart(hashes, dataset.columns.ids))
        groups = dataset.columns.groups
        if groups is None:
            units = keys if self.together else range(len(keys))
            return draw_stratified(DigestRows(hashes), labels, **share, units=units)
        return draw_grouped(keys, labels, groups, **share, together=self.together)


def _told_apart(hashes: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """Return the hashes with another for each unreadable file: all have the same, and are no copies of one image."""
    rows = np.flatnonzero(~is_known(hashes))
    if not len(rows):
        return hashes
    keys = hashes.copy()
    for row in rows.tolist():
        own = sha256(ids[row].encode("utf-8", "surrogateescape")).digest()
        keys[row] = np.frombuffer(own, np.uint8)
    return keys


def is_grouped(dataset: Dataset) -> bool:
    """Return whether any record belongs to a group."""
    return dataset.columns.groups is not None


def build_rows(
    dataset: Dataset, hashes: np.ndarray | Sequence[bytes], rule: SplitRule
) -> tuple[RowTable, tuple[str, ...], dict[str, Any] | None]:
    """Return the row table, the split names, and the rule by which splits were drawn (``None`` if given).

    Parameters
    ----------
    dataset
        The records.
    hashes
        uint8 ``[N, 32]``: sha256 of each record's bytes.
    rule
        Used if the dataset has no splits.
    """
    own, digests = dataset.columns, digest_array(hashes)
    targets, told = _targets(dataset), None
    names, split_of = list(own.split_names), own.split_of
    if dataset.task == UNLABELLED:  # nothing to hold out
        names = [name or ALL for name in names]
    elif UNSPLIT in names:
        strata_of = own.labels if targets is None else strata(dataset.task, targets)
        test, told = _drawn(dataset, digests, strata_of, rule)
        names, split_of = ["train", "test"], test.astype(np.int32)
    usual = ("train", "val", "test")
    present = {names[number] for number in np.unique(split_of).tolist()}
    splits = tuple(sorted(present, key=lambda name: (usual.index(name) if name in usual else 3, name)))
    numbers = np.array([splits.index(name) if name in present else -1 for name in names], np.int16)
    table = RowTable(
        ids=own.ids,
        sha256=digests,
        labels=own.labels,
        splits=numbers[split_of],
        sizes=own.sizes,
        mtimes_ns=own.mtimes_ns,
        groups=own.groups,
        targets=targets,
    )
    return table, splits, told


def _drawn(
    dataset: Dataset, hashes: np.ndarray, labels: np.ndarray, rule: SplitRule
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the mask of test rows, and what the cache records of the rule."""
    test, mended = rule.draw(dataset, hashes, labels), False
    if rule.together and is_repeated(sortable(hashes)).any():
        before = _as_before_copies(dataset, hashes, labels, rule)
        mended = before is None or not np.array_equal(test, before)
    return test, rule.to_json(grouped=is_grouped(dataset), mended=mended)


def _as_before_copies(
    dataset: Dataset, hashes: np.ndarray, labels: np.ndarray, rule: SplitRule
) -> np.ndarray | None:
    """Return the mask of test rows that an earlier featcache drew; ``None`` where it could draw none."""
    try:
        return replace(rule, together=False).draw(dataset, hashes, labels)
    except DataError:
        return None


def _targets(dataset: Dataset) -> np.ndarray | None:
    if dataset.task in (MULTICLASS, UNLABELLED):
        return None
    return np.array([record.target for record in dataset.records], np.float32)


def identify_rows(
    data: Dataset,
    hashes: np.ndarray,
    rule: SplitRule,
    split: str | None = None,
    *,
    held: Mapping[str, Any] | None = None,
) -> tuple[RowTable, dict[str, Any]]:
    """Return the row table, and the dataset's entry in the identity, with `split` as its slice.

    `held` is the identity of the cache that is there already: where it has these very images, divided as an earlier
    featcache did, it stays as it is.
    """
    if held is not None and held["dataset"].get("rule"):
        found = _identify(data, hashes, replace(rule, together=False), split)
        if same_rows(held, *found):
            return found
    return _identify(data, hashes, rule, split)


def _identify(
    data: Dataset, hashes: np.ndarray, rule: SplitRule, split: str | None
) -> tuple[RowTable, dict[str, Any]]:
    rows, splits, drawn = build_rows(data, hashes, rule)
    document = {"spec": data.spec, "classes": list(data.classes), "splits": list(splits), "rule": drawn}
    if data.task != MULTICLASS:
        document["task"] = data.task
    if split is not None:
        document["slice"] = split
    return rows, document


def same_rows(identity: Mapping[str, Any], rows: RowTable, document: Mapping[str, Any]) -> bool:
    """Return whether a cache has exactly these rows, classes and splits; the dataset's spec may differ."""
    held = identity["dataset"]
    return identity["rows"]["sha256"] == table_digest(rows.columns()) and all(
        held.get(key) == document.get(key) for key in ("classes", "splits", "rule", "task")
    )
