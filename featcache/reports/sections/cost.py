"""Accuracy against cost, where a sweep compared several backbones: which of them no other beats in both."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.core.disk.storage import amount
from featcache.core.tasks import MULTICLASS, score_text
from featcache.errors import FeatcacheError
from featcache.pages.chart import Axis, Chart, Series, score_axis
from featcache.reports.configurations import (
    Configuration,
    cache_name,
    cell,
    finished,
    most_shots,
    number_columns,
    read_configurations,
)
from featcache.reports.material import Material
from featcache.reports.section import Section

if TYPE_CHECKING:
    from featcache.cache import ExtractionCost

WIDE = 20
"""How many times the cheapest the dearest must be for the axis to be logarithmic."""


@dataclass(frozen=True)
class Cost:
    """What a backbone costs.

    Parameters
    ----------
    parameters
        How many it has, its own classifier included.
    macs
        Multiply-accumulates of one image of its size, classifier included.
    image_size
        Height and width of this image in pixels.
    nbytes
        Size of the cache; ``None`` where it is gone.
    extraction
        What making the cache took; ``None`` where that is not known.
    """

    parameters: int
    macs: int
    image_size: tuple[int, int]
    nbytes: int | None = None
    extraction: "ExtractionCost | None" = None


@dataclass(frozen=True)
class Backbone:
    """A backbone of a sweep: the best configuration on it, and its cost where that is known."""

    name: str
    best: Configuration
    cost: Cost | None


def section(material: Material) -> Section | None:
    """Return accuracy against cost; ``None`` where there are fewer than two backbones of known cost."""
    if not material.sweep or not material.lines:
        return None
    task = material.sweep.get("task", MULTICLASS)
    tried = finished(most_shots(read_configurations(material.lines, material.sweep.get("chosen"))))
    best: dict[str, Configuration] = {}
    for one in tried:  # best first
        best.setdefault(cache_name(one, tried), one)
    if len(best) < 2:
        return None
    found = [Backbone(name, one, cost_of(one.backbone, one.cache)) for name, one in best.items()]
    known = [one for one in found if one.cost is not None]
    if len(known) < 2:
        return None
    front = front_of([(one.cost.macs, one.best.score) for one in known if one.cost])
    leading = [known[number] for number in front]
    chart = _chart(known, leading, task)
    return Section(
        key="cost",
        title="Score and cost",
        headline=_headline(leading, known, task),
        template="cost.html",
        content={
            "chart_of_cost": chart,
            "columns": (
                "backbone",
                *number_columns(
                    score_axis(task).label,
                    "million MACs",
                    "million parameters",
                    "pixels",
                    "disk",
                    "extraction",
                    "images/s",
                ),
                "front",
            ),
            "cells": [_cells(one, leading, task) for one in found],
            "unknown": [one.name for one in found if one.cost is None],
        },
        data={
            "backbones": [_json(one, leading) for one in found],
            "front": [one.name for one in leading],
        },
        charts=(chart,),
    )


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points ``(cost, score)`` no other beats in one and equals in the other, the cheapest first.

    Examples
    --------
    >>> front_of([(3, 0.9), (1, 0.8), (2, 0.7), (3, 0.95)])
    [1, 3]
    """
    order = sorted(range(len(points)), key=lambda n: (points[n][0], -points[n][1]))
    found: list[int] = []
    highest, cheapest = -math.inf, math.inf
    for number in order:
        cost, score = points[number]
        equal = score == highest and cost == cheapest  # neither beats the other
        if score > highest or equal:
            found.append(number)
            highest, cheapest = score, cost
    return found


def cost_of(backbone: str, cache: str | Path, base: str | None = None) -> Cost | None:
    """Return what a backbone costs at the size of a cache's images; ``None`` if it is not known.

    Parameters
    ----------
    backbone
        Its name.
    cache
        Path of the cache, which says which size the images had; where it is gone it is the size of the published
        weights.
    base
        The published backbone that one that is not published was made from, where the cache does not say it.
    """
    from featcache.backbones.registry import pretrained_weights
    from featcache.backbones.summary import describe
    from featcache.cache import FeatureCache

    size, nbytes, extraction = None, None, None
    try:
        with FeatureCache(Path(cache)) as opened:
            if opened.backbone == backbone:
                nbytes, extraction = opened.nbytes, opened.extraction_cost
                base = opened.identity["provenance"].get("base") or base
                size = tuple(opened.recipe["transforms"]["input_size"])
    except (FeatcacheError, KeyError):
        pass
    name = backbone if backbone in pretrained_weights() else base
    own = pretrained_weights().get(name or "")
    if own is None or name is None:
        return None
    usual = tuple(own.transforms.input_size)
    if size in (None, usual):
        return Cost(own.params, own.macs, (usual[0], usual[1]), nbytes, extraction)
    try:
        total = describe(name, image_size=(size[0], size[1])).total
    except FeatcacheError:
        return None
    return Cost(own.params, total.macs, (size[0], size[1]), nbytes, extraction)


