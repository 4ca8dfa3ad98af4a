"""Task types (multiclass, multilabel, regression): how a head's outputs are converted and scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION, TASK_NAMES
from featcache.errors import UsageError, did_you_mean
from featcache.heads.probabilities import class_probabilities, sigmoid
from featcache.heads.settings import CLASS_LOSSES, DESCENT, HEADS, SCALINGS
from featcache.metrics.classification import evaluate, score
from featcache.metrics.multilabel import evaluate_multilabel, summary
from featcache.metrics.regression import evaluate_regression


@dataclass(frozen=True)
class TaskType:
    """How the outputs of one type of task are converted and scored.

    Parameters
    ----------
    task
        One of `featcache.core.tasks.TASKS`.
    values
        ``(loss, raw outputs [N, C], number of classes)`` to probabilities or numbers float32 ``[N, T]``; with
        ``jax.numpy`` as a fourth argument in JAX.
    to_raw
        Inverse of `values`: values float64 ``[N, T]`` to raw outputs float32, and the loss by which these give the
        values again.
    score, evaluate
        Labels or targets and values to overall scores, and to those with each class or target; see the
        modules of `featcache.metrics`. They take ``classes`` and ``split`` by name.
    heads, losses, scalings
        Heads, losses and scalings of features that suit the task, the default first.
    """

    task: str
    values: Callable[..., Any]
    to_raw: Callable[[np.ndarray], tuple[np.ndarray, str]]
    score: Callable[..., Any]
    evaluate: Callable[..., Any]
    heads: tuple[str, ...]
    losses: tuple[str, ...]
    scalings: tuple[str, ...] = SCALINGS

    def head(self, asked: str | None) -> str:
        """Return the head: the one asked for, or the default.

        Raises
        ------
        UsageError
            If that head does not support the task.
        """
        return _one_of(self.task, "head", asked, self.heads)

    def loss(self, asked: str | None) -> str:
        """Return the loss: the one asked for, or the default; raises as `head` does."""
        return _one_of(self.task, "loss", asked, self.losses)

    def scaling(self, asked: str | None) -> str:
        """Return the scaling: the one asked for, or the default; raises as `head` does."""
        return _one_of(self.task, "scaling", asked, self.scalings)


def _one_of(task: str, what: str, asked: str | None, known: Sequence[str]) -> str:
    if asked is not None and asked not in known:
        raise UsageError(f"no {what} {asked!r} for a {TASK_NAMES[task]} task; {did_you_mean(asked, known)}")
    return asked or known[0]


_LEAST = np.finfo(np.float32).tiny


def _logarithms(values: np.ndarray) -> tuple[np.ndarray, str]:
    # Whatever the loss was: a softmax of their logarithms gives probabilities that sum to 1 back.
    return np.log(np.maximum(values, _LEAST)).astype(np.float32), "softmax"


def _log_odds(values: np.ndarray) -> tuple[np.ndarray, str]:
    odds = np.log(np.maximum(values, _LEAST)) - np.log(np.maximum(1 - values, _LEAST))
    return odds.astype(np.float32), "sigmoid"


def _to_float32(values: np.ndarray) -> tuple[np.ndarray, str]:
    return values.astype(np.float32), "squared"


def _score_classes(known: np.ndarray, values: np.ndarray, *, classes: Sequence[str], split: str) -> Any:
    del classes
    return score(known, values, split=split)


def _score_answers(known: np.ndarray, values: np.ndarray, *, classes: Sequence[str], split: str) -> Any:
    return summary(evaluate_multilabel(known, values, classes=classes, split=split))


def _score_numbers(known: np.ndarray, values: np.ndarray, *, classes: Sequence[str], split: str) -> Any:
    return summary(evaluate_regression(known, values, classes=classes, split=split))


_ALL = (
    TaskType(MULTICLASS, class_probabilities, _logarithms, _score_classes, evaluate, HEADS, CLASS_LOSSES),
    TaskType(
        MULTILABEL,
        lambda loss, raw, classes, xp=np: sigmoid(raw, xp),
        _log_odds,
        _score_answers,
        evaluate_multilabel,
        DESCENT,
        ("sigmoid",),
    ),
    TaskType(
        REGRESSION,
        lambda loss, raw, classes, xp=np: xp.asarray(raw, np.float32),
        _to_float32,
        _score_numbers,
        evaluate_regression,
        ("ridge", *DESCENT),
        ("squared",),
        # How strongly a network responds may well be the number that is asked for.
        ("standard", "unit", "none"),
    ),
)

TASK_TYPES: Mapping[str, TaskType] = {each.task: each for each in _ALL}
"""By `featcache.core.tasks.TASKS`."""
