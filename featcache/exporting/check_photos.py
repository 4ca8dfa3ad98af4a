"""Photos on which an exported model is compared with JAX: the user's, the training photos, or those of featcache."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.photos import photos_of
from featcache.core.display import counted
from featcache.datasets.found_photos import find_photos
from featcache.errors import DataError, FeatcacheError, ImageError
from featcache.extraction.runner import probe_images
from featcache.images.demo_photos import demo_dataset
from featcache.images.resizing import prepare
from featcache.images.transforms import Transforms
from featcache.images.views import PLAIN

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

MOST, MOST_GIVEN = 32, 64
"""Photos that are compared, if there are so many: of those found, and of the user's."""

DEMO = 14


@dataclass(frozen=True)
class CheckPhotos:
    """Photos as a model takes them.

    Parameters
    ----------
    images
        uint8 ``[N, H, W, 3]``.
    names
        What each is called, in messages.
    origin
        Where they are from, such as ``"32 of the photos that it was trained on"``.
    """

    images: np.ndarray
    names: tuple[str, ...]
    origin: str


def check_photos(
    transforms: Transforms, *, given: Any = None, classifier: "Classifier | None" = None
) -> CheckPhotos:
    """Return photos to compare a model on.

    Parameters
    ----------
    transforms
        The model's preprocessing.
    given
        The user's photos, as for `featcache.Classifier.predict`; ``None`` for none.
    classifier
        Whose training photos are taken where none are given.

    Returns
    -------
    CheckPhotos
        Spread evenly over what there is, if there are many.

    Raises
    ------
    DataError
        If none of the photos given can be read.
    """
    if given is not None:
        return _given(transforms, given)
    if classifier is not None:
        opened = TrainingPhotos.of(classifier)
        with suppress(FeatcacheError, OSError):
            rows = [] if opened is None else opened.prepared(spread(opened.cache.rows_of(), MOST), transforms)
            found = [] if opened is None else [(opened.cache.ids[row], image) for row, image in rows]
            if found:
                return _of(found, f"{counted(len(found), 'photo')} that it was trained with")
    return _there(transforms)


def _given(transforms: Transforms, given: Any) -> CheckPhotos:
    photos = photos_of(given)
    reasons: list[str] = []

    def read() -> Iterator[tuple[str, np.ndarray] | None]:
        for photo in spread(photos, MOST_GIVEN):
            try:
                yield photo.id, photo.prepare(transforms, PLAIN)
            except ImageError as error:
                reasons.append(f"{photo.id}: {error}")
                yield None

    found = _some(read())
    if not found:
        why = f" ({reasons[0]})" if reasons else ""
        raise DataError(
            f"none of the photos to compare the exported model on can be read{why}; name others with --photos"
        )
    return _of(found, f"{counted(len(found), 'photo')} given")


@dataclass(frozen=True)
class TrainingPhotos:
    """The cache that a classifier was trained on, with the photos of its rows.

    Parameters
    ----------
    cache
        The cache.
    read
        Id of a row to the bytes of its image.
    """

    cache: FeatureCache
    read: Callable[[str], bytes]

    @classmethod
    def of(cls, classifier: "Classifier") -> "TrainingPhotos | None":
        """Return them; ``None`` if cache or photos are not where they were."""
        with suppress(FeatcacheError, OSError, KeyError):
            cache = FeatureCache(Path(classifier.provenance["cache"]))
            hashes = {name: digest.tobytes() for name, digest in zip(cache.ids, cache.sha256, strict=True)}
            photos = find_photos(
                cache.identity["dataset"]["spec"], given=None, ids=cache.ids, sha256=hashes, task=cache.task
            )
            return None if photos.read is None else cls(cache, photos.read)
        return None

    def prepared(self, rows: Iterable[int], transforms: Transforms) -> Iterator[tuple[int, np.ndarray]]:
        """Yield rows with their pictures uint8 ``[H, W, 3]``; those that cannot be read any more are left out."""
        for row in rows:
            with suppress(ImageError, OSError):
                yield row, prepare(self.read(self.cache.ids[row]), transforms)


def _there(transforms: Transforms) -> CheckPhotos:
    """Return the probe images, and photos that come with featcache."""
    probes = probe_images(*transforms.input_size)
    found = [(f"probe image {number}", image) for number, image in enumerate(probes, start=1)]
    with suppress(FeatcacheError, OSError):
        files = sorted(path for path in demo_dataset().glob("test/*/*") if path.is_file())
        found += [(path.name, prepare(path.read_bytes(), transforms)) for path in spread(files, DEMO)]
    return _of(found, f"{counted(len(found), 'image')} that come with featcache")


def spread(items: Any, most: int) -> list[Any]:
    """Return `most` items at most, evenly spread: a folder's first photos are all of one class."""
    chosen = np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)
    return [items[number] for number in chosen]


def _some(photos: Iterable[tuple[str, np.ndarray] | None]) -> list[tuple[str, np.ndarray]]:
    return [photo for photo in photos if photo is not None]


def _of(found: list[tuple[str, np.ndarray]], origin: str) -> CheckPhotos:
    return CheckPhotos(np.stack([image for _, image in found]), tuple(name for name, _ in found), origin)
