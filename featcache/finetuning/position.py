"""The position of a run, and the conversion of position and state to the contents of a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import jax
import numpy as np

from featcache.finetuning.train_step import State

EARLIER = "earlier/"
"""Prefix, in a checkpoint, of arrays that earlier phases have changed."""


@dataclass
class Position:
    """How far a run is, with the sums of the current epoch; a checkpoint holds all of it.

    Parameters
    ----------
    phase, epoch, batch
        Phases done, epochs of this phase done, batches of this epoch done.
    epochs, steps
        Epochs and batches done in all.
    best_epoch, best_value
        The best epoch (counted over phases), and its monitored value, better when smaller.
    stale
        Epochs of this phase since the best.
    loss, weight, right, count
        Sums over the batches of this epoch: weighted losses, weights, right answers, rows.
    seconds
        Spent on this epoch.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    epochs: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_value: float = math.inf
    stale: int = 0
    loss: float = 0.0
    weight: float = 0.0
    right: float = 0.0
    count: float = 0.0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; infinity, which JSON lacks, becomes ``None``."""
        return {**vars(self), "best_value": self.best_value if math.isfinite(self.best_value) else None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        best = value["best_value"]
        return cls(**{**value, "best_value": math.inf if best is None else best})

    @property
    def mean_loss(self) -> float:
        """Mean training loss of this epoch so far."""
        return self.loss / max(self.weight, 1e-9)

    @property
    def accuracy(self) -> float:
        """Training accuracy of this epoch so far."""
        return self.right / max(self.count, 1)

    def next_epoch(self) -> None:
        """Reset the sums for the next epoch."""
        self.batch = 0
        self.loss = self.weight = self.right = self.count = self.seconds = 0.0


def named_leaves(state: State, changed: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the arrays of a state by names, and those that earlier phases have `changed`."""
    own = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    return own | {f"{EARLIER}{name}": value for name, value in changed.items()}


def state_of(template: State, arrays: Mapping[str, np.ndarray]) -> State:
    """Return a state from the arrays of `named_leaves`; `template` gives its structure."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: arrays[jax.tree_util.keystr(path)], template)


def changed_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays that earlier phases have changed."""
    return {n.removeprefix(EARLIER): value for n, value in arrays.items() if n.startswith(EARLIER)}
