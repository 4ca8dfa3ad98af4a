"""The photos that a classifier was trained on and that are nearest to others: what it has seen like them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache, LayerSpec
from featcache.classifier.evaluation import require_same_features
from featcache.classifier.scored.nearest_photos import HoldsFeatures, nearest_photos
from featcache.classifier.scored.seen import which_seen
from featcache.core.argument_types import spelled
from featcache.errors import DataError, IdentityError, MissingFileError, UsageError

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

HELD_BYTES = 1 << 28
"""Features up to this size are read once and stay in memory, for all batches of photos."""


@dataclass(frozen=True)
class TrainingNeighbour:
    """A training photo that is near another one.

    Parameters
    ----------
    id
        Its name in the dataset.
    label
        Its class, labels or numbers, in words.
    split
        Its split.
    similarity
        Cosine similarity of the features that the head reads.
    """

    id: str
    label: str
    split: str
    similarity: float


class TrainingNeighbours:
    """The training photos of a classifier, ready to be compared with others.

    Parameters
    ----------
    classifier
        The classifier.
    cache
        A cache that holds photos it was trained on, open.

    Attributes
    ----------
    rows : numpy.ndarray
        int ``[n]``: rows of the photos that trained it or chose its epoch.
    """

    def __init__(self, classifier: "Classifier", cache: FeatureCache) -> None:
        self.cache, self._layer = cache, classifier.layer
        seen = classifier.seen
        known = np.ones(len(cache), bool) if seen is None else which_seen(seen, cache.sha256)
        usable = np.zeros(len(cache), bool)
        usable[cache.rows_of()] = True
        self.rows = np.flatnonzero(known & usable)

    def pairs(
        self, features: np.ndarray, most: int, hashes: Sequence[bytes | None]
    ) -> list[list[tuple[int, float]]]:
        """Return the rows nearest to each photo with their similarity, the nearest first.

        Parameters
        ----------
        features
            float ``[N, …]``, finite.
        most
            How many for each.
        hashes
            sha256 of each photo, where it is known: it is no neighbour of itself.
        """
        if not len(self.rows) or not len(features) or most < 1:
            return [[] for _ in range(len(features))]
        # As many more than asked for as the photo itself may be among them.
        similarity, found = nearest_photos(
            self._held, self._layer, self.rows, features, most=most + self._most_copies
        )
        others = []
        for own, near, rows in zip(hashes, similarity.tolist(), found.tolist(), strict=True):
            pairs = [(row, close) for row, close in zip(rows, near, strict=True) if row >= 0]
            others.append([pair for pair in pairs if self._hash(pair[0]) != own][:most])
        return others

    def nearest(
        self, features: np.ndarray, most: int, hashes: Sequence[bytes | None]
    ) -> list[tuple[TrainingNeighbour, ...]]:
        """Return what `pairs` does, as records."""
        return [
            tuple(self._neighbour(row, close) for row, close in each)
            for each in self.pairs(features, most, hashes)
        ]

    def _neighbour(self, row: int, similarity: float) -> TrainingNeighbour:
        cache = self.cache
        split = cache.splits[cache.split_numbers[row]]
        return TrainingNeighbour(cache.ids[row], cache.label_of(row), split, similarity)

    def _hash(self, row: int) -> bytes:
        return self.cache.sha256[row].tobytes()

    @cached_property
    def _most_copies(self) -> int:
        """How often one photo stands in the cache at most."""
        _, counts = np.unique(self.cache.sha256[self.rows], axis=0, return_counts=True)
        return int(counts.max(initial=1))

    @cached_property
    def _held(self) -> HoldsFeatures:
        layer = self.cache.layers[self._layer]
        if len(self.rows) * int(np.prod(layer.shape)) * layer.stored.itemsize > HELD_BYTES:
            return self.cache
        return _Held(self.cache.layers, self.rows, self.cache.features(self.rows, self._layer))


@dataclass(frozen=True)
class _Held:
    """Rows of a cache that were read."""

    layers: dict[str, LayerSpec]
    rows: np.ndarray
    values: np.ndarray

    def features(self, rows: np.ndarray, layer: str) -> np.ndarray:
        del layer
        return self.values[np.searchsorted(self.rows, rows)]


def training_neighbours(classifier: "Classifier", most: int) -> TrainingNeighbours | None:
    """Open the cache that a classifier was trained on; ``None`` where no neighbours are asked for.

    Raises
    ------
    UsageError
        If `most` is negative.
    MissingFileError
        If the cache is gone.
    IdentityError
        If it holds other features or other photos by now.
    """
    if most < 0:
        raise UsageError(f"{spelled('neighbours')} {most}: expected 0 or more")
    if most == 0:
        return None
    path = Path(classifier.provenance["cache"])
    instead = f"make it again, or leave {spelled('neighbours')} out"
    if not path.exists():
        raise MissingFileError(
            f"the nearest training photos are read from the cache that the classifier was trained on, {path}, which is "
            f"gone; {instead}"
        )
    cache = FeatureCache(path)
    try:
        require_same_features(classifier, cache)
    except IdentityError as error:
        raise IdentityError(
            f"{path}, which the classifier was trained on, holds other features by now, so the nearest training photos "
            f"are not known; {instead}"
        ) from error
    unknown = classifier.seen is None
    if unknown and classifier.provenance.get("rows_sha256") != cache.identity["rows"]["sha256"]:
        raise IdentityError(
            f"{path} holds other photos than when the classifier was trained on it, and the classifier, made by an "
            f"older featcache, does not record which; train it again, or leave {spelled('neighbours')} out"
        )
    found = TrainingNeighbours(classifier, cache)
    if not len(found.rows):
        raise DataError(f"{path} holds none of the photos that the classifier was trained on; {instead}")
    return found
