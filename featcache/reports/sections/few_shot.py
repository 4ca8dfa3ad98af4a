"""How the score grows with the photos of each class: a line for each kind of head, with its spread over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featcache.core.tasks import MULTICLASS, score_text
from featcache.pages.chart import Axis, Chart, Series, score_axis
from featcache.reports.configurations import (
    Configuration,
    cell,
    difference_text,
    interval_text,
    number_columns,
    read_configurations,
    shots_order,
)
from featcache.reports.material import Material
from featcache.reports.section import Section


def section(material: Material) -> Section | None:
    """Return the score against shots; ``None`` where a sweep tried fewer than two numbers of them."""
    if not material.sweep or not material.lines:
        return None
    task = material.sweep.get("task", MULTICLASS)
    tried = read_configurations(material.lines, material.sweep.get("chosen"))
    shots = sorted({one.shots for one in tried}, key=shots_order)
    if len(shots) < 2:
        return None
    lines = {head: _line(head, tried, shots) for head in dict.fromkeys(one.head for one in tried)}
    tests = {choice.get("shots"): choice.get("test") for choice in material.sweep.get("shots") or ()}
    chart, tested = _chart(lines, shots, tests, task), any(tests.values())
    return Section(
        key="few-shot",
        title="Few photos",
        headline=_headline(lines, shots, task),
        template="few_shot.html",
        content={
            "chart_of_shots": chart,
            "columns": number_columns("photos of each class", *lines, *(("test, of the choice",) * tested)),
            "cells": [
                _cells(number, few, lines, tests, task)[: 1 + len(lines) + tested]
                for number, few in enumerate(shots)
            ],
        },
        data={
            "shots": shots,
            "heads": {head: [_json(one) for one in line] for head, line in lines.items()},
            "test": [tests.get(few) for few in shots],
        },
        charts=(chart,),
    )


def _line(
    head: str, tried: Sequence[Configuration], shots: Sequence[int | None]
) -> list[Configuration | None]:
    """Return the best configuration of a kind of head for each number of shots; ``None`` where all diverged."""
    found: list[Configuration | None] = []
    for few in shots:
        own = [o for o in tried if (o.head, o.shots) == (head, few) and math.isfinite(o.score)]
        found.append(max(own, key=lambda one: one.score) if own else None)
    return found


def _word(few: int | None) -> str:
    return "all" if few is None else str(few)


def _chart(
    lines: Mapping[str, Sequence[Configuration | None]],
    shots: Sequence[int | None],
    tests: Mapping[int | None, Mapping[str, Any] | None],
    task: str,
) -> Chart:
    series = []
    for number, (head, line) in enumerate(lines.items()):
        series.append(
            Series(
                head,
                list(range(len(shots))),
                [one.score if one else math.nan for one in line],
                low=[min(one.by_seed) if one else math.nan for one in line],
                high=[max(one.by_seed) if one else math.nan for one in line],
                colour=number,
                texts=[
                    f"{head}, {_word(few)}: {_spread(one, task)}"
                    for few, one in zip(shots, line, strict=True)
                ],
            )
        )
    if any(tests.values()):
        series.append(_tested(shots, tests, task))
    return Chart(
        name="few-shot",
        title="Score against photos of each class",
        x=Axis("training photos of each class", scale="categories", categories=tuple(map(_word, shots))),
        y=score_axis(task),
        series=tuple(series),
        note="The best configuration of each kind of head by its mean on validation rows; the area is from the worst "
        "to the best of its seeds, each with other photos. “All”: all training rows."
        + (" Whiskers: 95 % interval on the test rows." if any(tests.values()) else ""),
        wide=True,
    )


def _tested(
    shots: Sequence[int | None], tests: Mapping[int | None, Mapping[str, Any] | None], task: str
) -> Series:
    """Return the choices' scores on the test rows."""
    own = [(place, tests[few]) for place, few in enumerate(shots) if tests.get(few)]
    known = [
        (place, test)
        for place, test in own
        if test is not None and None not in (test["mean"], *test["interval"])
    ]
    return Series(
        "the choice on test rows",
        [place for place, _ in known],
        [test["mean"] for _, test in known],
        mark="points",
        low=[test["interval"][0] for _, test in known],
        high=[test["interval"][1] for _, test in known],
        colour=-1,
        texts=[
            f"test rows, {_word(shots[place])}: {score_text(test['mean'], task)}" for place, test in known
        ],
    )


def _spread(one: Configuration | None, task: str) -> str:
    if one is None:
        return "diverged"
    if len(one.by_seed) < 2:
        return score_text(one.score, task)
    low, high = min(one.by_seed), max(one.by_seed)
    return f"{score_text(one.score, task)} ({interval_text((low, high), task)})"


def _cells(
    number: int,
    few: int | None,
    lines: Mapping[str, Sequence[Configuration | None]],
    tests: Mapping[int | None, Mapping[str, Any] | None],
    task: str,
) -> tuple[Any, ...]:
    test = tests.get(few)
    told = "" if test is None else score_text(test["mean"], task)
    if test is not None and task == MULTICLASS:
        told += f" ({interval_text(test['interval'], task)})"
    scores = (line[number] for line in lines.values())
    return (
        cell(_word(few), number),
        *(cell(_spread(one, task), one.score if one else None) for one in scores),
        cell(told, test["mean"] if test else None),
    )


def _headline(
    lines: Mapping[str, Sequence[Configuration | None]], shots: Sequence[int | None], task: str
) -> str:
    """Say what the fewest and the most photos give, and which head needs fewest."""
    best: list[Configuration] = []
    for number in range(len(shots)):
        own = [one for line in lines.values() if (one := line[number]) is not None]
        best += [max(own, key=lambda one: one.score)] if own else []
    if not best:
        return "Every head diverged"
    least, most = best[0], best[-1]
    few = f"{_word(least.shots)} photo{'' if least.shots == 1 else 's'} of each class"
    text = f"{few} give{'s' if least.shots == 1 else ''} {score_text(least.score, task)} ({least.head})"
    if most is least:
        return text
    end = "all training rows give" if most.shots is None else f"{most.shots} give"
    gain = difference_text(most.score - least.score, task)
    more = "more" if most.score >= least.score else "less"
    return f"{text}, {end} {score_text(most.score, task)} ({most.head}): {gain} {more}"


def _json(one: Configuration | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "score": one.score,
        "deviation": one.deviation,
        "by_seed": list(one.by_seed),
        "settings": dict(one.settings),
        "layer": one.layer,
        "backbone": one.backbone,
    }
