"""Which rows heads of an audit learn from, where there are more than they need."""

import numpy as np

MOST_LEARNT = 50_000
"""Rows that held-out heads learn from at most; of more, a draw. All are judged.

Their features are 256 MB of 1,280 float32, and what solves a head of 100 classes takes 120 MB.
"""


def drawn_evenly(strata: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Draw rows, as many of each stratum as it has, or as many as of every other large one.

    So that a class of ten photos among a million is learnt from all ten.

    Parameters
    ----------
    strata
        int ``[N]``: the class of each row.
    most
        How many to draw at most, and all where there are no more.
    seed
        Of the draw.

    Returns
    -------
    numpy.ndarray
        int ``[S]``, ascending.
    """
    if len(strata) <= most:
        return np.arange(len(strata))
    which, sizes = np.unique(strata, return_inverse=True, return_counts=True)[1:]
    share = _largest_share(sizes, most)
    # In a drawn order of all rows, those that are among the first `share` of their stratum.
    order = np.random.default_rng(seed).permutation(len(strata))
    inner = order[np.argsort(which[order], kind="stable")]
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = inner[np.arange(len(inner)) - starts < share]
    return np.sort(chosen)


def _largest_share(sizes: np.ndarray, most: int) -> int:
    """Return the largest q with Σ min(size, q) ≤ `most`, one at least."""
    ordered = np.sort(sizes)
    before = np.concatenate([[0], np.cumsum(ordered)[:-1]])
    left = len(ordered) - np.arange(len(ordered))
    # Where q lies between the sizes k − 1 and k, the smaller strata are whole, and the others share what is left.
    shares = (most - before) // left
    fits = np.flatnonzero(shares < ordered)
    return max(1, int(shares[fits[0]])) if len(fits) else int(ordered[-1])


def draw_undone(labels: np.ndarray, drawn: np.ndarray, classes: int) -> np.ndarray:
    """Return what to add to the logits of heads that have learnt from drawn rows, float32 ``[C]``.

    Logistic regression on rows of which classes were drawn in shares f_c has the logits of all rows, but for log f_c in
    the biases (Prentice and Pyke, "Logistic disease incidence models and case-control studies", Biometrika 1979; for
    several classes Scott and Wild, 1986): with −log f_c, common classes are as probable again as they are.

    Parameters
    ----------
    labels
        int ``[N]`` of all rows.
    drawn
        int ``[S]``: which were learnt from.
    classes
        Number of classes C.
    """
    everything, some = (np.bincount(own, minlength=classes) for own in (labels, labels[drawn]))
    there = some > 0
    return np.where(there, np.log(everything / np.where(there, some, 1) + ~there), 0).astype(np.float32)
