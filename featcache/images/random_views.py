"""Draw one view of a picture from a seed, an image's hash and a view number: pure functions on Pillow images."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance

from featcache.images.augmentation import COLOURS, Augmentation
from featcache.images.decoding import read
from featcache.images.resizing import _fit, _resized_size
from featcache.images.transforms import _RESAMPLING, Transforms

if TYPE_CHECKING:
    from featcache.images.augmentation import Augmentation

TRIES = 10
"""How often a random-resized crop is drawn before the largest central one is taken, as torchvision does."""

# Which random number decides what; none is used twice, so that a policy with colours has the same crops as without.
_FLIP = 0
_FACTORS, _ORDER, _POSITION = slice(1, 5), slice(5, 9), slice(9, 11)
_BOXES = slice(11, 11 + 4 * TRIES)
PLACES = _BOXES.stop


def draw_numbers(seed: int, image: bytes, number: int) -> np.ndarray:
    """Return the random numbers of a view, float64 ``[PLACES]`` in [0, 1).

    Philox is counter-based: the key alone determines the numbers. They are made from raw 64-bit words, because numpy
    guarantees those across versions, but not the output of its distributions.
    """
    key = hashlib.sha256(b"%d:%d:" % (seed, number) + image).digest()
    words = np.random.Philox(key=int.from_bytes(key[:16], "little")).random_raw(PLACES)
    return (words >> 11) * 2.0**-53


def apply_view(
    picture: Image.Image, transforms: Transforms, augmentation: "Augmentation", drawn: np.ndarray
) -> Image.Image:
    """Crop, flip and colour an upright RGB picture."""
    if augmentation.crop == "none":
        view = _fit(picture, transforms)
    elif augmentation.crop == "random-resized":
        view = _resized_crop(picture, transforms, augmentation, drawn[_BOXES].reshape(TRIES, 4).tolist())
    else:
        view = _square_crop(picture, transforms, augmentation.margin, *drawn[_POSITION].tolist())
    if drawn[_FLIP] < augmentation.flip:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _apply_colours(view, augmentation, drawn[_FACTORS].tolist(), np.argsort(drawn[_ORDER]).tolist())


def _resized_crop(
    picture: Image.Image, transforms: Transforms, augmentation: "Augmentation", tries: list[list[float]]
) -> Image.Image:
    # Cut out first, which costs next to nothing: given as the resize's box, pixels beyond it would count too.
    box = _box(picture.width, picture.height, augmentation, tries)
    height, width = transforms.input_size
    return picture.crop(box).resize((width, height), _RESAMPLING[transforms.interpolation])


def _box(
    width: int, height: int, augmentation: "Augmentation", tries: list[list[float]]
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the first drawn box that lies inside, or of a central one."""
    narrow, wide = augmentation.ratio
    least, most = augmentation.scale
    for area, aspect, across, down in tries:
        pixels = width * height * (least + (most - least) * area)
        ratio = math.exp(math.log(narrow) + (math.log(wide) - math.log(narrow)) * aspect)
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(across * (width - w + 1)), int(down * (height - h + 1))
            return left, top, left + w, top + h
    # The largest central box of an allowed aspect ratio; one pixel where that would be none.
    ratio = min(max(width / height, narrow), wide)
    w, h = max(1, min(width, round(height * ratio))), max(1, min(height, round(width / ratio)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _square_crop(
    picture: Image.Image, transforms: Transforms, margin: int, across: float, down: float
) -> Image.Image:
    height, width = transforms.input_size
    larger = replace(
        transforms, input_size=(height + margin, width + margin), crop_mode="center", crop_pct=1.0
    )
    new_height, new_width = _resized_size((picture.height, picture.width), larger)
    left, top = int(across * (new_width - width + 1)), int(down * (new_height - height + 1))
    # Only what is kept is resized: a strip of 1×65535 would otherwise become gigapixels. The box goes to Pillow
    # in float32, so a value may differ by one grey level from a resize of everything.
    x, y = picture.width / new_width, picture.height / new_height
    right, bottom = min((left + width) * x, picture.width), min((top + height) * y, picture.height)
    return picture.resize(
        (width, height), _RESAMPLING[transforms.interpolation], box=(left * x, top * y, right, bottom)
    )


def _apply_colours(
    view: Image.Image, augmentation: "Augmentation", factors: list[float], order: list[int]
) -> Image.Image:
    """Change brightness, contrast, saturation and hue, each by its drawn amount, in a drawn order."""
    for position in order:
        name, drawn = COLOURS[position], factors[position]
        strength = getattr(augmentation, name)
        if strength:
            least, most = (-strength, strength) if name == "hue" else (max(0.0, 1 - strength), 1 + strength)
            view = _CHANGES[name](view, least + (most - least) * drawn)
    return view


def _shift_hue(view: Image.Image, turns: float) -> Image.Image:
    """Shift the hue by a share of the colour circle, which has 256 steps in Pillow's HSV."""
    hue, saturation, value = view.convert("HSV").split()
    shift = int(turns * 255)  # torchvision's: 255, and towards 0
    hue = hue.point([(step + shift) % 256 for step in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


# Each is a blend with what is left at factor 0: black, the grey of the mean brightness, the grey picture.
_CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda view, factor: ImageEnhance.Brightness(view).enhance(factor),
    "contrast": lambda view, factor: ImageEnhance.Contrast(view).enhance(factor),
    "saturation": lambda view, factor: ImageEnhance.Color(view).enhance(factor),
    "hue": _shift_hue,
}


def decode_view(
    data: bytes, transforms: Transforms, augmentation: Augmentation, *, seed: int, image: bytes, number: int
) -> np.ndarray:
    """Decode one picture and draw one view of it.

    Parameters
    ----------
    data
        An encoded image, as for `featcache.images.resizing.prepare`.
    transforms
        Input size, interpolation, EXIF and RGB rule; the geometry too if the augmentation draws no crop.
    augmentation
        The policy.
    seed
        Any whole number.
    image
        SHA-256 of the image's bytes, which the draw depends on.
    number
        The number of the view: another one is another draw.

    Returns
    -------
    np.ndarray
        uint8[height, width, 3] of ``transforms.input_size``, red first, read-only.

    Raises
    ------
    ImageError
        The bytes are not a whole picture of a supported format.
    """

    def finish(picture: Image.Image) -> Image.Image:
        return apply_view(picture, transforms, augmentation, draw_numbers(seed, image, number))

    return read(data, exif=transforms.exif, rgb=transforms.rgb, finish=finish)
