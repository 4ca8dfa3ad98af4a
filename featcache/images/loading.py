"""The pixels of an opened picture's first frame, as Pillow decodes them, with less memory and in less time."""

import numpy as np
from PIL import Image

from featcache.images.limits import LARGE_PIXELS
from featcache.images.plugins import JPEG_XL, decode_jpeg_xl


def load_pixels(image: Image.Image, data: bytes) -> Image.Image:
    """Decode an opened picture and return it, or another with the same pixels and the same notes (`info`).

    Parameters
    ----------
    image
        What a plugin of Pillow's made of `data`; not loaded yet.
    data
        The encoded image.
    """
    if image.format == JPEG_XL:
        return decode_jpeg_xl(image, data)
    if image.width * image.height > LARGE_PIXELS:
        if image.format == "WEBP" and hasattr(image, "_decoder"):
            return _first_webp_frame(image)
        if image.format == "PPM" and image.tile[0][0] == "ppm":  # type: ignore[attr-defined]
            return _scaled_samples(image, data)
    image.load()
    return image


def _first_webp_frame(image: Image.Image) -> Image.Image:
    """Return the first frame, backed by the bytes that libwebp made.

    Its decoder keeps two canvases of the animation. Pillow holds them for as long as the picture, and copies the frame
    twice: 20 bytes a pixel at the peak, for a file of 40 bytes, too. Here they are 12, and then 4.
    """
    decoder, image._decoder = image._decoder, None  # type: ignore[attr-defined]
    found = decoder.get_next()
    if found is None:
        raise EOFError("failed to decode next frame in WebP file")
    mode = image.rawmode  # type: ignore[attr-defined]
    kind = "RGBX" if mode == "RGB" else mode
    frame = Image.frombuffer(kind, image.size, found[0], "raw", mode, 0, 1)
    frame.info = image.info
    return frame


def _scaled_samples(image: Image.Image, data: bytes) -> Image.Image:
    """Return the pixels of a binary PPM whose largest value is not 255, which Pillow scales in a loop in Python."""
    _, _, offset, (_, largest) = image.tile[0]  # type: ignore[attr-defined]
    samples = image.width * image.height * len(image.getbands())
    stored = np.dtype("u1" if largest < 256 else ">u2")
    if (len(data) - offset) // stored.itemsize < samples:
        raise ValueError("not enough image data")
    most, kind = (65535, np.int32) if image.mode == "I" else (255, np.uint8)
    # In Pillow's own words, so that every value is rounded as there.
    scale = np.array(
        [min(most, round(value / largest * most)) for value in range(256**stored.itemsize)], kind
    )
    values = np.frombuffer(data, stored, samples, offset)
    scaled = np.empty(samples, kind)
    for start in range(0, samples, LARGE_PIXELS):
        part = slice(start, start + LARGE_PIXELS)
        scaled[part] = scale[values[part]]
    loaded = Image.frombuffer(image.mode, image.size, scaled, "raw", image.mode, 0, 1)
    loaded.info, loaded.format = image.info, image.format
    return loaded
