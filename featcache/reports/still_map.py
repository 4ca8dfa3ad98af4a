"""The map of features as a still picture, for readers without scripts; and the colours of its classes."""

import base64
import colorsys
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 960, 640
_FINE = 2
"""Drawn so many times larger, then reduced: Pillow does not smooth edges."""

_FIRST = ("#3b82c4", "#d9822b", "#2f9e6e", "#c2527a", "#8a6fc9", "#9a7b4f", "#23a0b0", "#a8962a")
"""Told apart on white and on nearly black, at about the same lightness."""

MISTAKE = "#e0322f"


def colours(count: int) -> list[str]:
    """Return a colour for each class, ``#rrggbb``: eight that are told apart, then hues at two lightnesses."""
    more = []
    for number in range(max(0, count - len(_FIRST))):
        # The golden angle: neighbours in the list are far apart on the circle, however many there are.
        hue, lightness = (0.07 + number * 0.61803398875) % 1, (0.42, 0.62)[number % 2]
        red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, 0.55))
        more.append(f"#{red:02x}{green:02x}{blue:02x}")
    return [*_FIRST[:count], *more]


def places(points: np.ndarray, size: int = 10_000) -> np.ndarray:
    """Return points as whole numbers 0 to `size`, int ``[n, 2]``, at one scale for both axes, centred, y downwards."""
    if not len(points):
        return np.zeros((0, 2), np.int64)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    scaled = (points - (low + high) / 2) / (extent if extent > 0 else 1.0) * size
    scaled[:, 1] *= -1
    return np.clip(np.rint(scaled + size / 2), 0, size).astype(np.int64)


def still_picture(
    points: np.ndarray, labels: np.ndarray, palette: Sequence[str], wrong: np.ndarray | None = None
) -> str:
    """Return the map as ``data:image/webp;base64,…``, on no background, so that it stands on a light and a dark page.

    Parameters
    ----------
    points
        int ``[n, 2]`` of `places`.
    labels
        int ``[n]``, places in `palette`.
    palette
        Colours of the classes.
    wrong
        bool ``[n]``: points with a cross, drawn last; ``None`` without.
    """
    image = Image.new("RGBA", (WIDTH * _FINE, HEIGHT * _FINE))
    draw = ImageDraw.Draw(image)
    margin, radius = 12 * _FINE, (2.6 if len(points) > 2000 else 4.0) * _FINE
    spread = np.ptp(points, axis=0) if len(points) else np.ones(2)
    scale = min(
        (image.width - 2 * margin) / max(1, spread[0]), (image.height - 2 * margin) / max(1, spread[1])
    )
    middle = points.min(axis=0) + spread / 2 if len(points) else np.zeros(2)
    drawn = (points - middle) * scale + np.array([image.width, image.height]) / 2
    for (x, y), label in zip(drawn.tolist(), map(int, labels), strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette[label])
    arm = radius * 1.7
    for x, y in drawn[wrong].tolist() if wrong is not None else ():
        for slope in (-1, 1):
            draw.line(
                (x - arm, y - slope * arm, x + arm, y + slope * arm), fill=MISTAKE, width=round(2.5 * _FINE)
            )
    stream = io.BytesIO()
    image.resize((WIDTH, HEIGHT), Image.Resampling.BOX).save(stream, "WEBP", quality=70, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
