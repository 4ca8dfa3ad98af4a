"""The files of a sweep: a JSON line for every head, and a summary with the leaderboard and the choices."""

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.core.disk.files import made_folder, replace_file
from featcache.core.disk.jsonl import append_records, drop_lines, mend_end, read_lines
from featcache.core.disk.lock import WriteLock
from featcache.core.disk.names import FOLDER, require_free
from featcache.core.disk.storage import ELSEWHERE, storage_error, storage_errors
from featcache.core.disk.temporaries import remove_leftovers
from featcache.core.display import data_frame, html_table
from featcache.core.documents.json_text import to_text
from featcache.core.documents.kinds import Misfit
from featcache.core.tasks import MULTICLASS, score_text
from featcache.core.warning import warn
from featcache.errors import UsageError
from featcache.metrics.comparison import Comparison, SeedScores
from featcache.sweeps.leaderboard import LeaderboardEntry
from featcache.sweeps.lines import (
    EARLIER_LINE,
    FORMAT,
    LINE,
    describe_settings,
    finite,
    value_text,
    varied_settings,
)
from featcache.sweeps.trials import Trial

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

RESULTS = "results.jsonl"
TABLE = "results.parquet"
SUMMARY = "summary.json"


class Results:
    """The lines of ``results.jsonl``, which one sweep at a time appends to, and a continued sweep reads.

    The folder is this process's until `close`. Whoever only reads the file leaves it as it is. Damaged lines are told
    by a `FeatcacheWarning` and taken out, so that their heads are fitted again.

    Parameters
    ----------
    folder
        The output folder; created where it is missing.
    check
        Called with each line of an earlier featcache, which no checksum confirms; raises `Misfit` for one that cannot
        be right.

    Raises
    ------
    UsageError
        If the folder holds anything but a sweep.
    IntegrityError
        If a newer featcache wrote a line.
    LockedError
        If another sweep is writing there.
    StorageError
        If it cannot be written.
    """

    def __init__(
        self, folder: Path, *, check: Callable[[Mapping[str, Any]], None] = lambda line: None
    ) -> None:
        self.folder, self.path = folder, folder / RESULTS
        lock = WriteLock(self.path, what=f"the sweep in {folder}")
        with storage_errors(self.path, elsewhere=ELSEWHERE):
            require_free(folder, FOLDER, elsewhere=ELSEWHERE)
            _require_sweep(folder, lock)
            with made_folder(folder), ExitStack() as held:
                held.enter_context(lock)
                self.rows = self._read(check)
                self._close = weakref.finalize(self, held.pop_all().close)

    def _read(self, check: Callable[[Mapping[str, Any]], None]) -> dict[str, dict[str, Any]]:
        """Return the results so far, and clear up after a sweep that was killed."""
        for name in (RESULTS, TABLE, SUMMARY):
            remove_leftovers(self.folder / name)
        mend_end(self.path)
        self.path.touch()
        rows: dict[str, dict[str, Any]] = {}
        damaged: dict[int, str] = {}
        for line in read_lines(self.path, content=LINE, earlier=EARLIER_LINE, newest=FORMAT):
            try:
                if line.record is None:
                    raise Misfit(line.why)
                if not line.has_checksum:
                    check(line.record)
                rows[line.record["id"]] = line.record
            except Misfit as misfit:
                damaged[line.number] = line.why or str(misfit)
        if damaged:
            drop_lines(self.path, damaged)
            warn(_told_damaged(self.path, damaged))
        return rows

    def close(self) -> None:
        """Let the next sweep write here; may be called twice."""
        self._close()

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append results; they are on disk when this returns."""
        try:
            append_records(self.path, rows)
        except OSError as error:
            kept = "heads already fitted are safe, the same command goes on from them" if self.rows else ""
            raise storage_error(error, self.path, elsewhere=ELSEWHERE, kept=kept) from error
        self.rows |= {row["id"]: dict(row) for row in rows}

    def write_table(self) -> Path | None:
        """Write all results as Parquet too, where pyarrow is installed; a `FeatcacheWarning` says if that fails.

        Nothing depends on the table, so that the sweep goes on.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            return None
        flat = [_flat(row) for row in self.rows.values()]
        columns = list(dict.fromkeys(name for row in flat for name in row))
        table = pa.table({name: _column([row.get(name) for row in flat]) for name in columns})
        path = self.folder / TABLE
        try:
            replace_file(path, lambda stream: pq.write_table(table, stream))
        except OSError as error:
            told = storage_error(error, path, elsewhere=ELSEWHERE, needs=table.nbytes)
            again = f"all results are in {RESULTS}, and the same command writes the table again"
            warn(f"{told}; {again}")
            return None
        return path


