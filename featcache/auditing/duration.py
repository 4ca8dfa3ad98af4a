"""About how long an audit will take: what its parts multiply, at the rate at which this machine multiplies now."""

import time
from collections.abc import Iterable

import numpy as np

from featcache.auditing import evidence, outliers
from featcache.auditing.copies import near_rows
from featcache.auditing.labels import held_out
from featcache.auditing.learning_rows import MOST_LEARNT
from featcache.auditing.material import Audited
from featcache.core.tasks import MULTICLASS, MULTILABEL

LONG = 50_000
"""Of fewer photos an audit takes no minutes."""

_ITERATIONS = 80
"""Of a solver of heads, about."""

_BESIDE = 2.0
"""Time over that of the products: reading, comparing, sorting."""

_TRIED, _TIMES = 1024, 5
"""Rows of the product that is timed, and how often; the fastest counts."""


def expected_seconds(rows: Audited, wanted: Iterable[str]) -> float:
    """Return about how many seconds some lists take, from a product that is timed; 0 for fewer than `LONG` photos.

    Parameters
    ----------
    rows
        The audited rows.
    wanted
        Kinds of list.
    """
    if len(rows) < LONG:
        return 0.0
    return _BESIDE * multiplications(rows, wanted) / _rate(rows.width)


def multiplications(rows: Audited, wanted: Iterable[str]) -> float:
    """Return about how many numbers some lists multiply, each with another one."""
    kinds, count, width = set(wanted), len(rows), rows.width
    total = 0.0
    if kinds & {"wrong-labels", "overlaps", "inseparable"} and rows.task in (MULTICLASS, MULTILABEL):
        learnt = min(count, MOST_LEARNT)
        # Logits and gradients of every fold's head, each time; then the logits of all.
        total += (2 * held_out.FOLDS * _ITERATIONS * learnt + count) * width * len(rows.classes)
    total += len(kinds & {"wrong-labels", "outliers"}) * evidence.shown(count) * count * width
    if "outliers" in kinds:
        sizes = np.bincount(rows.labels) if rows.task == MULTICLASS else np.array([count])
        total += float(sizes @ np.minimum(sizes, outliers.compared(count))) * width
    if "copies" in kinds:
        total += (
            near_rows.comparisons(count) * min(width, near_rows.REDUCED) + count * width * near_rows.REDUCED
        )
    return total


def _rate(width: int) -> float:
    """Return how many numbers are multiplied with another and added in a second."""
    x = np.ones((_TRIED, width), np.float32)
    taken = []
    for _ in range(_TIMES):  # the first wakes threads, and any may be interrupted
        started = time.perf_counter()
        np.matmul(x, x.T)
        taken.append(time.perf_counter() - started)
    return _TRIED**2 * width / max(min(taken), 1e-6)
