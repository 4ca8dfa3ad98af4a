"""Decode, resize and crop encoded images to the pixels that a network takes.

Pillow decodes (`featcache.images.decoding`) and resizes: the pixels are those of torchvision's presets on PIL images.
"""

import numpy as np
from PIL import Image

from featcache.errors import UsageError
from featcache.images.decoding import read
from featcache.images.transforms import _RESAMPLING, Transforms, _scaled_size

# A 1×65535 strip brought to a short side of 256 would be 4.3 gigapixels, nearly all of it cropped away. Below
# this size the whole picture is resized, as torchvision does; above, only the crop (see `_fit`).
_WHOLE_RESIZE_PIXELS = 2**24


def decode(data: bytes, transforms: Transforms) -> np.ndarray:
    """Decode one picture at its own size.

    Parameters
    ----------
    data
        An encoded image; its content, not its name, decides the format. Of several frames the first is taken.
    transforms
        Only `exif` and `rgb` matter here.

    Returns
    -------
    np.ndarray
        uint8[H, W, 3], red first, upright, read-only.

    Raises
    ------
    ImageError
        The bytes are not a whole picture of a supported format.
    """
    return read(data, exif=transforms.exif, rgb=transforms.rgb)


def prepare(data: bytes, transforms: Transforms) -> np.ndarray:
    """Decode one picture, then resize and crop it to the network's input size.

    Parameters
    ----------
    data
        An encoded image, as for `decode`.
    transforms
        All but the normalisation and the channel order is applied.

    Returns
    -------
    np.ndarray
        uint8[height, width, 3] of ``transforms.input_size``, red first, read-only.

    Raises
    ------
    ImageError
        The bytes are not a whole picture of a supported format.
    """
    return read(data, exif=transforms.exif, rgb=transforms.rgb, finish=lambda image: _fit(image, transforms))


def pixels(array: np.ndarray, transforms: Transforms) -> np.ndarray:
    """Resize and crop an already decoded picture to the network's input size, exactly as `prepare` does.

    Parameters
    ----------
    array
        uint8[H, W, 3] (red first) or uint8[H, W] (grey).
    transforms
        As for `prepare`; `exif` and the transparency rule have no effect on arrays.

    Returns
    -------
    np.ndarray
        uint8[height, width, 3] of ``transforms.input_size``, red first, read-only.

    Raises
    ------
    UsageError
        The array has another dtype or shape.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise UsageError(
            f"pixels are {array.dtype}, expected uint8 in 0..255; floats in 0..1 become that with"
            " (x * 255).round().astype('uint8')"
        )
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise UsageError(f"pixels have shape {array.shape}, expected one picture [H, W, 3] or [H, W]")
    return np.asarray(_fit(Image.fromarray(array).convert("RGB"), transforms))


def _resized_size(image_size: tuple[int, int], transforms: Transforms) -> tuple[int, int]:
    """Return the height and width of the whole picture after the resize of ``center``.

    The rounding is that of torchvision's ``Resize`` where one number is asked for, and that of timm's
    ``ResizeKeepRatio``, which timm uses for all other inputs, where two are.
    """
    height, width = image_size
    to_height, to_width = _scaled_size(transforms)
    if to_height != to_width:
        ratio = min(height / to_height, width / to_width)
        return round(height / ratio), round(width / ratio)
    if width <= height:
        return int(to_width * height / width), to_width
    return to_height, int(to_height * width / height)


def _central(image: Image.Image, share: float) -> Image.Image:
    """Return the central share of both sides, the margins rounded down as ``tf.image.central_crop`` does."""
    if share == 1:
        return image
    left, top = (int((side - side * share) / 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _fit(image: Image.Image, transforms: Transforms) -> Image.Image:
    """Resize and crop (or pad) to exactly the input size."""
    height, width = transforms.input_size
    method = _RESAMPLING[transforms.interpolation]
    if transforms.crop_mode == "squash":
        return _central(image, transforms.crop_pct).resize((width, height), method)
    if transforms.crop_mode == "crop_or_pad":
        # Truncation towards zero puts the odd pixel right and below in both directions, as tf.image does.
        left, top = int((image.width - width) / 2), int((image.height - height) / 2)
        return image.crop((left, top, left + width, top + height))
    new_height, new_width = _resized_size((image.height, image.width), transforms)
    left, top = round((new_width - width) / 2), round((new_height - height) / 2)
    if new_height * new_width <= _WHOLE_RESIZE_PIXELS:
        image = image.resize((new_width, new_height), method)
        return image.crop((left, top, left + width, top + height))
    # The box is given to Pillow in float32, so the pixels may differ by one grey level from the other path.
    across, down = image.width / new_width, image.height / new_height
    right, bottom = min((left + width) * across, image.width), min((top + height) * down, image.height)
    return image.resize((width, height), method, box=(left * across, top * down, right, bottom))
