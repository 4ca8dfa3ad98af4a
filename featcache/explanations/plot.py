"""An explanation as a figure of matplotlib, for notebooks."""

from typing import TYPE_CHECKING

from featcache.core.display import escaped
from featcache.errors import MissingExtraError
from featcache.explanations.records import caption_of
from featcache.explanations.sheet import tiles_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from featcache.explanations.explanation import Explanation

_MOST = 40
"""Characters of a line of text above a picture."""


def figure_of(shown: "Explanation") -> "Figure":
    """Return a figure with a row for each photo, which no window manager knows: nothing has to be closed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "figures need matplotlib, which is not installed; pip install 'featcache[report]'"
        ) from error
    rows = [tiles_of(photo, shown) for photo in shown.photos]
    across = max((len(row) for row in rows), default=1)
    figure = Figure(figsize=(2.3 * across, 2.8 * max(len(rows), 1)), layout="constrained")
    figure.suptitle(shown.words, fontsize=8, wrap=True, parse_math=False)
    for number, (photo, row) in enumerate(zip(shown.photos, rows, strict=True)):
        for place, tile in enumerate(row):
            axes = figure.add_subplot(max(len(rows), 1), across, number * across + place + 1)
            axes.axis("off")
            if tile.picture is not None:
                axes.imshow(tile.picture)
            lines = [_short(photo.id)] if not place else []
            lines += [_short(line) for line in tile.lines]
            if not place and photo.error:
                lines.append(_short(caption_of(photo, shown.task)))
            axes.set_title("\n".join(lines), fontsize=7, parse_math=False)
            if tile.over:
                axes.text(
                    0.04, 0.96, escaped(tile.over), fontsize=7, wrap=True, va="top", parse_math=False,
                    transform=axes.transAxes,
                )  # fmt: skip
    return figure


def _short(text: str) -> str:
    text = escaped(text)
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]}…{text[-_MOST // 2 + 1 :]}"