def _told_damaged(path: Path, damaged: Mapping[int, str]) -> str:
    """Say which lines were damaged, by their numbers, and what the first one's damage is."""
    (first, why), *others = damaged.items()
    if not others:
        return f"{path}: line {first} was damaged ({why}) and was taken out; its head is fitted again"
    shown = [str(number) for number in damaged][:10]
    more = f" and {len(damaged) - 10:,} others" if len(damaged) > 10 else ""
    return (
        f"{path}: lines {', '.join(shown)}{more} were damaged (the first: {why}) and were taken out; "
        "their heads are fitted again"
    )


def _column(values: list[Any]) -> Any:
    """Return the values as a column; those of no one type, which a newer featcache may have written, as JSON."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return pa.array([None if value is None else to_text(value) for value in values])


def _require_sweep(folder: Path, lock: WriteLock) -> None:
    """Raise `UsageError` if a folder holds anything but a sweep; one that has just begun has only a lock."""
    names = set(os.listdir(folder)) if folder.exists() else set()
    if RESULTS not in names and names - lock.names:
        raise UsageError(f"{folder} exists and is no sweep; choose another place with --output")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a result line to columns such as ``settings.l2`` and ``protocol.folds``."""
    own = {key: value for key, value in row.items() if not isinstance(value, dict)}
    settings = {f"settings.{key}": value for key, value in row["settings"].items()}
    return own | settings | {f"protocol.{key}": value for key, value in row["protocol"].items()}


@dataclass(frozen=True)
class Contender:
    """A configuration compared with the chosen one on the same validation rows.

    Parameters
    ----------
    entry
        The configuration and its validation scores.
    against
        The paired comparison, chosen minus this one.
    """

    entry: LeaderboardEntry
    against: Comparison


@dataclass(frozen=True, repr=False)
class Choice:
    """The configuration chosen for one number of shots.

    Parameters
    ----------
    shots
        Training examples of each class; ``None``: all.
    entry
        The configuration and its validation scores.
    contenders
        The next best configurations on the same cache, compared with it.
    test
        Its scores on the test rows, read once; ``None`` without test rows.
    image_floor
        The validation accuracy that the images' colours alone reach; ``None`` where it is not known.
    first
        The configuration of the highest validation accuracy, where a simpler one that is not told apart from it was
        chosen; ``None`` where that one was.
    task
        As in `SweepResult`: of R² no percentage is shown.
    """

    shots: int | None
    entry: LeaderboardEntry
    contenders: tuple[Contender, ...]
    test: SeedScores | None
    image_floor: float | None = None
    first: LeaderboardEntry | None = None
    task: str = MULTICLASS

    def __repr__(self) -> str:
        trial: Trial = self.entry.key
        shots = "" if self.shots is None else f" of {shots_text(self.shots)}"
        test = "" if self.test is None else f", test {score_text(self.test.mean, self.task)}"
        score = score_text(self.entry.accuracy, self.task)
        return f"Choice({trial.settings.head} on {trial.layer}{shots}: validation {score}{test})"


def shots_text(shots: int | None) -> str:
    """Return what a choice was trained on, in words: ``"5 shots of each class"``; ``None`` is all of them."""
    return "all shots" if shots is None else f"{shots} shot{'s' if shots > 1 else ''} of each class"


