"""Whether two pictures are one: compared as small grey images, shifted, scaled or mirrored to lie on each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from featcache.images import decoding

SIDE = 64
"""Side of the small images in pixels: every picture is squeezed to a square, so that one that was resized is alike."""

SURE = 0.9
"""Agreement from which two pictures are called one. Of 480 altered copies none had less than 0.95; of pairs of other
photos of one subject the nearest had 0.88 (``benchmarks/audit_copies.py``)."""

ALIKE = 0.6
"""Agreement from which two pictures are worth a look: the next shot of the same scene."""

LEAST_CONTRAST = 0.004
"""Root mean square of the differences of neighbouring pixels, in units of 0..1, below which only noise is compared."""

_STEPS = 9
_PATIENCE, _HOPELESS = 4, 0.4
"""Agreement below which, after so many steps, two pictures are given up."""
_ENOUGH = 0.97
"""Agreement from which the mirror image is not tried."""
_STILL = 1e-3
_WHOLE = np.array([1.0, 1.0, 0.0, 0.0])
_FURTHEST = 0.2
"""Shift, in half sides, and change of scale beyond which it is no crop."""
_CROPPED = 0.015


class Small(NamedTuple):
    """A picture as it is compared.

    Parameters
    ----------
    grey
        float32 ``[64, 64]`` in 0..1, slightly blurred: what compression adds is finer.
    width, height
        Of the picture itself, upright.
    """

    grey: np.ndarray
    width: int
    height: int


@dataclass(frozen=True)
class Likeness:
    """How two pictures are alike.

    Parameters
    ----------
    agreement
        Correlation of their brightness gradients after they were laid on each other, at most 1; 0 where there is
        too little to see in one of them.
    mirrored
        Whether one had to be mirrored.
    scale, shift
        Of height and width: the part of the first that is the second, as a scale (1 for all of it) and the shift of
        its middle in half sides.
    resized
        Whether their sizes in pixels differ.
    """

    agreement: float
    mirrored: bool
    scale: tuple[float, float]
    shift: tuple[float, float]
    resized: bool

    @property
    def flat(self) -> bool:
        """Whether there is too little to see in one of them."""
        return self.agreement == 0

    @property
    def cropped(self) -> bool:
        """Whether one shows a part of the other."""
        return bool(
            max(*(abs(part - 1) for part in self.scale), *(abs(part) for part in self.shift)) > _CROPPED
        )

    def relation(self) -> str:
        """Return in words how the two are alike, of pictures that are one."""
        if self.agreement < SURE:
            return "nearly the same, mirrored" if self.mirrored else "nearly the same"
        if self.cropped:
            return "mirrored and cropped" if self.mirrored else "cropped"
        if self.mirrored:
            return "mirrored"
        return "resized" if self.resized else "re-encoded"


def small_picture(data: bytes) -> Small:
    """Decode a picture for the comparison.

    Raises
    ------
    ImageError
        If it cannot be decoded.
    """
    sizes = []

    def finish(image: Image.Image) -> Image.Image:
        sizes.append(image.size)
        return image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)

    grey = decoding.read(data, exif="apply", rgb="white", finish=finish).astype(np.float32) / 255
    blurred = _blur() @ grey @ _blur().T
    return Small(blurred, *sizes[0])


def likeness(first: Small, second: Small) -> Likeness:
    """Compare two pictures as they are, and mirrored.

    Parameters
    ----------
    first, second
        Of `small_picture`.

    Notes
    -----
    Gauss and Newton's method of least squares for the shift and the scale of either axis (Lucas & Kanade, 1981), whose
    result is judged by the gradients and not by the brightness: two photos before one plain background agree in
    brightness nearly everywhere.
    """
    as_is = _laid_on(first, second)
    if as_is.agreement > _ENOUGH:
        return as_is
    turned = _laid_on(first, second._replace(grey=second.grey[:, ::-1]))
    # A picture that is nearly its own mirror image is not called mirrored.
    return replace(turned, mirrored=True) if turned.agreement > as_is.agreement + 0.01 else as_is


def _laid_on(first: Small, second: Small) -> Likeness:
    """Shift and scale the first picture until it lies on the second."""
    sizes = (first.width, first.height) != (second.width, second.height)
    target = second.grey
    slopes = _slopes(target)
    at = np.array([1.0, 1.0, 0.0, 0.0])
    best, found = -1.0, at
    for step in range(_STEPS):
        warped, inside = _warped(first.grey, at)
        own = _slopes(warped)
        now = _agreement(own, slopes, inside)
        if now > best:
            best, found = now, at
        if now == 0 or (step == _PATIENCE and best < _HOPELESS):
            break
        change = _step(warped, own, target, inside)
        at = at + change
        if np.abs(change).max() < _STILL or np.abs(at - _WHOLE).max() > _FURTHEST:
            break
    tall, wide, down, right = found.tolist()
    return Likeness(best, False, (tall, wide), (down, right), sizes)


def _slopes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the change from pixel to pixel downwards and to the right, ``[64, 64]`` each."""
    down, right = np.gradient(image)
    return down, right


