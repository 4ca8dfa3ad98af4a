"""Colour statistics of images, computed without a network.

A cache stores them as a layer beside those of the network: the accuracy that they reach alone is the floor that a head
has to exceed (`featcache.checks.features.statistics_floor`).
"""

from functools import cache

import numpy as np

LAYER = "image:statistics"
"""Name of the layer. Another definition of these numbers would need another name."""

GRID = 4
WIDTH = 3 + 3 + 3 * GRID**2
LEAST_SIDE = 32


def image_statistics(images: np.ndarray) -> np.ndarray:
    """Return mean, deviation and a coarse grid of the colours of images.

    Parameters
    ----------
    images
        uint8 ``[B, H, W, 3]``, as they go into a network.

    Returns
    -------
    numpy.ndarray
        float32 ``[B, 54]`` in units of 0..1: each channel's mean, each channel's standard deviation, and the mean
        colours of 4×4 cells, row by row.

    Notes
    -----
    Of every n-th pixel of every n-th row, so that 32 to 63 of the shorter side are left: neighbours say nearly the
    same. All pixels of 224×224 would take 2 to 5 % of the time of EfficientNet-Lite0 on one core, compiled or in
    numpy; these take 0.2 %. In numpy: so few are less work than to dispatch them, and nothing has to be compiled.
    """
    step = max(1, min(images.shape[1:3]) // LEAST_SIDE)
    middle = step // 2
    some = images[:, middle::step, middle::step]
    count, height, width, channels = some.shape
    # In float64 and about the middle of the range: the deviation is a difference of squares, which in float32 loses
    # up to 3e-6, and differently with every order in which a BLAS kernel adds. Here 1e-8 is lost at most.
    pixels = some.reshape(count, height * width, channels) / 255.0 - 0.5
    weights = _weights(height, width)
    means, squares = weights @ pixels, weights[-1:] @ np.square(pixels)
    deviation = np.sqrt(np.maximum(squares - np.square(means[:, -1:]), 0))
    parts = (means[:, -1:] + 0.5, deviation, means[:, :-1] + 0.5)
    return np.concatenate([part.reshape(count, -1) for part in parts], axis=1, dtype=np.float32)


@cache
def _weights(height: int, width: int) -> np.ndarray:
    """Return the weight of each pixel in the mean of each cell and, last, of all, ``[17, height · width]``."""
    cells = np.kron(_windows(height), _windows(width))
    return np.concatenate([cells, np.full((1, height * width), 1 / (height * width))])


def _windows(size: int) -> np.ndarray:
    """Return the weights of `size` places in 4 windows, ``[4, size]``; windows overlap rather than be empty."""
    weights = np.zeros((GRID, size))
    for number, window in enumerate(weights):
        start, stop = number * size // GRID, -(-(number + 1) * size // GRID)
        window[start:stop] = 1 / (stop - start)
    return weights
