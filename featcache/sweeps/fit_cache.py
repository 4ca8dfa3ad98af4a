"""Keeps the best heads of a sweep in memory, so that the ones chosen are not fitted again."""

import heapq
from collections.abc import Callable, Iterable, Sequence

from featcache.solvers.fit import Fit
from featcache.sweeps.trials import Trial


class FitCache:
    """Fitted heads by trial; beyond `nbytes` those of the lowest validation accuracy are dropped.

    Parameters
    ----------
    nbytes
        Bytes that their parameters may take.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._fits: dict[Trial, Fit] = {}
        self._worst: list[tuple[float, int, Trial]] = []
        self._held = self._added = 0

    def add(self, fits: Iterable[tuple[Trial, Fit]]) -> None:
        """Keep some heads, and drop the worst beyond the limit."""
        for trial, fit in fits:
            self._fits[trial] = fit
            self._held += _size(fit)
            # A head that diverged has the accuracy NaN, which cannot be ordered; the number breaks ties.
            worth = fit.val_accuracy if fit.val_accuracy >= 0 else -1.0
            heapq.heappush(self._worst, (worth, self._added, trial))
            self._added += 1
        while self._held > self.nbytes and self._worst:
            self._held -= _size(self._fits.pop(heapq.heappop(self._worst)[2]))

    def get(self, trials: Sequence[Trial], fit: Callable[[Sequence[Trial]], list[Fit]]) -> list[Fit]:
        """Return the heads of some trials of one program; if any is missing, all are fitted by `fit`."""
        if all(trial in self._fits for trial in trials):
            return [self._fits[trial] for trial in trials]
        return fit(trials)


def _size(fit: Fit) -> int:
    return sum(value.nbytes for value in fit.parameters.values())
