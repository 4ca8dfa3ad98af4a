"""The photos that a label can be asked for: each image once, without those that are labelled, as short vectors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.scored.nearest_photos import BLOCK_BYTES, one_vector, training_cache
from featcache.classifier.scored.seen import which_seen
from featcache.core.progress import OnProgress, Progress
from featcache.core.tasks import UNLABELLED
from featcache.errors import DataError
from featcache.heads.scaling import unit_length

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

COMPONENTS = 128
"""Principal components that stand for a photo's features: they hold nearly all that tells photos apart."""
SAMPLE = 4096
"""Photos that the components are computed from, and labelled photos that are compared with, at most."""


@dataclass(frozen=True)
class Left:
    """How many readable photos are not asked about, and why.

    Parameters
    ----------
    labelled
        A classifier has learnt from the same image, or a table has its label.
    copies
        The same image stands under another name that is asked about.
    broken
        Their features are NaN or infinite.
    """

    labelled: int = 0
    copies: int = 0
    broken: int = 0


@dataclass(frozen=True)
class Pool:
    """Photos without labels.

    Parameters
    ----------
    rows
        int ``[M]``: their rows in the cache, ascending.
    vectors
        float32 ``[M, P]``: principal components of their features of unit length.
    values
        float32 ``[M, C]``: what the classifier says of each; ``None`` without one.
    known
        float32 ``[L, P]``: the same components of photos that are labelled, as far as their features are there.
    left
        What was left out.
    """

    rows: np.ndarray
    vectors: np.ndarray
    values: np.ndarray | None
    known: np.ndarray
    left: Left


def unlabelled_rows(
    cache: FeatureCache, split: str | None, *, classifier: "Classifier | None", labelled: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Left]:
    """Return the rows to choose from and the rows whose image is labelled, int ``[M]`` and ``[L]``, and what is left.

    Parameters
    ----------
    cache, split
        The cache, and its rows that count as unlabelled.
    classifier
        The images that it has learnt from are labelled, and in a cache without labels all images of its training cache.
    labelled
        int: further rows that are labelled.

    Raises
    ------
    DataError
        If nothing is left to be labelled.
    """
    rows = cache.rows_of(split)
    if not len(rows):
        where = "" if split is None else f" in {split}"
        raise DataError(
            f"{cache.path} holds no readable photo{where}, so that none can be labelled; extract others"
        )
    digests = np.ascontiguousarray(cache.sha256[rows]).view("V32").reshape(-1)
    known = np.isin(rows, labelled)
    if classifier is not None:
        if classifier.seen is not None:
            known |= which_seen(classifier.seen, cache.sha256[rows])
        known |= np.isin(digests, _labelled_digests(classifier, cache))
    known |= np.isin(digests, digests[known])  # copies of labelled photos
    _, first = np.unique(digests, return_index=True)
    once = np.zeros(len(rows), bool)
    once[first] = True
    left = Left(labelled=int(known.sum()), copies=int((~known & ~once).sum()))
    chosen = rows[once & ~known]
    if not len(chosen):
        raise DataError(
            f"{cache.path}: all of its {len(rows)} readable photos{'' if split is None else f' in {split}'} are "
            "labelled already; extract further ones with --unlabelled"
        )
    return chosen, rows[once & known], left


def _labelled_digests(classifier: "Classifier", cache: FeatureCache) -> np.ndarray:
    """Return the hashes of all images of the training cache; none where the photos to label are its own rows."""
    found = training_cache(classifier, cache) if cache.task == UNLABELLED else None
    digests = np.zeros((0, 32), np.uint8) if found is None else found.sha256
    return np.ascontiguousarray(digests).view("V32").reshape(-1)


def read_pool(
    cache: FeatureCache,
    layer: str,
    rows: np.ndarray,
    known_rows: np.ndarray,
    left: Left,
    *,
    classifier: "Classifier | None" = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Pool:
    """Read the features once, in blocks, so that memory holds components alone.

    Parameters
    ----------
    cache, layer
        The features.
    rows, known_rows, left
        Of `unlabelled_rows`.
    classifier
        Says what it thinks of each.
    seed
        Of the rows that the components are computed from.
    on_progress
        Called as rows are read.

    Raises
    ------
    DataError
        If no row has finite features.
    """
    components = _Components(cache, layer, rows, seed)
    vectors, values, good = [], [], []
    for block in _blocks(cache, layer, rows):
        averaged = classifier is not None and classifier.tta and cache.layers[layer].views > 1
        features = cache.features(block, layer, view="all" if averaged else 0)
        plain = features[:, 0] if averaged else features
        finite = np.isfinite(one_vector(plain)).all(axis=1)
        good.append(finite)
        vectors.append(components.of(plain[finite]))
        if classifier is not None and finite.any():
            values.append(classifier.values(features[finite], tta=averaged))
        if on_progress is not None:
            on_progress(Progress("verify", done=sum(map(len, good)), total=len(rows)))
    usable = np.concatenate(good)
    return Pool(
        rows=rows[usable],
        vectors=np.concatenate(vectors),
        values=np.concatenate(values) if values else None,
        known=_known_vectors(components, cache, layer, known_rows, classifier, seed),
        left=Left(left.labelled, left.copies, int((~usable).sum())),
    )


def _known_vectors(
    components: "_Components",
    cache: FeatureCache,
    layer: str,
    rows: np.ndarray,
    classifier: "Classifier | None",
    seed: int,
) -> np.ndarray:
    """Return the components of labelled photos: of the training cache where it is there, else of those found here."""
    found = None if classifier is None else training_cache(classifier, cache)
    if found is not None and classifier is not None and classifier.seen is not None and found is not cache:
        usable = found.rows_of()
        cache, rows = found, usable[which_seen(classifier.seen, found.sha256[usable])]
    few = _some(rows, seed)
    parts = [cache.features(block, layer) for block in _blocks(cache, layer, few)]
    read = [components.of(part[np.isfinite(one_vector(part)).all(axis=1)]) for part in parts]
    return np.concatenate([components.of(np.zeros((0, components.width), np.float32)), *read])


class _Components:
    """Principal components of features of unit length, computed from some of the rows."""

    def __init__(self, cache: FeatureCache, layer: str, rows: np.ndarray, seed: int) -> None:
        from sklearn.decomposition import PCA

        sample = _some(rows, seed)
        parts = [one_vector(cache.features(block, layer)) for block in _blocks(cache, layer, sample)]
        seen = np.concatenate(parts)
        seen = seen[np.isfinite(seen).all(axis=1)]
        if not len(seen):
            raise DataError(
                f"{cache.path}: the features of all photos are NaN or infinite; extract them again with another "
                "network or --dtype float32"
            )
        self.width = seen.shape[1]
        count = min(COMPONENTS, *seen.shape)
        self._fitted = PCA(count, svd_solver="randomized", random_state=seed).fit(unit_length(seen))

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return float32 ``[n, P]``."""
        if not len(features):
            return np.zeros((0, self._fitted.n_components_), np.float32)
        return self._fitted.transform(unit_length(one_vector(features))).astype(np.float32)


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    if len(rows) <= SAMPLE:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))


def _blocks(cache: FeatureCache, layer: str, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield row numbers, as many at a time as are read within `BLOCK_BYTES`."""
    spec = cache.layers[layer]
    size = max(1, BLOCK_BYTES // (4 * int(np.prod(spec.shape)) * spec.views))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
