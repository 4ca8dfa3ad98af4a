"""The views of an image that a cache holds: view 0 is the plain image, the others are randomly augmented."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from PIL import Image

from featcache.core.argument_types import spelled
from featcache.core.documents.recipe import MOST_VIEWS
from featcache.core.identity import PLAIN_VIEWS
from featcache.errors import UsageError
from featcache.images.augmentation import Augmentation
from featcache.images.decoding import read
from featcache.images.random_views import apply_view, draw_numbers
from featcache.images.resizing import _fit, prepare
from featcache.images.transforms import Transforms

DEFAULT = "flip,random-resized-crop"
"""The default augmentation of views."""


@dataclass(frozen=True)
class Views:
    """The views of each image in a cache: the plain image, and randomly augmented ones.

    Parameters
    ----------
    count
        Number of views, the plain one included.
    augmentation, seed
        Policy and seed of the others; without effect for one view.
    """

    count: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    @classmethod
    def of(cls, count: int, augment: str | Augmentation, seed: int) -> Self:
        """Return the views that the arguments of `featcache.extract` ask for.

        Raises
        ------
        UsageError
            If a number is out of its range, or the arguments contradict each other.
        """
        augmentation = augment if isinstance(augment, Augmentation) else Augmentation.parse(augment)
        for name, value in ((spelled("views"), count), (spelled("view_seed"), seed)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise UsageError(f"{name} {value!r}: expected a whole number")
        if not 1 <= count <= MOST_VIEWS:
            raise UsageError(
                f"{spelled('views')} {count}: expected at least 1, which is the plain image, at most {MOST_VIEWS:,}"
            )
        if abs(seed) >= 2**63:
            raise UsageError(f"{spelled('view_seed')} {seed}: expected a whole number of 64 bits")
        if count == 1 and augmentation != Augmentation.parse(DEFAULT):
            raise UsageError(
                f"augment {augmentation} does nothing to one view, the plain image; ask for more views"
            )
        if count > 1 and augmentation.plain:
            raise UsageError(f"augment none makes all {count} views the same; choose one, such as {DEFAULT}")
        return cls(int(count), augmentation, int(seed)) if count > 1 else cls()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read `to_json`'s values."""
        if value["count"] == 1:
            return cls()
        return cls(value["count"], Augmentation.from_json(dict(value["policy"])), value["seed"])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as a recipe holds them."""
        if self.count == 1:
            return dict(PLAIN_VIEWS)
        return {"policy": self.augmentation.to_json(), "seed": self.seed, "count": self.count}

    def prepare(self, data: bytes, transforms: Transforms, image: bytes) -> np.ndarray:
        """Return uint8 ``[height, width, 3]``, or ``[V, height, width, 3]`` of several views.

        Parameters
        ----------
        data, transforms, image
            As for `featcache.images.random_views.decode_view`.
        """
        if self.count == 1:
            return prepare(data, transforms)
        return draw_views(data, transforms, self.augmentation, seed=self.seed, image=image, count=self.count)


PLAIN = Views()
"""The plain image alone."""


def draw_views(
    data: bytes, transforms: Transforms, augmentation: Augmentation, *, seed: int, image: bytes, count: int
) -> np.ndarray:
    """Decode one picture once and return its first `count` views: the plain one, then augmented ones.

    Parameters
    ----------
    data, transforms, augmentation, seed, image
        As for `featcache.images.random_views.decode_view`.
    count
        Number of views, at least 1.

    Returns
    -------
    np.ndarray
        uint8[count, height, width, 3]; ``[0]`` is what `featcache.images.resizing.prepare` gives, ``[v]`` is what
        `featcache.images.random_views.decode_view` gives for the number v.

    Raises
    ------
    ImageError
        The bytes are not a whole picture of a supported format.
    """
    views: list[np.ndarray] = []

    def finish(picture: Image.Image) -> Image.Image:
        numbers = (draw_numbers(seed, image, number) for number in range(1, count))
        plain = _fit(picture, transforms)
        views.append(np.asarray(plain))
        views.extend(np.asarray(apply_view(picture, transforms, augmentation, drawn)) for drawn in numbers)
        return plain

    read(data, exif=transforms.exif, rgb=transforms.rgb, finish=finish)
    return np.stack(views)
