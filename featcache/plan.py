"""What an extraction has to do, decided before it does anything: pure functions on hashes and identities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import LayerSpec, RowTable
from featcache.cache.layout import layers_of
from featcache.errors import IdentityError
from featcache.identity import differences
from featcache.sources import Dataset
from featcache.sources.dataset import UNSPLIT
from featcache.splits import draw_grouped, draw_stratified, strata
from featcache.tasks import CLASSES

UNREADABLE = b"\0" * 32
"""Stands for the hash of a file that could not be read."""


@dataclass(frozen=True)
class SplitRule:
    """How a dataset without splits of its own is divided: a seeded, stratified test share."""

    test_fraction: float = 0.2
    seed: int = 0

    def to_json(self, *, grouped: bool = False) -> dict[str, Any]:
        """Return plain JSON values for the cache's identity; `grouped` where whole groups were drawn."""
        name = "stratified by group" if grouped else "stratified by content"
        return {"rule": name, "test_fraction": self.test_fraction, "seed": self.seed}

    def draw(self, dataset: Dataset, hashes: Sequence[bytes], labels: np.ndarray) -> np.ndarray:
        """Return which rows are put aside for testing, bool ``[N]``; a group's all or none.

        `labels` int ``[N]`` are strata: classes, or what `featcache.splits.strata` makes of answers and numbers.

        Raises
        ------
        DataError
            If the groups allow no test share.
        """
        share = {"fraction": self.test_fraction, "seed": self.seed}
        if not is_grouped(dataset):
            return draw_stratified(hashes, labels, **share)
        # Unreadable files have no content to tell them apart by, and must not count as copies of one image.
        keys = [
            sha256(record.id.encode("utf-8", "surrogateescape")).digest() if key == UNREADABLE else key
            for record, key in zip(dataset.records, hashes, strict=True)
        ]
        return draw_grouped(keys, labels, [record.group for record in dataset.records], **share)


def is_grouped(dataset: Dataset) -> bool:
    """Whether any record belongs to a group."""
    return any(record.group for record in dataset.records)


@dataclass(frozen=True)
class Source:
    """Rows that features may be copied from.

    Parameters
    ----------
    sha256
        uint8 ``[M, 32]``: hashes of the images.
    usable
        bool ``[M]``: rows that have features.
    """

    sha256: np.ndarray
    usable: np.ndarray


@dataclass(frozen=True)
class Plan:
    """Where each row's features come from.

    Parameters
    ----------
    reuse
        Row to (position in the list of sources, row there).
    compute
        Rows to compute, one for each image not seen before.
    copies
        Computed row to other rows with the same bytes.
    """

    reuse: Mapping[int, tuple[int, int]]
    compute: tuple[int, ...]
    copies: Mapping[int, tuple[int, ...]]

    @property
    def duplicates(self) -> int:
        """Rows that get their features from another row of the same dataset."""
        return sum(map(len, self.copies.values()))


def build_rows(
    dataset: Dataset, hashes: Sequence[bytes], rule: SplitRule
) -> tuple[RowTable, tuple[str, ...], dict[str, Any] | None]:
    """Return the row table, the split names, and the rule by which splits were drawn (``None`` if given).

    Parameters
    ----------
    dataset
        The records.
    hashes
        sha256 of each record's bytes, 32 bytes each.
    rule
        Used where the dataset has no splits of its own.
    """
    records = dataset.records
    labels = np.array([record.label for record in records], np.int32)
    targets = _targets(dataset)
    names = [record.split for record in records]
    drawn = UNSPLIT in names
    if drawn:
        test = rule.draw(dataset, hashes, labels if targets is None else strata(dataset.task, targets))
        names = ["test" if chosen else "train" for chosen in test]
    usual = ("train", "val", "test")
    splits = tuple(sorted(set(names), key=lambda name: (usual.index(name) if name in usual else 3, name)))
    table = RowTable(
        ids=tuple(record.id for record in records),
        sha256=np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        labels=labels,
        splits=np.array([splits.index(name) for name in names], np.int16),
        sizes=np.array([record.size for record in records], np.int64),
        mtimes_ns=np.array([record.mtime_ns for record in records], np.int64),
        groups=tuple(record.group for record in records) if is_grouped(dataset) else None,
        targets=targets,
    )
    return table, splits, rule.to_json(grouped=is_grouped(dataset)) if drawn else None


def _targets(dataset: Dataset) -> np.ndarray | None:
    if dataset.task == CLASSES:
        return None
    return np.array([record.target for record in dataset.records], np.float32)


def build_plan(hashes: Sequence[bytes], done: np.ndarray, sources: Sequence[Source]) -> Plan:
    """Decide for every row that is not done whether its features are copied or computed.

    Parameters
    ----------
    hashes
        sha256 of each row's image.
    done
        bool ``[N]``: rows already finished.
    sources
        Caches of the same recipe and layers, the preferred one first.
    """
    known: dict[bytes, tuple[int, int]] = {}
    for position, source in reversed(list(enumerate(sources))):
        for row in np.flatnonzero(source.usable):
            known[source.sha256[row].tobytes()] = (position, int(row))
    reuse: dict[int, tuple[int, int]] = {}
    first: dict[bytes, int] = {}
    copies: dict[int, list[int]] = {}
    for row in np.flatnonzero(~done).tolist():
        key = hashes[row]
        if key == UNREADABLE:
            first[key + row.to_bytes(8, "big")] = row
        elif key in known:
            reuse[row] = known[key]
        elif key in first:
            copies.setdefault(first[key], []).append(row)
        else:
            first[key] = row
    return Plan(reuse, tuple(first.values()), {row: tuple(rows) for row, rows in copies.items()})


def serves(identity: Mapping[str, Any], recipe: Mapping[str, Any], layers: Mapping[str, LayerSpec]) -> bool:
    """Whether a cache of `identity` holds the asked-for layers under the asked-for recipe."""
    held = {name: spec.fingerprint for name, spec in layers_of(identity).items()}
    return identity["recipe"] == recipe and all(
        held.get(name) == spec.fingerprint for name, spec in layers.items()
    )


def refuse_difference(
    path: Path, identity: Mapping[str, Any], recipe: Mapping[str, Any], layers: Mapping[str, LayerSpec]
) -> None:
    """Raise if a cache is of another recipe or lacks a layer, saying field by field why.

    Raises
    ------
    IdentityError
        With the differences.
    """
    if serves(identity, recipe, layers):
        return
    lines = differences(identity["recipe"], recipe)
    held = layers_of(identity)
    if any(name not in held for name in layers):
        lines.append(f"layers: {', '.join(held)} in the cache, {', '.join(layers)} asked for")
    raise IdentityError(
        f"{path} holds other features than asked for:\n  "
        + "\n  ".join(lines)
        + "\nwrite to another file with --output, or replace it with --overwrite"
    )
