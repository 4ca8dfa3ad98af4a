"""Materials of reports from small made-up arrays, without a network, a cache or photos."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from scipy.special import softmax

from featcache.classifier.calibration import Calibration
from featcache.classifier.classifier import Classifier
from featcache.core.tasks import MULTICLASS
from featcache.pages.sprites import Sprites, Thumbnail
from featcache.reports.material import Material

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'so'",
    "two\nlines",
    "right\u202eto\u2066left",
    "long " * 40,
)
"""Names that must be shown as text."""


class CountingSprites(Sprites):
    """Gives every photo a place on a sheet, or none, and remembers which were asked for."""

    def __init__(self, *, there: bool = True) -> None:
        self.there, self.asked, self.unread = there, [], {}

    def of(self, name: str) -> Thumbnail | None:
        self.asked.append(name)
        return Thumbnail(0, 0, 0, 96, 64) if self.there else None

    def sheets(self) -> list[str]:
        return []


def classifier_of(
    classes: Sequence[str], *, task: str = MULTICLASS, calibration: Calibration | None = None
) -> Classifier:
    """A classifier that only says what its outputs are called, and how it was calibrated."""
    return Classifier(
        backbone="mobilenet_v2.tv_in1k",
        weights=None,
        recipe={},
        layer="pool",
        fingerprint="0" * 64,
        head="linear",
        parameters={},
        classes=tuple(classes),
        metrics={},
        training={},
        provenance={"cache": "gone.h5"},
        calibration=calibration or Calibration(),
        task=task,
    )


def material_of(
    labels: np.ndarray,
    values: np.ndarray,
    *,
    classes: Sequence[str] | None = None,
    task: str = MULTICLASS,
    calibration: Calibration | None = None,
    split: str = "test",
    there: bool = True,
    names: Sequence[str] | None = None,
    **fields: Any,
) -> Material:
    """Return the material of rows with these labels and answers; without a cache unless one is given."""
    outputs = [f"class {number}" for number in range(np.shape(values)[-1])] if classes is None else classes
    classifier = classifier_of(outputs, task=task, calibration=calibration)
    made = Material(
        path=Path("made-up"),
        sprites=CountingSprites(there=there),
        classifier=classifier,
        values=values,
        labels=labels,
        split=split,
        **fields,
    )
    if names is None:
        return made
    named = cast(
        "Any", SimpleNamespace(ids=tuple(names), identity={"rows": {"sha256": ""}}, path="made-up.h5")
    )
    return replace(made, cache=named, rows=np.arange(len(names)))


def answers(
    count: int = 300, classes: int = 5, *, seed: int = 0, sure: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels int ``[N]`` and probabilities float32 ``[N, C]`` that are mostly right, and too sure."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 1.7 * np.eye(classes)[labels]
    return labels, softmax(sure * logits, axis=1).astype(np.float32)


def certain(labels: Sequence[int] | np.ndarray, classes: int) -> np.ndarray:
    """Return the probabilities of a classifier that is sure of these classes."""
    return np.eye(classes, dtype=np.float32)[np.asarray(labels)]
