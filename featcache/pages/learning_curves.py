"""Learning curves: loss and score by epoch on training and validation rows, of a head and of a fine-tuning."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.tasks import MULTICLASS, SCORES, score_text
from featcache.pages.chart import Axis, Chart, Series, score_axis

RISEN = 1.05
"""How many times the lowest the last validation loss is where a head has learnt its training rows by heart."""

_NAMES = {
    "train_loss": ("train_loss", "loss"),
    "val_loss": ("val_loss",),
    "train_score": ("train_score", "accuracy"),
    "val_score": ("val_score", "val_accuracy"),
}
"""The names that heads and fine-tunings have for the same."""


@dataclass(frozen=True)
class Learning:
    """What was learnt by epoch.

    Parameters
    ----------
    what
        Of what: ``head`` or ``fine-tuning``.
    epochs
        Numbers of epochs, over all phases; 0 is the start.
    values
        ``train_loss``, ``val_loss``, ``train_score`` and ``val_score``, as far as there are any; NaN where one is not.
    kept
        The epoch that was kept; ``None`` where it is not known.
    phases
        The first epoch of each phase, where there are several.
    stopped
        Why it ended, as the run says it.
    """

    what: str
    epochs: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    kept: int | None
    phases: Mapping[int, int]
    stopped: str = ""


def best_epoch(history: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the epoch with the lowest validation loss, the first of equals; ``None`` without any."""
    losses = [
        (loss, int(record["epoch"]))
        for record in history
        if math.isfinite(loss := _number(record, ("val_loss",)))
    ]
    return min(losses)[1] if losses else None


def learning(
    what: str, records: Iterable[Mapping[str, Any]], *, kept: int | None = None, stopped: str = ""
) -> Learning | None:
    """Return the curves of records of epochs; ``None`` where no record holds a number.

    Parameters
    ----------
    what
        Of what they are, in words.
    records
        One for each epoch, with any of the names that heads and fine-tunings use; an epoch that has no number is its
        place among the records, from 1.
    kept
        The epoch that was kept; by default that of the lowest validation loss, the first of equals.
    stopped
        Why it ended.
    """
    rows = list(records)
    epochs = tuple(int(row.get("epoch") or 0) if "epoch" in row else n for n, row in enumerate(rows, 1))
    values = {name: tuple(_number(row, names) for row in rows) for name, names in _NAMES.items()}
    values = {name: own for name, own in values.items() if any(map(math.isfinite, own))}
    if not values:
        return None
    if kept is None:
        kept = best_epoch([{**row, "epoch": epoch} for row, epoch in zip(rows, epochs, strict=True)])
    starts: dict[int, int] = {}
    for row, epoch in zip(rows, epochs, strict=True):
        if row.get("phase"):
            starts.setdefault(int(row["phase"]), epoch)
    return Learning(what, epochs, values, kept, starts if len(starts) > 1 else {}, stopped)


def _number(row: Mapping[str, Any], names: Sequence[str]) -> float:
    for name in names:
        if (value := row.get(name)) is not None and math.isfinite(value):
            return float(value)
    return math.nan


def charts_of(one: Learning, task: str = MULTICLASS) -> tuple[Chart, ...]:
    """Return a chart of the losses and one of the scores, each where there are any."""
    quantities = (("loss", Axis("loss")), ("score", score_axis(task, "")))
    return tuple(
        _chart(one, key, axis)
        for key, axis in quantities
        if any(name in one.values for name in (f"train_{key}", f"val_{key}"))
    )


def _chart(one: Learning, key: str, axis: Axis) -> Chart:
    series = []
    for colour, (part, name) in enumerate((("train", "training"), ("val", "validation"))):
        if (own := one.values.get(f"{part}_{key}")) is not None:
            series.append(Series(name, one.epochs, own, colour=colour, dashed=part == "train"))
    kept = [(float(one.kept), f"kept: epoch {one.kept}")] if one.kept is not None else []
    phases = [(epoch - 0.5, f"phase {phase}") for phase, epoch in one.phases.items()][1:]
    return Chart(
        name=f"{one.what}-{key}",
        title=f"{axis.label[:1].upper()}{axis.label[1:]} of the {one.what} by epoch",
        x=Axis("epoch"),
        y=axis,
        series=tuple(series),
        note=_note(one, key),
        marked=(*kept, *phases),
    )


