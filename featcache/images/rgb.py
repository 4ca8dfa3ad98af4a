"""The RGB rule: pictures of every mode as 8-bit RGB, large ones strip by strip so that no second copy is made.

A rule is ``white`` or ``drop``, for transparency; with ``,range=LOW:HIGH`` behind it, 16-bit grey from LOW to HIGH
becomes 0 to 255, and what is outside is cut off.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from featcache.errors import ImageError, UsageError, did_you_mean
from featcache.images.limits import LARGE_PIXELS

_TRANSPARENCY = ("white", "drop")
_RANGE = re.compile(r"range=([0-9]{1,5}):([0-9]{1,5})")
_HIGHEST = 2**16 - 1


@dataclass(frozen=True)
class RgbRule:
    """A rule, read.

    Parameters
    ----------
    transparency
        ``white``: composited over it; ``drop``: the alpha is left out.
    bounds
        The values of 16-bit grey that become 0 and 255; ``None`` for the whole of what the format can hold.
    """

    transparency: str = "white"
    bounds: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> "RgbRule":
        """Read ``white``, ``drop``, ``range=0:4095`` or ``drop,range=0:4095``.

        Raises
        ------
        UsageError
            If it is no rule.

        Examples
        --------
        >>> str(RgbRule.parse("range=0:4095"))
        'white,range=0:4095'
        """
        words = [word.strip() for word in str(text).split(",")]
        found: dict[str, Any] = {}
        for word in words:
            key, value = ("bounds", _bounds(word, text)) if "range" in word else ("transparency", word)
            if key in found or (key == "transparency" and word not in _TRANSPARENCY):
                hint = did_you_mean(word, (*_TRANSPARENCY, "range=0:4095"))
                raise UsageError(f"rgb is {text!r}, which is unknown; {hint}")
            found[key] = value
        return cls(**found)

    def __str__(self) -> str:
        return self.transparency + (f",range={self.bounds[0]}:{self.bounds[1]}" if self.bounds else "")


def _bounds(word: str, text: str) -> tuple[int, int] | None:
    match = _RANGE.fullmatch(word)
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not low < high <= _HIGHEST:
        raise UsageError(
            f"rgb is {text!r}; expected range=LOW:HIGH with 0 <= LOW < HIGH <= {_HIGHEST}, such as range=0:4095 for "
            "16-bit grey that uses 12 bits"
        )
    return None if (low, high) == (0, _HIGHEST) else (low, high)  # which is the rule without a range


def to_rgb(image: Image.Image, rule: str) -> Image.Image:
    """Apply the RGB rule of `featcache.images.transforms.Transforms`; a plain RGB picture is returned as it is.

    Raises
    ------
    ImageError
        The pixels are 32-bit integers or floats.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    own = RgbRule.parse(rule)
    white = own.transparency == "white" and image.has_transparency_data
    if _is_sixteen_bits(image):
        transparent = image.info.get("transparency") if white else None
        return _in_strips(image, _sixteen_to_eight_bits(image, transparent, own.bounds))
    if image.mode in ("I", "F"):
        kind = f"{image.mode} {image.format}"
        raise ImageError("unsupported pixels", f"{kind} of 32 bits; convert it to 8 or 16 bits")
    if white:
        return _in_strips(image, _over_white)
    if image.mode == "La":
        return _in_strips(image, lambda part: part.convert("LA").convert("RGB"))
    image.info.pop("transparency", None)  # else convert() warns about palettes
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert a picture to RGB pixel by pixel; only a strip of it is held in the modes between."""
    if image.width * image.height <= LARGE_PIXELS:
        return convert(image)
    rgb = Image.new("RGB", image.size)
    for box in strips(image):
        rgb.paste(convert(image.crop(box)), box)
    return rgb


def strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes (left, upper, right, lower) that cover a picture, of `LARGE_PIXELS` pixels at most or one row."""
    rows = max(1, LARGE_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _over_white(image: Image.Image) -> Image.Image:
    image = image.convert("LA") if image.mode == "La" else image  # of a TIFF: Pillow converts it to LA only
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    rgb = Image.new("RGB", rgba.size, "white")
    rgb.paste(rgba, mask=rgba.getchannel("A"))
    return rgb


def _is_sixteen_bits(image: Image.Image) -> bool:
    # Both of the latter hold 16 bits in 32.
    return image.mode.startswith("I;16") or f"{image.mode} {image.format}" in ("I PNG", "I PPM")


def largest_sample(image: Image.Image) -> int:
    """Return the largest value of decoded 16-bit grey that could be 65535; 0 of every other picture."""
    if not _is_sixteen_bits(image) or _full(image) < _HIGHEST:
        return 0
    return max(int(np.asarray(image.crop(box)).max()) for box in strips(image))


def _full(image: Image.Image) -> int:
    """Return the largest value that 16-bit grey can have: Pillow passes the 12 bits of some TIFFs on as they are."""
    return 2 ** getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))[0] - 1


def _sixteen_to_eight_bits(
    image: Image.Image, transparent: int | None, bounds: tuple[int, int] | None
) -> Callable[[Image.Image], Image.Image]:
    """Return the scaling of 16-bit grey to 8 bits, value / 257 rounded; Pillow's convert() clips: most turns white.

    The transparent value becomes white. Values outside of `bounds` become black or white.
    """
    # TIFF: Pillow passes "white is zero" on as it is.
    inverted = getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == 0
    low, high = bounds or (0, _full(image))
    full = high - low

    def scale(values: np.ndarray) -> np.ndarray:
        values = values if bounds is None else np.clip(values, low, high) - low
        grey = (values.astype(np.uint32) * 255 + full // 2) // full
        return (255 - grey if inverted else grey).astype(np.uint8)

    by_value = scale(np.arange(2**16)) if image.width * image.height > LARGE_PIXELS else None

    def convert(part: Image.Image) -> Image.Image:
        values = np.asarray(part)
        grey = by_value[values] if by_value is not None and values.itemsize == 2 else scale(values)
        if transparent is not None:
            grey[values == transparent] = 255
        return Image.fromarray(grey).convert("RGB")

    return convert
