"""Colours of pages and figures: eight that are told apart in both themes and without colour vision, and marks' shapes."""

LIGHT = ("#1f6fb5", "#c4560a", "#0b7f6c", "#8a4fb8", "#a3182f", "#4a5a6a", "#8c7400", "#c2468c")
"""On a white page: contrast of 3 : 1 or more with it."""

DARK = ("#6cb4f5", "#f29a4f", "#3cc9ae", "#c79bf0", "#f0707f", "#a9b8c8", "#d9c04a", "#f08cc4")
"""The same eight on a dark page."""

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "down", "plus", "star")
"""The shape of a mark beside its colour, for readers without colour vision; as many as there are colours."""


def place(number: int, colour: int | None) -> int:
    """Return the place in the palette of a series: its own, or its number in the chart; -1 is the muted ink."""
    if colour is not None and colour < 0:
        return -1
    return (number if colour is None else colour) % len(LIGHT)


def marker(shape: str, x: float, y: float, size: float = 3.6) -> str:
    """Return the outline of a mark as an SVG path."""
    s, h = size, size * 0.886
    paths = {
        "circle": f"M{_n(x - s)} {_n(y)}a{_n(s)} {_n(s)} 0 1 0 {_n(2 * s)} 0a{_n(s)} {_n(s)} 0 1 0 {_n(-2 * s)} 0z",
        "square": f"M{_n(x - h)} {_n(y - h)}h{_n(2 * h)}v{_n(2 * h)}h{_n(-2 * h)}z",
        "triangle": f"M{_n(x)} {_n(y - 1.2 * s)}l{_n(1.15 * s)} {_n(2 * s)}h{_n(-2.3 * s)}z",
        "down": f"M{_n(x)} {_n(y + 1.2 * s)}l{_n(-1.15 * s)} {_n(-2 * s)}h{_n(2.3 * s)}z",
        "diamond": f"M{_n(x)} {_n(y - 1.3 * s)}l{_n(1.3 * s)} {_n(1.3 * s)}l{_n(-1.3 * s)} {_n(1.3 * s)}"
        f"l{_n(-1.3 * s)} {_n(-1.3 * s)}z",
    }
    if shape in paths:
        return paths[shape]
    a, b = _n(0.45 * s), _n(0.85 * s)  # plus: twelve corners; cross and star are drawn of it
    if shape == "plus":
        return (
            f"M{_n(x - 0.45 * s)} {_n(y - 1.3 * s)}h{_n(0.9 * s)}v{b}h{b}v{_n(0.9 * s)}h-{b}v{b}h-{_n(0.9 * s)}"
            f"v-{b}h-{b}v-{_n(0.9 * s)}h{b}z"
        )
    if shape == "cross":
        d, e = _n(0.62 * s), _n(0.78 * s)
        return (
            f"M{_n(x)} {_n(y - 0.62 * s)}l{e}-{e}l{d} {d}l-{e} {e}l{e} {e}l-{d} {d}l-{e}-{e}l-{e} {e}l-{d}-{d}"
            f"l{e}-{e}l-{e}-{e}l{d}-{d}z"
        )
    return f"M{_n(x)} {_n(y - 1.5 * s)}l{a} {b}h{_n(1.1 * s)}l-{_n(0.8 * s)} {_n(0.7 * s)}l{_n(0.4 * s)} {_n(1.1 * s)}l-{_n(1.15 * s)}-{_n(0.7 * s)}l-{_n(1.15 * s)} {_n(0.7 * s)}l{_n(0.4 * s)}-{_n(1.1 * s)}l-{_n(0.8 * s)}-{_n(0.7 * s)}h{_n(1.1 * s)}z"


def _n(value: float) -> str:
    """Return a coordinate with one decimal, as short as it goes."""
    text = f"{value:.1f}"
    text = text[:-2] if text.endswith(".0") else text
    return "0" if text == "-0" else text
