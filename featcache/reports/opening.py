"""From what a user names to what a report is made of: a classifier, a sweep, a cache, a fine-tuning run, records."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.cache import FeatureCache
from featcache.core.disk.names import kind_of, near_names, require_there
from featcache.core.display import SPLIT_WORDS
from featcache.core.identity import sha256_json
from featcache.core.tasks import MULTICLASS
from featcache.datasets.found_photos import FoundPhotos, find_photos
from featcache.errors import DataError, FeatcacheError, IdentityError, MissingFileError, UsageError
from featcache.images.given_path import CACHE, CLASSIFIER, PART, PHOTOS, RECORD, RUN, SWEEP, UNKNOWN, what_is
from featcache.pages.sprites import Sprites
from featcache.reports.experiment_records import RECORDS, files_in, read_records
from featcache.reports.material import Contestant, Material
from featcache.reports.wishes import Given, Wishes

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.scored.rows import ScoredRows

EXPECTED = "a classifier, a sweep, a cache, a fine-tuning run or records of experiments"


def open_material(paths: Sequence[Given], wishes: Wishes) -> Material:
    """Open what a report shows.

    Parameters
    ----------
    paths
        One path; or several classifiers, sweeps and runs, which are compared, the first being shown in full.
    wishes
        How.

    Raises
    ------
    UsageError
        If nothing is named, or what is named cannot be compared.
    DataError
        If a path is something else; `MissingFileError` where there is nothing.
    IntegrityError
        If it is damaged.
    """
    places = [Path(path) for path in paths]
    kinds = kinds_of(places)
    if {RECORD, RECORDS} & {*kinds}:
        return _of_records(places, kinds, wishes)
    first = _OPENING[kinds[0]](places[0], wishes)
    if wishes.audit is not None:
        from featcache.reports.audited import audit_of

        first = replace(first, audit=audit_of(first, wishes.audit, wishes.on_progress))
    if len(places) == 1:
        return first
    if CACHE in kinds:
        raise UsageError(
            f"{places[kinds.index(CACHE)]} is a cache, which has no scores to compare; name classifiers and sweeps, or "
            "the cache alone; to score a classifier on it: --cache"
        )
    _require_once([os.path.realpath(place) for place in places], places)
    others = [_OPENING[kind](place, wishes) for kind, place in zip(kinds[1:], places[1:], strict=True)]
    return replace(first, compared=_contestants([first, *others], places))


def _require_once(real: Sequence[str], places: Sequence[Path]) -> None:
    if len(set(real)) < len(real):
        raise UsageError(f"{' '.join(map(str, places))}: one of these is named twice; name each once")


def kinds_of(places: Sequence[Path]) -> list[str]:
    """Return what each path is, in the words of `featcache.images.given_path`; nothing is opened.

    Raises
    ------
    UsageError
        If there is no path.
    DataError
        If one is nothing that a report is made of.
    """
    if not places:
        raise UsageError(f"no path: expected {EXPECTED}; name one")
    return [_kind(place) for place in places]


def _kind(place: Path) -> str:
    def missing() -> str:
        return f"nothing at {place}; expected {EXPECTED}; {near_names(place) or 'check the name'}"

    require_there(place, EXPECTED, missing=missing)
    kind = what_is(place)
    if kind in _OPENING or kind == RECORD:
        return kind
    if kind in (UNKNOWN, PHOTOS) and place.is_dir() and files_in(place):
        return RECORDS
    if kind == PART:
        raise DataError(f"{place} is {kind}; name its folder, {place.parent}")
    raise DataError(f"{place} is {kind or kind_of(place)}; expected {EXPECTED}; name one")


# Each kind ----------------------------------------------------------------------------------------------------


def _of_classifier(folder: Path, wishes: Wishes) -> Material:
    from featcache.classifier.classifier import Classifier

    classifier = Classifier.load(folder)
    notes: list[str] = []
    judge, cache, scored = _score(classifier, wishes, notes)
    photos = _photos(cache, classifier.provenance["dataset"], wishes)
    material = Material(
        path=folder,
        sprites=_sprites(photos, wishes),
        classifier=judge,
        folder=folder,
        cache=cache,
        dataset=photos.dataset,
        moved=photos.moved,
        read=photos.read,
        seed=wishes.seed,
        tsne=wishes.tsne,
        notes=notes,
    )
    if scored is None:
        return material
    from featcache.classifier.evaluation import evaluation_of

    evaluation = evaluation_of(judge, scored)
    notes += [_sentence(evaluation.note)] if evaluation.note else []
    if evaluation.seen and judge is classifier:
        notes.append(
            f"{evaluation.seen} of these {evaluation.count} images trained it or chose its epoch: its scores are too "
            "good for new images."
        )
    return replace(
        material,
        evaluation=evaluation,
        rows=scored.rows,
        split=scored.split,
        values=scored.values,
        labels=scored.labels,
    )


def _of_sweep(folder: Path, wishes: Wishes) -> Material:
    from featcache.sweeps.finished import read_sweep

    found = read_sweep(folder)
    own = found.classifier
    if own is None:
        material = Material(path=folder, sprites=Sprites(None), seed=wishes.seed, tsne=wishes.tsne)
        material.notes.append("The sweep saved no classifier, so there is none to look into.")
    else:
        material = _of_classifier(own, wishes)
    if found.damaged:
        material.notes.append(
            f"{len(found.damaged)} of the sweep's results are damaged and left out; the same featcache sweep command "
            "fits these heads again."
        )
    return replace(material, path=folder, sweep=found.summary, lines=found.lines)


def _of_run(folder: Path, wishes: Wishes) -> Material:
    from featcache.core.classifier_folder import is_classifier
    from featcache.finetuning.runs.run_folder import read_history, read_run

    document, made = read_run(folder), folder.with_suffix("")
    if is_classifier(made):
        material = _of_classifier(made, wishes)
    else:
        material = Material(path=folder, sprites=Sprites(None), seed=wishes.seed, tsne=wishes.tsne)
        material.notes.append("The run has made no classifier yet; go on with featcache finetune … --resume.")
    return replace(material, path=folder, run=document, history=tuple(read_history(folder)))


def _of_cache(path: Path, wishes: Wishes) -> Material:
    if wishes.cache is not None:
        raise UsageError(f"{path} is a cache, and so is --cache {wishes.cache}; name one of them")
    cache = FeatureCache(path)
    rows = cache.rows_of(wishes.split)
    photos = _photos(cache, cache.identity["dataset"]["spec"], wishes)
    return Material(
        path=path,
        sprites=_sprites(photos, wishes),
        cache=cache,
        rows=rows,
        split=wishes.split or "all",
        labels=cache.known[rows],
        dataset=photos.dataset,
        moved=photos.moved,
        read=photos.read,
        seed=wishes.seed,
        tsne=wishes.tsne,
    )


def _of_records(places: Sequence[Path], kinds: Sequence[str], wishes: Wishes) -> Material:
    for place, kind in zip(places, kinds, strict=True):
        if kind not in (RECORD, RECORDS):
            raise UsageError(f"{place} is no record of an experiment, others here are; make a page of either")
    if (wishes.cache, wishes.photos, wishes.split, wishes.audit) != (None, None, None, None):
        raise UsageError(
            f"{places[0]}: records of experiments hold numbers alone; leave out --cache, --photos, --split and --audit"
        )
    records = read_records(places)
    _require_once([os.path.realpath(own.path) for own in records], places)
    return Material(path=places[0], sprites=Sprites(None), records=records)


_OPENING: Mapping[str, Callable[[Path, Wishes], Material]] = {
    CLASSIFIER: _of_classifier,
    SWEEP: _of_sweep,
    RUN: _of_run,
    CACHE: _of_cache,
}


# A classifier's rows ------------------------------------------------------------------------------------------


def _score(
    classifier: "Classifier", wishes: Wishes, notes: list[str]
) -> "tuple[Classifier, FeatureCache | None, ScoredRows | None]":
    """Return the classifier that is shown, its features and its answers; ``None`` where there are none.

    A head that was fitted again on validation rows cannot be judged by them: there, it is shown as it was before.
    """
    from featcache.classifier.evaluation import score_rows
    from featcache.classifier.scored.seen import count_seen

    cache = None
    try:
        cache = _features(classifier, wishes)
        scored = score_rows(classifier, cache, wishes.split, tta=classifier.tta)
    except (MissingFileError, IdentityError, UsageError) as error:
        if wishes.cache is not None or wishes.photos is not None or wishes.split is not None:
            raise
        notes.append(f"{_saved(classifier)} ({error}).")
        # The same photos under other labels would be shown as its own.
        return classifier, cache if cache and cache.classes == tuple(classifier.classes) else None, None
    before = classifier.before_refit()
    if before is classifier or classifier.seen is None:
        return classifier, cache, scored
    if not count_seen(classifier.seen, cache.sha256[scored.rows]):
        return classifier, cache, scored
    images = classifier.training.get("refitted", {}).get("images")
    which = f"all {images:,} training and validation images" if images else "them"
    notes.append(
        f"The head was fitted again on {which} at last, and so it predicts; the scores here are of the head before "
        f"that, which had not learnt from these {SPLIT_WORDS.get(scored.split, scored.split)} photos."
    )
    return before, cache, score_rows(before, cache, wishes.split, tta=before.tta)


def _sentence(text: str) -> str:
    ending = ", so its scores are a little too good" if "chose the epoch" in text else ""
    return f"{text[:1].upper()}{text[1:]}{ending}."


def _saved(classifier: "Classifier") -> str:
    kept = (
        "The scores are those that the classifier was saved with"
        if classifier.metrics
        else "There are no scores"
    )
    return (
        f"{kept}: there are no rows to score it on, so that its answers cannot be looked at; name --photos, --cache or "
        "--split"
    )


def _features(classifier: "Classifier", wishes: Wishes) -> FeatureCache:
    """Return the features to score it on: of the cache named, of the one it was trained on, or of the photos."""
    from featcache.classifier.evaluation import require_same_features
    from featcache.classifier.scored.rows import features_of

    def predictor() -> Any:
        return classifier._averaging(classifier.tta)

    if wishes.cache is not None:
        return features_of(classifier, wishes.cache, predictor, on_progress=None)
    own = Path(classifier.provenance["cache"])
    if own.exists():
        with suppress(FeatcacheError):
            cache = FeatureCache(own)
            require_same_features(classifier, cache)
            return cache
    if wishes.photos is not None:
        return features_of(classifier, wishes.photos, predictor, on_progress=wishes.on_progress)
    cache = features_of(classifier, None, predictor, on_progress=None)  # which says what is wrong with it
    require_same_features(classifier, cache)
    return cache


# Photos -------------------------------------------------------------------------------------------------------


def _photos(cache: FeatureCache | None, spec: str, wishes: Wishes) -> FoundPhotos:
    """Return the photos of a cache: where it says, or where the user does."""
    if not wishes.pictures:
        return FoundPhotos(moved="There are no pictures: none were asked for.")
    if cache is None:
        return FoundPhotos()
    return find_photos(
        cache.identity["dataset"]["spec"] or spec,
        given=wishes.photos,
        ids=cache.ids,
        sha256={name: digest.tobytes() for name, digest in zip(cache.ids, cache.sha256, strict=True)},
        task=cache.task,
    )


def _sprites(photos: FoundPhotos, wishes: Wishes) -> Sprites:
    return Sprites(photos.read, side=wishes.side, most=wishes.pictures)


# Several ------------------------------------------------------------------------------------------------------


def _contestants(opened: Sequence[Material], places: Sequence[Path]) -> tuple[Contestant, ...]:
    """Return the classifiers that are compared.

    Raises
    ------
    UsageError
        If one has no classifier, or they are of several tasks.
    """
    names = _short(places)
    found = []
    for material, name, place in zip(opened, names, places, strict=True):
        classifier = material.classifier
        if classifier is None or material.folder is None:
            raise UsageError(f"{place} has no classifier to compare; leave it out")
        evaluation = material.evaluation
        if evaluation is None:
            told = classifier.metrics.get("test") or next(iter(classifier.metrics.values()), {})
            found.append(Contestant(name, material.folder, classifier, told))
            continue
        right = material.values.argmax(axis=1) == material.labels if classifier.task == MULTICLASS else None
        images = (
            []
            if material.cache is None
            else [material.cache.sha256[row].tobytes().hex() for row in material.rows]
        )
        found.append(
            Contestant(name, material.folder, classifier, evaluation.to_json(), sha256_json(images), right)
        )
    tasks = {each.classifier.task for each in found}
    if len(tasks) > 1:
        raise UsageError(
            f"these classifiers are of several tasks ({', '.join(sorted(tasks))}); compare those of one"
        )
    return tuple(found)


def _short(places: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart."""
    parts = [place.absolute().parts for place in places]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(own) for own in parts]
