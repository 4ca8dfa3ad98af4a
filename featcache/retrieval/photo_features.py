"""Features of photos that a cache does not hold, by its own recipe and network."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.finishing import recorded_weights
from featcache.classifier.photos import Photo
from featcache.errors import FeatcacheError, ImageError, WeightsError
from featcache.extraction.recorded import recorded_extraction
from featcache.extraction.runner import FeatureRunner

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone


def photo_features(
    cache: FeatureCache,
    layer: str,
    photos: Sequence[Photo],
    *,
    backbone: "LoadedBackbone | None" = None,
    weights: str | os.PathLike[str] | None = None,
) -> tuple[dict[int, np.ndarray], dict[int, ImageError]]:
    """Run photos through the network of a cache.

    Parameters
    ----------
    cache, layer
        Whose features are computed.
    photos
        The photos.
    backbone, weights
        The loaded backbone, or the file of its weights; by default what the cache names.

    Returns
    -------
    features
        By the number of the photo: ``[…]`` each, of the plain view.
    errors
        By the number of the photo: why it cannot be read.

    Raises
    ------
    WeightsError
        If the weights cannot be loaded.
    IdentityError
        If the backbone here gives other features than the cache holds.
    """
    network = backbone or _network_of(cache, weights)
    extraction = recorded_extraction(
        network,
        cache.layers[layer].identity(cache.recipe, layer),
        origin="the cache",
        hint=f"\nname the weights that {cache.path} was made with (--weights FILE), or a row in the photo's place",
    )
    runner = FeatureRunner(extraction=extraction, images=len(photos))
    features: dict[int, np.ndarray] = {}
    errors: dict[int, ImageError] = {}
    for chunk in runner.chunks(
        range(len(photos)), lambda row: photos[row].prepare(extraction.transforms, extraction.views)
    ):
        errors.update(chunk.failures)
        if chunk.features:
            features.update(zip(chunk.rows.tolist(), chunk.features[layer], strict=True))
    return features, errors


def _network_of(cache: FeatureCache, weights: str | os.PathLike[str] | None) -> "LoadedBackbone":
    from featcache.backbones.load_from_classifier import load_recorded

    path = recorded_weights(cache) if weights is None else str(Path(weights))
    try:
        return load_recorded(cache.backbone, path, base=cache.identity["provenance"].get("base"))
    except WeightsError:
        raise
    except FeatcacheError as error:
        raise WeightsError(
            f"the network of {cache.path}, {cache.backbone}, cannot be loaded here ({error}); name its weights with "
            "--weights FILE, or a row of the cache in the photo's place"
        ) from error
