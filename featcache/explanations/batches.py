"""Run a compiled function over many pictures in batches of one size, so that it is compiled once."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

MOST = 8
"""Pictures in a batch."""


def in_batches(
    pictures: Sequence[np.ndarray],
    run: Callable[[np.ndarray, slice], Sequence[np.ndarray]],
    *,
    most: int = MOST,
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Yield what `run` returns for all pictures, batch by batch.

    Parameters
    ----------
    pictures
        uint8 ``[H, W, 3]`` each, of one size.
    run
        Takes a batch uint8 ``[B, H, W, 3]`` and which pictures it holds, returns arrays ``[B, …]``. The last batch is
        filled up with its last picture; what is computed of that is dropped.
    most
        Pictures in a batch.
    """
    size = min(most, len(pictures))
    for start in range(0, len(pictures), size or 1):
        part = list(pictures[start : start + size])
        held = slice(start, start + len(part))
        batch = np.stack(part + [part[-1]] * (size - len(part)))
        yield held, [np.asarray(value)[: len(part)] for value in run(batch, held)]


def filled(values: np.ndarray, size: int) -> np.ndarray:
    """Return values ``[n, …]`` repeated at their end to ``[size, …]``."""
    return np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])
