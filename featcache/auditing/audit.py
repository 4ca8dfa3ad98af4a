"""Audit a cache: what its features say about the data, as ranked lists."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from featcache.auditing.duration import expected_seconds
from featcache.auditing.effect import Effect, measure_effect
from featcache.auditing.exclude_list import exclude_entries
from featcache.auditing.material import Audited, TooFewPhotosError
from featcache.auditing.ranked import RankedList, Suspect
from featcache.cache import FeatureCache
from featcache.core.argument_types import checked_types, require_seed, spelled
from featcache.core.disk.files import replace_file
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.display import counted, html_table
from featcache.core.documents.csv_text import csv_row
from featcache.core.progress import OnProgress, Progress
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION, TASK_NAMES, UNLABELLED, require_classes
from featcache.datasets.exclude_list import write_exclude
from featcache.errors import DataError, UnknownNameError, UsageError, did_you_mean

JSON_VERSION = 1

COLUMNS = ("list", "rank", "file", "split", "label", "score", "certain", "suggested", "why", "resembles")
"""The columns of a table of suspects."""

_WORTH_SAYING = 60.0
"""Seconds from which it is told beforehand about how many an audit takes."""

_BETWEEN = " | "
_ANOTHER = "name another file"


@dataclass(frozen=True)
class _Part:
    """One list: the module and function that find it, the tasks that it is for, and whether it takes long.

    One that does draws by the seed itself, and tells its progress.
    """

    module: str
    function: str
    tasks: tuple[str, ...]
    long: bool = False


_LABELLED = (MULTICLASS, MULTILABEL, REGRESSION)
_ALL = (*_LABELLED, UNLABELLED)
_PARTS = {
    "wrong-labels": _Part("labels.wrong_labels", "find_wrong_labels", _LABELLED),
    "overlaps": _Part("classes", "find_overlaps", (MULTICLASS,)),
    "copies": _Part("copies.copies", "find_copies", _ALL, long=True),
    "outliers": _Part("outliers", "find_outliers", _ALL),
    "inseparable": _Part("classes", "find_inseparable", (MULTICLASS,)),
    "looks": _Part("looks", "find_looks", _ALL, long=True),
    "imbalance": _Part("balance", "find_imbalance", (MULTICLASS, MULTILABEL)),
    "groups": _Part("balance", "find_torn_groups", _ALL),
}
LISTS = tuple(_PARTS)
"""The kinds of list, in the order in which they are made and shown."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Parameters
    ----------
    cache, layer
        Path of the cache and the layer whose features were looked at.
    rows
        How many of its rows were audited: all that have features.
    task
        See `featcache.core.tasks`.
    lists
        What was found, in the order of `LISTS`.
    skipped
        Kind of a list that was not made, and why.
    effect
        Whether what the lists would leave out matters; ``None`` unless asked for.
    """

    cache: str
    layer: str
    rows: int
    task: str
    lists: tuple[RankedList, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    effect: Effect | None = None

    def __getitem__(self, kind: str) -> RankedList:
        """Return the list of a kind, such as ``audit["wrong-labels"]``.

        Raises
        ------
        UnknownNameError
            If there is no such list; with the reason if it was not made.
        """
        for found in self.lists:
            if found.kind == kind:
                return found
        if kind in self.skipped:
            raise UnknownNameError(f"the list {kind} was not made: {self.skipped[kind]}")
        raise UnknownNameError(f"no list {kind!r}; {did_you_mean(kind, [own.kind for own in self.lists])}")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, every entry of every list."""
        return {
            "version": JSON_VERSION,
            "cache": self.cache,
            "layer": self.layer,
            "rows": self.rows,
            "task": TASK_NAMES[self.task],
            "lists": [found.to_json() for found in self.lists],
            "skipped": dict(self.skipped),
            "effect": self.effect and self.effect.to_json(),
        }

    def write_csv(self, path: str | os.PathLike[str]) -> int:
        """Write a line for every entry of every list; returns their number.

        Parameters
        ----------
        path
            Ends in ``.csv``; an existing file is replaced at one blow.

        Raises
        ------
        UsageError
            If it ends in anything else, or something else than a file is there.
        StorageError
            If it cannot be written.
        """
        target = Path(path)
        if target.suffix.casefold() != ".csv":
            raise UsageError(f"audit {os.fspath(path)}: expected a file that ends in .csv")
        require_free(target, FILE, elsewhere=_ANOTHER)
        lines = [
            csv_row(_cells(found.kind, rank, entry))
            for found in self.lists
            for rank, entry in enumerate(found.entries, start=1)
        ]
        with storage_errors(target, elsewhere=_ANOTHER):
            replace_file(target, b"".join([csv_row(COLUMNS), *lines]))
        return len(lines)

    def exclude_list(self) -> list[tuple[str, str]]:
        """Return the id and the reason of each photo that the lists are certain to leave out."""
        return exclude_entries(self.lists)

    def write_exclude(self, path: str | os.PathLike[str]) -> int:
        """Write `exclude_list` as a file to edit, which `featcache.train_head` takes; returns how many photos it names.

        Raises
        ------
        UsageError
            If something else than a file is there.
        StorageError
            If it cannot be written.
        """
        about = f"What featcache audit would leave out of {self.cache}."
        return write_exclude(path, self.exclude_list(), about=about)

    def __repr__(self) -> str:
        found = "".join(f"\n  {each.kind}: {each.finding}" for each in self.lists)
        effect = f"\n  effect: {self.effect.finding}" if self.effect else ""
        return f"Audit of {self.cache}, {counted(self.rows, 'photo')}{found}{effect}"

    def _repr_html_(self) -> str:
        lines = [(each.kind, each.finding, len(each.entries), each.certain) for each in self.lists]
        note = "; ".join(f"{kind}: {why}" for kind, why in self.skipped.items())
        columns = ("list", "finding", "entries", "certain")
        return html_table(f"audit of {self.cache}", lines, columns, note, right=("entries", "certain"))


