"""Train one head on a cache: select rows, fit, score, and save the result as a classifier."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.classifier.finishing import finish_head, image_floor
from featcache.classifier.refitting import RefittedHeads, divisions, fit_at_once, folds_for
from featcache.classifier.refitting import refit as refit_heads
from featcache.classifier.rejection import require_accuracy
from featcache.classifier.replacing import save_keeping_better
from featcache.classifier.view_features import feature_table, require_several, views_used, with_views
from featcache.core.schema import spelled_out
from featcache.core.tasks import MULTICLASS, require_labels
from featcache.core.warning import warn_all
from featcache.datasets.exclude_list import ExcludeGiven, read_exclude
from featcache.errors import DataError
from featcache.heads.settings import (
    DESCENT,
    SETTINGS,
    STRENGTHS,
    HeadArguments,
    Settings,
)
from featcache.heads.target_scaling import labels_to_learn
from featcache.heads.task_types import TASK_TYPES
from featcache.heads.usual_settings import for_rows, usual_head, with_fading_votes
from featcache.heads.weights_by_class import named_weights, read_weights
from featcache.splits.selection import Selection, SplitSpec, select_rows

if TYPE_CHECKING:
    from featcache.heads.feature_table import FeatureRows
    from featcache.solvers.fit import Fit


@spelled_out(HeadArguments, SETTINGS, before="tta")
def train_head(
    cache: str | os.PathLike[str] | FeatureCache,
    *,
    output: str | os.PathLike[str] | None = "classifier",
    layer: str | None = None,
    train: str = "train",
    val: str | None = None,
    test: str | None = None,
    group_by: str | None = None,
    shuffle_slices: bool = False,
    exclude: ExcludeGiven = None,
    tta: bool = False,
    refit: bool = True,
    calibrate: bool = True,
    reject_accuracy: float = 0.95,
    **settings: Unpack[HeadArguments],
) -> Classifier:
    """Train a head on cached features.

    Parameters
    ----------
    cache
        A cache, its path, or the result of `featcache.extract`.
    output
        Folder for the classifier; ``None`` to save nothing. A classifier that is there is replaced; one that is
        clearly better on the same validation rows is kept as ``OUTPUT.better``, with a warning.
    layer
        Layer of the cache; its first by default.
    train, val, test, group_by
        Training, validation and test rows, as splits or slices such as ``"train[:80%]"``; ``"none"`` for none. By
        default the cache's own splits; without a val split, ``val_fraction`` of the training rows, in whole groups if
        images have groups. See `featcache.splits.selection.SplitSpec`.
    shuffle_slices
        Cut slices of rows that are shuffled by the seed, every class evenly, and copies and groups whole; see
        `featcache.splits.shuffled`. Recorded, so that `Classifier.evaluate` and fine-tuning cut the same.
    exclude
        Photos to leave out of all rows: the file of a list (see `featcache.datasets.exclude_list`), or their ids. The
        others stay the training, validation and test rows that they are without it. Recorded, so that
        `Classifier.evaluate` and fine-tuning leave out the same.
    tta
        Score and calibrate on the mean of the probabilities of all views of an image that the cache holds
        (test-time augmentation) instead of the plain image; recorded, so that `Classifier.evaluate` and
        `Classifier.predict` do the same. The epoch is chosen on the plain validation images either way.
    refit
        Once validation has chosen the epoch, fit the head on training and validation rows together: validation and
        test scores then are of two heads, of which the second has learnt from more.
    calibrate
        Fit a temperature, and choose the confidence below which a prediction is "unknown"; see
        `featcache.classifier.calibration.calibrated`. Both are chosen on outputs for rows that a head has not learnt
        from: with `refit` those of five folds (see `featcache.classifier.refitting`), without it those of the
        validation rows, which also chose the epoch, so that both are slightly optimistic.
    reject_accuracy
        Required accuracy of predictions that are not "unknown".
    **settings
        Settings of the head: `head`, `learning_rate`, `epochs` and all others of
        `featcache.heads.settings.Settings`, with its defaults. The default head for multiclass is
        ``"logistic"`` for few rows, and ``"linear"`` with ``"softmax"`` for many or where a setting of heads by descent
        is given (see `featcache.heads.usual_settings.usual_head`); for multilabel it is ``"linear"`` with
        ``"sigmoid"``, and for regression ``"ridge"``. The strength of a
        solved head's penalty, `c` or `l2`, is chosen by five folds unless it is given; `epochs` are enough for at
        least 5,000 steps, and early stopping ends before.

    Returns
    -------
    Classifier
        Its metrics hold the scores of calibrated probabilities: ``val`` (which chose the epoch) and, if there are test
        rows, ``test`` (read once); for the other tasks see `featcache.metrics.multilabel` and
        `featcache.metrics.regression`. ``training["warnings"]`` lists probable mistakes in the data, each of which
        is also issued as a `featcache.FeatcacheWarning`, and
        ``training["image_floor"]`` is the accuracy that colour statistics alone reach on the validation rows.

    Raises
    ------
    UsageError
        If a setting has an invalid value, or the head does not support the cache's task.
    DataError
        If the cache has no usable training rows, a row holds NaN or infinity, or a photo to leave out is none of the
        cache's.
    IntegrityError
        If the cache is damaged.
    """
    require_accuracy(reject_accuracy)
    read_weights(settings.get("class_weights") or "none")  # refused before a file is looked for
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    require_labels(opened, "a head")
    reading = TASK_TYPES[opened.task]
    arguments = {
        **settings,
        "head": reading.head(settings.get("head")),
        "loss": reading.loss(settings.get("loss")),
        "scaling": reading.scaling(settings.get("scaling")),
        "class_weights": named_weights(settings.get("class_weights"), opened.classes),
    }
    own = with_fading_votes(Settings.from_arguments(arguments))
    name = opened.layer(layer)
    left_out = read_exclude(exclude, opened.ids, origin=str(opened.path))
    asked = SplitSpec(train, val, test, own.val_fraction, group_by, own.seed, shuffle_slices, left_out)
    rows = select_rows(opened, asked)
    if tta:
        require_several(opened, name)
    if settings.get("head") is None and opened.task == MULTICLASS:
        own = _with_usual_head(own, opened, name, len(rows.train), settings)
    own = with_views(opened, name, own)
    own = for_rows(own, len(rows.train), {key for key, value in settings.items() if value is not None})
    task = _Training(opened, name, own, rows)
    started = time.monotonic()
    own, fit, refitted = _fitted(
        task, own, rows, asked, refit=refit, calibrate=calibrate, strength=_strength(own, settings)
    )
    seconds = round(time.monotonic() - started, 3)
    classifier = finish_head(
        opened,
        name,
        own,
        fit,
        rows=rows,
        refitted=refitted,
        selection=asked,
        scale=task.scale,
        floor=image_floor(opened, name, rows.train, rows.val),
        reject_accuracy=reject_accuracy if calibrate else None,
        tta=tta,
        seconds=seconds,
    )
    if output is not None:
        save_keeping_better(classifier, Path(output), opened)
    warn_all(found["message"] for found in classifier.training["warnings"])
    return classifier


class _Training:
    """The rows that a head learns from and is judged by, all of weight 1.

    Parameters
    ----------
    cache, layer, settings
        What is learnt from, and how.
    rows
        Regression targets are scaled by the training rows.
    """

    def __init__(self, cache: FeatureCache, layer: str, settings: Settings, rows: Selection) -> None:
        self.cache, self.layer = cache, layer
        self.views = views_used(cache, layer, settings)
        self.labels, self.scale = labels_to_learn(cache.task, cache.known, rows.train)

    def learnt(self, rows: np.ndarray) -> "FeatureRows":
        """Return the views that a head learns from."""
        return self._rows(rows, self.views)

    def plain(self, rows: np.ndarray) -> "FeatureRows":
        """Return the plain images, by which it is judged."""
        return self._rows(rows, 1)

    def _rows(self, rows: np.ndarray, views: int) -> "FeatureRows":
        from featcache.heads.feature_table import FeatureRows

        table = feature_table(self.cache, rows, self.layer, views)
        return FeatureRows(table, self.labels[rows], np.ones((1, len(rows)), np.float32), views)


def _with_usual_head(
    settings: Settings, cache: FeatureCache, layer: str, rows: int, given: Mapping[str, Any]
) -> Settings:
    """Return the settings with the head that suits the rows and what was said of other settings."""
    said = [name for name, value in given.items() if value != SETTINGS[name].public_default]
    learnt = rows * (cache.views if settings.views is None else settings.views)
    width = int(np.prod(cache.layers[layer].shape))
    return replace(settings, head=usual_head(learnt, width, len(cache.classes), said))


def _strength(settings: Settings, given: Mapping[str, Any]) -> float | None:
    """Return the strength that was asked for of a solved head's penalty."""
    return given.get(STRENGTHS[settings.head][0]) if settings.head in STRENGTHS else None


