"""How far a streamed training is, and how long an epoch takes: measured on its own blocks, and told after each."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochProgress:
    """Where heads are that train on features which do not fit in memory.

    Parameters
    ----------
    heads, rows
        Heads that train together, and their training rows.
    epoch, most
        The epoch, from 1, and the last that there may be: early stopping mostly ends before.
    least
        Epochs that there will be at least, unless the heads diverge: with validation rows the longest patience and the
        first; without, all.
    share
        The share of its steps that were taken.
    seconds
        How long an epoch takes; ``None`` before two blocks were measured.
    """

    heads: int
    rows: int
    epoch: int
    most: int
    least: int
    share: float
    seconds: float | None


OnEpoch = Callable[[EpochProgress], None]


class Pace:
    """Measures the steps of streamed training and tells `on_epoch` after each block.

    Parameters
    ----------
    heads, rows, most, least
        See `EpochProgress`.
    steps
        Of an epoch.
    on_epoch
        Called after each block; ``None`` to tell nobody.
    now
        The clock, in seconds.
    """

    def __init__(
        self,
        *,
        heads: int,
        rows: int,
        steps: int,
        most: int,
        least: int,
        on_epoch: OnEpoch | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed = {"heads": heads, "rows": rows, "most": most, "least": least}
        self._steps, self._on_epoch, self._now = steps, on_epoch, now
        self._epoch, self._taken = 1, 0
        self._from: tuple[float, int] | None = None
        self._began = now()
        self._whole: float | None = None

    def block(self, steps: int) -> None:
        """Count the steps of a block."""
        self._taken += steps
        # The first block waits for the program to be compiled and for the first rows, which no later one does.
        if self._from is None:
            self._from = self._now(), self._taken
        self._tell()

    def end_epoch(self) -> None:
        """Begin the next epoch; validation, which was part of this one, is in its seconds."""
        self._whole = self._now() - self._began if self._epoch > 1 else None
        self._epoch, self._taken, self._from, self._began = self._epoch + 1, 0, (self._now(), 0), self._now()

    def _tell(self) -> None:
        if self._on_epoch is not None:
            share = self._taken / self._steps
            self._on_epoch(
                EpochProgress(epoch=self._epoch, share=share, seconds=self._seconds(), **self._fixed)
            )

    def _seconds(self) -> float | None:
        if self._whole is not None:
            return self._whole
        began, before = self._from or (0.0, self._taken)
        counted = self._taken - before
        return (self._now() - began) * self._steps / counted if counted else None
