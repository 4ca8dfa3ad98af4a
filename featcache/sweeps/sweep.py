"""Sweep heads over caches: fit all configurations, choose on validation rows, read the test rows once."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featcache.cache import FeatureCache
from featcache.checks.scores import below_chance
from featcache.classifier.refitting import FOLDS
from featcache.classifier.rejection import require_accuracy
from featcache.classifier.replacing import save_keeping_better
from featcache.classifier.view_features import with_views
from featcache.core.argument_types import checked_types
from featcache.core.tasks import MULTICLASS, require_labels
from featcache.core.warning import warn_all
from featcache.datasets.exclude_list import ExcludeGiven, read_exclude
from featcache.errors import IntegrityError, UsageError, did_you_mean
from featcache.heads.settings import DESCENT, Settings
from featcache.heads.task_types import TASK_TYPES
from featcache.heads.usual_settings import for_rows, with_fading_votes
from featcache.splits.selection import SplitSpec
from featcache.sweeps.axes import Given, read_bytes, with_named_weights
from featcache.sweeps.choice import choose, finish_winner, fit_trials
from featcache.sweeps.comparable import cache_names, comparable
from featcache.sweeps.data import SELECT_ON, Protocol, SweepData
from featcache.sweeps.fit_cache import FitCache
from featcache.sweeps.leaderboard import leaderboard_entries
from featcache.sweeps.lines import require_row_of, row
from featcache.sweeps.progress import OnProgress, Reporter
from featcache.sweeps.results import Choice, Results, SweepResult, shots_text
from featcache.sweeps.trials import Trial, configurations, groups, read_axes
from featcache.sweeps.usual import usual_folds, usual_heads

Caches = str | os.PathLike[str] | FeatureCache | Sequence[str | os.PathLike[str] | FeatureCache]


@checked_types(but=("shots", "memory"))
def sweep(
    caches: Caches,
    *,
    output: str | os.PathLike[str] = "sweep",
    layer: str | Sequence[str] | None = None,
    seeds: int = 1,
    folds: int | None = None,
    shots: str | int | Sequence[str | int] = "all",
    trials: int | None = None,
    select: str | None = None,
    train: str = "train",
    val: str | None = None,
    test: str | None = None,
    val_fraction: float = 0.2,
    group_by: str | None = None,
    shuffle_slices: bool = False,
    exclude: ExcludeGiven = None,
    seed: int = 0,
    memory: str | int = "2GiB",
    save_best: bool = True,
    refit: bool = True,
    calibrate: bool = True,
    reject_accuracy: float = 0.95,
    on_progress: OnProgress | None = None,
    **axes: Given,
) -> SweepResult:
    """Fit many heads on cached features and choose one honestly.

    Parameters
    ----------
    caches
        One or more caches, or their paths; several (backbones of one dataset) give one leaderboard. They must hold the
        same validation and test images with the same labels: shards, slices and caches of other images are left out
        and named among the warnings, as files are that are no caches, or damaged ones.
    output
        Folder for the results. An unfinished sweep in it is continued: heads that it holds are not fitted
        again.
    layer
        A layer, several, or ``"all"``; each cache's first by default.
    seeds
        How many seeds each configuration is fitted with: 0, 1, …
    folds
        Number of stratified folds over all rows that are no test rows; 0: the validation rows choose. ``None``: five
        where there are few rows and no validation rows; see `featcache.sweeps.usual.usual_folds`.
    shots
        Training examples of each class: numbers and ``"all"``, such as ``"1,5,10,all"``.
    trials
        Number of configurations to draw at random of each kind of head; ``None``: the whole grid.
    select
        Which rows choose: ``"val"`` or ``"folds"``, never the test rows; ``None``: what `folds` says.
    train, val, test
        Which rows train, validate and test, as splits or slices such as ``"train[:80%]"``; see
        `featcache.splits.selection.SplitSpec`.
    val_fraction
        Share of the training rows held out where a cache has no validation split.
    group_by
        Regular expression over ids; images of one group are never split between training and validation. By
        default the groups that a cache holds.
    shuffle_slices
        Cut slices of shuffled rows, every class evenly; see `featcache.train_head`.
    exclude
        Photos to leave out of all rows: the file of a list, or their ids; see `featcache.train_head`.
    seed
        Of folds, shuffled slices, held-out rows, random search, and the order of minibatches.
    memory
        Memory that training may take, such as ``"2GiB"``; larger features are streamed.
    save_best
        Save the chosen head as a classifier in ``OUTPUT/classifier``.
    refit
        Fit the chosen configuration's heads again on training and validation rows together before the test rows are
        read; heads of a few shots stay as they are.
    calibrate, reject_accuracy
        Whether that classifier is calibrated, and its threshold for ``unknown``; see `featcache.train_head`.
    on_progress
        Called after every program, and after every block of features that do not fit in memory.
    **axes
        Values to try of each field of `featcache.heads.settings.Settings`, in the grammar of `featcache.sweeps.axes`:
        ``head="linear,mlp"``, ``learning_rate="1e-4:1e-1:log8"``, ``hidden=[(256,), (512, 128)]``. Without a head,
        classes have linear and logistic ones; see `featcache.sweeps.usual.usual_heads`.

    Returns
    -------
    SweepResult
        Leaderboard, choices, test accuracy; also written to ``OUTPUT/summary.json``. Each of its `warnings` is also
        issued as a `featcache.FeatcacheWarning`.

    Raises
    ------
    UsageError
        Axes are not in the grammar, the test rows would choose, no two caches can be compared, or the output folder
        holds something else.
    DataError
        If a cache has no usable training rows, or fewer than there are folds; if a photo to leave out is in no cache.
    IntegrityError
        If no cache can be used, or a newer featcache wrote the results.
    LockedError
        If another sweep is writing into the output folder.
    """
    started = time.monotonic()
    _refuse_test(select, folds)
    if seeds < 1:
        raise UsageError(f"seeds {seeds}: expected 1 or more")
    if trials is not None and trials < 1:
        raise UsageError(f"trials {trials}: expected 1 or more, or None for all configurations")
    shot_counts = read_shots(shots)
    limit = read_bytes(memory)
    require_accuracy(reject_accuracy)
    given = [caches] if isinstance(caches, str | os.PathLike | FeatureCache) else list(caches)
    opened, left_out = _open(given)
    for cache in opened:
        require_labels(cache, "a sweep")
    ids = {name: None for cache in opened for name in cache.ids} if exclude is not None else ()
    excluded = read_exclude(exclude, ids, origin=", ".join(str(cache.path) for cache in opened[:3]))
    spec = SplitSpec(train, val, test, val_fraction, group_by, seed, shuffle_slices, excluded)
    if folds is None:
        folds = _folds(select, spec, opened, shot_counts, limit)
    protocol = Protocol(**vars(spec), folds=folds)
    data, others = _comparable(protocol, opened, limit)
    opened = [own.cache for own in data]
    task = opened[0].task
    axes = with_named_weights(axes, opened[0].classes)
    if task == MULTICLASS and axes.get("head") is None:
        layers = [(cache, name) for cache in opened for name in _layers(cache, layer)]
        axes["head"] = usual_heads(axes, layers, limit)
    chosen = _configurations(task, axes, trials=trials, seed=seed)
    if task != MULTICLASS and shot_counts != [None]:
        raise UsageError(f"shots are training examples of each class, and {opened[0].path} holds {task}")

    said = {name for name, value in axes.items() if value is not None}

    def for_its_rows(own: Settings, few: int | None, number: int) -> Settings:
        rows = len(data[number].train) if few is None else few * len(opened[number].classes)
        return for_rows(own, rows, said)

    asked = (
        Trial(
            number,
            name,
            with_views(cache, name, replace(for_its_rows(own, few, number), seed=first)),
            fold,
            few,
        )
        for number, cache in enumerate(opened)
        for name in _layers(cache, layer)
        for few in shot_counts
        for own in chosen
        for first in range(seeds)
        for fold in protocol.fold_numbers
    )
    wanted = list(dict.fromkeys(asked))
    names = {trial: _identity(trial, data) for trial in wanted}
    with Results(Path(output), check=_line_check(names, data)) as results:
        fit_cache = FitCache(limit // 8)
        reporter = Reporter(names, data, results, on_progress)
        fitted = _fit_all(names, data, results, limit, fit_cache, reporter)
        results.write_table()
        rows = [(trial.configuration, results.rows[name]) for trial, name in names.items()]
        how: Any = {"refit": refit, "calibrate": calibrate, "reporter": reporter}
        choices, heads, refitted = zip(
            *(choose(few, rows, data, seeds, limit, fit_cache, **how) for few in shot_counts), strict=True
        )
        sure = reject_accuracy if calibrate else None
        winner = finish_winner(choices[-1], heads[-1], refitted[-1], data, Path(output), reject_accuracy=sure)
        own = data[choices[-1].entry.key.cache]
        result = SweepResult(
            folder=Path(output),
            heads=len(wanted),
            fitted=fitted,
            seconds=time.monotonic() - started,
            leaderboard=tuple(
                leaderboard_entries([(key, own) for key, own in rows if key.shots == shot_counts[-1]])
            ),
            choices=choices,
            warnings=(
                *left_out,
                *others,
                *_below_chance(choices[:-1], len(own.cache.classes), task),
                *(found["message"] for found in winner.training["warnings"]),
            ),
            classifier=save_keeping_better(winner, Path(output) / "classifier", own.cache)
            if save_best
            else None,
            caches=cache_names(opened),
            task=task,
        )
        result.write()
    warn_all(result.warnings)
    return result


def _below_chance(choices: Sequence[Choice], classes: int, task: str) -> list[str]:
    """Return sentences about choices of few shots, which become no classifier, that are no better than a guess."""
    if task != MULTICLASS:
        return []
    return [
        f"{shots_text(choice.shots)}: {found.message}"
        for choice in choices
        for accuracy, rows in (
            (choice.entry.accuracy, "the validation rows"),
            (choice.test.mean if choice.test else float("nan"), "the test rows"),
        )
        for found in below_chance(accuracy, classes, rows)
    ]


def _comparable(
    protocol: Protocol, caches: Sequence[FeatureCache], memory: int
) -> tuple[list[SweepData], list[str]]:
    return comparable(caches, lambda cache: SweepData(cache, protocol, memory=memory))


def _folds(
    select: str | None,
    spec: SplitSpec,
    caches: Sequence[FeatureCache],
    shots: Sequence[int | None],
    memory: int,
) -> int:
    """Return the number of folds where none was given."""
    if select is not None:
        return FOLDS if select == "folds" else 0
    if len(caches) > 1:  # one that will be left out does not decide how the others are judged
        caches = [own.cache for own in _comparable(Protocol(**vars(spec)), caches, memory)[0]]
    return usual_folds(spec, caches, shots)


def _refuse_test(select: str | None, folds: int | None) -> None:
    if select == "test":
        raise UsageError(
            "select 'test': heads that are chosen by the test rows have seen them, and their test accuracy means "
            "nothing; choose by val or folds"
        )
    if select is not None and select not in SELECT_ON:
        raise UsageError(f"no select {select!r}; {did_you_mean(select, SELECT_ON)}")
    if select == "folds" and folds == 0:
        raise UsageError("select 'folds' needs a number of folds; give --folds 5")


def _open(given: Sequence[str | os.PathLike[str] | FeatureCache]) -> tuple[list[FeatureCache], list[str]]:
    """Return the caches, and sentences about those of several that cannot be used."""
    opened: list[FeatureCache] = []
    problems: list[IntegrityError] = []
    for own in given:
        try:
            opened.append(own if isinstance(own, FeatureCache) else FeatureCache(own))
        except IntegrityError as error:
            problems.append(error)
    if problems and not opened:
        raise problems[0]
    return opened, [f"left out: {error}" for error in problems]


def _configurations(task: str, axes: Mapping[str, Given], *, trials: int | None, seed: int) -> list[Settings]:
    """Return the settings to try; raises `UsageError` for a head or loss that cannot learn the caches' task."""
    task_type = TASK_TYPES[task]
    defaults = {"head": task_type.heads[0], "loss": task_type.losses[0], "scaling": task_type.scalings[0]}
    defaults = (
        {name: value for name, value in defaults.items() if axes.get(name) is None}
        if task != MULTICLASS
        else {}
    )
    tried = configurations(read_axes({**axes, **defaults}), trials=trials, seed=seed)
    found = list(dict.fromkeys(map(with_fading_votes, tried)))
    for own in found:
        task_type.head(own.head)
        if own.head in DESCENT:
            task_type.loss(own.loss)
    return found


