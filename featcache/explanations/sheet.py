"""An explanation as one picture: a row for each photo, drawn by Pillow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from featcache.core.display import escaped
from featcache.explanations.overlay import calmed, overlaid, png_bytes
from featcache.explanations.records import ExplainedPhoto, caption_of, heat_title, told_names

if TYPE_CHECKING:
    from featcache.explanations.explanation import Explanation


TILE, GAP, LINE = 224, 12, 18
"""Side of a tile, space between tiles, height of a line of text, in pixels."""

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

INK, SOFT, PAPER = (29, 33, 37), (86, 95, 105), (255, 255, 255)


@dataclass(frozen=True)
class Tile:
    """One picture of a row.

    Parameters
    ----------
    picture
        uint8 ``[h, w, 3]``; ``None`` for none.
    lines
        Texts below it.
    over
        A text over it, in the place of heat.
    """

    picture: np.ndarray | None
    lines: tuple[str, ...]
    over: str = ""


def png_of(shown: "Explanation") -> bytes:
    """Return an explanation as PNG."""
    rows = [tiles_of(photo, shown) for photo in shown.photos]
    across = max((len(row) for row in rows), default=1)
    width = GAP + max(across, 3) * (TILE + GAP)
    font = ImageFont.load_default(13)
    head = [line for text in (shown.words, *shown.notes) for line in wrapped(text, font, width - 2 * GAP)]
    tall = TILE + 4 * LINE + 2 * GAP
    canvas = Image.new("RGB", (width, GAP + LINE * len(head) + GAP + tall * len(rows)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(head):
        draw.text((GAP, GAP + number * LINE), line, INK, font)
    top = GAP + LINE * len(head) + GAP
    names = told_names([photo.id for photo in shown.photos])
    for name, photo, row in zip(names, shown.photos, rows, strict=True):
        title = f"{name}: {caption_of(photo, shown.task)}"
        draw.text((GAP, top), shortened(title, font, width - 2 * GAP), INK, font)
        for place, tile in enumerate(row):
            _draw_tile(canvas, tile, (GAP + place * (TILE + GAP), top + LINE + 4), font)
        top += tall
    return png_bytes(canvas)


def tiles_of(photo: ExplainedPhoto, shown: "Explanation") -> list[Tile]:
    """Return the pictures of a photo's row: as the network saw it, its heat maps, its neighbours."""
    if photo.picture is None or photo.error:
        return [Tile(photo.picture, ("no picture" if photo.picture is None else "no heat",))]
    tiles = [Tile(photo.picture, ("as the network saw it",))]
    for heat in photo.heats:
        title = heat_title(heat, shown.task)
        if heat.remark:
            tiles.append(Tile(calmed(photo.picture), (title, "not drawn"), heat.remark))
        else:
            tiles.append(Tile(overlaid(photo.picture, heat.map, signed=bool(heat.name)), (title,)))
    for near in photo.neighbours:
        said = f"looks like it: {near.label}, {near.similarity:.2f}"
        tiles.append(Tile(near.picture, (said, near.id)))
    return tiles


def _draw_tile(canvas: Image.Image, tile: Tile, corner: tuple[int, int], font: Font) -> None:
    draw = ImageDraw.Draw(canvas)
    left, top = corner
    if tile.picture is None:
        draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=SOFT)
        draw.text((left + 8, top + 8), "no picture", SOFT, font)
    else:
        image = Image.fromarray(np.ascontiguousarray(tile.picture))
        factor = TILE / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        canvas.paste(image.resize(size, Image.Resampling.BICUBIC), corner)
    for number, line in enumerate(wrapped(tile.over, font, TILE - 16)):
        draw.text((left + 8, top + 8 + number * LINE), line, INK, font)
    for number, line in enumerate(tile.lines):
        text = shortened(line, font, TILE)
        draw.text((left, top + TILE + 3 + number * LINE), text, SOFT if number else INK, font)


def shortened(text: str, font: Font, width: int) -> str:
    """Return a text that fits a width in pixels, cut in its middle where it is too long; safe to draw."""
    text = escaped(text)
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:  # the most characters that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(_cut(text, middle)) <= width else (low, middle - 1)
    return _cut(text, low)


def _cut(text: str, kept: int) -> str:
    end = kept // 2
    return f"{text[: kept - end]}…{text[len(text) - end :]}"


def wrapped(text: str, font: Font, width: int) -> Sequence[str]:
    """Return a text as lines that fit a width in pixels."""
    lines: list[str] = []
    for word in escaped(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(word, font, width))
    return lines
