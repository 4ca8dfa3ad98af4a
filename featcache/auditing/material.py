"""What every part of an audit sees: the rows of a cache that have features, with names, labels and colours."""

from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.checks.rows import require_finite
from featcache.classifier.scored.nearest_photos import one_vector
from featcache.core.progress import OnProgress, Progress
from featcache.core.tasks import MULTICLASS, MULTILABEL, UNLABELLED
from featcache.errors import DataError
from featcache.heads.streamed_nearest import widened
from featcache.images.colour_statistics import LAYER as STATISTICS


class TooFewPhotosError(DataError):
    """A part of an audit needs more photos than there are; exit code 3. Others may be made."""


class Audited:
    """The rows of a cache that are audited; what `featcache.auditing.ranked.AuditedRows` asks for.

    A place is a row's position among `rows`, 0 to M - 1.

    Parameters
    ----------
    cache
        The cache.
    layer
        Whose features; the cache's first by default.
    rows
        int ``[M]``: rows of the cache; all that have features by default.
    seed
        Of everything that is drawn.
    on_progress
        Told by `tell` how far a part is.

    Attributes
    ----------
    rows
        int ``[M]``, ascending.
    ids, splits
        ``[M]``: each row's name in the dataset and the name of its split.
    labels
        int ``[M]`` class numbers, all -1 where the cache is unlabelled; multilabel bool ``[M, C]``; numbers float
        ``[M, T]``.
    classes
        Names of the classes, labels or numbers.
    sha256
        uint8 ``[M, 32]`` of each picture's bytes.
    groups
        ``[M]``: each row's group, empty for none; ``None`` where no image has one.
    task
        See `featcache.core.tasks`.
    shared
        What one part of an audit computed and another needs, by name.
    """

    def __init__(
        self,
        cache: FeatureCache,
        layer: str | None = None,
        rows: np.ndarray | None = None,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.cache = cache
        self.layer = cache.layer(layer)
        self.rows = cache.rows_of() if rows is None else np.unique(np.asarray(rows, np.int64))
        numbers = self.rows.tolist()
        splits = cache.split_names()
        self.ids = tuple(cache.ids[row] for row in numbers)
        self.splits = tuple(splits[row] for row in numbers)
        self.groups = None if cache.groups is None else tuple(cache.groups[row] for row in numbers)
        known = cache.known[self.rows]
        self.labels: np.ndarray = known > 0.5 if cache.task == MULTILABEL else known
        self.classes = cache.classes
        self.sha256: np.ndarray = cache.sha256[self.rows]
        self.task = cache.task
        self.seed = seed
        self.shared: dict[str, Any] = {}
        self._on_progress = on_progress

    @property
    def path(self) -> Path:
        """Path of the cache."""
        return self.cache.path

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Length of one vector of `vectors`, D."""
        return int(self.cache.layers[self.layer].shape[-1])

    def tell(self, stage: str, done: int, note: str = "") -> None:
        """Tell how many of all rows a part has been through."""
        if self._on_progress is not None:
            self._on_progress(Progress(stage, done, len(self), note=note))

    def vectors(self, places: np.ndarray | slice) -> np.ndarray:
        """Return one vector for each image, float32 ``[n, D]``: the mean over the places of maps and tokens.

        Raises
        ------
        DataError
            If one holds NaN or infinity.
        IntegrityError
            If a row is damaged.
        """
        rows = self.rows[places]
        x = one_vector(widened(self.cache.features(rows, self.layer)))
        require_finite(x, rows, self.cache, self.layer)
        return x

    def statistics(self, places: np.ndarray | slice) -> np.ndarray | None:
        """Return the colour statistics float32 ``[n, 54]``; ``None`` where the cache has none.

        See `featcache.images.colour_statistics.image_statistics`.
        """
        if STATISTICS not in self.cache.layers:
            return None
        return np.asarray(self.cache.features(self.rows[places], STATISTICS), np.float32)

    def label_of(self, place: int) -> str:
        """Return a row's label in words: its class, its labels, or its numbers; ``""`` where there are none."""
        own = self.labels[place]
        if self.task == UNLABELLED:
            return ""
        if self.task == MULTICLASS:
            return self.classes[int(own)]
        if self.task == MULTILABEL:
            return ", ".join(name for name, has in zip(self.classes, own, strict=True) if has)
        return ", ".join(f"{name} {value:g}" for name, value in zip(self.classes, own, strict=True))
