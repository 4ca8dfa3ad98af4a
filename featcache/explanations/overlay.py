"""Heat over a photo as pixels."""

import base64
import io

import numpy as np
from PIL import Image

_STOPS = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], float
)
"""Six colours of matplotlib's inferno: its lightness grows evenly, so that it reads without colour vision."""


def coloured(values: np.ndarray) -> np.ndarray:
    """Return values float ``[…]`` between 0 and 1 as colours uint8 ``[…, 3]``, from black over red to light yellow."""
    places = np.clip(values, 0, 1) * (len(_STOPS) - 1)
    channels = [np.interp(places, np.arange(len(_STOPS)), _STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def shares_of(heat: np.ndarray, *, signed: bool = True) -> np.ndarray:
    """Return what is drawn of a map, 0 to 1: its positive part; without `signed` what is above its least value."""
    positive = np.maximum(heat, 0) if signed else heat - heat.min()
    return positive / max(float(positive.max()), 1e-30)


def overlaid(picture: np.ndarray, heat: np.ndarray, *, signed: bool = True) -> np.ndarray:
    """Return a photo uint8 ``[H, W, 3]`` with heat ``[h, w]`` over it.

    Where there is no heat, the photo is seen, darkened; where there is much, it shines through.
    """
    height, width = picture.shape[:2]
    small = Image.fromarray(shares_of(heat, signed=signed).astype(np.float32))
    large = np.clip(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)
    grey = picture.astype(float).mean(axis=-1, keepdims=True)
    calm = 0.5 * picture + 0.15 * grey
    strength = (0.7 * np.sqrt(large))[..., None]
    return np.clip((1 - strength) * calm + strength * coloured(large), 0, 255).astype(np.uint8)


def calmed(picture: np.ndarray) -> np.ndarray:
    """Return a photo uint8 ``[H, W, 3]`` faded, as it stands where there is no heat to be drawn."""
    grey = picture.astype(float).mean(axis=-1, keepdims=True)
    return np.clip(0.15 * picture + 0.25 * grey + 130, 0, 255).round().astype(np.uint8)


def data_url(picture: np.ndarray) -> str:
    """Return a picture uint8 ``[H, W, 3]`` as ``data:image/webp;base64,…``."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, "WEBP", quality=85, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_bytes(image: Image.Image) -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
