"""What a sweep does where nothing is said: which kinds of heads it tries, and what chooses between them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.refitting import FOLDS, folds_for
from featcache.heads.settings import settings_for
from featcache.solvers.logistic import bytes_of_one
from featcache.splits.selection import SplitSpec, select_named_rows
from featcache.sweeps.axes import Given

KINDS = ("linear", "logistic")
"""Kinds of heads that are tried on classes: each is the better one on some photos, and both take seconds."""

FEW_ROWS = 5000
"""Up to so many rows folds choose where there is no validation split.

A fifth of 5,000 rows tells an accuracy of 95 % to 1.4 points, and of 100 rows to 10: the best of ten heads on so few is
the luckiest. Winners of default sweeps over 100 photos (300 with 10 % of their labels wrong), chosen by a fifth → by
five folds, test accuracy, mean of 10 draws: three classes of flowers against two 84.1 → 86.0 %, cats and dogs
97.0 → 97.4 % (97.4 → 98.6 %).
"""


def usual_heads(
    axes: Mapping[str, Given], layers: Iterable[tuple[FeatureCache, str]], memory: int
) -> list[str]:
    """Return the kinds of heads to try on classes.

    Parameters
    ----------
    axes
        What was said of other settings: kinds that do not know one of them are left out.
    layers, memory
        The layers of caches that are tried, and the bytes that training may take: logistic regression reads all
        features at once.
    """
    said = [name for name, value in axes.items() if value is not None]
    found = [head for head in KINDS if all(name in settings_for(head) for name in said)]
    if "logistic" in found and not all(_fits(cache, name, memory // 2) for cache, name in layers):
        found.remove("logistic")
    return found or [KINDS[0]]


def _fits(cache: FeatureCache, layer: str, memory: int) -> bool:
    """Return whether all features of a layer fit in memory, and so does what solving a logistic head takes."""
    rows, width = len(cache) * cache.views, int(np.prod(cache.layers[layer].shape))
    return max(4 * rows * width, bytes_of_one(rows, width, len(cache.classes))) <= memory


def usual_folds(spec: SplitSpec, caches: Sequence[FeatureCache], shots: Sequence[int | None]) -> int:
    """Return how many folds choose: `FOLDS` where a fifth of few rows would, else 0, the validation rows.

    Parameters
    ----------
    spec
        Which rows train, validate and test. Where it names validation rows, or their share, they choose.
    caches
        The caches of the sweep.
    shots
        Numbers of examples of each class, ``None`` for all. All other rows are there to judge heads of a few.
    """
    told = spec.val is not None or spec.val_fraction != SplitSpec().val_fraction
    if told or any(few is not None for few in shots) or any("val" in cache.splits for cache in caches):
        return 0
    for cache in caches:
        rows = select_named_rows(cache, spec, judging=("test",)).pool
        if len(rows) > FEW_ROWS or folds_for(cache, rows, group_by=spec.group_by, seed=spec.seed) is None:
            return 0
    return FOLDS
