"""The leaderboard of a sweep: what was tried, what was chosen and why, and what is not told apart from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.core.display import percent, percents
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.configurations import (
    cell,
    entry_name,
    interval_text,
    number_columns,
    same_head,
    score_label,
    score_unit,
)
from featcache.reports.material import Material
from featcache.reports.section import Section
from featcache.sweeps.lines import score_text

DRAWN = 20
"""Configurations in the chart at most; the table has all that the summary has."""

CHOSEN, FIRST, ALIKE, APART, OTHER = "chosen", "highest, not taken", "not told apart", "worse", "not compared"

Entry = Mapping[str, Any]


def section(material: Material) -> Section | None:
    """Return the leaderboard of a sweep; ``None`` where there is none."""
    sweep = material.sweep
    if not sweep or not sweep.get("chosen"):
        return None
    task, chosen = sweep.get("task", MULTICLASS), sweep["chosen"]
    rows = _rows(sweep)
    board = _chart(rows, chosen, task)
    return Section(
        key="leaderboard",
        title="Leaderboard",
        headline=_headline(chosen, rows, task),
        template="leaderboard.html",
        content={
            "board": board,
            "why": _why(chosen, rows, task),
            "columns": (
                *number_columns("place"),
                "what",
                *number_columns(score_label(task), "± between trials"),
                "verdict",
                *number_columns("loss", "trials"),
            ),
            "cells": [_cells(row, task) for row in rows],
            "meaning": _MEANING,
            "strong": tuple(number for number, row in enumerate(rows) if row["verdict"] == CHOSEN),
        },
        data={
            "chosen": _plain(chosen),
            "rows": rows,
            "heads": sweep.get("heads"),
            "test": chosen.get("test"),
        },
        charts=(board,),
    )


_MEANING = (
    "Validation rows chose between these, so the best score is a little too good. “Not told apart”: the 95 % interval "
    "of the difference from the chosen one, on the same validation rows, holds 0. “Not compared”: only the next best "
    "on the same cache are compared row by row. “± between trials”: the standard deviation over seeds and folds, in "
    "the units of the score; – where there is one trial."
)


def _rows(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the leaderboard with their verdicts; the chosen one is always among them."""
    chosen = sweep["chosen"]
    entries = list(sweep.get("leaderboard") or [chosen])
    if not any(_is_same(entry, chosen) for entry in entries):
        entries.append(chosen)
    return [
        {"place": place, "name": entry_name(entry, entries), **_plain(entry), **_verdict(entry, chosen)}
        for place, entry in enumerate(entries, 1)
    ]


def _is_same(first: Entry, second: Entry) -> bool:
    return first.get("cache") == second.get("cache") and same_head(first, second)


def _plain(entry: Entry) -> dict[str, Any]:
    names = ("cache", "layer", "head", "settings", "shots", "val_accuracy", "deviation", "val_loss", "trials")
    return {name: entry.get(name) for name in names}


def _verdict(entry: Entry, chosen: Entry) -> dict[str, Any]:
    """Return an entry's verdict, and the interval of its score relative to the chosen one's."""
    if _is_same(entry, chosen):
        return {"verdict": CHOSEN, "interval": None}
    for other in chosen.get("contenders") or ():
        if _is_same(entry, other):
            # The interval is of the chosen minus this one.
            low, high, score = *other["interval"], chosen["val_accuracy"]
            ends = None if None in (low, high, score) else [score - high, score - low]
            return {"verdict": APART if other["told_apart"] else ALIKE, "interval": ends}
    first = chosen.get("instead_of")
    taken = first is not None and _is_same(entry, first)
    return {"verdict": FIRST if taken else OTHER, "interval": None}