def _step(
    warped: np.ndarray, own: Sequence[np.ndarray], target: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Return the change ``[4]`` of both scales and both shifts that brings the warped picture nearer to `target`."""
    down, right = (part * (SIDE / 2) for part in own)
    at = _places()
    # The last two columns: brightness and contrast are free.
    columns = np.stack([down * at[:, None], right * at, down, right, warped, np.ones_like(warped)])
    columns = (columns * inside).reshape(6, -1)
    products = columns @ columns.T + 1e-4 * np.eye(6)
    return np.linalg.solve(products, columns @ (target - warped).ravel())[:4]


def _agreement(own: Sequence[np.ndarray], other: Sequence[np.ndarray], inside: np.ndarray) -> float:
    """Return the correlation of the gradients where the warped picture has pixels; 0 where there is too little."""
    count = inside.sum()
    energies = [
        sum(float(np.vdot(part * inside, part)) for part in parts) / (2 * count) for parts in (own, other)
    ]
    if min(energies) < LEAST_CONTRAST**2:
        return 0.0
    common = sum(float(np.vdot(part * inside, beside)) for part, beside in zip(own, other, strict=True))
    return common / (2 * count) / math.sqrt(energies[0] * energies[1])


def _warped(image: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a picture, ``[64, 64]``, and where it is inside of the picture, bool."""
    rows, tall = _sampled(at[0], at[2])
    columns, wide = _sampled(at[1], at[3])
    return rows @ image @ columns.T, tall[:, None] & wide


def _sampled(scale: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights ``[64, 64]`` of linear interpolation along one axis, and which of the places are inside."""
    at = (scale * _places() + shift + 1) * (SIDE / 2) - 0.5
    low = np.clip(np.floor(at), 0, SIDE - 2).astype(int)
    part = np.clip(at - low, 0, 1)
    weights = np.zeros((SIDE, SIDE), np.float32)
    line = np.arange(SIDE)
    weights[line, low], weights[line, low + 1] = 1 - part, part
    return weights, (at >= -0.5) & (at <= SIDE - 0.5)


@cache
def _places() -> np.ndarray:
    """Middles of pixels along one axis, -1 to 1."""
    return ((np.arange(SIDE) + 0.5) / (SIDE / 2) - 1).astype(np.float32)


@cache
def _blur() -> np.ndarray:
    """Weights of a blur by 1, 4, 6, 4, 1 sixteenths along one axis, ``[64, 64]``; the edge goes on beyond itself."""
    weights = np.zeros((SIDE, SIDE), np.float32)
    for offset, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        beside = np.clip(np.arange(SIDE) + offset, 0, SIDE - 1)
        np.add.at(weights, (np.arange(SIDE), beside), weight / 16)
    return weights
