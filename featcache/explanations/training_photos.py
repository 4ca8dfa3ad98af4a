"""The photos that a classifier was trained on: which of them are nearest to a photo, and their cached maps."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.evaluation import require_same_features
from featcache.classifier.scored.nearest_photos import nearest_photos
from featcache.classifier.scored.seen import which_seen
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.datasets import Dataset
from featcache.datasets.found_photos import FoundPhotos, find_photos
from featcache.errors import FeatcacheError, ImageError
from featcache.pages.sprites import thumbnail_pixels

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

SIDE = 224
"""Longest side of a neighbour's picture in pixels."""


@dataclass(frozen=True)
class Neighbour:
    """A training photo that a photo looks like to the network.

    Parameters
    ----------
    id
        Its name in the dataset.
    label
        Its class, labels or numbers, in words.
    similarity
        Cosine similarity of the features that the head reads.
    picture
        uint8 ``[h, w, 3]``; ``None`` where it cannot be read any more.
    """

    id: str
    label: str
    similarity: float
    picture: np.ndarray | None = None


class TrainingPhotos:
    """The training cache of a classifier.

    Parameters
    ----------
    classifier
        The classifier.
    cache
        Its cache, open.
    where
        Where its photos are, if they have moved; see `featcache.datasets.found_photos.find_photos`.
    """

    def __init__(
        self,
        classifier: "Classifier",
        cache: FeatureCache,
        where: "str | os.PathLike[str] | Dataset | None" = None,
    ) -> None:
        self._classifier, self.cache, self._where = classifier, cache, where
        seen = classifier.seen
        known = np.ones(len(cache), bool) if seen is None else which_seen(seen, cache.sha256)
        usable = np.zeros(len(cache), bool)
        usable[cache.rows_of()] = True
        self._rows = np.flatnonzero(known & usable)

    @cached_property
    def photos(self) -> FoundPhotos:
        """The pictures, as far as they are there."""
        hashes = {self.cache.ids[row]: self.cache.sha256[row].tobytes() for row in self._rows.tolist()}
        return find_photos(
            self.cache.identity["dataset"]["spec"],
            given=self._where,
            ids=list(hashes),
            sha256=hashes,
            task=self.cache.task,
        )

    def nearest(
        self, features: np.ndarray, most: int, hashes: list[bytes | None]
    ) -> list[tuple[Neighbour, ...]]:
        """Return the training photos whose features are nearest to each of some photos', the nearest first.

        Parameters
        ----------
        features
            float32 ``[N, …]``, finite.
        most
            How many for each.
        hashes
            sha256 of each photo, where it is known: it is no neighbour of itself.
        """
        if not len(self._rows) or not len(features) or most < 1:
            return [()] * len(features)
        # One more than asked for, as the photo itself may be among them.
        similarity, found = nearest_photos(
            self.cache, self._classifier.layer, self._rows, features, most=most + 1
        )
        shown = []
        for own, near, rows in zip(hashes, similarity.tolist(), found.tolist(), strict=True):
            others = [pair for pair in zip(near, rows, strict=True) if self._hash(pair[1]) != own]
            shown.append(tuple(self._neighbour(row, close) for close, row in others[:most]))
        return shown

    def _hash(self, row: int) -> bytes:
        return self.cache.sha256[row].tobytes()

    def knows(self, sha256: bytes | None) -> bool:
        """Whether a photo is one of these."""
        return sha256 in self._row_of

    def cached_map(self, stage: str, sha256: bytes | None) -> np.ndarray | None:
        """Return a photo's map ``[h, w, C]`` at a stage, if the cache holds it as a layer ``STAGE:map``."""
        layer = f"{stage}:map"
        row = None if sha256 is None else self._any_row.get(sha256)
        if row is None or layer not in self.cache.layers:
            return None
        return np.asarray(self.cache.features([row], layer)[0], np.float32)

    @cached_property
    def _row_of(self) -> dict[bytes | None, int]:
        return {self._hash(row): row for row in self._rows.tolist()}

    @cached_property
    def _any_row(self) -> dict[bytes, int]:
        return {self._hash(row): row for row in self.cache.rows_of().tolist()}

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        name = self.cache.ids[row]
        return Neighbour(name, self._label(row), similarity, self._picture(name))

    def _label(self, row: int) -> str:
        cache = self.cache
        if cache.task == MULTICLASS:
            return cache.classes[int(cache.labels[row])]
        assert cache.targets is not None
        values = zip(cache.classes, cache.targets[row].tolist(), strict=True)
        if cache.task == REGRESSION:
            return ", ".join(f"{name} {value:.6g}" for name, value in values)
        return ", ".join(name for name, value in values if value > 0.5) or "none"

    def _picture(self, name: str) -> np.ndarray | None:
        if self.photos.read is None:
            return None
        try:
            return thumbnail_pixels(self.photos.read(name), SIDE)
        except (ImageError, OSError):
            return None


def training_photos(
    classifier: "Classifier", where: "str | os.PathLike[str] | Dataset | None" = None
) -> tuple[TrainingPhotos | None, str]:
    """Return the photos that a classifier was trained on, or why there are none, as a sentence."""
    path = Path(classifier.provenance["cache"])
    try:
        cache = FeatureCache(path)
        require_same_features(classifier, cache)
        return TrainingPhotos(classifier, cache, where), ""
    except (FeatcacheError, OSError) as error:
        reason = "is gone" if not path.exists() else f"cannot be used ({str(error).splitlines()[0]})"
        return None, (
            f"No training photos are shown beside: the cache that the classifier was trained on, {path}, {reason}."
        )
