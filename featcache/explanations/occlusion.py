"""Occlusion: how much an output falls where a square of the photo is hidden. It needs no gradient, whatever the head.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", https://arxiv.org/abs/1311.2901
"""

from collections.abc import Callable, Iterator

import numpy as np

from featcache.images.transforms import Transforms, normalisation

CELLS = 14
"""Cells along the shorter side of a photo; a square of 2 by 2 cells is hidden at a time."""

MOST = 32
"""Pictures in a batch."""


def occlusion_heat(
    outputs: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    targets: np.ndarray,
    *,
    fill: np.ndarray,
    cells: int = CELLS,
) -> np.ndarray:
    """Return heat float32 ``[k, rows, columns]``: the mean fall of each output over the squares that cover a cell.

    Parameters
    ----------
    outputs
        Pictures uint8 ``[B, H, W, 3]`` to raw outputs ``[B, C]``; called with batches of one size.
    image
        uint8 ``[H, W, 3]``.
    targets
        int ``[k]``: classes.
    fill
        uint8 ``[3]``: the colour that hides.
    cells
        Cells along the shorter side.
    """
    side, rows, columns = cells_of(image.shape[:2], cells)
    places = [(row, column) for row in range(-1, rows) for column in range(-1, columns)]
    plain, *falls = _falls(outputs, image, targets, places, side=side, fill=fill)
    del plain
    heat = np.zeros((len(targets), rows, columns))
    for (row, column), fall in zip(places, falls, strict=True):
        heat[:, max(row, 0) : row + 2, max(column, 0) : column + 2] += fall[:, None, None]
    return (heat / 4).astype(np.float32)  # each cell is hidden four times, those at the edges, too


def cells_of(size: tuple[int, ...], cells: int = CELLS) -> tuple[int, int, int]:
    """Return the side of a cell in pixels, and how many there are down and across a picture of ``(height, width)``.

    Examples
    --------
    >>> cells_of((224, 224)), cells_of((100, 150))
    ((16, 14, 14), (7, 15, 22))
    """
    side = max(1, round(min(size) / cells))
    return side, -(-size[0] // side), -(-size[1] // side)


def hidden(image: np.ndarray, row: int, column: int, *, side: int, fill: np.ndarray) -> np.ndarray:
    """Return a picture of which the square of 2 by 2 cells from (`row`, `column`) on is hidden."""
    copy = image.copy()
    top, left = max(row, 0) * side, max(column, 0) * side
    copy[top : (row + 2) * side, left : (column + 2) * side] = fill
    return copy


def mean_colour(transforms: Transforms) -> np.ndarray:
    """Return the colour uint8 ``[3]``, red first, that the network's normalisation brings to 0, or nearest to it."""
    scale, offset = normalisation(transforms)
    colour = np.clip(np.round(-offset / scale), 0, 255).astype(np.uint8)
    return colour[::-1] if transforms.channel_order == "bgr" else colour


def _falls(
    outputs: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    targets: np.ndarray,
    places: list[tuple[int, int]],
    *,
    side: int,
    fill: np.ndarray,
) -> Iterator[np.ndarray]:
    """Yield how much lower the outputs ``[k]`` are than of the whole picture: of itself first, then of each place."""

    def pictures() -> Iterator[np.ndarray]:
        yield image
        for row, column in places:
            yield hidden(image, row, column, side=side, fill=fill)

    whole = np.zeros(0)
    held: list[np.ndarray] = []
    count = len(places) + 1
    for number, picture in enumerate(pictures(), start=1):
        held.append(picture)
        if len(held) < MOST and number < count:
            continue
        batch = np.stack(held + [held[-1]] * (MOST - len(held)))
        found = outputs(batch)[: len(held), targets].astype(np.float64)
        if not whole.size:
            whole = found[0]
        yield from whole - found
        held = []
