"""Score a classifier on photos: check the features' identity, and match labels by name."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.known.judging import judge_of
from featcache.classifier.rejection import Rejection, rejection_at
from featcache.classifier.scored.images import WORST, Mistake, ScoredImages
from featcache.classifier.scored.left_out import rows_kept
from featcache.classifier.scored.retrieval import require_searchable, retrieval_of
from featcache.classifier.scored.rows import (
    Photos,
    ScoredRows,
    described,
    features_of,
    known_as,
    rows_to_score,
)
from featcache.classifier.scored.seen import count_seen
from featcache.classifier.view_features import require_several
from featcache.core.argument_types import checked_types
from featcache.core.identity import differences, first_of
from featcache.core.tasks import MULTICLASS, TASK_NAMES, require_labels
from featcache.datasets.exclude_list import ExcludeGiven
from featcache.errors import IdentityError, UsageError
from featcache.extraction.engines import AUTO
from featcache.heads.feature_table import blocks
from featcache.heads.task_types import TASK_TYPES
from featcache.metrics.classification import Evaluation
from featcache.metrics.retrieval import RetrievalScores, with_retrieval
from featcache.splits.selection import SplitSpec, slice_order

if TYPE_CHECKING:
    import pandas

    from featcache.classifier.classifier import Classifier
    from featcache.classifier.prediction import Predictor
    from featcache.core.progress import OnProgress

_BLOCK_BYTES = 2**26
"""Features that are scored at a time: 64 MiB."""


@dataclass(frozen=True, repr=False)
class ClassifierEvaluation(Evaluation):
    """Scores of a multiclass classifier, and of its predictions that are not "unknown".

    Parameters
    ----------
    rejection
        Coverage and accuracy of its threshold on these rows; ``None`` if it has none.
    views
        Number of views of each image whose mean was scored.
    seen
        Number of rows whose images trained or validated it; ``None`` if an older featcache trained it.
    note
        Why these rows were scored, where it was not asked for and is not plain, and how many could not be read.
    unlike
        Number of rows that lie farther from what it has seen than 99 % of photos like these do, which it would call
        unlike anything seen; ``None`` if it does not know how far that is.
    images
        The images with their true classes and probabilities, for `to_frame` and `write_errors`; not in `to_json`.
    retrieval
        Scores of the features as a search among these rows, where they were asked for.
    """

    rejection: Rejection | None = None
    views: int = 1
    seen: int | None = None
    note: str = ""
    unlike: int | None = None
    images: ScoredImages | None = field(default=None, repr=False, compare=False)
    retrieval: RetrievalScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the scores, and the `WORST` mistakes."""
        value = with_retrieval(Evaluation.to_json(replace(self, images=None)), self.retrieval)
        del value["images"]
        return {**value, "worst": [asdict(mistake) for mistake in self.mistakes(WORST)]}

    def mistakes(self, most: int | None = None) -> list[Mistake]:
        """Return the images with a wrong guess, the worst first: those that gave their true class least."""
        return self.images.mistakes(most) if self.images else []

    def to_frame(self) -> "pandas.DataFrame":
        """Return all scored images as a table: file, truth, guess, probabilities, and whether it is unknown.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        UsageError
            If this evaluation holds no images.
        """
        return self._with_images().to_frame()

    def write_errors(self, path: str | os.PathLike[str]) -> int:
        """Write the images with a wrong guess to a ``.csv`` or ``.json`` file, the worst first; returns their number.

        Raises
        ------
        UsageError
            If the file ends in anything else, or this evaluation holds no images.
        StorageError
            If it cannot be written.
        """
        return self._with_images().write_mistakes(path)

    def _with_images(self) -> ScoredImages:
        if self.images is None:
            raise UsageError("this evaluation holds no images; take the result of Classifier.evaluate()")
        return self.images


