"""Random tensors for a reference network and for ours: the same wherever and in whatever order they are drawn.

Needs numpy only: the references in torch are made in an environment without featcache.
"""

import zlib

import numpy as np

# Ranges by the tensor's own name, in the frameworks' words. They are far from a new network's values (0 and 1), so
# that an ignored or exchanged statistic shows, and keep activations near 1 in all layers.
_RANGES = {
    "gamma": (0.5, 1.5),
    "beta": (-0.2, 0.8),
    "moving_mean": (-0.5, 0.5),
    "moving_variance": (0.5, 2.0),
    "running_mean": (-0.5, 0.5),
    "running_var": (0.5, 2.0),
}


def draw(name: str, shape: tuple[int, ...], fan_in: int | None = None) -> np.ndarray:
    """Return the tensor of this name, float32.

    Parameters
    ----------
    name
        In the reference's file, such as ``"block1_conv1.kernel"``; also the seed.
    shape
        Of the tensor.
    fan_in
        Products summed in one output, if the tensor is a kernel: its variance is one over it.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    # Uniform numbers come from the generator's bits directly, in every version of numpy.
    uniform = rng.random(shape, np.float32)
    leaf = name.rpartition(".")[2]
    if fan_in is not None:
        low, high = -np.sqrt(3 / fan_in), np.sqrt(3 / fan_in)
    elif leaf == "weight" and len(shape) == 1:
        low, high = _RANGES["gamma"]
    else:
        low, high = _RANGES.get(leaf, (-0.5, 0.5))
    return uniform * np.float32(high - low) + np.float32(low)


def images(height: int, width: int, count: int = 1) -> np.ndarray:
    """Return normalised images ``[count, height, width, 3]``, uniform in −1..1."""
    rng = np.random.default_rng(height * 10_000 + width)
    return rng.random((count, height, width, 3), np.float32) * 2 - 1
