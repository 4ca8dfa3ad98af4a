"""Divide many heads into runs that train together, by the rows that they share and the size of a matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FULL_PRODUCT = 320
"""Columns from which on a product of a batch with the heads' kernels gets no faster.

Measured with 1,280 features on cores with 1.25 MB of cache: 320 columns take 2.1 s of a core for 64 heads of 5
outputs, 160 take 2.3, 80 take 2.7, 40 take 3.9, and beyond 320 the optimiser's arrays leave the caches.
"""

LEAST_PRODUCT = 64
"""Columns below which dividing the heads among the cores does not pay."""

LEAST_SHARING = 8
"""Least number of heads of the same rows that get a program of their own, which standardises a batch once for all."""


@dataclass(frozen=True)
class Runs:
    """A division of K heads into runs of one size, so that one program serves them all.

    Parameters
    ----------
    numbers
        Heads of each run; one that is short is filled up with its last head.
    counts
        Number of different heads in each run.
    shared
        Whether the heads of a run have the same row weights.
    """

    numbers: Sequence[Sequence[int]]
    counts: Sequence[int]
    shared: bool


def divide(
    weight: np.ndarray, *, most: int, columns: int, cores: int, seeds: Sequence[int] | None = None
) -> Runs:
    """Divide K heads into runs.

    Parameters
    ----------
    weight
        Row weights ``[K, N]``.
    seeds
        Of the order of each head's batches, which the heads of a run share; the same for all by default.
    most
        Heads that fit in memory at a time.
    columns
        Columns that each head adds to the product with a batch's features.
    cores
        Number of runs at a time, each on a core of its own; 1 for a device that runs one after another.
    """
    orders = np.zeros(len(weight), int) if seeds is None else np.asarray(seeds)
    pools = [np.flatnonzero(orders == seed).tolist() for seed in dict.fromkeys(orders.tolist())]
    groups = [[pool[k] for k in group] for pool in pools for group in same_rows(weight[pool])]
    shared = len(groups) == len(pools) or min(map(len, groups)) >= LEAST_SHARING
    if shared:
        pools = groups
    full = max(1, FULL_PRODUCT // columns) if cores > 1 else most
    largest = max(map(len, pools))
    parts = -(-largest // min(most, full))
    if len(pools) * parts < cores and largest * columns >= cores * LEAST_PRODUCT:
        parts = min(cores, largest)
    size = -(-largest // parts)
    runs = [pool[start : start + size] for pool in pools for start in range(0, len(pool), size)]
    return Runs([[*run, *[run[-1]] * (size - len(run))] for run in runs], [len(run) for run in runs], shared)


def same_rows(weight: np.ndarray) -> list[np.ndarray]:
    """Return the numbers of the heads that share their row weights ``[K, N]``, group by group."""
    keys: dict[bytes, list[int]] = {}
    for number, row in enumerate(weight):
        keys.setdefault(row.tobytes(), []).append(number)
    return [np.array(numbers) for numbers in keys.values()]
