"""The configurations of a sweep, from its result lines: their names in words, and their scores by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from featcache.core.display import percents
from featcache.core.identity import canonical_json
from featcache.core.tasks import REGRESSION
from featcache.sweeps.entries import same_head

LAST = -1e9
"""What a cell without a number is sorted by."""


@dataclass(frozen=True)
class Configuration:
    """A configuration of a sweep, and the validation scores of its trials.

    Parameters
    ----------
    cache, backbone, layer, head, settings, shots
        As in the lines of the sweep's results; `cache` is a path.
    by_seed
        A score for each seed, the mean over its folds; NaN where one diverged.
    """

    cache: str
    backbone: str
    layer: str
    head: str
    settings: Mapping[str, Any]
    shots: int | None
    by_seed: tuple[float, ...]

    @property
    def score(self) -> float:
        """Mean over the seeds; NaN where one diverged, as the mean over the others would flatter it."""
        return float(np.mean(self.by_seed))

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds; 0 of one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else 0.0


def read_configurations(
    lines: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any] | None = None
) -> list[Configuration]:
    """Return the configurations among a sweep's result lines, in the order in which they were fitted first.

    A folder may hold the lines of several sweeps. Those that were judged on other rows than the chosen configuration
    are left out: their scores cannot be compared.

    Parameters
    ----------
    lines
        Lines of ``results.jsonl``.
    chosen
        The choice of ``summary.json``; ``None``: the rows of the last line.
    """
    found: dict[bytes, list[Mapping[str, Any]]] = {}
    for line in _on_the_same_rows(lines, chosen):
        found.setdefault(_key(line, line.get("cache", "")), []).append(line)
    return [_configuration(own) for own in found.values()]


def _key(line: Mapping[str, Any], cache: str) -> bytes:
    parts = [line.get(name) for name in ("backbone", "layer", "head", "settings", "shots")]
    return canonical_json([cache, *parts])


def _on_the_same_rows(
    lines: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any] | None
) -> list[Mapping[str, Any]]:
    own = [line for line in lines if chosen is not None and same_head(line, chosen)] or list(lines)
    if not own:
        return []
    rows = canonical_json(own[-1]["protocol"])
    return [line for line in lines if canonical_json(line["protocol"]) == rows]


def _configuration(lines: Sequence[Mapping[str, Any]]) -> Configuration:
    by_seed: dict[Any, list[float]] = {}
    for line in lines:
        score = line["val_accuracy"]
        by_seed.setdefault(line.get("seed"), []).append(math.nan if score is None else float(score))
    first = lines[0]
    return Configuration(
        first.get("cache", ""),
        first.get("backbone", ""),
        first.get("layer", ""),
        first.get("head", ""),
        first["settings"],
        first.get("shots"),
        tuple(float(np.mean(scores)) for scores in by_seed.values()),
    )


def finished(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Return those whose score is a number, best first."""
    own = [one for one in configurations if math.isfinite(one.score)]
    return sorted(own, key=lambda one: -one.score)


def most_shots(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Return the configurations that learnt from all rows, or else from the most shots."""
    most = max((shots_order(one.shots) for one in configurations), default=math.inf)
    return [one for one in configurations if shots_order(one.shots) == most]


def shots_order(shots: int | None) -> float:
    """Return a number that sorts shots: ``None``, all rows, is last."""
    return math.inf if shots is None else shots


def interval_text(ends: Sequence[float | None], task: str) -> str:
    """Return an interval of scores in words, as `score_text`; ``unknown`` where an end is no number."""
    low, high = ends
    if low is None or high is None:
        return "unknown"
    return f"{low:.3f} to {high:.3f}" if task == REGRESSION else percents(low, high)


def cell(text: str, value: float | None) -> dict[str, Any]:
    """Return a cell of a sortable table: what it shows and what it is sorted by, what has no number last."""
    return {"text": text, "value": LAST if value is None or not math.isfinite(value) else value}


def number_columns(*labels: str) -> tuple[dict[str, str], ...]:
    """Return columns of a table whose cells stand to the right."""
    return tuple({"label": label, "kind": "number"} for label in labels)


def difference_text(value: float, task: str) -> str:
    """Return a difference of scores in words, without a sign."""
    return f"{abs(value):.3f} of R²" if task == REGRESSION else f"{100 * abs(value):.1f} percentage points"


def cache_name(configuration: Configuration, others: Sequence[Configuration]) -> str:
    """Return what a cache is called: its backbone, with the name of its file where several caches have this one."""
    files = {one.cache for one in others if one.backbone == configuration.backbone}
    own = configuration.backbone or PurePath(configuration.cache).name
    return own if len(files) < 2 else f"{own} ({PurePath(configuration.cache).name})"
