"""What an evaluation scores: the features of the photos that are given, and the rows of them that are meant."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.scored.seen import count_seen
from featcache.core.disk.contents import CACHE
from featcache.core.disk.names import expanded
from featcache.core.disk.storage import OTHER_HOME, advising
from featcache.core.environment import home
from featcache.core.identity import sha256_json
from featcache.datasets import Dataset, open_to_score
from featcache.datasets.dataset import labels_needed
from featcache.datasets.spec_options import FOLDER_OPTIONS, read_options
from featcache.errors import MissingFileError, UsageError
from featcache.extraction.engines import AUTO, refuse_for_cache
from featcache.images.given_path import what_is
from featcache.splits.selection import NONE
from featcache.splits.slices import ALL

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.prediction import Predictor
    from featcache.core.progress import OnProgress

Photos = str | os.PathLike[str] | FeatureCache | Dataset | None
"""What can be scored: a cache, a dataset, or ``None`` for the cache that the classifier was trained on."""


@dataclass(frozen=True)
class ScoredRows:
    """A classifier's answers on rows of a cache, and the truth.

    Parameters
    ----------
    cache
        Where the rows are.
    split
        What they are called.
    rows
        Their numbers, int ``[n]``.
    values
        float32 ``[n, C]``; see `featcache.classifier.classifier.Classifier.values`.
    labels
        The truth in the classifier's own classes: int ``[n]``, or float32 ``[n, T]``.
    note
        Why these rows, where it was not asked for and is not plain.
    views
        Number of views of each image whose mean was scored.
    unlike
        bool ``[n]``: which it would call unlike anything seen; ``None`` if it does not know how far that is.
    """

    cache: FeatureCache
    split: str
    rows: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    note: str = ""
    views: int = 1
    unlike: np.ndarray | None = None


def features_of(
    classifier: "Classifier",
    given: Photos,
    predictor: "Callable[[], Predictor]",
    *,
    allow_empty_classes: bool = False,
    engine: str = AUTO,
    on_progress: "OnProgress | None",
) -> FeatureCache:
    """Return a cache with the features of the photos: the one given, or one that is made of a dataset.

    Parameters
    ----------
    classifier, given
        The classifier, and what it is to be scored on.
    predictor
        Loads its backbone; called where features have to be computed.
    allow_empty_classes
        Whether photos may be without a class of which no picture can be read.
    engine
        What runs the backbone; see `featcache.extract`.
    on_progress
        Called while they are.
    """
    if isinstance(given, FeatureCache):
        refuse_for_cache(engine, given.path)
        return given
    if given is None:
        trained_on = Path(classifier.provenance["cache"])
        if not trained_on.exists():
            raise MissingFileError(
                f"the cache it was trained on, {trained_on}, is gone; name one with --cache, or photos to "
                "score: featcache evaluate CLASSIFIER PHOTOS/"
            )
        refuse_for_cache(engine, trained_on)
        return FeatureCache(trained_on)
    if not isinstance(given, Dataset) and is_cache(given):
        refuse_for_cache(engine, given)
        return FeatureCache(given)
    with labels_needed(_predicted):
        data = open_to_score(given, allow_empty_classes=allow_empty_classes)
    return _extracted(classifier, data, predictor(), engine=engine, on_progress=on_progress)


def _predicted(spec: str) -> str:
    return f"photos without labels are classified by Classifier.predict({spec!r})"


def is_cache(given: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of a cache, not photos or the spec of a dataset."""
    path = expanded(os.fspath(given))
    return path.suffix == ".h5" or (os.path.isfile(path) and what_is(path) == CACHE)


def _extracted(
    classifier: "Classifier",
    data: Dataset,
    predictor: "Predictor",
    *,
    engine: str,
    on_progress: "OnProgress | None",
) -> FeatureCache:
    """Compute the features that no cache has, and keep them in ``FEATCACHE_HOME/caches``.

    There they serve every later evaluation and extraction, and are in nobody's way: neither in a cache that heads are
    trained on, nor among the caches of a sweep.
    """
    from featcache.extraction.extract import extract
    from featcache.extraction.resolved import backbone_label

    spec = predictor.extraction.spec
    views = spec.views
    drawn = {} if views.count == 1 else {"augment": views.augmentation, "view_seed": views.seed}
    # Another layout of the same folder has other rows.
    _, options = read_options("folder", data.spec, FOLDER_OPTIONS)
    where = [data.location or data.spec, *([options] if options else [])]
    what = [*where, classifier.fingerprint, views.to_json()]
    name = f"{data.name}-{backbone_label(predictor.network)}-{sha256_json(what)[:8]}.h5"
    with advising(OTHER_HOME):
        done = extract(
            data,
            backbone=predictor.network,
            layers=spec.layers or ("pool",),
            transforms=predictor.transforms,
            dtype=spec.dtype,
            compute_dtype=spec.compute_dtype,
            image_statistics=spec.image_statistics,
            views=views.count,
            **drawn,
            test_fraction=0.0,
            output=home() / "caches" / name,
            reuse=_training_cache(classifier, predictor),
            overwrite=True,
            engine=engine,
            on_progress=on_progress,
        )
    return done.cache


