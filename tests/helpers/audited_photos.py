"""Photos as an audit sees them, made in memory: pictures, features, labels and splits."""

import hashlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageFilter

from featcache.errors import ImageError
from featcache.images.colour_statistics import image_statistics


def scene(seed: int, *, width: int = 120, height: int = 90) -> Image.Image:
    """Return a picture of coloured clouds, as different from that of another seed as two photos are."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) / 4
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, quality: int = 95) -> bytes:
    """Return a picture as JPEG."""
    written = io.BytesIO()
    image.save(written, "JPEG", quality=quality)
    return written.getvalue()


def cropped(image: Image.Image, share: float = 0.05) -> Image.Image:
    """Cut a share of either side off, from the left and from above."""
    width, height = image.size
    return image.crop((round(share * width), round(share * height), width, height))


def mirrored(image: Image.Image) -> Image.Image:
    """Return the mirror image."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """Return a picture out of focus."""
    return image.filter(ImageFilter.GaussianBlur(radius))


class AuditedPhotos:
    """What `featcache.auditing.ranked.AuditedRows` asks for.

    Parameters
    ----------
    pictures
        ``SPLIT/NAME`` to an encoded picture.
    features
        float ``[N, D]``.
    labels
        int ``[N]`` of the classes ant, bee and cat; all ants by default.
    colours
        Whether there are colour statistics.
    """

    task = "classes"
    classes = ("ant", "bee", "cat")

    def __init__(
        self,
        pictures: Mapping[str, bytes],
        features: np.ndarray,
        labels: Sequence[int] | None = None,
        *,
        colours: bool = True,
    ) -> None:
        self._pictures, self._features = pictures, np.asarray(features, np.float32)
        self.ids = tuple(pictures)
        self.rows = 10 + np.arange(len(self.ids))
        self.labels = np.zeros(len(self.ids), int) if labels is None else np.asarray(labels)
        self.splits = tuple(name.split("/")[0] for name in self.ids)
        digests = [hashlib.sha256(data).digest() for data in pictures.values()]
        self.sha256 = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
        self._statistics = (
            np.concatenate([_statistics(data) for data in pictures.values()]) if colours else None
        )

    def vectors(self, places: np.ndarray | slice) -> np.ndarray:
        """Return features."""
        return self._features[places]

    def statistics(self, places: np.ndarray | slice) -> np.ndarray | None:
        """Return colour statistics."""
        return None if self._statistics is None else self._statistics[places]

    def label_of(self, place: int) -> str:
        """Return the class of a photo."""
        return self.classes[self.labels[place]]

    def read(self, name: str) -> bytes:
        """Return the bytes of a photo; raise where these are empty, as of a file that is gone."""
        if not self._pictures[name]:
            raise ImageError("unreadable file", f"{name} is gone")
        return self._pictures[name]


def _statistics(data: bytes) -> np.ndarray:
    if not data:
        return np.zeros((1, 54), np.float32)
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    return image_statistics(np.asarray(image)[None])
