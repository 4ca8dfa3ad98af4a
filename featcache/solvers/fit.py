"""Fit K heads of one kind: by gradient descent, L-BFGS, in closed form, or by storing the training rows.

Shared by `featcache.sweep`, which fits a group of trials, and `featcache.train_head`, which fits one head: arrays in,
parameters and validation scores out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featcache.core.forked import require_jax
from featcache.errors import DataError, UsageError
from featcache.heads.class_weights import class_factors
from featcache.heads.feature_table import DEFAULT_MEMORY, FeatureRows, RowsOf, Solved, unit_rows
from featcache.heads.settings import CLASS_LOSSES, DESCENT, FITTED, Settings
from featcache.heads.validation_scores import scores
from featcache.solvers.epoch_progress import OnEpoch
from featcache.solvers.head_batches import same_rows
from featcache.solvers.sgd import all_features, descend


@dataclass(frozen=True)
class Fit:
    """One fitted head.

    Parameters
    ----------
    parameters
        Its arrays, for raw features.
    val_loss, val_accuracy
        On its validation rows, NaN without any: mean cross-entropy in nats and accuracy (multilabel: share of right
        labels); for regression the mean squared error and R².
    best_epoch, epochs_run
        Of gradient descent: the epoch kept (0: it diverged at once), and the most epochs that a head of its group ran.
        Iterations for L-BFGS, 1 for closed forms.
    converged
        Whether L-BFGS reached its tolerance; true for all other heads that did not diverge.
    history
        Of gradient descent: loss and score by epoch.
    """

    parameters: Mapping[str, np.ndarray]
    val_loss: float
    val_accuracy: float
    best_epoch: int
    epochs_run: int
    converged: bool
    history: Mapping[str, list[float | None]]


def fit_heads(
    settings: Sequence[Settings],
    train: FeatureRows,
    val: FeatureRows,
    *,
    classes: int,
    memory: int = DEFAULT_MEMORY,
    last_epochs: Sequence[float] | None = None,
    names: Sequence[str] = (),
    on_epoch: OnEpoch | None = None,
) -> list[Fit]:
    """Fit K heads that differ in numbers only (see `featcache.sweeps.trials.Trial.program`).

    Of images with several views, gradient descent takes one view in each epoch, drawn by the seed; all other heads
    take all views at once, which share their image's weight, so that a penalty means what it means with one.

    Parameters
    ----------
    settings
        K of them.
    train, val
        Training rows, and validation rows (there may be none), of one view each. Labels are multiclass; or multilabel,
        for heads by descent with the loss ``"sigmoid"``; or regression targets, for ``"ridge"`` and the loss
        ``"squared"``.
    classes
        Number of classes, labels or targets.
    memory
        Bytes to stay within: heads are fitted in several runs where they would take more, and features are
        streamed where they alone do.
    last_epochs
        K epochs after which heads by gradient descent stop, without changing what a schedule does until then; by
        default they run as their settings say.
    names
        Of the classes; only weights by class need them.
    on_epoch
        Called after each block of features that heads by gradient descent do not have in memory.

    Returns
    -------
    list of Fit
        In the order of the settings.

    Raises
    ------
    DataError
        If a head has no training row.
    UsageError
        If the head or its loss does not support such labels, or needs features at once that do not fit in memory
        (``logistic``, ``knn``, ``prototype``).
    """
    require_jax()
    for own in settings:
        _require_learnable(own, train.labels, classes)
    if not (train.weight > 0).any(axis=1).all():
        raise DataError("a head has no training rows; ask for fewer folds or another split")
    weight = [
        _weighted(own, row, train.labels, classes, names)
        for own, row in zip(settings, train.weight, strict=True)
    ]
    train = train._replace(weight=np.stack(weight).astype(np.float32))
    ends = [float("inf")] * len(settings) if last_epochs is None else list(last_epochs)
    firsts, places = _distinct_heads(settings, train.weight, val.weight, ends)
    settings, ends = [settings[k] for k in firsts], [ends[k] for k in firsts]
    train, val = (part._replace(weight=part.weight[firsts]) for part in (train, val))
    head, scaled = settings[0].head, settings[0].head in FITTED and settings[0].scaling == "unit"
    learnt = train._replace(table=unit_rows(train.table)) if scaled else train
    if head in DESCENT:  # which also judges each epoch
        judging = val._replace(table=unit_rows(val.table)) if scaled else val
        solved = descend(settings, learnt, judging, classes, memory, ends, on_epoch)
    else:
        solved = _SOLVERS[head](settings, learnt.by_row(), classes, memory)
    losses, accuracies = scores(settings[0], solved.parameters, val, classes=classes, memory=memory)
    if settings[0].head in DESCENT:  # a head that diverged at once is its start, whose scores are a guess's
        losses, accuracies = (np.where(solved.epochs > 0, own, np.nan) for own in (losses, accuracies))
    fits = [
        Fit(
            {name: np.asarray(value[k]) for name, value in solved.parameters.items()},
            float(losses[k]),
            float(accuracies[k]),
            int(solved.epochs[k]),
            solved.run,
            bool(solved.converged[k]),
            solved.histories[k] if solved.histories else {},
        )
        for k in range(len(settings))
    ]
    return [fits[place] for place in places]


def _weighted(
    settings: Settings, row: np.ndarray, labels: np.ndarray, classes: int, names: Sequence[str]
) -> np.ndarray:
    factors = class_factors(settings.class_weights, labels, row, classes=classes, names=names)
    weight = row if factors is None else row * factors[labels]
    if not (weight > 0).any():
        raise DataError(
            f"all training rows of a head are of classes that weigh 0 ({settings.class_weights}); give one of them a "
            "weight above 0, or train on other rows"
        )
    return weight


def _distinct_heads(
    settings: Sequence[Settings], weight: np.ndarray, judged: np.ndarray, ends: Sequence[float]
) -> tuple[list[int], list[int]]:
    """Return the numbers of the heads without duplicates, and the place of every head among them.

    Heads that differ in the seed only are duplicates unless they are trained by descent, where it matters.
    """
    places: dict[Any, int] = {}
    firsts, found = [], []
    for number, own in enumerate(settings):
        seed = own.seed if own.head in DESCENT else 0
        key = (replace(own, seed=seed), ends[number], weight[number].tobytes(), judged[number].tobytes())
        if key not in places:
            places[key] = len(firsts)
            firsts.append(number)
        found.append(places[key])
    return firsts, found


def _require_learnable(settings: Settings, labels: np.ndarray, classes: int) -> None:
    """Raise unless the head and its loss support these labels."""
    head, loss = settings.head, settings.loss
    if labels.ndim == 1:
        if not np.issubdtype(labels.dtype, np.integer):
            raise UsageError(
                f"labels {labels.dtype} [{len(labels)}]: expected numbers of classes, int [N]; a number to predict "
                "is a column, float [N, 1]"
            )
        if head in DESCENT and loss not in CLASS_LOSSES:
            raise UsageError(
                f"loss {loss!r} is for regression, and these labels are classes; use softmax or sigmoid, "
                "or a ridge head, which is least squares on classes"
            )
        return
    if labels.shape[1:] != (classes,):
        raise UsageError(f"labels of shape {labels.shape}: expected [N, {classes}]")
    if not (head == "ridge" or (head in DESCENT and loss != "softmax")):
        what = f"a {head} head" + (" with loss softmax" if head in DESCENT else "")
        raise UsageError(
            f"{what} tells exclusive classes apart, and these labels are {labels.shape[1]} for each row; use a "
            "linear or mlp head with loss sigmoid (multilabel) or squared (regression), or a ridge head (regression)"
        )
    if settings.class_weights != "none":
        raise UsageError(
            f"class weights {settings.class_weights!r} are for exclusive classes; weigh the rows instead"
        )
    if not np.isfinite(labels).all():
        raise DataError("a label is NaN or infinite; leave its row out")
    if head in DESCENT and loss == "sigmoid" and (labels.min() < 0 or labels.max() > 1):
        raise DataError(f"multilabel targets {labels.min():g}..{labels.max():g}: expected 0 (no) to 1 (yes)")


# ---- solved, or remembered


def _all_features(part: FeatureRows, head: str, memory: int) -> np.ndarray:
    """Return all features of a part, for heads that need them at once."""
    if not _fits(part, memory):
        raise UsageError(
            f"a {head} head needs all features at once, {_nbytes(part) >> 20} MiB, and memory is "
            f"{memory >> 20} MiB; raise --memory, or use a linear, mlp or ridge head, which read them in blocks"
        )
    return all_features(part.table)


def _fits(part: FeatureRows, memory: int) -> bool:
    return _nbytes(part) <= memory


def _nbytes(part: FeatureRows) -> int:
    return 4 * int(np.prod(part.table.shape))


def _logistic(settings: Sequence[Settings], train: FeatureRows, classes: int, memory: int) -> Solved:
    from featcache.solvers.logistic import fit_logistic

    solution = fit_logistic(
        _all_features(train, "logistic", memory),
        train.labels,
        train.weight,
        np.array([own.c for own in settings], np.float32),
        classes=classes,
        scaling=settings[0].scaling,
        memory=memory // 2,
    )
    parameters = {name: np.asarray(value) for name, value in solution.parameters.items()}
    iterations = np.asarray(solution.iterations)
    return Solved(parameters, iterations, int(iterations.max()), np.asarray(solution.converged), ())


def _ridge(settings: Sequence[Settings], train: FeatureRows, classes: int, memory: int) -> Solved:
    from featcache.solvers.ridge import class_targets, fit_ridge

    x = all_features(train.table) if _fits(train, memory) else RowsOf(train.table)
    targets = class_targets(train.labels, classes) if train.labels.ndim == 1 else train.labels
    found: dict[str, np.ndarray] = {}
    for heads in same_rows(train.weight):
        # One factorisation serves every penalty.
        penalties, places = np.unique([settings[k].l2 for k in heads], return_inverse=True)
        weight = train.weight[heads[:1]]
        solved = fit_ridge(x, targets, weight, penalties, scaling=settings[0].scaling)
        for name, value in solved.items():
            array = np.asarray(value)[0]
            found.setdefault(name, np.empty((len(settings), *array.shape[1:]), np.float32))[heads] = array[
                places
            ]
    return _closed_form(found, len(settings))


def _knn(settings: Sequence[Settings], train: FeatureRows, classes: int, memory: int) -> Solved:
    del classes
    x = _all_features(train, "knn", memory)
    # Views, not copies: a head's own rows are selected when it is stored.
    return _closed_form(
        {
            "features": np.broadcast_to(x, (len(settings), *x.shape)),
            "labels": np.broadcast_to(train.labels.astype(np.int32), (len(settings), len(x))),
            "weight": train.weight,
            "neighbours": np.array([own.neighbours for own in settings], np.int32),
        },
        len(settings),
    )


def _prototype(settings: Sequence[Settings], train: FeatureRows, classes: int, memory: int) -> Solved:
    from featcache.heads.nearest import prototypes

    x = _all_features(train, "prototype", memory)
    found = prototypes(x, train.labels, train.weight, classes=classes, metric=settings[0].metric)
    return _closed_form(found, len(settings))


def _closed_form(parameters: Mapping[str, np.ndarray], heads: int) -> Solved:
    return Solved(parameters, np.ones(heads, int), 1, np.ones(heads, bool), ())


_SOLVERS: Mapping[str, Callable[..., Solved]] = {
    "logistic": _logistic,
    "ridge": _ridge,
    "knn": _knn,
    "prototype": _prototype,
}