class ClassifierScoring:
    """How a classifier is scored; see `featcache.classifier.classifier.Classifier`."""

    @checked_types()
    def evaluate(
        self,
        cache: Photos = None,
        split: str | None = None,
        *,
        tta: bool | None = None,
        exclude: ExcludeGiven = None,
        allow_empty_classes: bool = False,
        retrieval: bool = False,
        engine: str = AUTO,
        on_progress: "OnProgress | None" = None,
    ) -> ClassifierEvaluation | Any:
        """Score the classifier on labelled photos, whose features are computed where no cache has them.

        Parameters
        ----------
        cache
            A cache of the same recipe, or photos: a dataset or its spec, such as ``"new/"`` or ``"csv:new.csv"``, whose
            features are kept in ``FEATCACHE_HOME/caches``. By default the cache it was trained on.
        split
            Name of the split, a slice of it (see `featcache.splits.slices`), or ``"all"``. By default the test rows of
            its training, usually ``"test"``; of other photos every one where they have no splits of their own, else
            ``"test"``, ``"val"`` where there is no test split, or the only split there is.
        tta
            Average over all views of each image; ``None`` for the setting of its training.
        exclude
            Photos to leave out: the file of a list (see `featcache.datasets.exclude_list`), their ids, or ``"none"``.
            By default, of the cache it was trained on, those that a list left out of its training.
        allow_empty_classes
            Whether to score a folder in which no picture of a class can be read, without that class.
        retrieval
            Whether to score the features as a search, too; see `featcache.metrics.retrieval.RetrievalScores`.
        engine
            What runs the network on photos: ``"auto"``, ``"jax"`` or ``"onnxruntime"``; see `featcache.extract`.
        on_progress
            Called with a `featcache.core.progress.Progress` as features are computed.

        Returns
        -------
        ClassifierEvaluation, MultilabelEvaluation or RegressionEvaluation
            By task: multiclass, multilabel or regression.

        Raises
        ------
        DataError
            If a photo to leave out is none of those that are scored.
        IdentityError
            If the cache's features are of another identity; lists the differences.
        UsageError
            If it is not plain which rows are meant, the cache holds one view to average over, or its classes or task
            differ from the classifier's.
        """
        own = cast("Classifier", self)
        averaged = own.tta if tta is None else tta
        return evaluate_classifier(
            own,
            cache,
            split,
            tta=averaged,
            exclude=exclude,
            predictor=lambda: own._averaging(averaged),
            allow_empty_classes=allow_empty_classes,
            retrieval=retrieval,
            engine=engine,
            on_progress=on_progress,
        )


def evaluate_classifier(
    classifier: "Classifier",
    photos: Photos,
    split: str | None,
    *,
    tta: bool,
    predictor: "Callable[[], Predictor]",
    exclude: ExcludeGiven = None,
    allow_empty_classes: bool = False,
    retrieval: bool = False,
    engine: str = AUTO,
    on_progress: "OnProgress | None" = None,
) -> ClassifierEvaluation | Any:
    """Score a classifier on photos; see `featcache.classifier.classifier.Classifier.evaluate`."""
    if retrieval:
        require_searchable(classifier)
    opened = features_of(
        classifier,
        photos,
        predictor,
        allow_empty_classes=allow_empty_classes,
        engine=engine,
        on_progress=on_progress,
    )
    scored = score_rows(classifier, opened, split, tta=tta, exclude=exclude)
    scores = evaluation_of(classifier, scored)
    return replace(scores, retrieval=retrieval_of(classifier, scored)) if retrieval else scores


def score_rows(
    classifier: "Classifier",
    cache: FeatureCache,
    split: str | None,
    *,
    tta: bool,
    exclude: ExcludeGiven = None,
) -> ScoredRows:
    """Return a classifier's answers on rows of a cache, with the truth in its own classes.

    Parameters
    ----------
    classifier, cache
        The classifier, and a cache of the features that it was trained on.
    split
        Which rows; see `featcache.classifier.scored.rows.rows_to_score`.
    tta
        Whether to average over all views of each image.
    exclude
        Photos to leave out; see `featcache.classifier.scored.left_out.rows_kept`.

    Raises
    ------
    IdentityError
        If the features are of another identity.
    UsageError
        If it is not plain which rows are meant, or there is one view to average over, or other classes.
    """
    require_labels(cache, "an evaluation")
    require_same_features(classifier, cache)
    if tta:
        require_several(cache, classifier.layer)
    asked, why = rows_to_score(classifier, cache, split)
    selection = _selection(classifier)
    rows, left_out = rows_kept(
        classifier, cache, asked, exclude, order=slice_order(cache, selection), remembered=selection.exclude
    )
    values, unlike = _answers(classifier, cache, rows, tta=tta)
    return ScoredRows(
        cache=cache,
        split=asked,
        rows=rows,
        values=values,
        labels=_own_labels(classifier, cache, cache.known[rows]),
        note=described(cache, asked, why, left_out),
        views=cache.layers[classifier.layer].views if tta else 1,
        unlike=unlike,
    )


