"""Augmentation policies: reproducible random crops, flips and colour changes for numbered views of a picture.

`Augmentation` is a record of explicit values and part of a cache's identity. What is drawn for a view depends on
a seed, the image and the view's number, and on nothing else: not on the order in which images are read, not on
threads, not on the machine. The crops are those of torchvision's ``RandomResizedCrop`` and of a resize with a
``RandomCrop``, the colours those of its ``ColorJitter`` on PIL images, applied in its order: crop, flip, colours.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from featcache.errors import UsageError, did_you_mean
from featcache.images.augmentation_grammar import parse_words, spell

CROPS = ("none", "random-resized", "random-square")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How views of a picture are drawn; the defaults change nothing.

    Parameters
    ----------
    crop
        ``none``: the geometry of the transforms. ``random-resized``: a box of random area and aspect ratio,
        resized to the input size (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842, section 6).
        ``random-square``: the picture is resized until it just covers the input size and `margin` pixels more
        (where the input is square: its short side), and a piece of the input size is cut out anywhere.
    scale
        ``random-resized`` only: least and largest share of the picture's area.
    ratio
        ``random-resized`` only: least and largest width / height of the box, drawn evenly on a logarithmic scale.
    margin
        ``random-square`` only: pixels, of the resized picture.
    flip
        Probability of a horizontal flip, 0 to 1.
    brightness, contrast, saturation
        Strengths s: the factor is drawn from ``[max(0, 1 - s), 1 + s]``. 0 is off.
    hue
        Strength, 0 to 0.5: the shift is drawn from ``[-hue, hue]``, in turns of the colour circle.

    Raises
    ------
    UsageError
        A value is out of its range, or has no effect with this crop.

    Examples
    --------
    >>> from featcache.images.augmentation import Augmentation
    >>> Augmentation.parse("flip,random-resized-crop").describe()
    'random crop of 8 to 100 % of the area, width : height 0.75 to 1.333; flipped with probability 0.5'
    >>> str(Augmentation(flip=0.5, crop="random-square", margin=32))
    'flip,random-square-crop=32'
    """

    crop: str = "none"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    margin: int = 10
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        # Plain Python numbers whatever came in: 1 and 1.0 must not give two fingerprints.
        for name in ("flip", *COLOURS):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        for name in ("scale", "ratio"):
            object.__setattr__(self, name, _pair(name, getattr(self, name)))
        if isinstance(self.margin, bool) or not isinstance(self.margin, int | np.integer):
            raise UsageError(f"margin is {self.margin!r}, expected a whole number of pixels")
        object.__setattr__(self, "margin", int(self.margin))
        if self.crop not in CROPS:
            hint = did_you_mean(str(self.crop), CROPS)
            raise UsageError(f"crop is {self.crop!r}, which is unknown; {hint}")
        _check_ranges(self)
        _check_meaning(self)

    @property
    def plain(self) -> bool:
        """Whether every view is the picture that `featcache.images.resizing.prepare` gives."""
        return self == Augmentation()

    def to_json(self) -> dict[str, Any]:
        """Return every field as a plain JSON value (tuples as lists): what a fingerprint is computed from."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        UsageError
            A key is unknown or missing, or a value is out of its range.
        """
        if not isinstance(value, dict):
            raise UsageError(f"an augmentation is a JSON object, not {type(value).__name__}")
        known = [each.name for each in fields(cls)]
        if unknown := [str(key) for key in value if key not in known]:
            hint = did_you_mean(unknown[0], known)
            raise UsageError(f"the augmentation has unknown keys: {', '.join(unknown)}; {hint}")
        if missing := [name for name in known if name not in value]:
            raise UsageError(
                f"the augmentation lacks keys: {', '.join(missing)}; every field has to be given"
            )
        return cls(**value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read words as they are written on the command line.

        Parameters
        ----------
        text
            ``none``, or a comma list of: ``flip`` (``flip=P`` for another probability than 0.5),
            ``random-resized-crop`` or ``crop`` (``=LEAST``, ``=LEAST:MOST`` share of the area, and
            ``=LEAST:MOST:NARROWEST:WIDEST`` width / height), ``random-square-crop`` (``=MARGIN`` in pixels), and
            ``colour`` or ``color``: brightness, contrast and saturation of 0.4, hue of 0.1 (``=S``: S and a
            quarter of it, ``=B:C:S:H``: each).

        Raises
        ------
        UsageError
            A word or its value is unknown, or a word stands twice.
        """
        return cls(**parse_words(text))

    def __str__(self) -> str:
        """Return words that `parse` reads back."""
        return spell(self.to_json(), Augmentation().to_json())

    def describe(self) -> str:
        """Return a description in one line."""
        least, most = (f"{100 * share:g}" for share in self.scale)
        narrow, wide = (f"{value:.4g}" for value in self.ratio)
        crops = {
            "none": [],
            "random-resized": [
                f"random crop of {least} to {most} % of the area, width : height {narrow} to {wide}"
            ],
            "random-square": [
                f"random crop of the picture resized to {self.margin} pixels more than the input"
            ],
        }[self.crop]
        flips = [f"flipped with probability {self.flip:g}"] if self.flip else []
        strengths = [f"{name} ±{getattr(self, name):g}" for name in COLOURS if getattr(self, name)]
        return (
            "; ".join([*crops, *flips, *([", ".join(strengths)] if strengths else [])]) or "the plain picture"
        )


def _number(name: str, given: Any) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or isinstance(given, bool | str):
        raise UsageError(f"{name} is {given!r}, expected a number")
    return value + 0.0  # -0.0 is 0.0


def _pair(name: str, given: Any) -> tuple[float, float]:
    try:
        least, most = given
    except (TypeError, ValueError):
        raise UsageError(f"{name} is {given!r}, expected two numbers: least, most") from None
    return _number(name, least), _number(name, most)


def _check_ranges(given: Augmentation) -> None:
    """Raise `UsageError` for numbers out of their range."""
    if not 0 < given.scale[0] <= given.scale[1] <= 1:
        raise UsageError(f"scale is {given.scale}, expected shares of the area with 0 < least <= most <= 1")
    if not 0 < given.ratio[0] <= given.ratio[1]:
        raise UsageError(f"ratio is {given.ratio}, expected width / height with 0 < least <= most")
    if given.margin < 0:
        raise UsageError(f"margin is {given.margin}, expected 0 pixels or more")
    if not 0 <= given.flip <= 1:
        raise UsageError(f"flip is {given.flip}, expected a probability, 0 to 1")
    for name in COLOURS:
        strength, most = getattr(given, name), 0.5 if name == "hue" else math.inf
        if not 0 <= strength <= most:
            limit = "0 to 0.5 turns of the colour circle" if name == "hue" else "0 (off) or more"
            raise UsageError(f"{name} is {strength}, expected a strength of {limit}")


def _check_meaning(given: Augmentation) -> None:
    """Raise `UsageError` for values that the crop ignores: the same views must not have two fingerprints."""
    for crop, names in {"random-resized": ("scale", "ratio"), "random-square": ("margin",)}.items():
        for name in names:
            value = getattr(given, name)
            if given.crop != crop and value != getattr(Augmentation, name):
                raise UsageError(
                    f"{name} {value} means nothing with crop {given.crop!r}; it belongs to {crop!r}"
                )


COLOURS = ("brightness", "contrast", "saturation", "hue")
