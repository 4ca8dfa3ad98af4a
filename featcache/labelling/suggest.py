"""`suggest`: the unlabelled photos of a cache whose labels would help most."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.classifier.evaluation import require_same_features
from featcache.core.argument_types import SEED_WORDS, SEEDS, checked_types, spelled
from featcache.core.display import counted
from featcache.core.progress import OnProgress
from featcache.core.tasks import MULTICLASS, UNLABELLED
from featcache.datasets.found_photos import FoundPhotos, find_photos
from featcache.errors import UsageError
from featcache.labelling.label_table import labelled_in, require_table
from featcache.labelling.pool import Pool, read_pool, unlabelled_rows
from featcache.labelling.representatives import Chosen, representatives
from featcache.labelling.suggestions import Suggestion, Suggestions, files_of
from featcache.labelling.uncertainty import in_words, shown_values, uncertainty

if TYPE_CHECKING:
    from featcache.datasets import Dataset


@checked_types()
def suggest(
    cache: str | os.PathLike[str] | FeatureCache,
    classifier: str | os.PathLike[str] | Classifier | None = None,
    *,
    count: int = 50,
    split: str | None = None,
    layer: str | None = None,
    table: str | os.PathLike[str] | None = None,
    photos: "str | os.PathLike[str] | Dataset | None" = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Suggestions:
    """Suggest which photos to label next.

    With a classifier, photos that stand for many of which it is unsure and that are unlike each other; at the very
    start, without one, photos that are typical of many others (`featcache.labelling.representatives`). Photos that are
    labelled already are never suggested, nor is an image twice.

    Parameters
    ----------
    cache
        A cache of photos without labels (``featcache.extract(photos, unlabelled=True)``).
    classifier
        The classifier, or its folder; the images that it has learnt from count as labelled, and so do all images of
        the cache that it was trained on.
    count
        How many photos; fewer where fewer are left.
    split
        Rows to choose from, as a split or a slice; they count as unlabelled in a cache with labels, too, which is
        how the labelling of a labelled dataset is simulated.
    layer
        Layer of the cache, without a classifier, which knows its own; the first by default.
    table
        A table of labels that `Suggestions.to_csv` wrote: photos with a label in it count as labelled.
    photos
        Where the photos are, if they have moved: a dataset, or its spec.
    seed
        Of the first centres of the clusters.
    on_progress
        Called as features are read.

    Returns
    -------
    Suggestions
        The most helpful first, each with why.

    Raises
    ------
    UsageError
        If a value is out of its range, or the cache has labels and it is not said which rows count as unlabelled.
    IdentityError
        If its features are not those that the classifier was trained on.
    DataError
        If no photo is left to be labelled.
    """
    if count < 1:
        raise UsageError(f"{spelled('count')} {count}: expected at least 1 photo to suggest")
    if seed not in SEEDS:
        raise UsageError(f"{spelled('seed')} {seed}: expected a whole number {SEED_WORDS}")
    if table is not None:
        require_table(table)
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    known = Classifier.load(classifier) if isinstance(classifier, str | os.PathLike) else classifier
    own = _layer(opened, known, layer)
    _require_unlabelled(opened, split)
    find = _Photos(opened, photos)
    done, notes = _labelled_rows(opened, table, find)
    rows, known_rows, left = unlabelled_rows(opened, split, classifier=known, labelled=done)
    pool = read_pool(
        opened, own, rows, known_rows, left, classifier=known, seed=seed, on_progress=on_progress
    )
    notes += _notes(pool, known, count)
    weight = None if known is None or pool.values is None else uncertainty(pool.values, known.task)
    chosen = representatives(pool.vectors, pool.known, count, weight=weight, seed=seed)
    return Suggestions(
        photos=_suggestions(opened, pool, known, weight, chosen),
        cache=str(opened.path),
        method="typical" if weight is None else "unsure",
        words=_words(weight, known),
        unlabelled=len(pool.rows),
        labelled=pool.left.labelled,
        copies=pool.left.copies,
        notes=tuple(notes),
        backbone=opened.backbone,
        find=partial(find, [opened.ids[row] for row in pool.rows[chosen.places].tolist()]),
    )


def _layer(cache: FeatureCache, classifier: Classifier | None, layer: str | None) -> str:
    """Return the layer to read, of whose features the classifier can say something."""
    if classifier is None:
        return cache.layer(layer)
    if layer is not None and layer != classifier.layer:
        raise UsageError(
            f"{spelled('layer')} {layer}: this classifier reads {classifier.layer}, and no other; leave it out"
        )
    unlabelled = " --unlabelled" if cache.task == UNLABELLED else ""
    require_same_features(
        classifier,
        cache,
        instead=lambda spec: (
            f"Make those, featcache extract {spec}{unlabelled} --backbone CLASSIFIER --layer {classifier.layer} -o "
            "NEW.h5, or leave the classifier out"
        ),
    )
    return classifier.layer


def _require_unlabelled(cache: FeatureCache, split: str | None) -> None:
    if cache.task == UNLABELLED or split is not None:
        return
    readings = ", ".join(
        f"{spelled('split')} {name} ({len(cache.rows_of(name))} images)" for name in cache.splits
    )
    raise UsageError(
        f"{cache.path} has the labels of its photos, so it is not plain which are to be labelled. Either name the "
        "cache of the others (featcache extract PHOTOS --unlabelled); or, to see what would be suggested if labels "
        f"were missing, say which rows count as unlabelled: {readings}, or {spelled('split')} all"
    )


class _Photos:
    """The photos behind a cache, opened where they are asked for."""

    def __init__(self, cache: FeatureCache, where: "str | os.PathLike[str] | Dataset | None") -> None:
        self._cache, self._where = cache, where

    def __call__(self, ids: list[str]) -> FoundPhotos:
        places = {name: row for row, name in enumerate(self._cache.ids)}
        return find_photos(
            self._cache.identity["dataset"]["spec"],
            given=self._where,
            ids=ids,
            sha256={name: self._cache.sha256[places[name]].tobytes() for name in ids},
            task=self._cache.task,
        )


def _labelled_rows(
    cache: FeatureCache, table: str | os.PathLike[str] | None, find: Callable[[list[str]], FoundPhotos]
) -> tuple[np.ndarray, list[str]]:
    """Return the rows whose photo has a label in a table, int ``[n]``, and what is to be said of others in it."""
    named = [] if table is None else labelled_in(table)
    if table is None or not named:
        return np.zeros(0, np.int64), []
    files = files_of(find(list(cache.ids)))
    base = os.path.abspath(Path(table).parent)
    of_path = {
        os.path.normpath(os.path.join(base, files.get(name, name))): row for row, name in enumerate(cache.ids)
    }
    rows = [of_path[path] for path in named if path in of_path]
    others = len(named) - len(rows)
    said = f"{counted(others, 'photo')} with a label in {table} {'is' if others == 1 else 'are'} not in {cache.path}"
    return np.array(sorted(rows), np.int64), [said] if others else []


def _notes(pool: Pool, classifier: Classifier | None, count: int) -> list[str]:
    notes = []
    if len(pool.rows) < count:
        left = len(pool.rows)
        notes.append(
            f"{count} photos were asked for, and {left} {'is' if left == 1 else 'are'} left without a label"
        )
    if pool.left.broken:
        notes.append(f"{counted(pool.left.broken, 'photo')} left out, as their features are NaN or infinite")
    if classifier is not None and classifier.seen is None:
        notes.append(
            "the classifier does not say which images it has learnt from, as an older featcache trained it: photos "
            "that are not in its training cache may be labelled already; train it again"
        )
    return notes


def _words(weight: np.ndarray | None, classifier: Classifier | None) -> str:
    if weight is not None:
        return "typical photos, unlike each other, of many that the classifier is unsure of"
    why = "" if classifier is None else ", as numbers do not say how sure they are"
    return f"photos that are typical of many others without a label{why}"


def _suggestions(
    cache: FeatureCache,
    pool: Pool,
    classifier: Classifier | None,
    weight: np.ndarray | None,
    chosen: Chosen,
) -> tuple[Suggestion, ...]:
    splits = cache.split_names()
    made = []
    for rank, (place, size) in enumerate(
        zip(chosen.places.tolist(), chosen.stand_for.tolist(), strict=True), start=1
    ):
        row = int(pool.rows[place])
        # Where all that are left are suggested, none stands for another, and none is unlike the rest for that.
        stands = "" if len(chosen.places) == len(pool.rows) else _stands_for(size, typical=weight is None)
        shown: tuple[tuple[str, float], ...] = ()
        thinks = ""
        if classifier is not None and pool.values is not None:
            shown = shown_values(pool.values[place], classifier.classes, classifier.task)
            thinks = in_words(shown, classifier.task)
        made.append(
            Suggestion(
                rank=rank,
                id=cache.ids[row],
                row=row,
                split=splits[row],
                why="; ".join(filter(None, [thinks, stands])),
                guess=shown[0][0] if shown and classifier and classifier.task == MULTICLASS else "",
                probabilities=shown,
                unsure=None if weight is None else float(weight[place]),
                stands_for=size,
            )
        )
    return tuple(made)


def _stands_for(size: int, *, typical: bool) -> str:
    if size == 1:
        return "unlike all others"
    others = f"{size - 1:,} other{'' if size == 2 else 's'}"
    return f"typical of {others}" if typical else f"stands for {others} like it"