@dataclass(frozen=True, repr=False)
class SweepResult:
    """A finished sweep.

    Parameters
    ----------
    folder
        Where results and summary are.
    heads
        How many heads were asked for.
    fitted, seconds
        How many of them this run fitted, the others being in the folder already, and its wall time.
    leaderboard
        Configurations over all training rows (or the most shots), best first.
    choices
        One for each number of shots, fewest first, all rows last.
    warnings
        Sentences about possible faults of the data, and about caches that could not be used.
    classifier
        Folder of the chosen head, if it was saved.
    caches
        Name of each cache's backbone, with that of its file where several have one; `Trial.cache` is an index.
    task
        One of `featcache.core.tasks.TASKS`; accuracy means the share of right labels for multilabel, R² for
        regression.
    """

    folder: Path
    heads: int
    fitted: int
    seconds: float
    leaderboard: tuple[LeaderboardEntry, ...]
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]
    classifier: Path | None
    caches: tuple[str, ...]
    task: str = MULTICLASS

    @property
    def chosen(self) -> Choice:
        """The choice over all training rows (or the most shots)."""
        return self.choices[-1]

    def __repr__(self) -> str:
        return f"SweepResult({str(self.folder)!r}, {self.heads} heads; chosen {self.chosen!r})"

    def _repr_html_(self) -> str:
        columns = ("", "validation", "backbone", "layer", "head", "settings")
        rows = [
            (
                place,
                score_text(entry.accuracy, self.task),
                self.caches[entry.key.cache],
                entry.key.layer,
                entry.key.settings.head,
                ", ".join(
                    f"{name} {value_text(value)}"
                    for name, value in varied_settings(entry.key.settings).items()
                ),
            )
            for place, entry in enumerate(self.leaderboard[:10], 1)
        ]
        return html_table(str(self.folder), rows, columns, repr(self.chosen), right=columns[:2])

    def plot(self) -> "Figure":
        """Return the leaderboard as a figure, with what is not told apart from the chosen configuration.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed; the extra ``report`` brings it.
        """
        from featcache.sweeps.plots import sweep_figure

        return sweep_figure(self)

    def to_frame(self) -> "pandas.DataFrame":
        """Return the leaderboard as a data frame, best first, with a column for each setting; needs pandas."""
        rows = []
        for entry in self.leaderboard:
            row = self._entry_json(entry)
            rows.append(row | row.pop("settings"))
        return data_frame(rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "format": FORMAT,
            "task": self.task,
            "heads": self.heads,
            "fitted": self.fitted,
            "seconds": round(self.seconds, 3),
            "chosen": self._choice_json(self.chosen),
            "shots": [self._choice_json(choice) for choice in self.choices],
            "leaderboard": [self._entry_json(entry) for entry in self.leaderboard[:50]],
            "warnings": list(self.warnings),
            "classifier": str(self.classifier) if self.classifier else None,
        }

    def _entry_json(self, entry: LeaderboardEntry) -> dict[str, Any]:
        trial: Trial = entry.key
        return {
            "cache": self.caches[trial.cache],
            "layer": trial.layer,
            "head": trial.settings.head,
            "settings": describe_settings(trial.settings),
            "shots": trial.shots,
            "val_accuracy": finite(entry.accuracy),
            "deviation": finite(entry.deviation),
            "val_loss": finite(entry.loss),
            "trials": entry.trials,
        }

    def _choice_json(self, choice: Choice) -> dict[str, Any]:
        return {
            **self._entry_json(choice.entry),
            "test": choice.test.to_json() if choice.test else None,
            "image_floor": choice.image_floor,
            "instead_of": self._entry_json(choice.first) if choice.first else None,
            "contenders": [
                {
                    **self._entry_json(contender.entry),
                    "behind_by": contender.against.difference,
                    "interval": list(contender.against.interval),
                    "p_value": contender.against.p_value,
                    "told_apart": contender.against.told_apart,
                }
                for contender in choice.contenders
            ],
        }

    def write(self) -> "SweepResult":
        """Write ``summary.json``, at once or not at all, and return the result."""
        path = self.folder / SUMMARY
        text = (to_text(self.to_json(), indent=1) + "\n").encode()
        with storage_errors(path, elsewhere=ELSEWHERE, needs=len(text)):
            replace_file(path, text)
        return self
