"""A frozen backbone as a scikit-learn transformer: images in, features out, each image computed once."""

import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from featcache.backbones.input_size import ImageSize
from featcache.backbones.registry import DEFAULT
from featcache.estimators.feature_store import FeatureStore
from featcache.estimators.image_records import records_of
from featcache.extraction.resolved import ResolvedExtraction, resolve
from featcache.extraction.spec import ExtractionSpec, require_positive


@dataclass(kw_only=True, eq=False, repr=False)
class FeatureExtractor(TransformerMixin, BaseEstimator):
    """A frozen backbone that turns images into features.

    Images are identified by content: with a `cache`, each runs through the network once, whatever fold, grid
    point, process or file name it comes in.

    Parameters
    ----------
    backbone
        ``arch`` or ``arch.tag``.
    layer
        Which output of the network, such as ``"pool"`` or ``"block_13_expand_relu:avg"``; maps are flattened.
    weights, image_size, dtype, compute_dtype, batch_size, workers
        See `featcache.extract`.
    cache
        Folder for the features, kept as cache files; created where it is missing. Or a cache file of
        `featcache.extract`: it is read and never changed, and features it lacks go into the folder ``NAME.more``
        beside it. ``None`` to keep nothing.

    Attributes
    ----------
    n_features_out_
        Width D of the features.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> model = make_pipeline(FeatureExtractor(cache="features"), HeadClassifier())  # doctest: +SKIP
    >>> model.fit(paths, labels).predict(["new.jpg"])  # doctest: +SKIP
    """

    backbone: str = DEFAULT
    layer: str = "pool"
    weights: str | Path | None = None
    image_size: ImageSize | None = None
    dtype: str = "float32"
    compute_dtype: str = "float32"
    batch_size: int | None = None
    workers: int | None = None
    cache: str | os.PathLike[str] | None = None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the backbone and check that it has such a layer; nothing is learnt from the images.

        Raises
        ------
        UsageError
            If a parameter has a value that cannot work.
        WeightsError
            If the backbone's weights cannot be had.
        """
        del X, y
        request = self._request()
        self._layer = next(iter(request.specs))
        self.n_features_out_ = int(np.prod(request.specs[self._layer].shape))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images, float32 ``[N, D]``.

        Parameters
        ----------
        X
            Paths, in a list or an array; or images uint8 ``[N, H, W, 3]``; or a list that may hold both paths
            and images uint8 ``[H, W, 3]`` or ``[H, W]``, of any sizes.

        Raises
        ------
        ImageError
            If an image cannot be read; the message names the first. Features of the others are kept.
        MissingFileError
            If a file does not exist.
        UsageError
            If `X` holds anything but images.
        IdentityError
            If `cache` is a file of other features; the message lists the differences.
        """
        request, records = self._request(), list(records_of(X))
        own = {"batch_size": self.batch_size, "workers": self.workers}
        if self.cache is not None:
            return FeatureStore.at(self.cache).features(records, request, **own)
        with tempfile.TemporaryDirectory(prefix="featcache-") as folder:
            return FeatureStore(Path(folder)).features(records, request, **own)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return ``LAYER_0``, ``LAYER_1`` …, object ``[D]``."""
        del input_features
        check_is_fitted(self)
        return np.array([f"{self._layer}_{number}" for number in range(self.n_features_out_)], object)

    def _request(self) -> ResolvedExtraction:
        require_positive(batch_size=self.batch_size, workers=self.workers)
        wanted = ExtractionSpec(
            backbone=str(self.backbone),
            layers=(self.layer,),
            weights=self.weights,
            dtype=self.dtype,
            compute_dtype=self.compute_dtype,
            image_size=self.image_size,
        )
        wanted.require_layer()
        return _resolved(wanted, wanted.digest())


@lru_cache(maxsize=4)
def _resolved(wanted: ExtractionSpec, digest: str | None) -> ResolvedExtraction:
    """Load and compile once for all clones of a transformer; the digest changes with the weights file."""
    del digest
    # Only the network's layer, without the image statistics that extractions keep beside it.
    return resolve(wanted).without_statistics()


FeatureExtractor.__module__ = "featcache"  # pickles name where it is imported from, not where it is kept
