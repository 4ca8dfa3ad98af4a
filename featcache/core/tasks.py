"""What is to be learnt of an image: which class it is of, several yes-or-no answers about it, or numbers."""

from typing import Any

from featcache.errors import UsageError

MULTICLASS, MULTILABEL, REGRESSION = "classes", "answers", "numbers"
TASKS = (MULTICLASS, MULTILABEL, REGRESSION)
"""Exclusive classes, one for each image; any number of labels for each image; numbers to predict."""


def require_classes(held: Any, what: str) -> None:
    """Refuse a cache or a dataset whose images are not of one class each.

    Parameters
    ----------
    held
        With a ``task``, and a ``path`` or a ``spec``.
    what
        What cannot be done with others, such as ``"a sweep"``.

    Raises
    ------
    UsageError
        Naming what can.
    """
    if held.task != MULTICLASS:
        name = getattr(held, "path", None) or held.spec
        raise UsageError(
            f"{what} is for images of one class each, and {name} holds {held.task} ({', '.join(held.classes[:5])}"
            f"{', …' if len(held.classes) > 5 else ''}); train on it with featcache train-head"
        )
