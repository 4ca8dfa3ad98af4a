"""`similar`: the photos of a cache that look most like others to its network."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.scored.nearest_photos import nearest_photos
from featcache.core.argument_types import checked_types, spelled
from featcache.core.progress import OnProgress, Progress
from featcache.errors import DataError, UsageError
from featcache.heads.streamed_nearest import one_vector
from featcache.retrieval.asked import Asked, asked_of
from featcache.retrieval.photo_features import photo_features
from featcache.retrieval.result import Neighbourhood, SimilarPhoto, SimilarPhotos
from featcache.splits.slices import ALL

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone


@checked_types()
def similar(
    cache: str | os.PathLike[str] | FeatureCache,
    photos: Any,
    *,
    top: int = 12,
    layer: str | None = None,
    split: str | None = None,
    itself: bool = False,
    backbone: "LoadedBackbone | None" = None,
    weights: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> SimilarPhotos:
    """Find the photos of a cache that are nearest to others, by the cosine similarity of their features.

    The search is exact: each photo is compared with every row. Rows are read in blocks, each once for all photos, so
    that memory does not grow with the cache.

    Parameters
    ----------
    cache
        The cache, or its path.
    photos
        Photos, as for `featcache.Classifier.predict`, whose features are computed by the cache's own recipe; names of
        rows (ids), ``"row:NUMBER"``, or numbers of rows; or a list of these. A photo whose bytes are in the cache is
        known by them, and no network runs for it. A text that names a row and another picture's file is refused; a
        ``Path`` is always a file.
    top
        How many to find for each.
    layer
        The layer to compare; the cache's first by default. Of maps and tokens the mean over their places is compared.
    split
        The split or slice to search; every row by default.
    itself
        Whether a photo that is a row of the cache may be found as its own neighbour. Copies of it in other rows always
        are, and are marked.
    backbone
        The loaded backbone, where the cache's own is not one that its name says.
    weights
        File of the backbone's weights, where they are not where they were.
    on_progress
        Called with a `featcache.core.progress.Progress` after every block.

    Returns
    -------
    SimilarPhotos
        A photo that cannot be read has its `error` set.

    Raises
    ------
    UnknownNameError
        If a name is neither a row nor a photo, or there is no such layer or split.
    UsageError
        If a number is out of its range, or a name has two meanings.
    DataError
        If a row has no features, or the split has no rows.
    IdentityError
        If the backbone on this machine would give other features than the cache holds.

    Examples
    --------
    >>> found = featcache.similar("flowers.h5", "rose.jpg", top=5)  # doctest: +SKIP
    >>> found.to_html("like-rose.html")  # doctest: +SKIP
    """
    if top < 1:
        raise UsageError(f"{spelled('top')} {top}: expected at least 1")
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    held = opened.layer(layer)
    rows = opened.rows_of(split)
    if not len(rows):
        raise DataError(f"{opened.path} has no readable image in split {split or ALL!r}")
    asked = asked_of(opened, photos)
    report = on_progress or (lambda progress: None)
    vectors, errors = _vectors(opened, held, asked, backbone, weights, report)
    own = np.array([-1 if itself or each.row is None else each.row for each in asked])
    places = [place for place in range(len(asked)) if place not in errors]
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        report(Progress("compare", done=done, total=len(rows)))

    similarity, found = nearest_photos(
        opened, held, rows, vectors[places], most=top, not_these=own[places], on_rows=count
    )
    near = dict(zip(places, zip(similarity.tolist(), found.tolist(), strict=True), strict=True))
    return SimilarPhotos(
        tuple(
            _neighbourhood(opened, each, errors.get(place), *near.get(place, ((), ())))
            for place, each in enumerate(asked)
        ),
        opened,
        held,
        ALL if split is None else split,
        len(rows),
        _notes(opened, asked, itself=itself),
    )


def _vectors(
    cache: FeatureCache,
    layer: str,
    asked: Sequence[Asked],
    backbone: "LoadedBackbone | None",
    weights: str | os.PathLike[str] | None,
    report: OnProgress,
) -> tuple[np.ndarray, Mapping[int, str]]:
    """Return a vector for each photo, float32 ``[Q, D]``, and by its place why one cannot be read."""
    vectors = np.zeros((len(asked), cache.layers[layer].shape[-1]), np.float32)
    rows = {place: each.row for place, each in enumerate(asked) if each.row is not None}
    if rows:
        vectors[list(rows)] = one_vector(cache.features(list(rows.values()), layer))
    others = {
        place: each.photo for place, each in enumerate(asked) if each.row is None and each.photo is not None
    }
    if not others:
        return vectors, {}
    report(Progress("load", total=len(others)))
    found, errors = photo_features(cache, layer, list(others.values()), backbone=backbone, weights=weights)
    places = list(others)
    for number, features in found.items():
        vectors[places[number]] = one_vector(features[None])[0]
    return vectors, {places[number]: str(error) for number, error in errors.items()}


def _neighbourhood(
    cache: FeatureCache, asked: Asked, error: str | None, similarity: Sequence[float], rows: Sequence[int]
) -> Neighbourhood:
    row = asked.row
    digest = None if row is None else cache.sha256[row].tobytes()
    found = tuple(
        SimilarPhoto(
            number,
            cache.ids[number],
            cache.label_of(number),
            _split(cache, number),
            close,
            cache.sha256[number].tobytes() == digest,
        )
        for close, number in zip(similarity, rows, strict=True)
        if number >= 0
    )
    if row is None:
        return Neighbourhood(asked.id, found, error=error)
    return Neighbourhood(asked.id, found, row, cache.label_of(row), _split(cache, row))


def _split(cache: FeatureCache, row: int) -> str:
    return cache.splits[cache.split_numbers[row]]


def _notes(cache: FeatureCache, asked: Sequence[Asked], *, itself: bool) -> tuple[str, ...]:
    """Say which photos from elsewhere are rows, and that these are left out of what was found."""
    known = [each for each in asked if each.row is not None and each.photo is not None]
    if not known:
        return ()
    first = known[0]
    assert first.row is not None
    others = f", and {len(known) - 1} more are rows" if len(known) > 1 else ""
    left = "" if itself else "; a row is not shown as its own neighbour"
    return (f"{first.id} is row {first.row} of the cache, {cache.ids[first.row]}{others}{left}.",)