def _answers(
    classifier: "Classifier", cache: FeatureCache, rows: np.ndarray, *, tta: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return `ScoredRows.values` and `ScoredRows.unlike` of rows, whose features are read a block at a time."""
    judge, spec = judge_of(classifier, tta=tta), cache.layers[classifier.layer]
    width = int(np.prod(spec.shape)) * (spec.views if tta else 1)
    values, unlike = [], []
    for part in blocks(len(rows), width, _BLOCK_BYTES) or [slice(0, 0)]:
        features = cache.features(rows[part], classifier.layer, view="all" if tta else 0)
        values.append(classifier.values(features, tta=tta))
        if judge.farthest is not None:
            unlike.append(judge.distances(features)[1])
    return np.concatenate(values), np.concatenate(unlike) if unlike else None


def evaluation_of(classifier: "Classifier", scored: ScoredRows) -> ClassifierEvaluation | Any:
    """Return the scores of a classifier's answers on rows."""
    values, own = scored.values, scored.labels
    scores = TASK_TYPES[classifier.task].evaluate(own, values, classes=classifier.classes, split=scored.split)
    digests = scored.cache.sha256[scored.rows]
    seen = None if classifier.seen is None else count_seen(classifier.seen, digests)
    unlike = None if scored.unlike is None else int(scored.unlike.sum())
    told: dict[str, Any] = {"seen": seen, "note": scored.note, "unlike": unlike}
    if classifier.task != MULTICLASS:
        return replace(scores, **told)
    threshold = classifier.calibration.threshold
    kept = None if threshold is None else rejection_at(threshold, values, own)
    names = tuple(scored.cache.ids[row] for row in scored.rows)
    images = ScoredImages(names, classifier.classes, own, values, threshold)
    return ClassifierEvaluation(**vars(scores), rejection=kept, views=scored.views, images=images, **told)


def _selection(classifier: "Classifier") -> SplitSpec:
    """Return the request for the rows that trained, validated and tested a classifier."""
    own = classifier.settings
    return SplitSpec.from_training(classifier.training, val_fraction=own.val_fraction, seed=own.seed)


def require_same_features(
    classifier: "Classifier", cache: FeatureCache, *, instead: Callable[[str], str] | None = None
) -> None:
    """Raise for a cache whose features differ from those that a head was trained on.

    Parameters
    ----------
    classifier, cache
        Both.
    instead
        Given the photos behind the cache, returns what to do, for the message; by default how they are scored.

    Raises
    ------
    IdentityError
        With the differences, field by field.
    """
    held = cache.layers.get(classifier.layer)
    if held is not None and classifier.features_identity.same_as(
        held.identity(cache.recipe, classifier.layer)
    ):
        return
    lines = differences(cache.recipe, classifier.recipe)
    if held is None:
        lines.append(f"layers: {', '.join(cache.layers)} in the cache, {classifier.layer} asked for")
    photos = shlex.quote(cache.identity["dataset"]["spec"])
    advice = instead or (
        lambda spec: (
            f"Score the photos themselves, featcache evaluate CLASSIFIER {spec}, or make their features with its "
            f"network, featcache extract {spec} --backbone CLASSIFIER --layer {classifier.layer}"
        )
    )
    raise IdentityError(
        f"{known_as(cache)} holds other features than this classifier was trained on ({first_of(lines)}). "
        f"{advice(photos)}"
    )


def _own_labels(classifier: "Classifier", cache: FeatureCache, labels: np.ndarray) -> np.ndarray:
    """Translate a cache's labels or targets to a classifier's, by name."""
    known, asked = cache.classes, classifier.classes
    if cache.task != classifier.task:
        raise UsageError(
            f"{known_as(cache)} has {TASK_NAMES[cache.task]} targets; this classifier's task is "
            f"{TASK_NAMES[classifier.task]}: name photos that are labelled for it"
        )
    if cache.task != MULTICLASS:
        if missing := [name for name in asked if name not in known]:
            raise UsageError(
                f"{known_as(cache)} has no targets {', '.join(missing[:5])}, which this classifier predicts; it holds "
                f"{', '.join(known[:10])}"
            )
        return labels[:, [known.index(name) for name in asked]]
    if unknown := [name for name in known if name not in asked]:
        raise UsageError(
            f"{known_as(cache)} has classes this classifier does not know: {', '.join(unknown[:5])}; "
            f"it knows {', '.join(asked[:10])}; {_way_out(unknown, asked)}"
        )
    return np.array([asked.index(name) for name in known], np.int32)[labels]


def _way_out(unknown: Sequence[str], asked: Sequence[str]) -> str:
    """Return what to do about classes that a classifier does not know: they may be another spelling of its own."""
    known = {name.casefold().strip(): name for name in asked}
    if own := known.get(unknown[0].casefold().strip()):
        return f"write {unknown[0]!r} as {own!r}"
    return "leave them out, or train a head on them: featcache train-head"
