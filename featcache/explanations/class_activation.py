"""The class-activation map, exact where a linear head reads the average of a map, or the map itself.

With a map ``A [h, w, D]``, features ``x = mean(A)``, and a head ``x @ K + b``, the logit of class c is the mean over
the places of ``A @ K[:, c]``, plus ``b[c]``: each place's part in it is known, not estimated. A head that takes
features at length 1 divides all places by the one length of ``x``, and the same holds; a standardisation of the
features is part of the kernel already.

Zhou et al., "Learning Deep Features for Discriminative Localization", https://arxiv.org/abs/1512.04150
"""

import numpy as np

from featcache.explanations.subject import HeadFunction
from featcache.heads.scaling import unit_length


def features_of_maps(maps: np.ndarray, *, averaged: bool) -> np.ndarray:
    """Return the features float32 ``[B, D]`` that a head reads of maps ``[B, h, w, C]``: their average, or all."""
    if not averaged:
        return maps.reshape(len(maps), -1)
    return maps.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)


def class_activation(
    maps: np.ndarray, head: HeadFunction, targets: np.ndarray, *, averaged: bool
) -> np.ndarray:
    """Return the maps float32 ``[B, k, h, w]`` whose means, plus the head's biases, are the logits of classes.

    Parameters
    ----------
    maps
        float32 ``[B, h, w, C]``.
    head
        A linear head.
    targets
        int ``[B, k]``: classes.
    averaged
        Whether the head reads the average of a map, ``[C]``; otherwise the whole, ``[h · w · C]``.
    """
    kernel, _ = head.weights()
    maps = np.asarray(maps, np.float32)
    if head.form.unit_rows:
        features = features_of_maps(maps, averaged=averaged)
        maps = maps * _factors(features)[:, None, None, None]
    count, rows, columns, channels = maps.shape
    chosen = kernel.T[targets]  # [B, k, D]
    if averaged:
        return np.einsum("bhwc,bkc->bkhw", maps, chosen, optimize=True)
    places = chosen.reshape(count, -1, rows, columns, channels)
    return np.einsum("bhwc,bkhwc->bkhw", maps, places, optimize=True) * np.float32(rows * columns)


def identity_gap(heat: np.ndarray, head: HeadFunction, targets: np.ndarray, raw: np.ndarray) -> float:
    """Return how far mean plus bias is from the logit at most, relative to 1 and the logit's size.

    Parameters
    ----------
    heat
        Of `class_activation`, ``[B, k, h, w]``.
    head
        The linear head.
    targets
        int ``[B, k]``.
    raw
        The head's raw outputs ``[B, C]``.
    """
    _, bias = head.weights()
    logits = np.take_along_axis(raw, targets, axis=1).astype(np.float64)
    found = heat.mean(axis=(2, 3), dtype=np.float64) + bias[targets]
    finite = np.isfinite(logits)
    gaps = np.abs(found[finite] - logits[finite]) / (1 + np.abs(logits[finite]))
    return float(gaps.max(initial=0.0))


def _factors(features: np.ndarray) -> np.ndarray:
    """Return what features ``[B, D]`` are multiplied by to be of length 1, ``[B]``."""
    at_one = unit_length(features)
    place = np.abs(features).argmax(axis=1)[:, None]
    largest = np.take_along_axis(features, place, axis=1)[:, 0]
    scaled = np.take_along_axis(at_one, place, axis=1)[:, 0]
    return np.where(largest != 0, scaled / np.where(largest != 0, largest, 1), 1).astype(np.float32)
