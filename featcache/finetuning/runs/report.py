"""Writes the page of a fine-tuning: its verdict, curves, comparison with the frozen head, and every epoch.

The history has one record for each epoch, counted over all phases, with the keys that `featcache.finetuning.loop`
writes; any may be missing. Epoch 0 is the start, before any training.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache.core.disk.files import replace_file
from featcache.core.disk.storage import storage_errors
from featcache.core.display import counted, percent
from featcache.errors import UsageError
from featcache.pages.learning_curves import best_epoch, charts_of, headline, learning, told
from featcache.pages.page import PageSection, render

History = Sequence[Mapping[str, Any]]

_COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "epoch": ("epoch", "{:.0f}".format),
    "phase": ("phase", lambda value: f"{value:.0f}" if value else "start"),
    "step": ("steps", "{:,.0f}".format),
    "learning_rate": ("learning rate", "{:.3g}".format),
    "loss": ("loss", "{:.4f}".format),
    "val_loss": ("validation loss", "{:.4f}".format),
    "accuracy": ("accuracy", percent),
    "val_accuracy": ("validation accuracy", percent),
    "images_per_second": ("images per second", "{:.0f}".format),
    "seconds": ("seconds", "{:.1f}".format),
}


def write_report(
    path: Path,
    *,
    title: str,
    history: History,
    table: Sequence[Sequence[str]],
    facts: Mapping[str, str],
    verdict: str,
    best: int | None = None,
    stopped: str = "",
    compared: str = "",
    notes: Sequence[str] = (),
) -> Path:
    """Write the page of a run.

    Parameters
    ----------
    path
        The HTML file; an existing one is replaced atomically.
    title, verdict
        The heading, and the verdict as a sentence.
    history
        Records of epochs.
    table
        Rows of cells of the comparison; the first row is the header. Of each, the first two cells are told in words.
    facts
        Names and values of facts about the run.
    best
        The epoch that was kept; by default that of the lowest validation loss.
    stopped
        Why the run ended.
    compared
        Which rows the comparison is of, as a sentence.
    notes
        What else is to be known, as sentences.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    UsageError
        If there is no epoch.
    StorageError
        If it cannot be written.
    """
    if not history:
        raise UsageError("the history has no epoch to draw; train for at least one")
    best = best_epoch(history) if best is None else best
    text = render(
        "page.html",
        title=title,
        headline=verdict,
        facts=facts,
        notes=[f"{_capitalised(text).rstrip('.')}." for text in notes],
        generator="featcache finetune",
        sections=[*_compared(table, compared), _curves(history, best, stopped)],
    )
    path = Path(path)
    with storage_errors(path, "write the page"):
        replace_file(path, text.encode())
    return path


def _compared(table: Sequence[Sequence[str]], note: str) -> list[PageSection]:
    """Return the comparison, where there is one."""
    if len(table) < 2:
        return []
    found = _capitalised(", ".join(" ".join(row[:2]) for row in table[1:]))
    content = {
        "columns": [table[0][0] or "classifier", *_number_columns(table[0][1:])],
        "cells": table[1:],
        "caption": "Before and after",
        "meaning": note,
    }
    return [PageSection("compared", "Compared", found, "sections/table.html", content)]


def _curves(history: History, best: int | None, stopped: str) -> PageSection:
    """Return the curves, as far as there are numbers, and a table of every epoch."""
    names = _columns(history)
    rows = {
        "columns": _number_columns([_COLUMNS[key][0] for key in names]),
        "cells": [[_cell(record, key) for key in names] for record in history],
        "strong": [number for number, record in enumerate(history) if record["epoch"] == best],
    }
    one = learning("fine-tuning", history, kept=best, stopped=stopped)
    part = {
        "what": "fine-tuning",
        "told": told(one) if one else (),
        "charts": charts_of(one) if one else (),
        "table": rows,
    }
    found = headline(one) if one else f"{counted(len(history), 'epoch')} without loss and accuracy"
    return PageSection("curves", "Learning curves", found, "sections/curves.html", {"parts": [part]})


def _capitalised(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _number_columns(labels: Sequence[str]) -> list[dict[str, str]]:
    return [{"label": label, "kind": "number"} for label in labels]


def _columns(history: History) -> list[str]:
    """Return the columns with at least one value."""
    return [key for key in _COLUMNS if any(_number(record, key) is not None for record in history)]


def _cell(record: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """Return what a cell shows, and what it is sorted by."""
    value = _number(record, key)
    return None if value is None else {"text": _COLUMNS[key][1](value), "value": value}


def _number(record: Mapping[str, Any], key: str) -> float | None:
    value = record.get(key)
    return None if value is None or not math.isfinite(value) else float(value)
