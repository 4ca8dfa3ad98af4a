"""How unsure a classifier is of each photo, from 0 (sure) to 1, and in words."""

import numpy as np

from featcache.core.display import escaped, percent
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION

LIKELY = 3
"""Classes whose probabilities are given for a photo."""

_UNSURE, _SURE = 0.25, 0.75
"""Leads of the most probable class up to which it is not sure, and from which it is."""


def uncertainty(values: np.ndarray, task: str) -> np.ndarray | None:
    """Return how unsure each prediction is, float64 ``[N]`` in 0..1; ``None`` for numbers, which say nothing of it.

    Parameters
    ----------
    values
        float ``[N, C]``: probabilities of classes or labels.
    task
        Of the classifier.

    Notes
    -----
    Of classes it is one minus the margin, the lead of the most probable class over the second (Scheffer et al., "Active
    hidden Markov models for information extraction", IDA 2001). Of labels that do not exclude each other it is the mean
    of that over the labels, each of which is there or not.
    """
    if task == REGRESSION:
        return None
    exact = np.asarray(values, np.float64)
    if task == MULTILABEL:
        return 1 - np.abs(2 * exact - 1).mean(axis=1)
    if exact.shape[1] < 2:
        return np.zeros(len(exact))
    first, second = -np.partition(-exact, 1, axis=1)[:, :2].T
    return 1 - np.clip(first - second, 0, 1)


def shown_values(values: np.ndarray, classes: tuple[str, ...], task: str) -> tuple[tuple[str, float], ...]:
    """Return what is to be shown of one prediction ``[C]``: the likeliest classes, the least sure labels, all numbers.

    Parameters
    ----------
    values
        float ``[C]``.
    classes, task
        Of the classifier.
    """
    if task == REGRESSION:
        order = np.arange(len(values))
    elif task == MULTILABEL:
        order = np.argsort(np.abs(values - 0.5), kind="stable")[:LIKELY]
    else:
        order = np.argsort(-values, kind="stable")[:LIKELY]
    return tuple((classes[index], float(values[index])) for index in order)


def in_words(shown: tuple[tuple[str, float], ...], task: str) -> str:
    """Return what a classifier thinks of one photo, such as ``"not sure: daisy 41 %, dandelion 38 %"``.

    Parameters
    ----------
    shown
        Of `shown_values`.
    task
        Of the classifier.
    """
    if task == REGRESSION:
        return ", ".join(f"{escaped(name)} {number:.6g}" for name, number in shown)
    said = [f"{escaped(name)} {percent(share)}" for name, share in shown]
    if task == MULTICLASS:
        lead = shown[0][1] - (shown[1][1] if len(shown) > 1 else 0.0)
        if lead > _SURE:
            return f"rather sure: {said[0]}"
        return f"{'not sure' if lead <= _UNSURE else 'not quite sure'}: {', '.join(said[:2])}"
    return f"least sure of: {', '.join(said)}"
