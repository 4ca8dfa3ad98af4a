"""Convert labels to a head's targets, and its outputs to probabilities.

In numpy; the outputs also in JAX (`xp` is `numpy` or `jax.numpy`), for a program that holds network and head.

Labels are int ``[N]`` (multiclass), 0 and 1 in ``[N, C]`` (multilabel), or float ``[N, T]`` (regression).
"""

from types import ModuleType
from typing import Any

import numpy as np


def outputs_for(loss: str, classes: int) -> int:
    """Return the number of outputs for a multiclass task: one for two classes with a sigmoid, else `classes`."""
    return 1 if loss == "sigmoid" and classes == 2 else classes


def targets_for(loss: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the targets of labels, float32 ``[N, C]``; the labels int ``[N]`` themselves for a softmax."""
    if labels.ndim == 2:
        return np.asarray(labels, np.float32)
    if loss == "softmax":
        return labels
    if outputs_for(loss, classes) == 1:
        return np.asarray(labels, np.float32)[:, None]
    return np.eye(classes, dtype=np.float32)[labels]


def class_probabilities(loss: str, outputs: Any, classes: int, xp: ModuleType = np) -> Any:
    """Return multiclass probabilities float32 ``[N, classes]`` from a head's outputs ``[N, C]``.

    A single sigmoid is the second class's probability; several, each class against the rest, are normalised to the
    sum 1, as scikit-learn does.
    """
    read = softmax(outputs, xp) if loss == "softmax" else sigmoid(outputs, xp)
    if loss == "softmax":
        return read
    if read.shape[1] == 1 and classes == 2:
        return xp.concatenate([1 - read, read], axis=1)
    return read / xp.maximum(read.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def softmax(logits: Any, xp: ModuleType = np) -> Any:
    """Return probabilities float32 ``[N, C]`` that sum to 1."""
    shifted = xp.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def sigmoid(logits: Any, xp: ModuleType = np) -> Any:
    """Return independent probabilities float32 ``[N, C]``."""
    # 1 / (1 + exp(−z)) would overflow where z is far below 0, and (1 + tanh(z / 2)) / 2 loses in JAX's float32 what
    # `class_probabilities` divides by. With the exponential of −|z| neither happens.
    wide = xp.asarray(logits, np.float64 if xp is np else np.float32)
    small = xp.exp(-xp.abs(wide))
    return (xp.where(wide < 0, small, 1.0) / (1 + small)).astype(np.float32)