def _layers(cache: FeatureCache, asked: str | Sequence[str] | None) -> list[str]:
    if asked == "all":  # image statistics are a baseline, not a layer to train on
        return [name for name in cache.layers if not name.startswith("image:")]
    names = asked.split(",") if isinstance(asked, str) else asked
    return [cache.layer(name) for name in names] if names else [cache.layer(None)]


def read_shots(given: str | int | Sequence[str | int]) -> list[int | None]:
    """Read ``"1,5,all"``: fewest first, all (``None``) last.

    Raises
    ------
    UsageError
        An item is neither a number above 0 nor ``all``.
    """
    items = given.split(",") if isinstance(given, str) else given if isinstance(given, Sequence) else [given]
    found: set[int | None] = set()
    for item in items:
        text = str(item).strip().lower()
        if text != "all" and not (text.isdecimal() and 0 < int(text) < 10**9):
            raise UsageError(f"shots {item!r}: expected numbers above 0 and 'all', such as 1,5,10,all")
        found.add(None if text == "all" else int(text))
    if not found:
        raise UsageError(f"shots {given!r}: expected numbers above 0 and 'all', such as 1,5,10,all")
    return sorted(found, key=lambda few: float("inf") if few is None else few)


def _identity(trial: Trial, data: Sequence[SweepData]) -> str:
    own = data[trial.cache]
    features = own.cache.layers[trial.layer].fingerprint
    rows, views = own.rows_identity, own.cache.identity["recipe"]["views"]
    return trial.identity(features, rows, views)


def _line_check(names: Mapping[Trial, str], data: Sequence[SweepData]) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that refuses a result which is not that of the head whose name it has."""
    trials = {name: trial for trial, name in names.items()}

    def check(line: Mapping[str, Any]) -> None:
        if (trial := trials.get(line["id"])) is not None:
            require_row_of(trial, data[trial.cache].cache, line)

    return check


# ---- fitting


def _fit_all(
    names: Mapping[Trial, str],
    data: Sequence[SweepData],
    results: Results,
    memory: int,
    fit_cache: FitCache,
    reporter: Reporter,
) -> int:
    """Fit the heads without a result yet, group by group; returns how many."""
    missing = [trial for trial, name in names.items() if name not in results.rows]
    for group in groups(missing):
        own, head = data[group[0].cache], group[0].settings.head
        fits = fit_trials(group, own, memory, reporter.epochs_of(head))
        pairs = list(zip(group, fits, strict=True))
        results.add([row(trial, fit, own.cache, own.protocol, names[trial]) for trial, fit in pairs])
        fit_cache.add(pairs)
        reporter.tell(head)
    return len(missing)
