"""The photos that a classifier was trained on: which of them are nearest to a photo, and their cached maps."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.evaluation import require_same_features
from featcache.classifier.scored.training_neighbours import TrainingNeighbours
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
        self.cache, self._where = cache, where
        self._near = TrainingNeighbours(classifier, cache)
        self._rows = self._near.rows

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
        return [
            tuple(self._neighbour(row, close) for row, close in each)
            for each in self._near.pairs(features, most, hashes)
        ]

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
        return Neighbour(name, self.cache.label_of(row), similarity, self._picture(name))

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
