"""The position of a run, and the conversion of position and state to the contents of a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import jax
import numpy as np

from featcache.core.documents.document_format import DocumentFormat
from featcache.core.documents.kinds import Maybe, Number, Record, Whole
from featcache.errors import IntegrityError
from featcache.finetuning.train_step import State

EARLIER = "earlier/"
"""Prefix, in a checkpoint, of arrays that earlier phases have changed."""

_COUNTS = ("phase", "epoch", "batch", "epochs", "steps", "best_epoch", "stale")
_SUMS = ("weight", "right", "count", "seconds")

POSITION = DocumentFormat(
    Record(
        {
            **dict.fromkeys(_COUNTS, Whole(0, 2**40)),
            "best_value": Maybe(Number()),  # null before the first validation
            "loss": Number(),
            **dict.fromkeys(_SUMS, Number(0)),
        }
    ),
    what="the position of a run",
    remedy="start the run anew with --overwrite",
)


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
    """Return a state from the arrays of `named_leaves`; `template` gives its structure.

    Raises
    ------
    IntegrityError
        If an array is missing, or of another shape or type.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: require_like(jax.tree_util.keystr(path), arrays, leaf), template
    )


def require_like(name: str, arrays: Mapping[str, np.ndarray], leaf: Any) -> np.ndarray:
    """Return the array of this name; raise `IntegrityError` unless it has the shape and type of `leaf`."""
    found = arrays.get(name)
    if found is None or found.shape != np.shape(leaf) or found.dtype != leaf.dtype:
        held = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
        raise IntegrityError(
            f"the checkpoint holds {held} as {name[:100]!a}, expected {leaf.dtype} {list(np.shape(leaf))}; "
            f"{POSITION.remedy}"
        )
    return found


def changed_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays that earlier phases have changed."""
    return {n.removeprefix(EARLIER): value for n, value in arrays.items() if n.startswith(EARLIER)}
