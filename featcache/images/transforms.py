"""The preprocessing between encoded bytes and the network's input, as one record of explicit values.

`Transforms` belongs to the weights, carries timm's key names and is part of a cache's identity.
`featcache.images.resizing.prepare` turns encoded bytes into ``uint8[height, width, 3]`` as it says; `normalisation`
gives the two vectors that the jitted forward pass applies, so that images travel to the device as bytes.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np
from PIL import Image

from featcache.errors import UsageError, did_you_mean
from featcache.images.rgb import RgbRule

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Red, green, blue on the 0..1 scale: what torchvision and most of timm use."""

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
_WORDS = {
    "crop_mode": ("center", "squash", "crop_or_pad"),
    "interpolation": tuple(_RESAMPLING),
    "channel_order": ("rgb", "bgr"),
    "exif": ("apply", "ignore"),
}


@dataclass(frozen=True, kw_only=True)
class Transforms:
    """The preprocessing of a picture for a network.

    Parameters
    ----------
    input_size
        Height and width of the network's input, in pixels.
    crop_pct
        ``center``: the short side is resized to ``floor(size / crop_pct)`` before the crop. ``squash``: the share of
        both sides that is kept around the centre, as ``tf.image.central_crop`` does it.
    crop_mode
        ``center``: resize the short side, crop the centre (the presets of timm and torchvision). Where height
        and width differ, the picture just covers ``floor(size / crop_pct)`` both ways, as timm does it.
        ``squash``: resize to `input_size` whatever the aspect ratio (Keras). ``crop_or_pad``: no resize,
        central crop or zero padding, as ``tf.image.resize_with_crop_or_pad``.
    interpolation
        ``bilinear``, ``bicubic``, ``lanczos`` or ``nearest``.
    antialias
        Always true: Pillow cannot resize without.
    mean, std
        One value per channel on the 0..1 scale, in the order red, green, blue.
    channel_order
        What the network expects, ``rgb`` or ``bgr``.
    exif
        ``apply`` turns the picture upright, ``ignore`` leaves it as stored. (A TIFF's own orientation tag is
        part of that format: Pillow applies it while decoding, under both rules.)
    rgb
        The one rule for pictures that are not plain RGB. Transparency is composited over ``white``, or the
        alpha is ``drop``-ped as torchvision and Keras do; grey is replicated; 16-bit grey is scaled to 8
        bits, with ``range=0:4095`` (``white,range=0:4095``) from those values alone; CMYK, YCbCr and LAB go
        through Pillow's conversion; 32-bit integers and floats are refused.

    Raises
    ------
    UsageError
        A value is unknown or out of its range.
    """

    input_size: tuple[int, int]
    crop_pct: float = 1.0
    crop_mode: str
    interpolation: str
    antialias: bool = True
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: str = "rgb"
    exif: str = "apply"
    rgb: str = "white"

    def __post_init__(self) -> None:
        # Plain Python numbers whatever came in: 1 and 1.0 must not give two fingerprints.
        for name, value in _plain_numbers(self).items():
            object.__setattr__(self, name, value)
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                given = getattr(self, name)
                raise UsageError(f"{name} is {given!r}, which is unknown; {did_you_mean(str(given), words)}")
        object.__setattr__(self, "rgb", str(RgbRule.parse(self.rgb)))
        if self.antialias is not True:
            raise UsageError(
                f"antialias is {self.antialias!r}, but only True is supported: Pillow always antialiases"
            )
        _check_ranges(self)

    def to_json(self) -> dict[str, Any]:
        """Return every field as a plain JSON value (tuples as lists).

        Returns
        -------
        dict
            What `from_json` reads back, and what a fingerprint is computed from.
        """
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Parameters
        ----------
        value
            A JSON object with exactly the fields of this class.

        Raises
        ------
        UsageError
            A key is unknown or missing, or a value is out of its range.
        """
        if not isinstance(value, dict):
            raise UsageError(f"transforms are a JSON object, not {type(value).__name__}")
        known = [field.name for field in fields(cls)]
        if unknown := [str(key) for key in value if key not in known]:
            hint = did_you_mean(unknown[0], known)
            raise UsageError(f"transforms have unknown keys: {', '.join(unknown)}; {hint}")
        if missing := [name for name in known if name not in value]:
            raise UsageError(f"transforms lack keys: {', '.join(missing)}; every field has to be given")
        return cls(**value)

    def with_size(self, height: int, width: int) -> Self:
        """Return the same transforms for another input size, in pixels."""
        return replace(self, input_size=(height, width))

    def with_rgb(self, rule: str) -> Self:
        """Return the same transforms with another RGB rule; a range alone keeps what becomes of transparency."""
        own, given = RgbRule.parse(self.rgb), RgbRule.parse(rule)
        if rule.strip().startswith("range=") and "," not in rule:
            given = replace(given, transparency=own.transparency)
        return replace(self, rgb=str(given))

    def describe(self) -> str:
        """Return a description in one line."""
        height, width = self.input_size
        resized = "×".join(str(side) for side in _scaled_size(self))
        share = "" if self.crop_pct == 1 else f"central {100 * self.crop_pct:g} % of both sides "
        geometry = {
            "center": f"resized to cover {resized} ({self.interpolation}), centre crop {height}×{width}",
            "squash": f"{share}resized to {height}×{width} ({self.interpolation})",
            "crop_or_pad": f"central crop or zero padding to {height}×{width}",
        }[self.crop_mode]
        mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        rule = RgbRule.parse(self.rgb)
        alpha = "transparency over white" if rule.transparency == "white" else "transparency dropped"
        if rule.bounds:
            alpha += f", 16-bit grey from {rule.bounds[0]} to {rule.bounds[1]}"
        order = self.channel_order.upper()
        return f"{geometry}, {order}, mean ({mean}), std ({std}), EXIF rotation: {self.exif}, {alpha}"


def _plain_numbers(given: Transforms) -> dict[str, Any]:
    """Return the numeric fields as Python ints and floats."""
    try:
        size = tuple(given.input_size)
        triples = {name: tuple(float(v) for v in getattr(given, name)) for name in ("mean", "std")}
        crop_pct = float(given.crop_pct)
    except (TypeError, ValueError) as error:
        raise UsageError(f"transforms need numbers in input_size, crop_pct, mean and std: {error}") from error
    if len(size) != 2 or any(isinstance(v, bool) or not isinstance(v, int | np.integer) for v in size):
        raise UsageError(f"input_size is {given.input_size!r}, expected two integers: height, width")
    for name, triple in triples.items():
        if len(triple) != 3 or not all(math.isfinite(v) for v in triple):
            raise UsageError(f"{name} is {getattr(given, name)!r}, expected three finite numbers")
    return {"input_size": tuple(int(v) for v in size), "crop_pct": crop_pct, **triples}


def _check_ranges(given: Transforms) -> None:
    """Raise `UsageError` for numbers out of their range."""
    if min(given.input_size) < 1:
        raise UsageError(f"input_size is {given.input_size}, both sides have to be at least 1 pixel")
    if not 0 < given.crop_pct <= 1:
        raise UsageError(f"crop_pct is {given.crop_pct}, expected 0 < crop_pct <= 1")
    if given.crop_mode == "crop_or_pad" and given.crop_pct != 1:
        raise UsageError(f"crop_pct {given.crop_pct} means nothing with crop_mode {given.crop_mode!r}; use 1")
    if min(given.std) <= 0:
        raise UsageError(f"std is {given.std}, every value has to be above 0")
    if max(map(abs, given.mean)) > 1:
        raise UsageError(f"mean is {given.mean}, expected the 0..1 scale; divide mean and std by 255")


def normalisation(transforms: Transforms) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and offset that turn uint8 pixels into the network's input, ``x * scale + offset``.

    This equals ``(x / 255 - mean) / std``. `mean` and `std` are given as red, green, blue (as timm does), the
    result is in the order of the network's input: for ``bgr`` flip the picture first, ``x[..., ::-1]``.

    Returns
    -------
    scale, offset : np.ndarray
        float32[3] each, computed in float64.

    Examples
    --------
    >>> half = (0.5, 0.5, 0.5)
    >>> t = Transforms(input_size=(8, 8), crop_mode="squash", interpolation="bilinear", mean=half, std=half)
    >>> scale, offset = normalisation(t)
    >>> (np.array([0, 255]) * scale[0] + offset[0]).round(6)
    array([-1.,  1.])
    """
    mean, std = np.array(transforms.mean), np.array(transforms.std)
    order = slice(None, None, -1 if transforms.channel_order == "bgr" else 1)
    return (1 / (255 * std))[order].astype(np.float32), (-mean / std)[order].astype(np.float32)


def _scaled_size(transforms: Transforms) -> tuple[int, int]:
    """Return the height and width that a picture has to cover before the centre crop."""
    height, width = transforms.input_size
    return math.floor(height / transforms.crop_pct), math.floor(width / transforms.crop_pct)
