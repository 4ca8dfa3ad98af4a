"""Figures of an evaluation: its confusion matrix, its reliability, photos with what they are taken for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from featcache.core.display import SPLIT_WORDS, percent
from featcache.metrics.classification import reliability
from featcache.metrics.intervals import wilson_interval
from featcache.pages.chart import Axis, Chart, Series
from featcache.pages.notebook import RIGHT, WRONG, chart_figure, end_of, new_figure, note, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from featcache.classifier.evaluation import ClassifierEvaluation

MOST_CLASSES = 30
"""Classes of a confusion matrix at most; of more, the most frequent confusions are drawn."""

_NARROWEST = 4.0
"""Inches in which the sentence below one photo has room."""


def chosen_rows(scored: "ClassifierEvaluation", which: str, count: int, seed: int) -> np.ndarray:
    """Return the rows of an evaluation's images that are shown, int ``[n]``."""
    images = scored.images
    if images is None:
        return np.zeros(0, np.int64)
    if which == "mistakes":
        return images.surest_wrong[:count]
    drawn = np.random.default_rng(seed).permutation(len(images.files))[:count]
    return np.sort(drawn)


def confusion_figure(scored: "ClassifierEvaluation") -> "Figure":
    """Return a confusion matrix shaded by the share of the true class, with the counts in its cells."""
    names = [own.name for own in scored.classes]
    if len(names) > MOST_CLASSES:
        return _pairs_figure(scored, names)
    side = min(max(3.6, 0.55 * len(names) + 2.2), 14)
    figure = new_figure(side, side)
    _matrix(figure.add_subplot(), scored.confusion, names)
    note(figure, f"{_rows(scored)}; each row is a true class, shaded by its shares; counts of photos.")
    return figure


def _matrix(axes: "Axes", counts: np.ndarray, names: list[str]) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # White at 0, the full colour at 1: blue on the diagonal, red beside it. Of the root, so that 1 % is seen.
    shades = np.sqrt(shares)
    colours = np.empty((*counts.shape, 3))
    colours[:] = _rgb(WRONG)
    colours[np.diag_indices(len(names))] = _rgb(RIGHT)
    axes.imshow(1 - shades[..., None] * (1 - colours))
    for (i, j), count in np.ndenumerate(counts):
        if count:
            axes.text(
                j, i, str(count), ha="center", va="center", color="white" if shades[i, j] > 0.7 else "black"
            )
    ticks = [shown(name, 24) for name in names]
    axes.set_xticks(range(len(names)), ticks, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), ticks, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _rgb(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def _pairs_figure(scored: "ClassifierEvaluation", names: list[str], most: int = 20) -> "Figure":
    """Return the most frequent confusions of many classes as bars."""
    wrong = scored.confusion - np.diag(np.diag(scored.confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [
        (int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]
    ]
    chart = Chart(
        "confusions",
        "Most frequent confusions",
        Axis("photos", low=0),
        Axis(
            "",
            "categories",
            categories=tuple(f"{shown(names[i], 20)} → {shown(names[j], 20)}" for i, j in pairs),
        ),
        (
            Series(
                "photos", [float(wrong[pair]) for pair in pairs], list(range(len(pairs))), "bars", colour=1
            ),
        ),
        f"{_rows(scored)}; true class → what it was taken for.",
    )
    return chart_figure(chart, 7, max(2.5, 0.3 * len(pairs) + 1.5))


def reliability_chart(scored: "ClassifierEvaluation", bins: int = 15) -> Chart:
    """Return the reliability diagram of an evaluation."""
    images = scored.images
    found = () if images is None else reliability(images.truth, images.probabilities, bins)
    intervals = [wilson_interval(round(own.accuracy * own.count), own.count) for own in found]
    return Chart(
        "reliability",
        "Reliability",
        Axis("confidence", unit="percent", low=0.0, high=1.0),
        Axis("share that is right", unit="percent", low=0.0, high=1.0),
        (
            Series("as certain as right", [0.0, 1.0], [0.0, 1.0], colour=-1, dashed=True),
            Series(
                "photos of about this confidence",
                [own.confidence for own in found],
                [own.accuracy for own in found],
                "points",
                [low for low, _ in intervals],
                [high for _, high in intervals],
                colour=0,
                texts=[f"{own.count} photos, {percent(own.accuracy)} right" for own in found],
            ),
        ),
        f"{_rows(scored)}; with 95 % intervals. Points below the line: more certain than right. Mean gap "
        f"{percent(scored.calibration_error)} (over 15 bins).",
    )


def reliability_figure(scored: "ClassifierEvaluation", bins: int = 15) -> "Figure":
    """Return the reliability diagram of an evaluation as a figure."""
    return chart_figure(reliability_chart(scored, bins), 5, 5)


def predictions_figure(
    scored: "ClassifierEvaluation", rows: np.ndarray, pictures: Sequence[np.ndarray | None], columns: int = 4
) -> "Figure":
    """Return a grid of photos; one that cannot be read is an empty frame.

    Parameters
    ----------
    scored
        The evaluation, with its images.
    rows
        Which of its images, int ``[n]``.
    pictures
        Their pictures, in this order.
    columns
        Photos side by side, at most.
    """
    columns = max(1, min(columns, len(rows)))
    lines = max(1, -(-len(rows) // columns))
    figure = new_figure(max(2.5 * columns, _NARROWEST), 3.1 * lines + 0.4)
    places = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in places[len(rows) :]:
        axes.set_axis_off()
    for axes, row, picture in zip(places, rows.tolist(), pictures, strict=False):
        _photo(axes, scored, row, picture)
    images = scored.images
    right = 0 if images is None else int((images.guesses[rows] == images.truth[rows]).sum())
    told = (
        f"{right} of these {len(rows)} right"
        if len(rows) > 1
        else f"this one is {'right' if right else 'wrong'}"
    )
    note(figure, f"{told}; {_rows(scored)}." if len(rows) else f"none to show; {_rows(scored)}.")
    return figure


def _photo(axes: "Axes", scored: "ClassifierEvaluation", row: int, picture: np.ndarray | None) -> None:
    images = scored.images
    assert images is not None
    truth, guess = int(images.truth[row]), int(images.guesses[row])
    colour, sign = (RIGHT, "✓") if truth == guess else (WRONG, "✗")
    if picture is None:
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axes.transAxes, color="#555555")
    else:
        axes.imshow(picture)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2)
    said = f"{sign} {shown(images.classes[guess], 18)} {percent(float(images.probabilities[row, guess]))}"
    told = said if truth == guess else f"{said}\ntrue: {shown(images.classes[truth], 20)}"
    axes.set_title(told, color=colour, fontsize=9, parse_math=False)
    axes.set_xlabel(end_of(images.files[row]), fontsize=7, parse_math=False)


def _rows(scored: "ClassifierEvaluation") -> str:
    rows = SPLIT_WORDS.get(scored.split, scored.split)
    return f"{percent(scored.accuracy)} of {scored.count} photos ({rows}) right"
