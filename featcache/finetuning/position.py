"""Where a fine-tuning is, and how that and a state become names and numbers in a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import jax
import numpy as np

from featcache.finetuning.train_step import State

EARLIER = "earlier/"
"""Before the names of arrays that phases before this one have changed, in a checkpoint."""


@dataclass
class Position:
    """Where a run is, and what it knows so far; all of it is in a checkpoint.

    Parameters
    ----------
    phase, epoch, batch
        Phases done, epochs of this phase done, batches of this epoch done.
    epochs, steps
        Epochs and batches done in all.
    best_epoch, best_value
        The epoch (in all) that was judged best, and the monitored value there, better when smaller.
    stale
        Epochs of this phase since then.
    loss, weight, right, count
        Sums over the batches of this epoch.
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
        """Return plain JSON values, which know no infinity."""
        return {**vars(self), "best_value": self.best_value if math.isfinite(self.best_value) else None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        best = value["best_value"]
        return cls(**{**value, "best_value": math.inf if best is None else best})

    @property
    def mean_loss(self) -> float:
        """Of this epoch so far."""
        return self.loss / max(self.weight, 1e-9)

    @property
    def accuracy(self) -> float:
        """Of this epoch so far."""
        return self.right / max(self.count, 1)

    def next_epoch(self) -> None:
        """Forget the sums of the epoch that ended."""
        self.batch = 0
        self.loss = self.weight = self.right = self.count = self.seconds = 0.0


def named_leaves(state: State, changed: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the arrays of a state by names, and those that earlier phases have `changed`."""
    own = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    return own | {f"{EARLIER}{name}": value for name, value in changed.items()}


def state_of(template: State, arrays: Mapping[str, np.ndarray]) -> State:
    """Return the state that `named_leaves` has named."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: arrays[jax.tree_util.keystr(path)], template)


def changed_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays that earlier phases have changed."""
    return {n.removeprefix(EARLIER): value for n, value in arrays.items() if n.startswith(EARLIER)}
