"""Precision-recall and ROC curves of classes or labels as charts: each of few, the mean and the worst of many."""

from collections.abc import Mapping, Sequence

import numpy as np

from featcache.core.display import escaped, percent
from featcache.metrics.ranking import Ranking
from featcache.pages.chart import Axis, Chart, Series

EACH = 8
"""Classes whose curves are drawn each; the palette tells as many apart."""

WORST = 3
"""Curves drawn beside the mean of more."""

POINTS = 120
"""Most points of a curve."""

GRID = np.linspace(0.0, 1.0, 101)
"""Where curves are averaged."""


def thinned(count: int, most: int = POINTS) -> np.ndarray:
    """Return which of `count` points are drawn, int ascending: all of few, else `most` with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def precision_recall_chart(rankings: Mapping[str, Ranking], *, name: str, photos: str) -> Chart | None:
    """Return the precision-recall curves of the classes that have rows; ``None`` if none has.

    Parameters
    ----------
    rankings
        By the class's name, the worst first.
    name, photos
        Of the chart, and of the rows.
    """
    held = {key: each for key, each in rankings.items() if each.positives}
    if not held:
        return None
    mean = np.mean([each.precision_from(GRID) for each in held.values()], axis=0)
    areas = {key: each.average_precision or 0.0 for key, each in held.items()}
    drawn, told = _drawn(list(held), "precision")
    lines = tuple(
        _line(f"{escaped(key)} {percent(areas[key])}", held[key].recall, held[key].precision, place)
        for place, key in enumerate(drawn)
    )
    whole = Series(f"mean of {len(held)}", GRID.tolist(), mean.tolist(), colour=-1)
    return Chart(
        name=name,
        title="Precision against recall",
        x=Axis("recall: share of its photos that are found", unit="percent", low=0, high=1),
        y=Axis("precision: share of what is found that is right", unit="percent", low=0, high=1),
        series=(whole, *lines) if len(held) > len(drawn) else lines,
        note=f"{told}, from its surest answer on; the number is its average precision. Of {photos}.",
    )


def roc_chart(rankings: Mapping[str, Ranking], *, name: str, photos: str) -> Chart | None:
    """Return the ROC curves of the classes that have rows and leave others; ``None`` if there are none.

    Parameters
    ----------
    rankings, name, photos
        As for `precision_recall_chart`.
    """
    areas = {key: area for key, each in rankings.items() if (area := each.roc_area) is not None}
    if not areas:
        return None
    mean = np.mean([rankings[key].recall_at(GRID) for key in areas], axis=0)
    drawn, told = _drawn(list(areas), "recall")
    lines = tuple(
        _line(
            f"{escaped(key)} {areas[key]:.3f}",
            np.concatenate([[0.0], rankings[key].false_positive_rate]),
            np.concatenate([[0.0], rankings[key].recall]),
            place,
        )
        for place, key in enumerate(drawn)
    )
    whole = Series(f"mean of {len(areas)}", GRID.tolist(), mean.tolist(), colour=-1)
    chance = Series("chance", [0.0, 1.0], [0.0, 1.0], colour=-1, dashed=True)
    return Chart(
        name=name,
        title="ROC: what is found against what is taken for it",
        x=Axis("share of the other photos that are taken for it", unit="percent", low=0, high=1),
        y=Axis("share of its photos that are found", unit="percent", low=0, high=1),
        series=(chance, whole, *lines) if len(areas) > len(drawn) else (chance, *lines),
        note=f"{told}; the number is the area below it, 0.5 by chance. Of {photos}.",
    )


def _drawn(names: Sequence[str], what: str) -> tuple[Sequence[str], str]:
    """Return the classes whose curves are drawn, and what the note says of them."""
    if len(names) <= EACH:
        return names, "Each curve is of one class"
    return names[
        :WORST
    ], f"The mean {what} of {len(names)} classes, and the {WORST} worst, each curve of one class"


def _line(name: str, x: np.ndarray, y: np.ndarray, colour: int) -> Series:
    places = thinned(len(x))
    return Series(name, x[places].tolist(), y[places].tolist(), colour=colour)
