"""The leaderboard of a sweep: what was tried, what was chosen and why, and what is not told apart from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.core.display import percent
from featcache.core.tasks import MULTICLASS, REGRESSION, score_text
from featcache.pages.chart import score_axis
from featcache.reports.configurations import (
    cell,
    interval_text,
    number_columns,
)
from featcache.reports.material import Material
from featcache.reports.section import Section
from featcache.sweeps.entries import CHOSEN, Entry, is_same, judged_entries, plain_entry
from featcache.sweeps.plots import leaderboard_chart


def section(material: Material) -> Section | None:
    """Return the leaderboard of a sweep; ``None`` where there is none."""
    sweep = material.sweep
    if not sweep or not sweep.get("chosen"):
        return None
    task, chosen = sweep.get("task", MULTICLASS), sweep["chosen"]
    rows = judged_entries(sweep)
    board = leaderboard_chart(sweep)
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
                *number_columns(score_axis(task).label, "± between trials"),
                "verdict",
                *number_columns("loss", "trials"),
            ),
            "cells": [_cells(row, task) for row in rows],
            "meaning": _MEANING,
            "strong": tuple(number for number, row in enumerate(rows) if row["verdict"] == CHOSEN),
        },
        data={
            "chosen": plain_entry(chosen),
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
        name = next((row["name"] for row in rows if is_same(row, first)), str(first["head"]))
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
