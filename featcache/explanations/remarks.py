"""What is said of a heat map that means nothing: in words, in the place of a picture that looks as if it did."""

import numpy as np

from featcache.core.display import percent

FLAT = 1e-3
"""A map whose values differ by less than this share of the largest is flat."""

RING = 0.8
"""Share of the heat in the outermost cells from which the border is suspected."""

OPPOSITE = 0.2
"""Share of the heat above which an edge has its part in it."""


def remark_on(heat: np.ndarray, picture: np.ndarray) -> str:
    """Return why a map is not to be read as if it told of the photo, as a sentence; empty where it is.

    Parameters
    ----------
    heat
        float ``[h, w]``.
    picture
        uint8 ``[H, W, 3]``: what the network saw.
    """
    if not np.isfinite(heat).all():
        return "The map holds NaN or infinity: the network's numbers are out of range for this photo."
    if not heat.any():
        return "The map is empty: no place of the photo speaks for it."
    largest = np.abs(heat).max()
    if heat.size < 2 or np.ptp(heat) < FLAT * largest:
        return "The map is flat: no place of the photo counts more than another."
    if heat.max() <= 0:
        return "No place of the photo speaks for it: every part lowers the score, some less than others."
    positive = np.maximum(heat, 0).astype(np.float64)
    positive /= positive.sum()
    return _of_margins(positive, picture) or _of_border(positive)


def _of_margins(positive: np.ndarray, picture: np.ndarray) -> str:
    margin = margins(picture)
    if not 0.05 <= margin.mean() <= 0.95:
        return ""
    rows = np.linspace(0, picture.shape[0], positive.shape[0] + 1).astype(int)
    columns = np.linspace(0, picture.shape[1], positive.shape[1] + 1).astype(int)
    share = sum(
        positive[row, column]
        * margin[rows[row] : rows[row + 1] or 1, columns[column] : columns[column + 1] or 1].mean()
        for row, column in np.ndindex(*positive.shape)
        if rows[row] < rows[row + 1] and columns[column] < columns[column + 1]
    )
    if share < 0.5:
        return ""
    return (
        f"{percent(share)} of the heat lies on the plain margins of the photo, where there is nothing to see."
    )


def margins(picture: np.ndarray) -> np.ndarray:
    """Return bool ``[H, W]``: rows and columns at the edges that are of one colour, as of a photo with a frame."""
    found = np.zeros(picture.shape[:2], bool)
    for axis in (0, 1):
        lines = np.moveaxis(picture, axis, 0).astype(int)
        plain = (lines.max(axis=1) - lines.min(axis=1)).max(axis=1) <= 8
        along = np.moveaxis(found, axis, 0)
        along[: _run(plain)] = True
        along[len(plain) - _run(plain[::-1]) :] = True
    return found


def _run(plain: np.ndarray) -> int:
    """Return how many lines from the first on are plain."""
    return len(plain) if plain.all() else int(np.argmin(plain))


def _of_border(positive: np.ndarray) -> str:
    """Say where nearly all heat lies at the edges, and on opposite ones: a thing in the photo touches one, or a corner.

    Corners count for the upper and the lower edge alone: with a thing along another edge these have little.
    """
    rows, columns = positive.shape
    wide = max(1, round(min(rows, columns) / 14))
    if min(rows, columns) < 5 * wide:
        return ""
    inner = positive[wide:-wide, wide:-wide]
    share, area = 1 - inner.sum(), 1 - inner.size / positive.size
    across = (positive[:wide].sum(), positive[-wide:].sum())
    beside = (positive[wide:-wide, :wide].sum(), positive[wide:-wide, -wide:].sum())
    if share < max(RING, 1.2 * area) or max(min(across), min(beside)) <= OPPOSITE:
        return ""
    return (
        f"{percent(share)} of the heat lies in the outermost cells, {percent(area)} of the area, on opposite sides, "
        "which tells of padding rather than of the photo."
    )
