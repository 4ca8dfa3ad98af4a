"""A sweep's leaderboard as a chart, with what is told apart from the chosen configuration: in pages and notebooks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featcache.core.display import percents
from featcache.core.tasks import MULTICLASS, REGRESSION, score_text
from featcache.pages.chart import Axis, Chart, Series, score_axis
from featcache.sweeps.entries import ALIKE, APART, CHOSEN, FIRST, OTHER, judged_entries

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from featcache.sweeps.results import SweepResult

DRAWN = 20
"""Configurations that are drawn at most, beside the chosen one."""


def sweep_figure(result: "SweepResult") -> "Figure":
    """Return the leaderboard of a sweep as a figure."""
    from featcache.pages.notebook import chart_figure

    chart = leaderboard_chart(result.to_json())
    return chart_figure(chart, 9, 1.6 + 0.32 * len(chart.y.categories))


def leaderboard_chart(sweep: Mapping[str, Any]) -> Chart:
    """Return a leaderboard as a chart: the best at the top, with intervals about those that were compared.

    Parameters
    ----------
    sweep
        The content of ``summary.json``, as `featcache.sweeps.results.SweepResult.to_json` gives it.
    """
    rows, chosen, task = judged_entries(sweep), sweep["chosen"], sweep.get("task", MULTICLASS)
    shown = [row for row in rows if row["val_accuracy"] is not None]
    drawable = len(shown)
    shown = [row for place, row in enumerate(shown) if place < DRAWN or row["verdict"] == CHOSEN]
    places = {row["place"]: number for number, row in enumerate(shown)}
    kinds = [(CHOSEN, 0), (ALIKE, 1), (APART, 2), (FIRST, 3), (OTHER, -1)]
    series = []
    for kind, colour in kinds:
        if own := [row for row in shown if row["verdict"] == kind]:
            # One without an interval is its own point.
            ends = [_ends(row["interval"] or (row["val_accuracy"], row["val_accuracy"]), task) for row in own]
            series.append(
                Series(
                    kind,
                    [row["val_accuracy"] for row in own],
                    [places[row["place"]] for row in own],
                    mark="points",
                    low=[low for low, _ in ends] if kind in (ALIKE, APART) else (),
                    high=[high for _, high in ends] if kind in (ALIKE, APART) else (),
                    colour=colour,
                    texts=[_point_text(row, task) for row in own],
                )
            )
    names = tuple(row["name"] for row in shown)
    line = (
        ((chosen["val_accuracy"], "chosen"),) if len(shown) > 1 and chosen["val_accuracy"] is not None else ()
    )
    return Chart(
        name="leaderboard",
        title="The leading configurations by validation score",
        x=score_axis(task),
        y=Axis("configuration", scale="categories", categories=names),
        series=tuple(series),
        note="Mean over seeds and folds on validation rows. Whiskers: 95 % interval of the difference from the chosen "
        "one; whiskers that reach its line say that the two are not told apart."
        + (f" Only the first {DRAWN} and the chosen one are drawn." if len(shown) < drawable else ""),
        marked=line,
        wide=True,
    )


def _ends(interval: Sequence[float], task: str) -> tuple[float, float]:
    """Return the ends of a whisker. The interval is of a difference, so it may leave what a share can be, 0 to 1."""
    low, high = interval
    return (low, high) if task == REGRESSION else (max(low, 0.0), min(high, 1.0))


def _point_text(row: Mapping[str, Any], task: str) -> str:
    interval = ""
    if row["interval"]:
        low, high = _ends(row["interval"], task)
        shown = f"{low:.3f} to {high:.3f}" if task == REGRESSION else percents(low, high)
        interval = f", 95 % interval {shown}"
    return (
        f"{row['place']}. {row['name']}: {score_text(row['val_accuracy'], task)}{interval}, {row['verdict']}"
    )
