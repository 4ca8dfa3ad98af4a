"""What each axis of a sweep does to the score: the best and the mean over all other axes, one small chart an axis."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.identity import canonical_json
from featcache.core.tasks import MULTICLASS, score_text
from featcache.pages.chart import Axis, Chart, Series, score_axis
from featcache.reports.configurations import (
    Configuration,
    cache_name,
    difference_text,
    finished,
    most_shots,
    read_configurations,
)
from featcache.reports.material import Material
from featcache.reports.section import Section
from featcache.sweeps.entries import setting_name
from featcache.sweeps.lines import value_text

WIDE = 20
"""How many times the least value the greatest must be for an axis to be logarithmic."""

MOST_CHARTS = 24


@dataclass(frozen=True)
class Effect:
    """What one axis does to the score of one kind of head, or of all.

    Parameters
    ----------
    name
        The axis: ``backbone``, ``layer``, ``head`` or the name of a setting.
    head
        The kind of head that it is of; empty: of all.
    values, texts
        Its values in order, and as they are printed.
    best, mean
        Of the configurations with each value: the highest score, and the mean; NaN where all diverged.
    counts, diverged
        How many configurations are behind each value, and how many of them diverged.
    """

    name: str
    head: str
    values: tuple[Any, ...]
    texts: tuple[str, ...]
    best: tuple[float, ...]
    mean: tuple[float, ...]
    counts: tuple[int, ...]
    diverged: tuple[int, ...]

    @property
    def difference(self) -> float:
        """How far apart the best scores of its values are; 0 where fewer than two have one."""
        known = [value for value in self.best if math.isfinite(value)]
        return max(known) - min(known) if known else 0.0

    @property
    def title(self) -> str:
        """Its name in words."""
        return setting_name(self.name) + (f" of {self.head} heads" if self.head else "")


def section(material: Material) -> Section | None:
    """Return the effect of each axis of a sweep; ``None`` where it had no axis with two values."""
    if not material.sweep or not material.lines:
        return None
    task = material.sweep.get("task", MULTICLASS)
    tried = most_shots(read_configurations(material.lines, material.sweep.get("chosen")))
    effects = effects_of(tried)
    if not effects:
        return None
    varied = Counter(effect.head for effect in effects)
    charts = tuple(_chart(effect, task, varied[effect.head] > 1) for effect in effects[:MOST_CHARTS])
    return Section(
        key="axes",
        title="Effect of each axis",
        headline=_headline(effects, task),
        template="axes.html",
        content={"charts": charts, "about": _note(tried, effects)},
        data={"axes": [_json(effect) for effect in effects], "configurations": len(tried)},
        charts=charts,
    )


def effects_of(tried: Sequence[Configuration]) -> list[Effect]:
    """Return the effect of every axis with two values or more, the largest difference first."""
    common: dict[str, Callable[[Configuration], Any]] = {
        "backbone": lambda one: cache_name(one, tried),
        "layer": lambda one: one.layer,
        "head": lambda one: one.head,
    }
    found = [_effect(name, "", tried, value_of) for name, value_of in common.items()]
    for head in dict.fromkeys(one.head for one in tried):
        own = [one for one in tried if one.head == head]
        names = dict.fromkeys(name for one in own for name in one.settings)
        found += [_effect(name, head, own, lambda one, name=name: one.settings.get(name)) for name in names]
    several = [effect for effect in found if len(effect.values) > 1]
    return sorted(several, key=lambda effect: -effect.difference)


def _effect(
    name: str, head: str, tried: Sequence[Configuration], value_of: Callable[[Configuration], Any]
) -> Effect:
    groups: dict[bytes, tuple[Any, list[float]]] = {}
    for one in tried:
        value = value_of(one)
        groups.setdefault(canonical_json(value), (value, []))[1].append(one.score)
    ordered = sorted(groups.values(), key=lambda group: _order(group[0]))
    scores = [np.array(own) for _, own in ordered]
    known = [own[np.isfinite(own)] for own in scores]
    return Effect(
        name,
        head,
        tuple(value for value, _ in ordered),
        tuple(value_text(value) for value, _ in ordered),
        tuple(float(own.max()) if len(own) else math.nan for own in known),
        tuple(float(own.mean()) if len(own) else math.nan for own in known),
        tuple(map(len, scores)),
        tuple(int((~np.isfinite(own)).sum()) for own in scores),
    )


def _order(value: Any) -> tuple[int, Any]:
    """Sort none first, then numbers, then words in the order of letters, then lists by length and sum."""
    if value is None:
        return (0, 0)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, list | tuple):
        return (3, (sum(value), len(value)) if all(isinstance(v, int | float) for v in value) else (0, 0))
    return (2, str(value))


def _numbers(effect: Effect) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in effect.values)


def _scale(effect: Effect) -> Axis:
    """Return the axis: logarithmic for strengths over more than a decade, places with names for all but numbers."""
    label = setting_name(effect.name)
    if not _numbers(effect):
        return Axis(label, scale="categories", categories=effect.texts)
    low, high = min(effect.values), max(effect.values)
    if low > 0:
        return Axis(label, scale="log" if high / low >= WIDE else "linear")
    # A logarithm has no place for 0, and beside strengths that grow tenfold a linear axis shows one of them.
    above = [value for value in effect.values if value > 0]
    if low == 0 and above and high / min(above) >= WIDE:
        return Axis(label, scale="categories", categories=effect.texts)
    return Axis(label)


def _chart(effect: Effect, task: str, others: bool) -> Chart:
    """Return the chart of one axis; `others` says whether more than this one vary."""
    axis = _scale(effect)
    places = range(len(effect.values)) if axis.scale == "categories" else effect.values
    alone = all(count == 1 for count in effect.counts)  # then the best is the mean
    # Drawn at random, neighbours on one axis differ on all: a line between them would mean nothing.
    mark = "points" if axis.scale == "categories" or (alone and others) else "line"
    texts = [_point_text(effect, number, task) for number in range(len(effect.values))]
    best = Series("best", list(places), effect.best, mark=mark, colour=0, texts=texts)
    mean = Series("mean", list(places), effect.mean, mark=mark, colour=-1, texts=texts, dashed=True)
    return Chart(
        name=re.sub("[^a-z0-9]+", "-", f"axis-{effect.head}-{effect.name}".lower()),
        title=effect.title,
        x=axis,
        y=score_axis(task),
        series=(best,) if alone else (mean, best),
        note=_chart_note(effect, alone, task),
    )


def _chart_note(effect: Effect, alone: bool, task: str) -> str:
    number = sum(effect.counts)
    lost = sum(effect.diverged)
    what = "Each point is one configuration" if alone else "Best and mean over all other axes"
    more = f"; {lost} diverged and {'is' if lost == 1 else 'are'} left out" if lost else ""
    difference = difference_text(effect.difference, task)
    return f"{what}, {number} configurations on validation rows{more}. The best differ by {difference}."


def _point_text(effect: Effect, number: int, task: str) -> str:
    best, mean = (score_text(values[number], task) for values in (effect.best, effect.mean))
    count, lost = effect.counts[number], effect.diverged[number]
    text = f"{setting_name(effect.name)} {effect.texts[number]}: best {best}"
    text += f", mean {mean} of {count - lost} configurations" if count > 1 else ""
    return text + (f", {lost} diverged" if lost else "")


def _headline(effects: Sequence[Effect], task: str) -> str:
    most, least = effects[0], effects[-1]
    places = [number for number, value in enumerate(most.best) if math.isfinite(value)]
    if not places:
        return "Every configuration diverged"
    high = max(places, key=lambda number: most.best[number])
    low = min(places, key=lambda number: most.best[number])
    if most.difference == 0:
        return f"No axis changes the best score, {score_text(most.best[high], task)}"
    text = (
        f"What matters most is {most.title}: at best {score_text(most.best[high], task)} with {most.texts[high]}, "
        f"{score_text(most.best[low], task)} with {most.texts[low]}"
    )
    if len(effects) > 1:
        text += f"; {least.title} matters least, {difference_text(least.difference, task)}"
    return text


def _note(tried: Sequence[Configuration], effects: Sequence[Effect]) -> str:
    rows = "all training rows" if tried[0].shots is None else f"{tried[0].shots} shots of each class"
    diverged = len(tried) - len(finished(tried))
    lost = f"; {diverged} diverged" if diverged else ""
    few = f" The {MOST_CHARTS} axes that matter most are drawn." if len(effects) > MOST_CHARTS else ""
    return (
        f"{len(tried)} configurations trained on {rows}, each with the mean of its seeds and folds on validation "
        f"rows{lost}. For each value of an axis: the best and the mean over all other axes. The best of many is best "
        "partly by chance, so small differences mean nothing." + few
    )


def _json(effect: Effect) -> dict[str, Any]:
    def plain(values: Sequence[float]) -> list[float | None]:
        return [value if math.isfinite(value) else None for value in values]

    return {
        "axis": effect.name,
        "head": effect.head or None,
        "values": list(effect.values),
        "best": plain(effect.best),
        "mean": plain(effect.mean),
        "counts": list(effect.counts),
        "diverged": list(effect.diverged),
        "scale": _scale(effect).scale,
    }
