"""The RGB rule: pictures of every mode as 8-bit RGB, large ones strip by strip so that no second copy is made."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import ExifTags, Image

from featcache.errors import ImageError
from featcache.images.limits import LARGE_PIXELS


def to_rgb(image: Image.Image, rule: str) -> Image.Image:
    """Apply the RGB rule of `featcache.images.transforms.Transforms`; a plain RGB picture is returned as it is.

    Raises
    ------
    ImageError
        The pixels are 32-bit integers or floats.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    white = rule == "white" and image.has_transparency_data
    if _is_sixteen_bits(image):
        return _in_strips(
            image, _sixteen_to_eight_bits(image, image.info.get("transparency") if white else None)
        )
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


def _sixteen_to_eight_bits(
    image: Image.Image, transparent: int | None
) -> Callable[[Image.Image], Image.Image]:
    """Return the scaling of 16-bit grey to 8 bits, value / 257 rounded; Pillow's convert() clips: most turns white.

    The transparent value becomes white.
    """
    tags = getattr(image, "tag_v2", {})  # TIFF: Pillow passes 12 bits and "white is zero" on as they are
    full = 2 ** tags.get(ExifTags.Base.BitsPerSample, (16,))[0] - 1
    inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0

    def scale(values: np.ndarray) -> np.ndarray:
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
