"""The map of features in two dimensions: coloured by class, mistakes marked, photos on hover."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from featcache.core.display import SPLIT_WORDS, escaped, percent
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.errors import DataError
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.configurations import cell, number_columns
from featcache.reports.material import Material
from featcache.reports.packed_map import packed
from featcache.reports.projection import Projection, Surroundings, project, surroundings
from featcache.reports.section import Section
from featcache.reports.still_map import HEIGHT, WIDTH, colours, places, still_picture

MOST = 10_000
"""Points at most; of more rows a sample is drawn."""

MOST_BYTES = 2**28
"""Features read at most: of wide ones fewer points."""

PICTURES = 600
"""Thumbnails asked for at most, mistakes first."""

NO_LABEL = "without label"

KINDS = {MULTILABEL: "first answer", REGRESSION: "quarter of the numbers"}
"""What colours stand for where they do not stand for classes."""

MIXED = 0.05
"""Share of another class among the nearest from which it is worth a word."""

LONGEST_NAME = 60
"""Characters of a file's name; of longer ones the end, which tells them apart."""


@dataclass(frozen=True)
class Shown:
    """The rows that are shown.

    Parameters
    ----------
    rows
        int ``[n]`` numbers of rows of the cache.
    labels, names
        int ``[n]``, and what they mean.
    answers
        int ``[n]``: the class that the classifier gives; ``None`` where it does not give one.
    of
        How many there were to choose from.
    kind
        What a name stands for: a class, or what takes its place in other tasks.
    """

    rows: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    answers: np.ndarray | None
    of: int
    kind: str = "class"

    @property
    def wrong(self) -> np.ndarray:
        """Rows whose answer is not their label, bool ``[n]``."""
        return np.zeros(len(self.rows), bool) if self.answers is None else self.answers != self.labels


def section(material: Material) -> Section | None:
    """Return the map of features; ``None`` where there is no cache, or fewer than two rows with features.

    Raises
    ------
    MissingExtraError
        If t-SNE is asked for and openTSNE is not installed.
    """
    if material.cache is None:
        return None
    layer = _layer(material)
    shown = choose_rows(material, layer)
    if len(shown.rows) < 2:
        return None
    features = material.cache.features(shown.rows, layer)
    if not np.isfinite(features).all():
        raise DataError(
            f"{material.cache.path}: features of layer {layer} are NaN or infinite, which no map can show; "
            "featcache cache verify says which rows"
        )
    map_ = project(features, tsne=material.tsne, seed=material.seed)
    about = surroundings(map_.points, shown.labels, shown.names)
    data = _data(material, shown, map_)
    return Section(
        key="map",
        title="Map of features",
        headline=_headline(about, shown),
        template="feature_map.html",
        content={
            "map": data,
            "packed": packed(data),
            "still": still_picture(places(map_.points), shown.labels, data["colours"], shown.wrong),
            "width": WIDTH,
            "height": HEIGHT,
            "told": _told(material, shown, map_, layer),
            "columns": (
                shown.kind,
                *number_columns("photos", "its own near it", "most others near it", "mistakes"),
            ),
            "cells": _cells(about, shown),
        },
        data={
            "method": map_.method,
            "explained": list(map_.explained),
            "layer": layer,
            "rows": [int(row) for row in shown.rows],
            "points": [[float(f"{value:.6g}") for value in point] for point in map_.points.tolist()],
            "classes": [_json(one) for one in about],
            "mistakes": int(shown.wrong.sum()) if shown.answers is not None else None,
        },
        charts=(_chart(shown, map_),),
    )


def _layer(material: Material) -> str:
    """Return the layer of the classifier, where the cache holds it, or the cache's first."""
    cache, classifier = material.cache, material.classifier
    assert cache is not None
    return cache.layer(classifier.layer if classifier and classifier.layer in cache.layers else None)


