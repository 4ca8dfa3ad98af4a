"""The rows of a sweep: which train, which judge, which are looked at once, and their features when wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from featcache.cache import FeatureCache
from featcache.checks import require_finite
from featcache.errors import DataError, UsageError
from featcache.folds import draw_shots, grouped_folds, read_groups, stratified_folds
from featcache.identity import sha256_json
from featcache.splits import draw_stratified
from featcache.tables import ArrayTable, Part, StreamedTable, Table
from featcache.trials import Trial

SELECT_ON = ("val", "folds")


@dataclass(frozen=True)
class Protocol:
    """How heads are judged.

    Parameters
    ----------
    folds
        Number of folds over the training rows; 0: the validation rows judge.
    val_fraction
        Share of the training rows held out where the cache has no validation split.
    group_by
        Regular expression over ids: images of one group are never both learnt from and judged by.
    seed
        Of folds, of held-out rows, and of the order of minibatches.
    """

    folds: int = 0
    val_fraction: float = 0.2
    group_by: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds == 1 or self.folds < 0:
            raise UsageError(f"folds {self.folds}: expected 2 or more, or 0 for the validation split")
        if not 0 < self.val_fraction < 1:
            raise UsageError(
                f"val-fraction {self.val_fraction}: expected a share between 0 and 1; without rows that judge, "
                "the test rows would have to choose, and their accuracy would mean nothing"
            )

    @property
    def fold_numbers(self) -> Sequence[int | None]:
        """The folds that take turns at judging; one ``None`` where the validation rows do."""
        return range(self.folds) if self.folds else (None,)

    def identity(self, cache: FeatureCache) -> str:
        """Return a hash over the rows and how they are divided."""
        own = {
            "folds": self.folds,
            "val_fraction": self.val_fraction,
            "group_by": self.group_by,
            "seed": self.seed,
        }
        return sha256_json({"rows": cache.identity["rows"]["sha256"], "protocol": own})


class SweepData:
    """One cache in a sweep.

    Parameters
    ----------
    cache
        With a train split.
    protocol
        How its rows are divided.
    memory
        Bytes: features of a layer that take more than half of it are read when they are wanted.

    Raises
    ------
    DataError
        If there are no training rows, fewer than two classes, or more folds than rows or groups.
    """

    def __init__(self, cache: FeatureCache, protocol: Protocol, *, memory: int) -> None:
        self.cache, self.protocol, self.memory = cache, protocol, memory
        if "train" not in cache.splits:
            raise DataError(f"{cache.path} has no train split; it has {', '.join(cache.splits)}")
        rows = cache.rows_of("train")
        val = cache.rows_of("val") if "val" in cache.splits else np.zeros(0, np.int64)
        self.test = cache.rows_of("test") if "test" in cache.splits else np.zeros(0, np.int64)
        if len(np.unique(cache.labels[rows])) < 2:
            raise DataError(f"{cache.path}: the readable training images are of fewer than two classes")
        self.train, self.val = self._divided(rows, val)
        self._loaded: tuple[str, Table, Table] | None = None

    def _divided(self, rows: np.ndarray, val: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.protocol.folds:  # every row that is no test row takes its turn
            joined = np.sort(np.concatenate([rows, val]))
            return joined, joined
        if len(val):
            return rows, val
        if self.protocol.group_by is None:
            keys, labels = self._keys(rows), self.cache.labels[rows]
            held = draw_stratified(keys, labels, fraction=self.protocol.val_fraction, seed=self.protocol.seed)
        else:
            held = self._folds(rows, max(2, round(1 / self.protocol.val_fraction))) == 0
        return rows[~held], rows[held]

    def _folds(self, rows: np.ndarray, folds: int) -> np.ndarray:
        labels, own = self.cache.labels[rows], self.protocol
        if own.group_by is not None:
            groups = read_groups([self.cache.ids[row] for row in rows], own.group_by)
            return grouped_folds(groups, labels, folds=folds, seed=own.seed)
        return stratified_folds(self._keys(rows), labels, folds=folds, seed=own.seed)

    def _keys(self, rows: np.ndarray) -> list[bytes]:
        return [self.cache.sha256[row].tobytes() for row in rows]

    @cached_property
    def fold_of(self) -> np.ndarray:
        """The fold of each training row, int ``[N]``."""
        return self._folds(self.train, self.protocol.folds)

    @property
    def how(self) -> str:
        """How rows judge, in words."""
        if self.protocol.folds:
            return f"{self.protocol.folds} folds of {len(self.train)} rows"
        return f"{len(self.val)} validation rows"

    # Features -----------------------------------------------------------------------------------------------

    def table(self, rows: np.ndarray, layer: str) -> Table:
        """Return the features of some rows, in memory where they fit; refuse those that are no numbers."""
        width = int(np.prod(self.cache.layers[layer].shape))
        if 4 * len(rows) * width <= self.memory // 2:
            features = self.cache.features(rows, layer).reshape(len(rows), width)
            require_finite(features, rows, self.cache, layer)
            return ArrayTable(np.asarray(features, np.float32))
        # Checked once, before thousands of reads that no longer are.
        for start in range(0, len(rows), 4096):
            some = rows[start : start + 4096]
            features = self.cache.features(some, layer).reshape(len(some), width)
            require_finite(features, some, self.cache, layer)
        stored = self.cache.mapped(layer)
        return StreamedTable(lambda numbers: stored[rows[numbers]], len(rows), width)

    def tables(self, layer: str) -> tuple[Table, Table]:
        """Return the features of the training and of the judging rows of a layer; the last one is kept."""
        if self._loaded is None or self._loaded[0] != layer:
            self._loaded = None  # let go of the old one first
            train = self.table(self.train, layer)
            self._loaded = (layer, train, train if self.protocol.folds else self.table(self.val, layer))
        return self._loaded[1:]

    def parts(self, trials: Sequence[Trial]) -> tuple[Part, Part]:
        """Return what trials of one program learn from and are judged by."""
        train, _ = self.tables(trials[0].layer)
        weight = np.stack([self._train_weight(trial) for trial in trials])
        labels = self.cache.labels
        learnt = Part(train, labels[self.train], weight)
        if trials[0].shots is not None:
            # Few of many rows: what no head of the group learns from would only fill the batches.
            used = np.flatnonzero((weight > 0).any(axis=0))
            learnt = Part(ArrayTable(train.take(used)), labels[self.train][used], weight[:, used])
        return learnt, self.judged(trials)

    def judged(self, trials: Sequence[Trial]) -> Part:
        """Return what trials of one program are judged by."""
        _, val = self.tables(trials[0].layer)
        weight = np.stack([self._val_weight(trial) for trial in trials])
        return Part(val, self.cache.labels[self.val], weight)

    def _train_weight(self, trial: Trial) -> np.ndarray:
        counts = np.ones(len(self.train), np.float32)
        if trial.fold is not None:
            counts[self.fold_of == trial.fold] = 0
        if trial.shots is not None:
            rows = np.flatnonzero(counts)
            keys, labels = self._keys(self.train[rows]), self.cache.labels[self.train[rows]]
            counts[rows[~draw_shots(keys, labels, shots=trial.shots, seed=trial.settings.seed)]] = 0
        return counts

    def _val_weight(self, trial: Trial) -> np.ndarray:
        if trial.fold is None:
            return np.ones(len(self.val), np.float32)
        return (self.fold_of == trial.fold).astype(np.float32)

    def test_part(self, layer: str, heads: int) -> Part:
        """Return the test rows, for heads that have been chosen."""
        labels = self.cache.labels[self.test]
        return Part(self.table(self.test, layer), labels, np.ones((heads, len(labels)), np.float32))