def _note(one: Learning, key: str) -> str:
    """Return what a chart's numbers mean, and which rows they are of."""
    words = (("train", "training"), ("val", "validation"))
    there = [word for part, word in words if f"{part}_{key}" in one.values]
    better = "lower" if key == "loss" else "higher"
    text = f"{'Mean over' if key == 'loss' else 'On'} all {' and '.join(there)} rows; {better} is better."
    if "training" in there:
        text += f" Training rows: while the epoch was learnt{_ALTERED.get(one.what, '')}."
    if "val_loss" not in one.values and "val_score" not in one.values:
        return text
    if key == "loss":
        return f"{text} Validation rows, after the epoch, choose the epoch that is kept."
    return f"{text} Validation rows, after the epoch, chose the one that is kept, so its score is a little too good."


_ALTERED = {"fine-tuning": ", with whatever augmentation the run has"}
"""What else is done to training rows, by what is learnt."""


def headline(one: Learning, task: str = MULTICLASS) -> str:
    """Return what was learnt, as a finding."""
    last = max(one.epochs)
    if one.stopped.startswith("diverged"):
        return f"The {one.what} diverged after epoch {last}"
    if one.kept is None:
        return (
            f"{last} epoch{'' if last == 1 else 's'} of {one.what}, without validation rows to choose one by"
        )
    text = f"Epoch {one.kept} of {last} was kept"
    if "val_score" in one.values and one.kept in one.epochs:
        score = one.values["val_score"][one.epochs.index(one.kept)]
        text += f", validation {score_text(score, task)}" if math.isfinite(score) else ""
    return f"{text}; {ending}" if (ending := _ending(one)) else text


def _ending(one: Learning) -> str:
    """Say what the curves after the kept epoch mean, in one clause."""
    losses = np.array(one.values.get("val_loss", ()))
    known = losses[np.isfinite(losses)]
    if one.kept == 0:
        return "no epoch was better than the start"
    if one.kept == max(one.epochs) and max(one.epochs) > 1:
        return "it is the last, so more epochs may help"
    if len(known) and known.min() > 0 and known[-1] > RISEN * known.min():
        rise = 100 * (known[-1] / known.min() - 1)
        text = f"after it the validation loss rose by {rise:.0f} %"
        taught = _since(one, "train_loss")
        return text + (
            ", while training rows were learnt by heart" if taught is not None and taught < 0 else ""
        )
    return "after it nothing was gained"


def _since(one: Learning, name: str) -> float | None:
    """Return by how much a value changed from the kept epoch to the last; ``None`` where either is not known."""
    if one.kept not in one.epochs or name not in one.values:
        return None
    own = one.values[name]
    change = own[-1] - own[one.epochs.index(one.kept)]
    return change if math.isfinite(change) else None


def told(one: Learning, task: str = MULTICLASS) -> list[str]:
    """Return sentences for those who do not see the charts."""
    found = []
    for name, words in (("train_loss", "training loss"), ("val_loss", "validation loss")):
        if (own := _ends(one, name)) is not None:
            found.append(f"The {words} went from {own[0]:.3f} to {own[1]:.3f}.")
    for name, words in (("train_score", "training"), ("val_score", "validation")):
        if (own := _ends(one, name)) is not None:
            first, last = (score_text(value, task) for value in own)
            found.append(f"The {words} {SCORES.get(task, 'score')} went from {first} to {last}.")
    if one.phases:
        starts = ", ".join(f"phase {phase} from epoch {epoch}" for phase, epoch in one.phases.items())
        found.append(f"There were {len(one.phases)} phases: {starts}.")
    if one.stopped:
        found.append(f"It ended: {one.stopped}.")
    return found


def _ends(one: Learning, name: str) -> tuple[float, float] | None:
    known = [value for value in one.values.get(name, ()) if math.isfinite(value)]
    return (known[0], known[-1]) if known else None
