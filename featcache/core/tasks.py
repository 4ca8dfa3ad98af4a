"""The types of task: multiclass, multilabel and regression, under the names that files store."""

from typing import Any

from featcache.errors import UsageError

MULTICLASS, MULTILABEL, REGRESSION = "classes", "answers", "numbers"
TASKS = (MULTICLASS, MULTILABEL, REGRESSION)
TASK_NAMES = {MULTICLASS: "multiclass", MULTILABEL: "multilabel", REGRESSION: "regression"}
"""Multiclass: one class for each image. Multilabel: any number of labels for each. Regression: numbers.

Files store `TASKS`; messages use `TASK_NAMES`.
"""


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
        If it is multilabel or regression.
    """
    if held.task != MULTICLASS:
        name = getattr(held, "path", None) or held.spec
        raise UsageError(
            f"{what} is for multiclass tasks, and {name} has {TASK_NAMES[held.task]} targets "
            f"({', '.join(held.classes[:5])}{', …' if len(held.classes) > 5 else ''}); train on it with featcache "
            "train-head"
        )
