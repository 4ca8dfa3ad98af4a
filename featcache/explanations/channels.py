"""What single channels do: grids of a map's channels over photos, and the filters of the first convolution."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from featcache.backbones.layer import Layer
from featcache.backbones.loaded import LoadedBackbone
from featcache.classifier.classifier import Classifier
from featcache.classifier.photos import photos_of
from featcache.core.argument_types import checked_types
from featcache.errors import ImageError, UsageError
from featcache.explanations.batches import in_batches
from featcache.explanations.explain import Explained, subject_of
from featcache.explanations.overlay import coloured, data_url, png_bytes
from featcache.explanations.page import PACKAGE, short_names
from featcache.explanations.places import as_grid, require_map
from featcache.explanations.sheet import GAP, INK, LINE, PAPER, SOFT, shortened
from featcache.images.views import Views
from featcache.pages.page import PageSection, render
from featcache.pages.written_file import written

MOST = 64
"""Channels in a grid, at most."""

_TILE, _ACROSS = 84, 8


@dataclass(frozen=True)
class Grid:
    """Channels side by side.

    Parameters
    ----------
    title
        What they are of: a photo's id, or the network's name.
    tiles
        uint8 ``[n, h, w, 3]``.
    names
        Of each tile.
    error
        Why there are none.
    """

    title: str
    tiles: np.ndarray
    names: tuple[str, ...]
    error: str | None = None


@dataclass(frozen=True)
class ChannelGrids:
    """Grids of channels, and what they show as a sentence."""

    grids: tuple[Grid, ...]
    words: str
    subject: str

    def to_png(self, output: str | os.PathLike[str] | None = None) -> bytes:
        """Return all grids below each other as PNG; with `output`, it is also written there."""
        pictures = [_image_of(grid) for grid in self.grids]
        width = max((image.width for image in pictures), default=1)
        canvas = Image.new("RGB", (width, sum(image.height for image in pictures) or 1), PAPER)
        top = 0
        for image in pictures:
            canvas.paste(image, (0, top))
            top += image.height
        return written(png_bytes(canvas), output)

    def to_html(self, output: str | os.PathLike[str] | None = None) -> str:
        """Return one self-contained page; with `output`, it is also written there."""
        sections = [
            PageSection(
                f"grid-{number}",
                title,
                f"{len(grid.names)} channels" if grid.error is None else f"Cannot be shown: {grid.error}",
                "channels.html",
                {
                    "name": grid.title,
                    "tiles": [
                        (name, data_url(_enlarged(tile)))
                        for name, tile in zip(grid.names, grid.tiles, strict=True)
                    ],
                },
            )
            for number, (title, grid) in enumerate(
                zip(short_names([grid.title for grid in self.grids]), self.grids, strict=True), start=1
            )
        ]
        text = render(
            "page.html",
            packages=(PACKAGE,),
            title="What single channels answer to",
            headline=self.subject,
            notes=[self.words],
            sections=sections,
        )
        written(text.encode(), output)
        return text

    def to_json(self) -> dict[str, Any]:
        """Return what is shown, without the pictures, as plain JSON values."""
        return {
            "subject": self.subject,
            "words": self.words,
            "grids": [
                {"title": each.title, "channels": list(each.names), "error": each.error}
                for each in self.grids
            ],
        }


@checked_types()
def activations(model: Explained, photos: Any, stage: str, *, most: int = MOST) -> ChannelGrids:
    """Return grids of the channels of a map, for each photo the strongest.

    Parameters
    ----------
    model
        A classifier, its folder, or a backbone.
    photos
        As for `featcache.Classifier.predict`.
    stage
        A stage or inner point whose value is a map, such as ``"stem"``.
    most
        How many channels are shown of each photo.

    Raises
    ------
    UnknownNameError
        If there is no such stage.
    UsageError
        If it is no map; names those that are.
    """
    _require_some(most)
    given = photos_of(photos)
    network, transforms, dtype = _network_of(model)
    point = require_map(network, stage, transforms, None)
    layer = Layer(point, "map")
    grids: list[Grid | None] = []
    pictures, names = [], []
    for photo in given:
        try:
            pictures.append(photo.prepare(transforms, Views()))
            names.append(photo.id)
            grids.append(None)
        except ImageError as error:
            grids.append(Grid(photo.id, np.zeros((0, 1, 1, 3), np.uint8), (), str(error)))
    run = network.function([layer], transforms=transforms, compute_dtype=dtype)
    made = []
    for _, (maps,) in in_batches(
        pictures, lambda batch, held: [np.asarray(run(network.state, batch)[str(layer)])]
    ):
        values = maps if maps.ndim == 4 else as_grid(maps, network, transforms)
        made += [_strongest(value, most) for value in values]
    shown = (Grid(name, *each) for name, each in zip(names, made, strict=True))
    return ChannelGrids(
        tuple(grid or next(shown) for grid in grids),
        f"The channels of {point} that answer most to a photo, the strongest first, each scaled by its own "
        "largest value: black is 0 or below.",
        network.name,
    )


def _network_of(model: Explained) -> tuple[LoadedBackbone, Any, str]:
    if isinstance(model, LoadedBackbone):
        return model, model.transforms, "float32"
    subject = subject_of(model if isinstance(model, Classifier) else Classifier.load(model))
    return subject.network, subject.transforms, subject.compute_dtype


def _require_some(most: int) -> None:
    if most < 1:
        raise UsageError(f"most {most}: expected at least 1")


def _strongest(value: np.ndarray, most: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return tiles uint8 ``[n, h, w, 3]`` of the channels of a map ``[h, w, C]`` with the largest means."""
    strength = np.nan_to_num(np.maximum(value, 0).mean(axis=(0, 1)), nan=-1.0)
    chosen = np.argsort(-strength, kind="stable")[:most]
    channels = np.moveaxis(np.nan_to_num(np.maximum(value[..., chosen], 0)), -1, 0)
    largest = channels.max(axis=(1, 2), keepdims=True)
    tiles = coloured(channels / np.where(largest > 0, largest, 1))
    return tiles, tuple(f"{number}" for number in chosen.tolist())


