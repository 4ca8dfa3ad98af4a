"""The types of task: multiclass, multilabel and regression, under the names that files store, and their scores."""

import math
from typing import Any

from featcache.core.argument_types import spelled
from featcache.core.display import percent
from featcache.errors import UsageError

MULTICLASS, MULTILABEL, REGRESSION = "classes", "answers", "numbers"
TASKS = (MULTICLASS, MULTILABEL, REGRESSION)
UNLABELLED = "unlabelled"
TASK_NAMES = {
    MULTICLASS: "multiclass",
    MULTILABEL: "multilabel",
    REGRESSION: "regression",
    UNLABELLED: UNLABELLED,
}
"""Multiclass: one class for each image. Multilabel: any number of labels for each. Regression: numbers.

Files store `TASKS`, or `UNLABELLED` where there is nothing to learn; messages use `TASK_NAMES`.
"""


SCORES = {MULTICLASS: "accuracy", MULTILABEL: "share of right answers", REGRESSION: "R²"}
"""What a score is called, by task."""


def score_text(value: float | None, task: str) -> str:
    """Return a score in words: a share as percent, R² as a number, ``diverged`` where there is none."""
    if value is None or not math.isfinite(value):
        return "diverged"
    return f"R² {value:.3f}" if task == REGRESSION else percent(value)


def require_labels(held: Any, what: str) -> None:
    """Refuse a cache or a dataset whose images have no labels.

    Parameters
    ----------
    held
        An object with ``task``, and a ``path`` or a ``spec``.
    what
        What needs labels, such as ``"a head"``.

    Raises
    ------
    UsageError
        If it is unlabelled.
    """
    if held.task == UNLABELLED:
        name = getattr(held, "path", None) or held.spec
        raise UsageError(
            f"{name} holds images without labels, and {what} needs them: extract again without "
            f"{spelled('unlabelled')}, from class folders or a table with a column of labels (features are copied, "
            "none is computed anew). As it is, it serves featcache predict, similarity search and clustering"
        )


def require_classes(held: Any, what: str) -> None:
    """Refuse a cache or a dataset whose task is not multiclass.

    Parameters
    ----------
    held
        An object with ``task``, ``classes``, and a ``path`` or a ``spec``.
    what
        What needs a multiclass task, such as ``"a sweep"``; it begins the message.

    Raises
    ------
    UsageError
        If it is multilabel, regression or unlabelled.
    """
    require_labels(held, what)
    if held.task != MULTICLASS:
        name = getattr(held, "path", None) or held.spec
        raise UsageError(
            f"{what} is for multiclass tasks, and {name} has {TASK_NAMES[held.task]} targets "
            f"({', '.join(held.classes[:5])}{', …' if len(held.classes) > 5 else ''}); train on it with featcache "
            "train-head"
        )