def _fitted(
    task: _Training,
    settings: Settings,
    rows: Selection,
    asked: SplitSpec,
    *,
    refit: bool,
    calibrate: bool,
    strength: float | None,
) -> "tuple[Settings, Fit, RefittedHeads | None]":
    """Return the settings with their strength, the head that validation rows judge, and those of all rows."""
    cache = task.cache
    names = {"classes": len(cache.classes), "names": cache.classes}
    pool = rows.pool if refit else rows.train
    by_fold = refit and calibrate and cache.task == MULTICLASS
    choosing = settings.head in STRENGTHS and strength is None
    drawn = partial(folds_for, cache, pool, group_by=asked.group_by)
    if settings.head not in DESCENT:
        count = divisions(settings.head, len(pool)) if choosing else int(by_fold)
        folds = [drawn(seed=(settings.seed + number) % 2**32) for number in range(count)]
        trained = np.isin(pool, rows.train)
        learnt = task.learnt(pool)
        plain = learnt if task.views == 1 else task.plain(pool)
        parts = learnt, plain, pool, trained, [own for own in folds if own is not None]
        settings, fit, refitted = fit_at_once(settings, *parts, strength=strength, **names)
        return settings, fit, refitted if refit else None
    fold_of = drawn(seed=settings.seed) if by_fold else None
    fit = _fit(settings, cache.classes, task.learnt(rows.train), task.plain(rows.val))
    if not refit or not (len(rows.val) or by_fold):
        return settings, fit, None
    last = [fit.best_epoch]
    return (
        settings,
        fit,
        refit_heads([settings], task.learnt(pool), pool, fold_of, last_epochs=last, **names),
    )


def _fit(settings: Settings, classes: Sequence[str], train: "FeatureRows", val: "FeatureRows") -> "Fit":
    from featcache.solvers.fit import fit_heads

    (fit,) = fit_heads([settings], train, val, classes=len(classes), names=classes)
    if not fit.best_epoch and settings.head in DESCENT:
        raise DataError(
            f"training diverged at once (learning rate {settings.learning_rate:g}); try a tenth of it"
        )
    return fit
