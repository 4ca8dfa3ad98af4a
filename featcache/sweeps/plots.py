"""A picture of a sweep for notebooks: its leaderboard with what is told apart from the chosen configuration."""

import math
from typing import TYPE_CHECKING

from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.pages.chart import Axis, Chart, Series
from featcache.sweeps.lines import score_text, value_text, varied_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from featcache.sweeps.leaderboard import LeaderboardEntry
    from featcache.sweeps.results import SweepResult

MOST = 20
"""Configurations that are drawn at most, beside the chosen one."""

CHOSEN, ALIKE, APART, OTHER = "chosen", "not told apart", "worse", "not compared"

_LABELS = {
    MULTICLASS: "validation accuracy",
    MULTILABEL: "share of right validation answers",
    REGRESSION: "validation R²",
}


def sweep_figure(result: "SweepResult") -> "Figure":
    """Return the leaderboard of a sweep as a figure."""
    from featcache.pages.notebook import chart_figure

    chart = leaderboard_chart(result)
    return chart_figure(chart, 9, 1.6 + 0.32 * len(chart.y.categories))


def leaderboard_chart(result: "SweepResult") -> Chart:
    """Return the leaderboard of a sweep: the best at the top, with intervals about those that were compared."""
    choice = result.chosen
    ranked = [entry for entry in result.leaderboard if math.isfinite(entry.accuracy)]
    drawn = [entry for place, entry in enumerate(ranked) if place < MOST or entry == choice.entry]
    against = {contender.entry.key: contender.against for contender in choice.contenders}
    groups: dict[str, list[tuple[float, float, float, float]]] = {}
    for place, entry in enumerate(drawn):
        kind, low, high = OTHER, entry.accuracy, entry.accuracy
        if entry == choice.entry:
            kind = CHOSEN
        elif (compared := against.get(entry.key)) is not None:
            # The interval is of the chosen one's score minus this one's.
            kind = APART if compared.told_apart else ALIKE
            low, high = (choice.entry.accuracy - end for end in reversed(compared.interval))
        groups.setdefault(kind, []).append((entry.accuracy, place, low, high))
    colours = {OTHER: -1, APART: 2, ALIKE: 1, CHOSEN: 0}
    task = result.task
    series = tuple(
        _series(kind, groups[kind], colour, task) for kind, colour in colours.items() if kind in groups
    )
    more = f" The first {MOST} of {len(ranked)}." if len(ranked) > len(drawn) else ""
    return Chart(
        "leaderboard",
        f"{result.heads} heads",
        Axis(_LABELS[result.task], unit="" if result.task == REGRESSION else "percent"),
        Axis("", "categories", categories=tuple(_name(result, entry) for entry in drawn)),
        series,
        "Mean over seeds and folds on validation rows. Whiskers: 95 % interval of the difference from the chosen one; "
        f"where they reach its line, the two are not told apart.{more}",
        marked=((choice.entry.accuracy, "chosen"),),
        wide=True,
    )


def _series(name: str, points: list[tuple[float, float, float, float]], colour: int, task: str) -> Series:
    scores, places, low, high = (list(column) for column in zip(*points, strict=True))
    ends = (low, high) if name in (ALIKE, APART) else ((), ())
    texts = [score_text(score, task) for score in scores]
    return Series(name, scores, places, "points", *ends, colour=colour, texts=texts)


def _name(result: "SweepResult", entry: "LeaderboardEntry") -> str:
    trial = entry.key
    settings = " ".join(
        f"{name}={value_text(value)}" for name, value in varied_settings(trial.settings).items()
    )
    where = f"{result.caches[trial.cache]} " if len(result.caches) > 1 else ""
    return f"{trial.settings.head} on {where}{trial.layer} {settings}".strip()
