"""The training, validation and test rows of a sweep, and their features, read when needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.view_features import feature_table, rows_of_views, views_used
from featcache.core.argument_types import spelled
from featcache.core.identity import sha256_json
from featcache.errors import UsageError
from featcache.heads.feature_table import ArrayTable, FeatureRows, FeatureTable
from featcache.heads.target_scaling import labels_to_learn
from featcache.splits.few_shot import draw_shots
from featcache.splits.selection import (
    NONE,
    SplitSpec,
    draw_folds,
    keys_of,
    select_named_rows,
    select_rows,
)
from featcache.sweeps.trials import Trial

SELECT_ON = ("val", "folds")


@dataclass(frozen=True)
class Protocol(SplitSpec):
    """How heads are evaluated: which rows train, validate and test (see `SplitSpec`), or in how many folds.

    Parameters
    ----------
    folds
        Number of folds over the training and validation rows, drawn with the same seed and groups; 0: heads
        are evaluated on the validation rows.
    """

    folds: int = 0

    def __post_init__(self) -> None:
        if self.folds == 1 or self.folds < 0:
            raise UsageError(f"folds {self.folds}: expected 2 or more, or 0 for the validation split")
        if not 0 < self.val_fraction < 1:
            raise UsageError(
                f"{spelled('val_fraction')} {self.val_fraction}: expected a share between 0 and 1; {_WHY}"
            )
        if self.val == NONE and not self.folds:
            raise UsageError(f"val none: expected a split or a slice, or folds; {_WHY}")

    @property
    def fold_numbers(self) -> Sequence[int | None]:
        """The folds that are validation rows in turn; one ``None`` without folds."""
        return range(self.folds) if self.folds else (None,)

    def identity(self, cache: FeatureCache) -> str:
        """Return a hash over the rows and how they are divided."""
        own = {name: getattr(self, name) for name in ("folds", "val_fraction", "group_by", "seed")}
        # Defaults are left out, so that results from before an option existed keep their names.
        default = SplitSpec()
        own |= {
            name: getattr(self, name)
            for name in ("train", "val", "test", "shuffle_slices")
            if getattr(self, name) != getattr(default, name)
        }
        if self.group_by is not None and not self.folds:
            own["held_out"] = "whole groups in their shares"  # before, one of several folds was held out
        if self.exclude and (named := sorted({*self.exclude} & {*cache.ids})):
            own["exclude"] = named
        return sha256_json({"rows": cache.identity["rows"]["sha256"], "protocol": own})


_WHY = "without validation rows the test rows would have to choose, and their accuracy would mean nothing"


class SweepData:
    """One cache in a sweep.

    Parameters
    ----------
    cache
        The cache; it has a train split.
    protocol
        How its rows are divided.
    memory
        Bytes; a layer whose features take more than half of it is read block by block.

    Attributes
    ----------
    labels
        What heads learn, of every row of the cache: int ``[N]`` (multiclass), else float32 ``[N, T]`` (multilabel,
        scaled regression targets).
    scale
        Mean and deviation by which regression targets were scaled; ``None`` for other tasks.

    Raises
    ------
    DataError
        If there are no training rows, fewer than two classes, or more folds than rows or groups.
    """

    def __init__(self, cache: FeatureCache, protocol: Protocol, *, memory: int) -> None:
        self.cache, self.protocol, self.memory = cache, protocol, memory
        if protocol.folds:  # every row that is no test row is a validation row once
            rows = select_named_rows(cache, protocol, judging=("test",))
            rows = replace(rows, train=rows.pool, val=rows.pool)
        else:
            rows = select_rows(cache, protocol)
        self.train, self.val, self.test, self.pool = rows.train, rows.val, rows.test, rows.pool
        self.left_out = rows.left_out
        self.labels, self.scale = labels_to_learn(cache.task, cache.known, self.train)
        self._loaded: tuple[tuple[str, int], FeatureTable, FeatureTable] | None = None

    @cached_property
    def fold_of(self) -> np.ndarray:
        """The fold of each training row, int ``[N]``."""
        own = self.protocol
        return draw_folds(self.cache, self.train, folds=own.folds, group_by=own.group_by, seed=own.seed)

    @cached_property
    def rows_identity(self) -> str:
        """A hash over the rows and how they are divided; other than before where copies were divided."""
        own = self.protocol.identity(self.cache)
        drawn = self.protocol.folds or (self.protocol.val is None and "val" not in self.cache.splits)
        if not drawn or len({*keys_of(self.cache, self.pool)}) == len(self.pool):
            return own
        return sha256_json({"rows": own, "drawn": "copies together"})

    @property
    def how(self) -> str:
        """The validation rows, or the folds, in words."""
        if self.protocol.folds:
            return f"{self.protocol.folds} folds of {len(self.train)} rows"
        return f"{len(self.val)} validation rows"

    # Features -----------------------------------------------------------------------------------------------

    def table(self, rows: np.ndarray, layer: str, views: int = 1) -> FeatureTable:
        """Return the first `views` of some rows, in memory where they fit; NaN and infinite features are refused."""
        return feature_table(self.cache, rows, layer, views, memory=self.memory)

    def tables(self, layer: str, views: int = 1) -> tuple[FeatureTable, FeatureTable]:
        """Return the features of training rows (`views` each) and validation rows (plain), keeping the last call's."""
        if self._loaded is None or self._loaded[0] != (layer, views):
            self._loaded = None  # free the previous one first
            train = self.table(self.train, layer, views)
            same = self.protocol.folds and views == 1
            self._loaded = ((layer, views), train, train if same else self.table(self.val, layer))
        return self._loaded[1:]

    def _tables(self, trial: Trial) -> tuple[FeatureTable, FeatureTable]:
        return self.tables(trial.layer, views_used(self.cache, trial.layer, trial.settings))

    def parts(self, trials: Sequence[Trial]) -> tuple[FeatureRows, FeatureRows]:
        """Return the training and the validation rows of trials that share a program."""
        train, _ = self._tables(trials[0])
        views = views_used(self.cache, trials[0].layer, trials[0].settings)
        weight = np.stack([self._train_weight(trial) for trial in trials])
        labels = self.labels
        train_part = FeatureRows(train, labels[self.train], weight, views)
        if trials[0].shots is not None:
            # Rows that no head of the group learns from would only fill the batches.
            used = np.flatnonzero((weight > 0).any(axis=0))
            few = ArrayTable(train.take(rows_of_views(used, views)))
            train_part = FeatureRows(few, labels[self.train][used], weight[:, used], views)
        return train_part, self.val_part(trials)

    def rows_to_learn(self, rows: np.ndarray, trial: Trial) -> FeatureRows:
        """Return rows of the cache with the views that a trial learns from, all of weight 1."""
        views = views_used(self.cache, trial.layer, trial.settings)
        weight = np.ones((1, len(rows)), np.float32)
        return FeatureRows(self.table(rows, trial.layer, views), self.labels[rows], weight, views)

    def val_part(self, trials: Sequence[Trial]) -> FeatureRows:
        """Return the validation rows of trials that share a program; weight 0 for rows of other folds."""
        _, val = self._tables(trials[0])
        weight = np.stack([self._val_weight(trial) for trial in trials])
        return FeatureRows(val, self.labels[self.val], weight)

    def _train_weight(self, trial: Trial) -> np.ndarray:
        counts = np.ones(len(self.train), np.float32)
        if trial.fold is not None:
            counts[self.fold_of == trial.fold] = 0
        if trial.shots is not None:
            rows = np.flatnonzero(counts)
            keys, labels = keys_of(self.cache, self.train[rows]), self.cache.labels[self.train[rows]]
            counts[rows[~draw_shots(keys, labels, shots=trial.shots, seed=trial.settings.seed)]] = 0
        return counts

    def _val_weight(self, trial: Trial) -> np.ndarray:
        if trial.fold is None:
            return np.ones(len(self.val), np.float32)
        return (self.fold_of == trial.fold).astype(np.float32)

    def test_part(self, layer: str, heads: int) -> FeatureRows:
        """Return the test rows, with equal weights for `heads` chosen heads."""
        labels = self.labels[self.test]
        return FeatureRows(self.table(self.test, layer), labels, np.ones((heads, len(labels)), np.float32))
