"""What is wrong in a cache, read whole, when a model says what it must hold: the model's second half."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.images.colour_statistics import LAYER as STATISTICS
from soak.photos import Expected, Photos, Row


def wrong(cache: FeatureCache, expected: Expected, photos: Photos, options: Mapping[str, Any]) -> list[str]:
    """Say in what an open, finished cache differs from what it must hold; reads every row of it.

    Parameters
    ----------
    cache
        The cache.
    expected
        The rows that it must have.
    photos
        Knows the features of all bytes that photos ever had.
    options
        Of the extraction: its layers must be there.
    """
    for layer in cache.layers:  # first: a row whose status is damaged is refused here
        cache.features(cache.rows_of(), layer)
    found = _wrong_rows(cache, expected)
    lacking = set(options.get("layers", ("pool",))) - set(cache.layers)
    if lacking:
        found.append(f"it lacks the layers {sorted(lacking)}")
    rows = cache.rows_of()
    if sorted(set(rows.tolist()) | set(cache.quarantined().tolist())) != list(range(len(cache))):
        found.append("a row has neither features nor a reason why not")
    truths = []
    for row in rows.tolist():
        try:
            truths.append(photos.truth(bytes(cache.sha256[row])))
        except KeyError:
            return [*found, f"{cache.ids[row]}: no photo ever had the sha256 that it carries"]
    if None in truths:
        return [*found, f"{cache.ids[rows[truths.index(None)]]}: it has features, and is no image"]
    for layer in cache.layers:
        found += [
            f"{cache.ids[rows[place]]}: {what} of {layer}"
            for place, what in _unlike(cache, layer, rows, truths)
        ]
    return found


def _wrong_rows(cache: FeatureCache, expected: Expected) -> list[str]:
    if sorted(cache.ids) != sorted(expected):
        more, less = sorted(set(cache.ids) - set(expected)), sorted(set(expected) - set(cache.ids))
        return [f"rows that must not be: {more}; rows that are missing: {less}"]
    splits = cache.split_names()
    found = []
    for row, name in enumerate(cache.ids):
        has = (cache.classes[cache.labels[row]], splits[row])
        want = expected[name]
        if has != (want.label, want.split):
            found.append(f"{name}: label and split are {has}")
        found += _wrong_row(name, want, bytes(cache.sha256[row]), not cache.status[row])
    return found


def _wrong_row(name: str, want: Row, digest: bytes, present: bool) -> list[str]:
    if digest not in want.digests:
        return [f"{name}: it carries the sha256 {digest.hex()}"]
    if want.features is not None and present != want.features:
        return [f"{name}: it has {'' if present else 'no '}features"]
    return []


def _unlike(
    cache: FeatureCache, layer: str, rows: np.ndarray, truths: Sequence[Any]
) -> list[tuple[int, str]]:
    """Return positions in `rows` of features that the network does not give, and what they are."""
    stored = cache.layers[layer].stored
    if layer == STATISTICS:
        want = np.array([truth.statistics for truth in truths]).astype(stored)
        # Sums over a batch may be made in another order than over one image.
        like = np.isclose(cache.features(rows, layer), want, rtol=2e-3, atol=2e-3).all(axis=1)
        return [(int(place), "another picture's statistics") for place in np.flatnonzero(~like)]
    plain = np.array([truth.plain for truth in truths]).astype(stored)
    found = [
        (int(place), "wrong features")
        for place in np.flatnonzero((cache.features(rows, layer) != plain).any(axis=1))
    ]
    if cache.layers[layer].views > 1:
        mirrored = np.array([truth.mirrored for truth in truths]).astype(stored)
        views = cache.features(rows, layer, view="all")
        like = [(views == each[:, None]).all(axis=2) for each in (plain, mirrored)]
        found += [
            (int(place), "a view that is neither the picture nor its mirror image")
            for place in np.flatnonzero(~(like[0] | like[1]).all(axis=1))
        ]
    return found