@checked_types()
def filters(model: Explained, *, most: int = MOST) -> ChannelGrids:
    """Return the filters of the first convolution, or the patch embedding, as small pictures.

    Parameters
    ----------
    model
        As for `activations`.
    most
        How many are shown, in their order.

    Raises
    ------
    UsageError
        If no layer of the network takes pictures, or none is to be shown.
    """
    _require_some(most)
    network, transforms, _ = _network_of(model)
    found = next(
        (
            (name, value)
            for name, value in _in_order(network)
            if np.ndim(value) == 4 and np.shape(value)[2] == 3 and np.shape(value)[3] > 1
        ),
        None,
    )
    if found is None:
        raise UsageError(f"{network.name} has no convolution of the picture's three colours to show")
    name, kernel = found
    if transforms.channel_order == "bgr":
        kernel = kernel[:, :, ::-1]
    chosen = np.moveaxis(np.asarray(kernel, np.float32), -1, 0)[:most]
    largest = np.abs(chosen).max(axis=(1, 2, 3), keepdims=True)
    tiles = (np.clip(0.5 + chosen / (2 * np.where(largest > 0, largest, 1)), 0, 1) * 255).round()
    size = "×".join(map(str, kernel.shape[:2]))
    return ChannelGrids(
        (Grid(name, tiles.astype(np.uint8), tuple(map(str, range(len(tiles))))),),
        f"The {size} filters of {name}, {len(tiles)} of {kernel.shape[3]}, in the colours that they answer to; "
        "grey is 0, each is scaled by its own largest weight.",
        network.name,
    )


def _in_order(network: LoadedBackbone) -> Sequence[tuple[str, np.ndarray]]:
    order = {stage: number for number, stage in enumerate(network.network.order)}
    return sorted(network.tensors.items(), key=lambda item: order.get(item[0].split(".")[0], len(order)))


def _enlarged(tile: np.ndarray) -> np.ndarray:
    height, width = tile.shape[:2]
    factor = _TILE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.NEAREST))


def _image_of(grid: Grid) -> Image.Image:
    font = ImageFont.load_default(12)
    rows = -(-len(grid.tiles) // _ACROSS)
    width, tall = GAP + _ACROSS * (_TILE + 6), _TILE + LINE
    image = Image.new("RGB", (width, 2 * GAP + LINE + rows * tall), PAPER)
    draw = ImageDraw.Draw(image)
    title = grid.title if grid.error is None else f"{grid.title}: cannot be read ({grid.error})"
    draw.text((GAP, GAP), shortened(title, font, width - 2 * GAP), INK, font)
    for number, (tile, name) in enumerate(zip(grid.tiles, grid.names, strict=True)):
        left, top = GAP + number % _ACROSS * (_TILE + 6), GAP + LINE + 4 + number // _ACROSS * tall
        image.paste(Image.fromarray(_enlarged(tile)), (left, top))
        draw.text((left, top + _TILE), shortened(name, font, _TILE), SOFT, font)
    return image


__all__ = ["ChannelGrids", "Grid", "activations", "filters"]