def choose_rows(material: Material, layer: str) -> Shown:
    """Return the rows to show, in their order; of too many a sample, drawn by the material's seed."""
    cache = material.cache
    assert cache is not None
    rows = np.asarray(cache.rows_of() if material.rows is None else material.rows, np.int64)
    labels, names = _labels(material, rows)
    answers = None
    if material.values is not None and cache.task == MULTICLASS:
        answers = np.asarray(material.values).argmax(axis=1)
    shape = cache.layers[layer].shape
    most = min(MOST, max(2, MOST_BYTES // max(1, 4 * int(np.prod(shape)))))
    chosen = np.arange(len(rows))
    if len(rows) > most:
        chosen = np.sort(np.random.default_rng(material.seed).choice(len(rows), most, replace=False))
    answers = None if answers is None else answers[chosen]
    kind = KINDS.get(cache.task, "class")
    return Shown(rows[chosen], labels[chosen], names, answers, len(rows), kind)


def _labels(material: Material, rows: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return what colours the points, int ``[n]``, and its names; of several answers the first, of numbers quarters."""
    cache = material.cache
    assert cache is not None
    classes = material.classifier.classes if material.classifier else cache.classes
    known = np.asarray(cache.known[rows] if material.labels is None else material.labels)
    if known.ndim == 1:
        missing = (known < 0) | (known >= len(classes))
        named = (*classes, NO_LABEL) if missing.any() else tuple(classes)
        return np.where(missing, len(classes), known).astype(np.int64), named
    if cache.task == MULTILABEL:
        has = known > 0.5
        return np.where(has.any(axis=1), has.argmax(axis=1), known.shape[1]), (*classes, "none of these")
    numbers = known[:, 0]
    ends = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]) if len(numbers) else np.zeros(5)
    quarters = tuple(f"{classes[0]} {low:.4g} to {high:.4g}" for low, high in pairwise(ends))
    return np.searchsorted(ends[1:-1], numbers), quarters


def _data(material: Material, shown: Shown, map_: Projection) -> dict[str, Any]:
    """Return what the script draws: plain values, a list for each column, to be light."""
    cache = material.cache
    assert cache is not None
    xy = places(map_.points)
    ids = [cache.ids[row] for row in shown.rows]
    found = {
        "x": xy[:, 0].tolist(),
        "y": xy[:, 1].tolist(),
        "label": shown.labels.tolist(),
        "name": [_short(escaped(one)) for one in ids],
        "classes": [escaped(name) for name in shown.names],
        "colours": colours(len(shown.names)),
        "pictures": _pictures(material, shown, ids),
    }
    answers = shown.labels if shown.answers is None else shown.answers
    return found | {"wrong": {str(n): int(answers[n]) for n in np.flatnonzero(shown.wrong)}}


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _pictures(material: Material, shown: Shown, ids: Sequence[str]) -> dict[str, list[int]]:
    """Return the thumbnails of some points: sheet, corner and size; of mistakes first, then of any."""
    order = np.random.default_rng(material.seed).permutation(len(ids))
    order = order[np.argsort(~shown.wrong[order], kind="stable")][:PICTURES]
    found = {}
    for number in sorted(map(int, order)):
        if (own := material.sprites.of(ids[number])) is not None:
            found[str(number)] = [own.sheet, own.x, own.y, own.width, own.height]
    return found


def _headline(about: Sequence[Surroundings], shown: Shown) -> str:
    if len(about) < 2:
        what = "without labels" if about[0].name == NO_LABEL else f"of one {shown.kind}, {about[0].name}"
        return f"{len(shown.rows):,} photos {what}"
    counts = np.array([one.count for one in about])
    own = float(np.average([one.own for one in about], weights=counts))
    text = f"On the map, {percent(own)} of the five nearest photos are of the same {shown.kind}"
    worst = max(about, key=lambda one: one.share)
    if worst.other is None or worst.share < MIXED:
        return f"{text}; no two mix much"
    return f"{text}; {worst.name} mixes most: {percent(worst.share)} of its nearest are {worst.other}"


def _told(material: Material, shown: Shown, map_: Projection, layer: str) -> list[str]:
    """Return what the map means and which rows it is of, in sentences."""
    part = material.split or ""
    rows = f"{len(shown.rows):,} photos"
    if part in SPLIT_WORDS:
        rows = f"{len(shown.rows):,} {SPLIT_WORDS[part]} photos"
    elif part:
        rows += f" of {part}"
    drawn = f", drawn at random from {shown.of:,}" if shown.of > len(shown.rows) else ""
    told = [
        f"Each point is a photo: {rows}{drawn}, by its features of layer {layer}; its colour is its {shown.kind}."
    ]
    if map_.method == "pca":
        first, second = map_.explained
        told.append(
            f"The two principal components hold {percent(first)} and {percent(second)} of the variance, "
            f"{percent(first + second)} together: what overlaps here may be apart in the other dimensions."
        )
        if material.tsne:
            told.append("There are too few photos that differ for t-SNE.")
    else:
        told.append(
            "By t-SNE: who is near to whom means something; sizes of groups and distances between them mean little."
        )
    if shown.answers is not None:
        number = int(shown.wrong.sum())
        told.append(f"A cross marks {number:,} mistake{'' if number == 1 else 's'} of the classifier.")
    if len(shown.names) > 8:
        told.append(
            "Of more than eight classes colours alone do not tell all apart: choose one to see it alone."
        )
    return told


def _cells(about: Sequence[Surroundings], shown: Shown) -> list[tuple[Any, ...]]:
    rows = []
    for one in about:
        other = f"{one.other} ({percent(one.share)})" if one.other is not None else "none"
        wrong = int(shown.wrong[shown.labels == one.number].sum()) if shown.answers is not None else None
        share, others = cell(percent(one.own), one.own), cell(other, one.share)
        rows.append((one.name, one.count, share, others, wrong))
    return rows


def _chart(shown: Shown, map_: Projection) -> Chart:
    """Return the map as a chart, for figures."""
    label = "principal component {}" if map_.method == "pca" else "t-SNE {}"
    shares = [f" ({percent(share)})" for share in map_.explained] or ["", ""]
    series = [
        Series(name, *map_.points[shown.labels == number].T.tolist(), mark="points")
        for number, name in enumerate(shown.names)
        if (shown.labels == number).any()
    ]
    if shown.wrong.any():
        series.append(Series("mistakes", *map_.points[shown.wrong].T.tolist(), mark="points", colour=-1))
    return Chart(
        name="map",
        title="Map of features",
        x=Axis(label.format(1) + shares[0]),
        y=Axis(label.format(2) + shares[1]),
        series=tuple(series),
        note=f"{len(shown.rows):,} photos by their features"
        + ("; in brackets the share of the variance." if map_.explained else "."),
        wide=True,
    )


def _json(one: Surroundings) -> dict[str, Any]:
    return {
        "name": one.name,
        "count": one.count,
        "own": one.own,
        "other": one.other,
        "other_share": one.share,
    }