def _cells(kind: str, rank: int, entry: Suspect) -> list[Any]:
    resembled = _BETWEEN.join(f"{own.id} ({own.relation})" for own in entry.resembles)
    told = (entry.id, entry.split, entry.label, entry.score, entry.certain, entry.suggested or "", entry.why)
    return [kind, rank, *told, resembled]


@checked_types()
def audit(
    cache: str | os.PathLike[str] | FeatureCache,
    *,
    layer: str | None = None,
    only: str | Sequence[str] | None = None,
    effect: bool = False,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Audit:
    """Find what is probably wrong with a dataset from its cached features, as ranked lists.

    Parameters
    ----------
    cache
        A cache, its path, or the result of `featcache.extract`.
    layer
        Layer of the cache; its first by default.
    only
        Kinds of list to make, some of `LISTS`, as a sequence or separated by commas; all that suit the task by default.
    effect
        Also train a head with and without what the lists would leave out, and say whether that mattered; see
        `featcache.auditing.effect.Effect`. Multiclass only.
    seed
        Of the folds, of the heads, and of draws where there are many rows.
    on_progress
        Called with a `featcache.core.progress.Progress` as each list is begun, and as its rows are gone through;
        first of all, where it takes a minute or more, with about how many seconds that is.

    Returns
    -------
    Audit
        Its `lists`: wrong labels, classes whose labels overlap, copies, outliers, classes that the features do not
        separate, odd looks, rare classes, and groups on both sides of a split. A list that does not suit the data is
        in `Audit.skipped` with the reason.

    Raises
    ------
    UnknownNameError
        If there is no such layer or list.
    UsageError
        If a list, or the effect, was asked for that does not suit the cache, or the seed is not in 0..2^32.
    DataError
        If one was asked for that needs more photos, or a row holds NaN or infinity.
    MissingExtraError
        If wrong labels are looked for and cleanlab is not installed.
    IntegrityError
        If the cache is damaged.

    Examples
    --------
    >>> import featcache
    >>> found = featcache.audit("photos-mobilenet_v2.h5")  # doctest: +SKIP
    >>> found["wrong-labels"].entries[0].suggested  # doctest: +SKIP
    'tulips'
    """
    require_seed(seed)
    asked = _kinds(only)
    opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    if effect:
        require_classes(opened, "the effect of an audit")
    rows = Audited(opened, layer, seed=seed, on_progress=on_progress)
    if not len(rows):
        raise DataError(f"{opened.path} holds no readable photo; nothing can be audited")
    wanted, skipped = _suited(rows, asked, explicit=only is not None)
    if {"wrong-labels", "overlaps"} & set(wanted) and rows.task != REGRESSION:
        from featcache.auditing.labels.confident import require_cleanlab

        require_cleanlab()
    if on_progress is not None and (seconds := expected_seconds(rows, wanted)) >= _WORTH_SAYING:
        on_progress(Progress("audit", total=len(rows), expected_s=seconds))
    found: list[RankedList] = []
    for number, kind in enumerate(wanted):
        if on_progress is not None:
            on_progress(Progress("audit", done=len(rows) * number // len(wanted), total=len(rows), note=kind))
        try:
            more = {"seed": seed, "on_progress": on_progress} if _PARTS[kind].long else {}
            found.append(_finder(kind)(rows, **more))
        except TooFewPhotosError as error:
            if only is not None:
                raise
            skipped[kind] = str(error)
    if on_progress is not None:
        on_progress(Progress("audit", done=len(rows), total=len(rows)))
    measured = _effect(rows, found, skipped) if effect else None
    return Audit(str(opened.path), rows.layer, len(rows), rows.task, tuple(found), skipped, measured)


def _effect(rows: Audited, found: list[RankedList], skipped: dict[str, str]) -> Effect | None:
    """Return the effect of what the lists leave out; ``None`` where there is none to measure, and says why."""
    try:
        return measure_effect(rows.cache, found, layer=rows.layer, seed=rows.seed)
    except TooFewPhotosError as error:
        skipped["effect"] = str(error)
        return None


def _kinds(only: str | Iterable[str] | None) -> list[str]:
    """Return the kinds of list that were asked for, in the order of `LISTS`."""
    if only is None:
        return list(LISTS)
    named = [name.strip() for name in only.split(",")] if isinstance(only, str) else list(only)
    for name in named:
        if name not in _PARTS:
            raise UnknownNameError(f"no list {name!r}; {did_you_mean(name, LISTS)}")
    if not named:
        raise UsageError(f"{spelled('only')} names no list; expected some of {', '.join(LISTS)}")
    return [kind for kind in LISTS if kind in named]


def _suited(rows: Audited, asked: list[str], *, explicit: bool) -> tuple[list[str], dict[str, str]]:
    """Return the lists that suit the cache, and why others do not; raise for these if they were asked for by name."""
    skipped = {}
    for kind in asked:
        tasks = _PARTS[kind].tasks
        if rows.task not in tasks:
            needed = " or ".join(TASK_NAMES[task] for task in tasks)
            skipped[kind] = f"it is for {needed} tasks, and {rows.path} is {TASK_NAMES[rows.task]}"
        elif kind == "groups" and rows.groups is None:
            skipped[kind] = "no photo has a group"
    if explicit and skipped:
        kind, why = next(iter(skipped.items()))
        raise UsageError(f"the list {kind} cannot be made: {why}; ask for others with {spelled('only')}")
    return [kind for kind in asked if kind not in skipped], skipped


def _finder(kind: str) -> Callable[..., RankedList]:
    part = _PARTS[kind]
    return getattr(import_module(f"featcache.auditing.{part.module}"), part.function)
