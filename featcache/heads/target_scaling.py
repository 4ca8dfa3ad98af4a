"""Numbers to predict, brought to mean 0 and deviation 1, so that a learning rate means the same whatever their unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class TargetScale:
    """Mean and deviation of each of T numbers, float64 ``[T]``; the deviation of a constant is 1."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, weight: np.ndarray) -> Self:
        """Return the scale of numbers float ``[N, T]`` of rows that count as much as `weight` ``[N]`` says."""
        share = weight / max(weight.sum(), np.finfo(float).tiny)
        mean = share @ numbers
        deviation = np.sqrt(share @ np.square(numbers - mean))
        return cls(mean, np.where(deviation > 0, deviation, 1.0))

    def scale(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers ``[N, T]`` in units of the scale."""
        return (numbers - self.mean) / self.deviation

    def unscale(self, numbers: np.ndarray) -> np.ndarray:
        """Undo `scale`."""
        return numbers * self.deviation + self.mean

    def fold_into(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return a head whose outputs are in the numbers' own units: its last layer takes the scale in."""
        kernel, bias = (np.asarray(parameters[name], np.float64) for name in ("kernel", "bias"))
        return {
            **parameters,
            "kernel": (kernel * self.deviation).astype(np.float32),
            "bias": self.unscale(bias).astype(np.float32),
        }
