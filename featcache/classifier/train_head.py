"""Train one head on a cache: select rows, fit, score, and save the result as a classifier."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.classifier.finishing import finish_head, image_floor
from featcache.classifier.rejection import require_accuracy
from featcache.classifier.replacing import save_keeping_better
from featcache.classifier.view_features import require_several, view_features, views_used, with_views
from featcache.core.schema import spelled_out
from featcache.core.tasks import REGRESSION
from featcache.core.warning import warn_all
from featcache.errors import DataError
from featcache.heads.settings import DESCENT, SETTINGS, HeadArguments, Settings
from featcache.heads.target_scaling import TargetScale
from featcache.heads.task_types import TASK_TYPES
from featcache.splits.selection import SplitSpec, select_rows

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
    tta: bool = False,
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
    tta
        Score and calibrate on the mean of the probabilities of all views of an image that the cache holds
        (test-time augmentation) instead of the plain image; recorded, so that `Classifier.evaluate` and
        `Classifier.predict` do the same. The epoch is chosen on the plain validation images either way.
    calibrate
        Fit a temperature to the validation rows, and choose the confidence below which a prediction is "unknown"; see
        `featcache.classifier.calibration.calibrated`. These rows also chose the epoch, so both are slightly
        optimistic.
    reject_accuracy
        Required accuracy of predictions that are not "unknown".
    **settings
        Settings of the head: `head`, `learning_rate`, `epochs` and all others of
        `featcache.heads.settings.Settings`, with its defaults. The default head is ``"linear"`` with ``"softmax"`` for
        multiclass, ``"linear"`` with ``"sigmoid"`` for multilabel, and ``"ridge"`` for regression.

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
        If the cache has no usable training rows, or a row holds NaN or infinity.
    IntegrityError
        If the cache is damaged.
    """
    require_accuracy(reject_accuracy)
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    reading = TASK_TYPES[opened.task]
    arguments = {
        **settings,
        "head": reading.head(settings.get("head")),
        "loss": reading.loss(settings.get("loss")),
    }
    own = Settings.from_arguments(arguments)
    name = opened.layer(layer)
    asked = SplitSpec(train, val, test, own.val_fraction, group_by, own.seed, shuffle_slices)
    rows = select_rows(opened, asked)
    if tta:
        require_several(opened, name)
    own = with_views(opened, name, own)
    learnt = _feature_rows(opened, rows.train, name, views_used(opened, name, own))
    judging, scale = _feature_rows(opened, rows.val, name), None
    if opened.task == REGRESSION:
        scale = TargetScale.of(learnt.labels.astype(np.float64), learnt.weight[0])
        learnt, judging = (
            part._replace(labels=scale.scale(part.labels).astype(np.float32)) for part in (learnt, judging)
        )
    started = time.monotonic()
    fit = _fit(own, len(opened.classes), learnt, judging)
    seconds = round(time.monotonic() - started, 3)
    classifier = finish_head(
        opened,
        name,
        own,
        fit,
        rows=rows,
        selection=asked,
        scale=scale,
        floor=image_floor(opened, name, rows.train, rows.val),
        reject_accuracy=reject_accuracy if calibrate else None,
        tta=tta,
        seconds=seconds,
    )
    if output is not None:
        save_keeping_better(classifier, Path(output), opened)
    warn_all(found["message"] for found in classifier.training["warnings"])
    return classifier


def _feature_rows(cache: FeatureCache, rows: np.ndarray, layer: str, views: int = 1) -> "FeatureRows":
    """Return the first `views` views of some rows with their labels, all of weight 1, for one head."""
    from featcache.heads.feature_table import ArrayTable, FeatureRows

    table = ArrayTable(view_features(cache, rows, layer, views))
    return FeatureRows(table, cache.known[rows], np.ones((1, len(rows)), np.float32), views)


def _fit(settings: Settings, classes: int, train: "FeatureRows", val: "FeatureRows") -> "Fit":
    from featcache.solvers.fit import fit_heads

    (fit,) = fit_heads([settings], train, val, classes=classes)
    if not fit.best_epoch and settings.head in DESCENT:
        raise DataError(
            f"training diverged at once (learning rate {settings.learning_rate:g}); try a tenth of it"
        )
    return fit
