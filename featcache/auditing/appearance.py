"""Size and sharpness of pictures, read again."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from featcache.auditing.photos import Read
from featcache.core.parallel import batched, default_workers, ordered_map
from featcache.core.progress import OnProgress, Progress
from featcache.errors import ImageError
from featcache.images import decoding

LONGEST = 256
"""Longer side in pixels in which sharpness is measured; a smaller picture is measured as it is."""

_COARSE = 4
_CELL = 16
_SHARPEST = 10
"""Percent of the cells, those with the strongest edges, that say how sharp a picture is: a background may be soft."""
_FLAT = 1e-4
_AHEAD = 256


@dataclass(frozen=True)
class Appearance:
    """Size and sharpness of a picture.

    Parameters
    ----------
    width, height
        In pixels, upright.
    sharpness
        See `sharpness`; NaN where there are no edges.
    nbytes
        Of the encoded picture.
    """

    width: int
    height: int
    sharpness: float
    nbytes: int


def appearances(
    read: Read | None,
    ids: Sequence[str],
    *,
    seed: int = 0,
    most_bytes: int,
    on_progress: OnProgress | None = None,
) -> dict[int, Appearance]:
    """Read pictures again, in a drawn order until there are too many bytes, and measure them.

    Parameters
    ----------
    read
        Returns the encoded bytes of the photo with an id; ``None`` without photos.
    ids
        Their names.
    seed
        Of the order.
    most_bytes
        Bytes to read at most.
    on_progress
        Told how many pictures have been read.

    Returns
    -------
    dict
        Position in `ids` to what was measured, of all that could be read.
    """
    if read is None:
        return {}
    order = np.random.default_rng(seed).permutation(len(ids)).tolist()
    workers = default_workers()
    found: dict[int, Appearance] = {}
    spent = 0

    def measured(place: int) -> Appearance | None:
        return appearance_of(read, ids[place])

    def batches() -> Iterator[tuple[int, ...]]:
        yield from itertools.takewhile(lambda _: spent < most_bytes, batched(order, _AHEAD))

    for places in batches():
        parts = ordered_map(measured, places, workers=workers, ahead=4 * workers)
        found |= {place: own for place, own in zip(places, parts, strict=True) if own is not None}
        spent = sum(own.nbytes for own in found.values())
        if on_progress is not None:
            on_progress(Progress("looks", len(found), len(ids), note="pictures"))
    return found


def appearance_of(read: Read, name: str) -> Appearance | None:
    """Measure a photo; ``None`` where it cannot be read."""
    sizes: list[tuple[int, int]] = []

    def finish(image: Image.Image) -> Image.Image:
        sizes.append(image.size)
        image = image.convert("L")
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX)
        return image

    try:
        data = read(name)
        grey = decoding.read(data, exif="apply", rgb="white", finish=finish)
    except (ImageError, OSError):
        return None
    width, height = sizes[0]
    return Appearance(width, height, sharpness(grey.astype(np.float32) / 255), len(data))


def sharpness(grey: np.ndarray) -> float:
    """Return how sharp the sharpest parts of a picture are.

    Parameters
    ----------
    grey
        float ``[H, W]`` in 0..1.

    Returns
    -------
    float
        Mean square of the slopes from pixel to pixel over that of the slopes of 4×4 means, in the tenth of the cells of
        16×16 pixels with the steepest slopes. Where all is blurred over 8 pixels or more it is nearly 1; at a sharp
        edge it is 4, in fine texture more. NaN for a picture of less than 64 pixels a side, or without edges.
    """
    height, width = (side // _CELL * _CELL for side in grey.shape)
    if min(height, width) < 4 * _CELL:
        return np.nan
    grey = grey[:height, :width]
    coarse = grey.reshape(height // _COARSE, _COARSE, width // _COARSE, _COARSE).mean(axis=(1, 3))
    fine, rough = _steepness(grey, _CELL), _steepness(coarse, _CELL // _COARSE) / _COARSE**2
    steepest = fine >= np.percentile(fine, 100 - _SHARPEST)
    least = float(rough[steepest].mean())
    return float(fine[steepest].mean()) / least if least > _FLAT**2 else np.nan


def _steepness(grey: np.ndarray, cell: int) -> np.ndarray:
    """Return the mean square of the slopes in cells, ``[H / cell, W / cell]``."""
    squares = np.zeros_like(grey)
    squares[:-1] += np.square(np.diff(grey, axis=0))
    squares[:, :-1] += np.square(np.diff(grey, axis=1))
    return squares.reshape(grey.shape[0] // cell, cell, grey.shape[1] // cell, cell).mean(axis=(1, 3))
