"""Learning curves: loss and score by epoch on training and validation rows, of a head and of a fine-tuning."""

import math
from typing import Any

from featcache.core.tasks import MULTICLASS, score_text
from featcache.pages.learning_curves import Learning, charts_of, headline, learning, told
from featcache.reports.configurations import cell, number_columns
from featcache.reports.material import Material
from featcache.reports.section import Section


def section(material: Material) -> Section | None:
    """Return learning curves; ``None`` where nothing was learnt by epochs (solved heads, nearest neighbours)."""
    task = material.classifier.task if material.classifier else MULTICLASS
    found = learnings_of(material)
    if not found:
        return None
    parts = [(one, charts_of(one, task)) for one in found]
    return Section(
        key="curves",
        title="Learning curves",
        headline=headline(found[0], task),
        template="curves.html",
        content={
            "parts": [
                {"what": one.what, "told": told(one, task), "charts": charts, "table": _table(one, task)}
                for one, charts in parts
            ]
        },
        data={"curves": [_json(one) for one in found]},
        charts=tuple(chart for _, charts in parts for chart in charts),
    )


def learnings_of(material: Material) -> list[Learning]:
    """Return the histories that there are: of the fine-tuning first, then of the head."""
    training = dict(material.classifier.training) if material.classifier else {}
    tuned, run = training.get("finetuned"), material.run
    found = []
    records = list(material.history) or list((tuned or {}).get("history") or ())
    if run is not None or tuned:
        finished = (run or {}).get("finished") or tuned or {}
        found.append(
            learning(
                "fine-tuning", records, kept=finished.get("best_epoch"), stopped=finished.get("stopped") or ""
            )
        )
    elif records:
        found.append(learning("head", records, kept=training.get("best_epoch")))
    columns = training.get("history") or {}
    if (tuned or not records) and columns and max(map(len, columns.values()), default=0):
        length = max(map(len, columns.values()))
        rows = [
            {"epoch": number + 1, **{name: own[number] for name, own in columns.items() if number < len(own)}}
            for number in range(length)
        ]
        found.append(learning("head", rows, kept=training.get("best_epoch")))
    return [one for one in found if one is not None]


def _table(one: Learning, task: str) -> dict[str, Any]:
    words = {
        "train_loss": "training loss",
        "val_loss": "validation loss",
        "train_score": "training score",
        "val_score": "validation score",
    }
    names = [name for name in words if name in one.values]

    def shown(name: str, value: float) -> dict[str, Any]:
        if not math.isfinite(value):
            return cell("", None)
        return cell(f"{value:.4f}" if name.endswith("loss") else score_text(value, task), value)

    rows = [
        (
            epoch,
            *(shown(name, one.values[name][number]) for name in names),
            "kept" if epoch == one.kept else "",
        )
        for number, epoch in enumerate(one.epochs)
    ]
    return {
        "columns": (*number_columns("epoch", *(words[name] for name in names)), "kept"),
        "cells": rows,
        "strong": tuple(number for number, epoch in enumerate(one.epochs) if epoch == one.kept),
    }


def _json(one: Learning) -> dict[str, Any]:
    values = {
        name: [value if math.isfinite(value) else None for value in own] for name, own in one.values.items()
    }
    return {
        "what": one.what,
        "epochs": list(one.epochs),
        **values,
        "kept": one.kept,
        "phases": {str(phase): epoch for phase, epoch in one.phases.items()},
        "stopped": one.stopped,
    }
