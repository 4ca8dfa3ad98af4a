"""The input size of a network: parse it, and change it for a loaded backbone."""

import re
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING

from featcache.core.warning import warn
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

ImageSize = int | tuple[int, int] | str
"""Pixels: of both sides, as ``(height, width)``, or as text, ``"150"`` or ``"150x200"`` (height × width)."""

LARGEST = 4096
"""The longest side that is accepted. No published weights are for more than about 1000 pixels; a larger number is a
typo that would only show when memory runs out."""

SMALLEST = 32
"""The shortest side that is taken without a warning: most networks shrink an image 32 times, to one place here."""


def read_size(given: ImageSize) -> tuple[int, int]:
    """Return height and width, in pixels.

    Parameters
    ----------
    given
        See `ImageSize`.

    Raises
    ------
    UsageError
        If it is not one or two whole numbers from 1 to `LARGEST`.

    Examples
    --------
    >>> read_size(150), read_size((150, 200)), read_size("150x200")
    ((150, 150), (150, 200), (150, 200))
    """
    sides = _sides(given)
    if not all(isinstance(side, Integral) and not isinstance(side, bool) for side in sides):
        sides = ()
    if len(sides) != 2 or not all(1 <= side <= LARGEST for side in sides):
        raise UsageError(
            f"image size {given!r}: expected pixels, as one number (150) or height and width (150x200), each "
            f"from 1 to {LARGEST}; leave it out for the size that belongs to the weights"
        )
    return int(sides[0]), int(sides[1])


def _sides(given: ImageSize) -> tuple[int, ...]:
    """Return the numbers given, not yet checked; an empty tuple if they cannot be parsed."""
    if isinstance(given, str):
        match = re.fullmatch(r"([0-9]{1,9})(?:[x×]([0-9]{1,9}))?", given.strip().lower())
        return (int(match[1]), int(match[2] or match[1])) if match else ()
    return tuple(given) if isinstance(given, tuple | list) else (given, given)


def with_size(network: "LoadedBackbone", image_size: ImageSize | None) -> "LoadedBackbone":
    """Return the backbone with another input size in its transforms, and therefore in its recipe.

    Parameters
    ----------
    network
        A loaded backbone; it is not changed.
    image_size
        ``None`` for the size that it has. Below `SMALLEST` there is a warning.

    Raises
    ------
    UsageError
        If it is not a size. Whether a layer's output is empty at that size is checked when shapes are inferred.
    """
    if image_size is None:
        return network
    size = read_size(image_size)
    if size == network.transforms.input_size:
        return network
    if min(size) < SMALLEST:
        trained = "x".join(map(str, network.transforms.input_size))
        warn(
            f"image size {size[0]}x{size[1]}: {network.name} was trained on {trained} pixels, and on images of less "
            f"than {SMALLEST} its features say little; is a digit missing?"
        )
    return replace(
        network, pretrained=replace(network.pretrained, transforms=network.transforms.with_size(*size))
    )
