"""A picture of a cache for notebooks: its features in two dimensions."""

from typing import TYPE_CHECKING, cast

import numpy as np

from featcache.core.argument_types import checked_types, require_seed
from featcache.core.display import percent
from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError
from featcache.pages.chart import Axis, Chart, Series
from featcache.pages.notebook import chart_figure, new_figure
from featcache.pages.principal_components import principal_components

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from featcache.cache.reader import FeatureCache

MOST_ROWS = 10_000
"""Photos on a map at most: of more, as many are drawn at random."""

MOST_CLASSES = 8
"""Classes that have a colour of their own, the most frequent ones."""


class CachePlots:
    """The plots of a cache; see `featcache.cache.FeatureCache`."""

    @checked_types()
    def plot_map(self, split: str | None = None, layer: str | None = None, *, seed: int = 0) -> "Figure":
        """Return the photos as points in two dimensions, by the principal components of their features.

        Parameters
        ----------
        split
            Which rows, such as ``"train"`` or ``"test[:50%]"``; ``None``: all.
        layer
            Which features; the first layer by default.
        seed
            Which photos are drawn where there are more than 10,000.

        Raises
        ------
        DataError
            If there are no rows.
        UsageError
            If the seed is none.
        MissingExtraError
            If matplotlib is not installed; the extra ``report`` brings it.
        """
        require_seed(seed)
        new_figure(1, 1)  # refused before anything is read
        return chart_figure(cache_map(cast("FeatureCache", self), split, layer, seed), 7, 5.5)


def cache_map(cache: "FeatureCache", split: str | None, layer: str | None, seed: int) -> Chart:
    """Return the map of a cache's features; see `CachePlots.plot_map`."""
    rows = cache.rows_of(split)
    if not len(rows):
        raise DataError(f"{cache.path}: no photo of {split or 'it'} has features, so there is no map")
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    name = cache.layer(layer)
    features = cache.features(rows, name).reshape(len(rows), -1)
    labels = cache.labels[rows] if cache.task == MULTICLASS else np.full(len(rows), -1)
    return map_chart(features, labels, cache.classes, f"{name} of {split or 'all'}")


def map_chart(features: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], what: str) -> Chart:
    """Return a map of features.

    Parameters
    ----------
    features
        float ``[n, D]``.
    labels
        int ``[n]``, places in `classes`; -1 where there is none.
    classes
        Names of the classes.
    what
        Which features of which rows.
    """
    points, shares = principal_components(features, 2)
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    own = sorted(np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist())
    own = [number for number in own if counts[number]]
    others = ~np.isin(labels, own)
    series = [_points(classes[number], points[labels == number], colour) for colour, number in enumerate(own)]
    if others.any():
        series.insert(0, _points("other classes" if own else "photos", points[others], -1 if own else 0))
    return Chart(
        "map",
        f"Features of {len(features)} photos",
        Axis(f"first component ({percent(shares[0])} of the variance)"),
        Axis(f"second component ({percent(shares[1])})"),
        tuple(series),
        f"Principal components of {what}; photos that are near each other look alike to the network.",
    )


def _points(name: str, points: np.ndarray, colour: int) -> Series:
    return Series(name, points[:, 0].tolist(), points[:, 1].tolist(), "points", colour=colour)
