"""Colours of pages and figures, eight that are told apart without colour vision too, and the shapes of marks."""

import math

LIGHT = ("#1b86d8", "#dc6a14", "#17695b", "#7a1fc0", "#bb1a1a", "#1a3150", "#857648", "#a5839a")
"""On a white page: contrast of 3 : 1 or more with it."""

DARK = ("#6db9ff", "#f58a1f", "#62f0bb", "#b45cf2", "#e5403a", "#d5dbe6", "#8f8a6a", "#c06487")
"""The same eight on a dark page."""

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "down", "plus", "star")
"""The shape of a mark beside its colour, for readers without colour vision; as many as there are colours."""


def place(number: int, colour: int | None) -> int:
    """Return the place in the palette of a series: its own, or its number in the chart; -1 is the muted ink."""
    if colour is not None and colour < 0:
        return -1
    return (number if colour is None else colour) % len(LIGHT)


_OUTLINES = {
    "square": ((-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)),
    "triangle": ((0, -1.2), (1.15, 0.8), (-1.15, 0.8)),
    "down": ((0, 1.2), (-1.15, -0.8), (1.15, -0.8)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
}
"""Corners of the plain shapes, in units of a mark's size."""


def _corners(shape: str) -> list[tuple[float, float]]:
    """Return the corners of a shape other than the circle."""
    if shape in _OUTLINES:
        return list(_OUTLINES[shape])
    if shape == "star":
        radii = [1.5 if number % 2 == 0 else 0.62 for number in range(10)]
        turns = [math.pi * number / 5 for number in range(10)]
        return [
            (radius * math.sin(turn), -radius * math.cos(turn))
            for radius, turn in zip(radii, turns, strict=True)
        ]
    arm = (
        (-0.45, -1.35),
        (0.45, -1.35),
        (0.45, -0.45),
    )  # of a plus, turned four times; a cross is a turned plus
    quarters = ((1, 0), (0, 1), (-1, 0), (0, -1))
    plus = [(x * c - y * s, x * s + y * c) for c, s in quarters for x, y in arm]
    half = math.sqrt(0.5)
    return [((x - y) * half, (x + y) * half) for x, y in plus] if shape == "cross" else plus


def marker(shape: str, x: float, y: float, size: float = 3.6) -> str:
    """Return the outline of a mark as an SVG path.

    Parameters
    ----------
    shape
        One of `SHAPES`.
    x, y
        Its middle.
    size
        Half its width, about.
    """
    if shape == "circle":
        radius = _n(size)
        arc = f"a{radius} {radius} 0 1 0"
        return f"M{_n(x - size)} {_n(y)}{arc} {_n(2 * size)} 0{arc} {_n(-2 * size)} 0z"
    return "M" + "L".join(f"{_n(x + size * dx)} {_n(y + size * dy)}" for dx, dy in _corners(shape)) + "z"


def _n(value: float) -> str:
    """Return a coordinate with one decimal, as short as it goes."""
    text = f"{value:.1f}"
    text = text[:-2] if text.endswith(".0") else text
    return "0" if text == "-0" else text