def _training_cache(classifier: "Classifier", predictor: "Predictor") -> list[Path]:
    """Return the cache that the classifier was trained on, if rows can be copied from there."""
    from featcache.extraction.planning.plan import serves

    path = Path(classifier.provenance["cache"])
    try:
        with FeatureCache(path) as cache:
            wanted = predictor.extraction
            return [path] if serves(cache.identity, wanted.recipe, wanted.specs) else []
    except OSError:  # it is gone or damaged: nothing depends on it
        return []


# Which rows -------------------------------------------------------------------------------------------------


def rows_to_score(classifier: "Classifier", cache: FeatureCache, asked: str | None) -> tuple[str, str]:
    """Return the split or slice to score, and in words why, where that is not plain.

    Parameters
    ----------
    classifier, cache
        The classifier, and the features it is scored on.
    asked
        What the user asks for; ``None`` for what is meant without a word: the rows that tested the classifier in the
        cache it was trained on; elsewhere every row where nobody gave splits, else the test split, the val split or the
        only one.

    Raises
    ------
    UsageError
        If it is not plain what is meant; the message names what can be.
    """
    if asked is not None:
        return asked, ""
    splits = cache.splits
    if is_own(classifier, cache):
        told = classifier.training.get("selection", {}).get("test")
        test = "test" if told in (None, NONE) else told
        return (test, "") if test != "test" else _given_split(cache, splits, own=True)
    if cache.identity["dataset"]["rule"] is None:
        return _given_split(cache, splits, own=False)
    whole = f"every image is scored: {cache.identity['dataset']['spec']} has no splits of its own"
    if len(splits) == 1:
        return ALL, whole
    _refuse_drawn(classifier, cache)
    return ALL, f"{whole}, {' and '.join(splits)} were drawn when its features were extracted"


def is_own(classifier: "Classifier", cache: FeatureCache) -> bool:
    """Return whether these are the rows that the classifier was trained on, or the cache of that name."""
    if classifier.provenance.get("rows_sha256") == cache.identity["rows"]["sha256"]:
        return True
    return classifier.provenance["cache"] == str(Path(cache.path).resolve())


def _given_split(cache: FeatureCache, splits: tuple[str, ...], *, own: bool) -> tuple[str, str]:
    """Choose among the splits that a dataset came with."""
    if "test" in splits:
        return "test", ""
    if "val" in splits:
        chose = ", whose images chose the epoch and calibrated it" if own else ""
        return "val", f"there is no test split: val was scored{chose}"
    if len(splits) == 1 and not own:
        return splits[0], f"{splits[0]} was scored, the only split there is"
    readings = ", ".join(f"--split {name} ({len(cache.rows_of(name))} images)" for name in splits)
    raise UsageError(
        f"{known_as(cache)} has no split 'test' and no 'val', so it is not plain what to score; say it: {readings}, or "
        f"--split all ({len(cache.rows_of())}){'; or name other photos' if own else ''}"
    )


def _refuse_drawn(classifier: "Classifier", cache: FeatureCache) -> None:
    """Refuse a cache with a drawn test share, some of whose images trained the classifier: both could be meant."""
    rows = cache.rows_of()
    seen = 0 if classifier.seen is None else count_seen(classifier.seen, cache.sha256[rows])
    if not seen:
        return
    shares = ", ".join(f"--split {name} ({len(cache.rows_of(name))} images)" for name in cache.splits)
    raise UsageError(
        f"{known_as(cache)} has no splits of its own, and {seen} of its {len(rows)} images trained this classifier or "
        f"chose its epoch, so it is not plain what to score; say it: a share that was drawn, {shares}, or every image, "
        f"--split all ({len(rows)})"
    )


def known_as(cache: FeatureCache) -> str:
    """Return what the user knows it by: the photos whose features were computed here, else its path."""
    made_here = Path(cache.path).parent == home() / "caches"
    return str(cache.identity["dataset"]["spec"] if made_here else cache.path)


def described(cache: FeatureCache, split: str, note: str, left_out: str = "") -> str:
    """Return why these rows were scored, which were left out, and how many of all images have no features."""
    missing = len(cache.quarantined()) if split == ALL else 0
    unread = f"{missing} of {len(cache)} images could not be read and are not scored" if missing else ""
    return "; ".join(filter(None, [note, left_out, unread]))
