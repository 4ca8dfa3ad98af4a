"""Thumbnails of photos, in WebP sheets that a page embeds once each."""

from collections.abc import Callable
from dataclasses import dataclass


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
    side
        Longest side of a thumbnail in pixels.
    most
        How many photos are taken at most; later ones come without a picture.
    """

    def __init__(self, read: Callable[[str], bytes] | None, *, side: int = 96, most: int = 3000) -> None: ...

    def of(self, name: str) -> Thumbnail | None:
        """Return the place of a photo's thumbnail; ``None`` where there is no picture to be had."""
        raise NotImplementedError

    def sheets(self) -> list[str]:
        """Return the sheets as ``data:image/webp;base64,…``."""
        raise NotImplementedError
