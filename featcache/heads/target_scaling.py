"""Standardisation of regression targets, so that a learning rate does not depend on their unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from featcache.core.tasks import REGRESSION


@dataclass(frozen=True)
class TargetScale:
    """Mean and deviation of each of T targets, float64 ``[T]``; the deviation of a constant is 1."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, weight: np.ndarray) -> Self:
        """Return the scale of targets float ``[N, T]`` over rows with weights `weight` ``[N]``."""
        share = weight / max(weight.sum(), np.finfo(float).tiny)
        mean = share @ numbers
        deviation = np.sqrt(share @ np.square(numbers - mean))
        return cls(mean, np.where(deviation > 0, deviation, 1.0))

    def scale(self, numbers: np.ndarray) -> np.ndarray:
        """Return standardised targets ``[N, T]``."""
        return (numbers - self.mean) / self.deviation

    def unscale(self, numbers: np.ndarray) -> np.ndarray:
        """Return targets ``[N, T]`` in their own units: the inverse of `scale`."""
        return numbers * self.deviation + self.mean

    def fold_into(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return parameters whose outputs are in the targets' own units: the scale becomes part of the last layer."""
        # (x @ W + b)·deviation + mean = x @ (W·deviation) + (b·deviation + mean)
        kernel, bias = (np.asarray(parameters[name], np.float64) for name in ("kernel", "bias"))
        return {
            **parameters,
            "kernel": (kernel * self.deviation).astype(np.float32),
            "bias": self.unscale(bias).astype(np.float32),
        }


def labels_to_learn(task: str, known: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, TargetScale | None]:
    """Return what heads learn of each row, and the scale of regression targets over the training rows.

    Parameters
    ----------
    task
        Of `featcache.core.tasks.TASKS`; labels of others than regression stay as they are.
    known
        Labels int ``[N]``, or targets ``[N, T]``.
    train
        Numbers of the training rows.
    """
    if task != REGRESSION:
        return known, None
    numbers = known[train].astype(np.float64)
    scale = TargetScale.of(numbers, np.ones(len(numbers)))
    return scale.scale(known).astype(np.float32), scale
