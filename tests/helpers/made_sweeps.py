"""Sweeps that were never run: result lines and summaries of made-up scores, as ``featcache sweep`` writes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.metrics.comparison import compare
from featcache.pages.sprites import Sprites, Thumbnail
from featcache.reports.material import Material

PROTOCOL = {"train": "train", "val": "val", "test": "test", "seed": 0, "folds": 0}

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"quoted\" & 'single'",
    "line\nbreak",
    "right\u202eleft",
    "n" * 200,
)
"""Names that must be shown as text."""


def line(
    head: str = "logistic",
    settings: dict[str, Any] | None = None,
    score: float | None = 0.9,
    *,
    seed: int = 0,
    fold: int | None = None,
    shots: int | None = None,
    cache: str = "/caches/a.h5",
    backbone: str = "mobilenet_v2.tv_in1k",
    layer: str = "pool",
    protocol: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a line of ``results.jsonl``."""
    return {
        "cache": cache,
        "backbone": backbone,
        "layer": layer,
        "head": head,
        "settings": {"c": 1.0} if settings is None else settings,
        "seed": seed,
        "fold": fold,
        "shots": shots,
        "protocol": protocol or PROTOCOL,
        "val_accuracy": score,
        "val_loss": None if score is None else 1 - score,
        "best_epoch": 1,
    }


def entry(
    head: str,
    settings: dict[str, Any],
    score: float | None,
    *,
    cache: str = "mobilenet_v2.tv_in1k",
    shots: int | None = None,
    trials: int = 2,
    **more: Any,
) -> dict[str, Any]:
    """Return an entry of the leaderboard of ``summary.json``."""
    return {
        "cache": cache,
        "layer": "pool",
        "head": head,
        "settings": settings,
        "shots": shots,
        "val_accuracy": score,
        "deviation": 0.01 if score is not None else None,
        "val_loss": 0.3 if score is not None else None,
        "trials": trials,
        **more,
    }


def contender(of: dict[str, Any], chosen: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """Return an entry compared with the chosen one, from the rows that each has right."""
    found = compare(chosen, own)
    return {
        **of,
        "behind_by": found.difference,
        "interval": list(found.interval),
        "p_value": found.p_value,
        "told_apart": found.told_apart,
    }


def summary(
    leaderboard: Sequence[dict[str, Any]],
    chosen: dict[str, Any],
    *,
    contenders: Sequence[dict[str, Any]] = (),
    instead_of: dict[str, Any] | None = None,
    test: dict[str, Any] | None = None,
    floor: float | None = None,
    task: str = "classes",
) -> dict[str, Any]:
    """Return ``summary.json``."""
    choice = {
        **chosen,
        "test": test,
        "image_floor": floor,
        "instead_of": instead_of,
        "contenders": list(contenders),
    }
    return {"format": 1, "task": task, "chosen": choice, "shots": [choice], "leaderboard": list(leaderboard)}


class NoPhotos(Sprites):
    """Thumbnails of a dataset that is gone."""

    def __init__(self) -> None:
        super().__init__(None)

    def of(self, name: str) -> Thumbnail | None:
        return None


class MadePhotos(Sprites):
    """A thumbnail for every photo, on one sheet; remembers which were asked for."""

    def __init__(self, has: Callable[[str], bool] = lambda name: True) -> None:
        super().__init__(None)
        self.asked: list[str] = []
        self.has = has

    def of(self, name: str) -> Thumbnail | None:
        self.asked.append(name)
        return Thumbnail(0, 96 * len(self.asked), 0, 96, 64) if self.has(name) else None


def material(**content: Any) -> Material:
    """Return material of these contents, without photos where there are none among them."""
    return Material(path=Path("made"), **{"sprites": NoPhotos(), **content})