def _headline(chosen: Entry, rows: Sequence[Mapping[str, Any]], task: str) -> str:
    own = next(row for row in rows if row["verdict"] == CHOSEN)
    score = score_text(chosen["val_accuracy"], task)
    if len(rows) == 1:
        return f"One configuration was tried: {own['name']}, validation {score}"
    others = chosen.get("contenders") or ()
    alike = sum(not other["told_apart"] for other in others)
    if not others:
        compared = f"{len(rows)} configurations were ranked"
    elif alike == len(others):
        compared = f"none of the {len(others)} compared with it is told apart"
    elif alike:
        compared = (
            f"{alike} of the {len(others)} compared with it {'is' if alike == 1 else 'are'} not told apart"
        )
    else:
        compared = f"better than the {len(others)} compared with it, beyond chance"
    return f"Chosen: {own['name']}, validation {score}; {compared}"


def _why(chosen: Entry, rows: Sequence[Mapping[str, Any]], task: str) -> list[str]:
    """Return why it was chosen, and what is known of the choice, in sentences."""
    first, told = chosen.get("instead_of"), []
    if first:
        name = next((row["name"] for row in rows if _is_same(row, first)), str(first["head"]))
        told.append(
            f"{name} has the highest mean ({score_text(first['val_accuracy'], task)}). The chosen one is simpler and "
            "within one standard error of it on the same rows, in score and in loss; the best of many is best partly "
            "by chance, so the simpler one is taken."
        )
    else:
        told.append("It has the highest mean score on the validation rows.")
    if test := chosen.get("test"):
        told.append(
            f"On {test['count']:,} test rows, read once and for this one only: {score_text(test['mean'], task)} "
            f"(95 % interval {interval_text(test['interval'], task)})."
        )
    else:
        told.append("There were no test rows: its score is the one that it was chosen by, a little too good.")
    if (floor := chosen.get("image_floor")) is not None:
        told.append(
            f"The colours of the photos alone would get {percent(floor)} of the validation rows right."
        )
    return told


def _cells(row: Mapping[str, Any], task: str) -> tuple[Any, ...]:
    spread = None if (row["trials"] or 1) < 2 else row["deviation"]
    width = "–" if spread is None else f"{spread:.3f}" if task == REGRESSION else f"{100 * spread:.1f}"
    loss = "–" if row["val_loss"] is None else f"{row['val_loss']:.4f}"
    return (
        row["place"],
        row["name"],
        cell(score_text(row["val_accuracy"], task), row["val_accuracy"]),
        cell(width, spread),
        row["verdict"],
        cell(loss, row["val_loss"]),
        row["trials"],
    )


def _chart(rows: Sequence[Mapping[str, Any]], chosen: Entry, task: str) -> Chart:
    shown = [row for row in rows if row["val_accuracy"] is not None]
    shown = [row for place, row in enumerate(shown) if place < DRAWN or row["verdict"] == CHOSEN]
    places = {row["place"]: number for number, row in enumerate(shown)}
    kinds = [(CHOSEN, 0), (ALIKE, 1), (APART, 2), (FIRST, 3), (OTHER, -1)]
    series = []
    for kind, colour in kinds:
        if own := [row for row in shown if row["verdict"] == kind]:
            # One without an interval is its own point.
            ends = [row["interval"] or (row["val_accuracy"], row["val_accuracy"]) for row in own]
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
        x=Axis(score_label(task), unit=score_unit(task)),
        y=Axis("configuration", scale="categories", categories=names),
        series=tuple(series),
        note="Mean over seeds and folds on validation rows. Whiskers: 95 % interval of the difference from the chosen "
        "one; whiskers that reach its line say that the two are not told apart."
        + (f" The first {DRAWN} of {len(rows)}." if len(rows) > DRAWN else ""),
        marked=line,
        wide=True,
    )


def _point_text(row: Mapping[str, Any], task: str) -> str:
    interval = ""
    if row["interval"]:
        low, high = row["interval"]
        shown = f"{low:.3f} to {high:.3f}" if task == REGRESSION else percents(low, high)
        interval = f", 95 % interval {shown}"
    return (
        f"{row['place']}. {row['name']}: {score_text(row['val_accuracy'], task)}{interval}, {row['verdict']}"
    )
