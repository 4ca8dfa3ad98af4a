"""Thumbnails of photos, in WebP sheets that a page embeds once each."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from featcache.errors import FeatcacheError
from featcache.images import decoding

_ACROSS = 16
"""Thumbnails in a row of a sheet, and rows in a sheet."""
_QUALITIES = (82, 70, 55, 40, 25, 15, 8)


@dataclass(frozen=True)
class Thumbnail:
    """Where a photo stands on a sheet.

    Parameters
    ----------
    sheet
        Number of the sheet.
    x, y, width, height
        Its corner and size in pixels.
    """

    sheet: int
    x: int
    y: int
    width: int
    height: int


class Sprites:
    """Thumbnails, each drawn once, whoever asks for it.

    Parameters
    ----------
    read
        Returns the encoded bytes of the photo with an id; raises `ImageError` or `OSError` where it cannot be read.
        ``None``: there are no pictures.
    side
        Longest side of a thumbnail in pixels.
    most
        How many photos are taken at most; later ones come without a picture.
    nbytes
        About how many bytes all sheets may take in the page; what is above costs quality.

    Attributes
    ----------
    missing : dict of str to str
        Photos that were asked for and have no picture, and why.
    unread : dict of str to str
        Those of them that could not be read.
    """

    def __init__(
        self,
        read: Callable[[str], bytes] | None,
        *,
        side: int = 96,
        most: int = 3000,
        nbytes: int = 4_000_000,
    ) -> None:
        self._read, self._side, self._most, self._nbytes = read, side, most, nbytes
        # Blocks of 16 pixels are coded together: no thumbnail shares one with its neighbours.
        self._cell = -(-side // 16) * 16
        self._places: dict[str, Thumbnail] = {}
        self._pixels: list[np.ndarray] = []
        self.missing: dict[str, str] = {}
        self.unread: dict[str, str] = {}

    def of(self, name: str) -> Thumbnail | None:
        """Return the place of a photo's thumbnail; ``None`` where there is no picture to be had.

        Parameters
        ----------
        name
            The photo's id.
        """
        if name in self._places or name in self.missing or self._read is None:
            return self._places.get(name)
        if len(self._pixels) >= self._most:
            self.missing[name] = f"the page shows {self._most:,} pictures at most"
            return None
        try:
            pixels = thumbnail_pixels(self._read(name), self._side)
        except (FeatcacheError, OSError) as error:
            self.missing[name] = self.unread[name] = str(error)
            return None
        sheet, cell = divmod(len(self._pixels), _ACROSS**2)
        row, column = divmod(cell, _ACROSS)
        height, width = pixels.shape[:2]
        place = Thumbnail(sheet, column * self._cell, row * self._cell, width, height)
        self._places[name] = place
        self._pixels.append(pixels)
        return place

    def sheets(self) -> list[str]:
        """Return the sheets as ``data:image/webp;base64,…``."""
        pictures = [
            self._sheet(self._pixels[start : start + _ACROSS**2])
            for start in range(0, len(self._pixels), _ACROSS**2)
        ]
        encoded: list[str] = []
        for quality in _QUALITIES:
            encoded = [_encoded(picture, quality) for picture in pictures]
            if sum(map(len, encoded)) <= self._nbytes:
                break
        return encoded

    def _sheet(self, thumbnails: list[np.ndarray]) -> np.ndarray:
        """Return one sheet, uint8 ``[H, W, 3]``; cells are filled up with edges, which cost no bytes."""
        cell, rows = self._cell, -(-len(thumbnails) // _ACROSS)
        sheet = np.full((rows * cell, min(len(thumbnails), _ACROSS) * cell, 3), 128, np.uint8)
        for number, pixels in enumerate(thumbnails):
            row, column = divmod(number, _ACROSS)
            height, width = pixels.shape[:2]
            filled = np.pad(pixels, ((0, cell - height), (0, cell - width), (0, 0)), mode="edge")
            sheet[row * cell :, column * cell :][:cell, :cell] = filled
        return sheet


def thumbnail_pixels(data: bytes, side: int) -> np.ndarray:
    """Return a photo's thumbnail, upright, uint8 ``[h, w, 3]``, with `side` pixels on its longer side at most.

    Parameters
    ----------
    data
        The encoded photo.
    side
        Longest side in pixels.

    Raises
    ------
    ImageError
        If the bytes are not a whole picture.
    """

    def shrunk(image: Image.Image) -> Image.Image:
        factor = min(1.0, side / max(image.size))
        width, height = (max(1, round(length * factor)) for length in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)

    return decoding.read(data, exif="apply", rgb="white", finish=shrunk)


def _encoded(picture: np.ndarray, quality: int) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