def work_axis(costs: Sequence[Cost]) -> Axis:
    """Return the axis of the work for one photo, in millions of multiply-accumulates."""
    work = [cost.macs for cost in costs]
    wide = max(work) >= WIDE * max(min(work), 1)
    return Axis("million multiply-accumulates for one photo", scale="log" if wide else "linear")


def _chart(known: Sequence[Backbone], leading: Sequence[Backbone], task: str) -> Chart:
    def series(name: str, own: Sequence[Backbone], mark: Any, colour: int) -> Series:
        return Series(
            name,
            [one.cost.macs / 1e6 for one in own if one.cost],
            [one.best.score for one in own],
            mark=mark,
            colour=colour,
            texts=[_point_text(one, task) for one in own],
        )

    rest = [one for one in known if one not in leading]
    parts = [series("on the front", leading, "line", 0)]
    parts += [series("beaten in both", rest, "points", -1)] if rest else []
    return Chart(
        name="cost",
        title="Score against work for one photo",
        x=work_axis([one.cost for one in known if one.cost]),
        y=score_axis(task),
        series=tuple(parts),
        note="The best configuration on each backbone, its mean on validation rows, against the work of the whole "
        "network at the size of the photos. On the line: no other is both cheaper and better.",
        wide=True,
    )


def _point_text(one: Backbone, task: str) -> str:
    assert one.cost is not None
    return (
        f"{one.name}: {score_text(one.best.score, task)}, {one.cost.macs / 1e6:,.0f} million multiply-accumulates, "
        f"{one.cost.parameters / 1e6:.1f} million parameters"
    )


def _headline(leading: Sequence[Backbone], known: Sequence[Backbone], task: str) -> str:
    cheap, best = leading[0], leading[-1]
    score = score_text(best.best.score, task)
    if len(leading) == 1:
        return f"{best.name} is the cheapest and the best of {len(known)} backbones, {score}"
    assert cheap.cost is not None
    assert best.cost is not None
    times = best.cost.macs / cheap.cost.macs
    names = ", ".join(f"{one.name} ({score_text(one.best.score, task)})" for one in leading)
    return f"Worth their cost, from cheap to dear: {names}; the best takes {times:.1f} times the work of the cheapest"


def _cells(one: Backbone, leading: Sequence[Backbone], task: str) -> tuple[Any, ...]:
    score = cell(score_text(one.best.score, task), one.best.score)
    if one.cost is None:
        return (one.name, score, *(cell("", None) for _ in range(6)), "not known")
    height, width = one.cost.image_size
    work = cell(f"{one.cost.macs / 1e6:,.0f}", one.cost.macs)
    size = cell(f"{one.cost.parameters / 1e6:.1f}", one.cost.parameters)
    pixels = cell(f"{height} × {width}", height * width)
    own = (one.name, score, work, size, pixels, *_measured(one.cost))
    return (*own, "yes" if one in leading else "no")


def _measured(cost: Cost) -> tuple[Any, ...]:
    """Return the cells of disk, time and rate of a cache, empty where they are not known."""
    made = cost.extraction
    disk = cell("" if cost.nbytes is None else amount(cost.nbytes), cost.nbytes)
    # The time of a run that found a part of the rows is not the price of the cache; its rate is that of the network.
    seconds = made.seconds if made and made.whole else None
    rate = made.images_per_second if made else None
    return (
        disk,
        cell("" if seconds is None else f"{seconds:,.1f} s", seconds),
        cell("" if rate is None else f"{rate:,.3g}" if rate < 100 else f"{rate:,.0f}", rate),
    )


def _json(one: Backbone, leading: Sequence[Backbone]) -> dict[str, Any]:
    return {
        "name": one.name,
        "score": one.best.score,
        "macs": one.cost.macs if one.cost else None,
        "parameters": one.cost.parameters if one.cost else None,
        "image_size": list(one.cost.image_size) if one.cost else None,
        "nbytes": one.cost.nbytes if one.cost else None,
        "extraction": asdict(one.cost.extraction) if one.cost and one.cost.extraction else None,
        "front": one in leading,
    }
