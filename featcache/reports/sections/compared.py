"""Several classifiers compared: score with interval, what the first is told apart from, score against cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.core.display import SPLIT_WORDS, counted, percent, percents
from featcache.core.tasks import REGRESSION
from featcache.metrics.comparison import Comparison, compare
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.material import Contestant, Material
from featcache.reports.section import Section
from featcache.reports.sections.cost import Cost, cost_of, work_axis


def section(material: Material) -> Section | None:
    """Return how several classifiers compare; ``None`` of one alone."""
    if not material.compared:
        return None
    order = sorted(material.compared, key=lambda own: -_score(own))
    best = order[0]
    against = {own.name: _against(best, own) for own in order[1:]}
    same = len({own.rows_sha256 for own in order}) == 1 and best.rows_sha256 is not None
    known = {own.name: _cost(own) for own in order}
    costs = {name: cost for name, cost in known.items() if cost is not None}
    charts = [_scores_chart(order, same=same)]
    if len({cost.macs for cost in costs.values()}) > 1:
        charts.append(_cost_chart([own for own in order if own.name in costs], costs, same=same))
    return Section(
        key="compared",
        title="Compared",
        headline=_headline(order, against, same=same),
        template="compared.html",
        content={
            "drawn": charts,
            "same": same,
            "columns": _columns(order, same=same),
            "cells": [
                _cells(own, costs.get(own.name), against.get(own.name), best, same=same) for own in order
            ],
        },
        data={
            "same_rows": same,
            "classifiers": [
                {
                    "name": own.name,
                    "folder": str(own.folder),
                    "backbone": own.classifier.backbone,
                    "layer": own.classifier.layer,
                    "head": own.classifier.head,
                    "scores": dict(own.scores),
                    "macs": costs[own.name].macs if own.name in costs else None,
                    "against_best": None if (found := against.get(own.name)) is None else _json(found),
                }
                for own in order
            ],
        },
        charts=tuple(charts),
    )


def _score(own: Contestant) -> float:
    return own.score or 0.0


def _what(order: Sequence[Contestant]) -> str:
    return "R²" if order[0].classifier.task == REGRESSION else "accuracy"


def _shown(own: Contestant) -> str:
    if own.score is None:
        return "–"
    return f"{_score(own):.4f}" if own.classifier.task == REGRESSION else percent(_score(own))


def _interval(own: Contestant) -> tuple[float, float] | None:
    """Return the interval of the score; that of a regression is of its mean absolute error, and is not drawn."""
    match own.scores.get("interval"):
        case [int() | float() as low, int() | float() as high] if own.classifier.task != REGRESSION:
            return low, high
        case _:
            return None


def _against(best: Contestant, own: Contestant) -> Comparison | None:
    """Return the paired comparison of the best with another; ``None`` where they were scored on other images."""
    if best.right is None or own.right is None or best.rows_sha256 != own.rows_sha256:
        return None
    return compare(best.right.astype(float), own.right.astype(float))


def _cost(own: Contestant) -> Cost | None:
    made = own.classifier.provenance
    return cost_of(own.classifier.backbone, made["cache"], made.get("base"))


def _headline(order: Sequence[Contestant], against: Any, *, same: bool) -> str:
    best, *others = order
    first = f"{best.name} is first with {_shown(best)}"
    if not same:
        return f"{first}; they were not scored on the same photos, so the scores alone do not rank them"
    equal = [own.name for own in others if (found := against[own.name]) is not None and not found.told_apart]
    if not equal:
        return f"{first}; {others[0].name} follows with {_shown(others[0])}"
    return f"{first}, and is not told apart from {', '.join(equal)}"


def _columns(order: Sequence[Contestant], *, same: bool) -> tuple[str, ...]:
    rows = () if same else ("photos",)
    return "classifier", "made of", _what(order), "95 % interval", *rows, "multiply-adds", "against the first"


def _cells(
    own: Contestant, cost: Cost | None, against: Comparison | None, best: Contestant, *, same: bool
) -> tuple[str, ...]:
    interval, split = _interval(own), own.scores.get("split", "")
    rows = f"{own.scores['count']:,} {SPLIT_WORDS.get(split, split)}" if "count" in own.scores else "–"
    told = "first" if own is best else "–"
    if against is not None:
        low, high = (100 * value for value in against.interval)
        points = f"{-100 * against.difference:+.1f} points ({-high:+.1f} to {-low:+.1f})"
        told = points if against.told_apart else f"{points}, not told apart"
    return (
        own.name,
        f"{own.classifier.head} on {own.classifier.backbone} {own.classifier.layer}",
        _shown(own),
        "–" if interval is None else percents(*interval),
        *(() if same else (rows,)),
        "–" if cost is None else f"{cost.macs / 1e6:,.0f} million",
        told,
    )


def _json(found: Comparison) -> dict[str, Any]:
    return {
        "difference": found.difference,
        "interval": list(found.interval),
        "p_value": found.p_value,
        "told_apart": found.told_apart,
    }


# Charts -------------------------------------------------------------------------------------------------------


def _score_axis(order: Sequence[Contestant]) -> Axis:
    return Axis(_what(order), unit="" if order[0].classifier.task == REGRESSION else "percent")


def _ends(order: Sequence[Contestant]) -> tuple[list[float], list[float]]:
    found = [_interval(own) or (_score(own), _score(own)) for own in order]
    return [low for low, _ in found], [high for _, high in found]


def _note(order: Sequence[Contestant], *, same: bool) -> str:
    if not same:
        return "Each on its own rows, which are not the same: see the table."
    scores = order[0].scores
    rows = counted(scores["count"], f"{SPLIT_WORDS.get(scores['split'], scores['split'])} photo")
    return f"All on the same {rows}; whiskers are 95 % intervals."


def _scores_chart(order: Sequence[Contestant], *, same: bool) -> Chart:
    low, high = _ends(order)
    return Chart(
        name="compared-scores",
        title="Scores of the classifiers",
        x=_score_axis(order),
        y=Axis("classifier", scale="categories", categories=tuple(own.name for own in order)),
        series=(
            Series(
                _what(order),
                [_score(own) for own in order],
                list(range(len(order))),
                mark="points",
                low=low,
                high=high,
                texts=[f"{own.name}: {_shown(own)}" for own in order],
            ),
        ),
        note=_note(order, same=same),
    )


def _cost_chart(order: Sequence[Contestant], costs: Mapping[str, Cost], *, same: bool) -> Chart:
    low, high = _ends(order)
    return Chart(
        name="compared-cost",
        title="Score against cost",
        x=work_axis([costs[own.name] for own in order]),
        y=_score_axis(order),
        series=(
            Series(
                _what(order),
                [costs[own.name].macs / 1e6 for own in order],
                [_score(own) for own in order],
                mark="points",
                low=low,
                high=high,
                texts=[f"{own.name} ({own.classifier.backbone}): {_shown(own)}" for own in order],
            ),
        ),
        note=f"Work of the whole network at the size of the photos. {_note(order, same=same)}",
    )
