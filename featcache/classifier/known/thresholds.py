"""Bounds that a promised share of further rows stays within, from scores of rows that were held out.

Of n held-out scores and a further one, all exchangeable, the further one is at most the k-th smallest of the n with a
probability of at least k / (n + 1), whatever their distribution (Vovk et al., "Algorithmic learning in a random world",
2005). So ``k = ⌈(n + 1) · share⌉`` keeps the promise; where k is above n, there are too few rows for it.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from featcache.core.argument_types import spelled
from featcache.errors import UsageError

MOST_KEPT = 10_000
"""Scores that are kept; of more, every n / `MOST_KEPT`-th in their order: 40 kB, and a share to one part in 10,000."""


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of held-out rows, of which a bound for a share of further rows is read.

    Parameters
    ----------
    values
        float32 ``[m]``, ascending; the i-th (from 1) is the one of rank ``⌈i · n / m⌉`` of all.
    count
        Number n of rows, at least m.
    """

    values: np.ndarray
    count: int

    @classmethod
    def of(cls, scores: np.ndarray) -> "HeldOutScores":
        """Return the scores ``[n]`` of held-out rows in order, `MOST_KEPT` of them at most."""
        count = len(scores)
        kept = min(count, MOST_KEPT)
        ranks = -(-np.arange(1, kept + 1) * count // kept)
        return cls(np.sort(np.asarray(scores, np.float32))[ranks - 1], count)

    def bound(self, share: float) -> float | None:
        """Return what at least this share of further rows is at or below; ``None`` if there are too few rows to say.

        Parameters
        ----------
        share
            Above 0 and below 1. Where not all scores were kept the bound is the next one that was: never too small.
        """
        rank = ceil((self.count + 1) * _exactly(share))
        if rank > self.count:
            return None
        # The first kept score of at least this rank: ⌈i · n / m⌉ ≥ k exactly where i > (k − 1) · m / n.
        return float(self.values[(rank - 1) * len(self.values) // self.count])


def rows_needed(share: float) -> int:
    """Return how many held-out rows a bound for a share needs: n with ``⌈(n + 1) · share⌉ ≤ n``."""
    exact = _exactly(share)
    return ceil(exact / (1 - exact))


def require_share(name: str, share: float) -> None:
    """Raise `UsageError` for a share outside 0 and 1, both excluded; `name` is that of the argument."""
    if not 0 < share < 1:
        raise UsageError(f"{spelled(name)} {share}: expected above 0 and below 1, such as 0.95")


def _exactly(share: Any) -> Fraction:
    # As it was written: 0.99 as a binary number is a little more, and would ask for one more row.
    return Fraction(repr(float(share)))
