"""``featcache sweep``: train many heads on caches and choose the best."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.options import (
    Calibrate,
    Exclude,
    GroupBy,
    Refit,
    RejectAccuracy,
    ShuffleSlices,
    Test,
    Train,
    Val,
    axis,
    option,
    with_options,
)
from featcache.cli.commands.train_head import next_step, to_see
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.drawings import Part, Table, plain
from featcache.core.disk.names import read_file, require_file
from featcache.core.disk.storage import storage_errors
from featcache.core.display import percent, percents
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.errors import UsageError, did_you_mean
from featcache.heads.settings import SETTINGS

if TYPE_CHECKING:
    from featcache.solvers.epoch_progress import EpochProgress
    from featcache.sweeps.leaderboard import LeaderboardEntry
    from featcache.sweeps.progress import OnProgress, SweepProgress
    from featcache.sweeps.results import Choice, SweepResult

NAME = "sweep"
_MOST_CONFIG = 2**14
"""Bytes of a file of options: a name of 30,000 dots takes tomllib half a minute."""


@with_options(
    common=("head", "layer", "learning_rate", "seeds", "shots", "trials", "config", "output"),
    options=[axis(setting) if setting.axis else option(setting) for setting in SETTINGS.values()],
)
def command(
    context: typer.Context,
    caches: Annotated[list[Path], typer.Argument(help="Caches made by featcache extract.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("sweep"),
    config: Annotated[Path | None, typer.Option(help="TOML file with these options.")] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", help="Layers, or all [default: first].")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of each configuration.")] = 1,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Stratified folds; 0: the validation rows choose [default: 5 where few rows have no validation rows].",
            rich_help_panel="Validation",
        ),
    ] = None,
    shots: Annotated[str, typer.Option(help="Training examples per class, as 1,5,10,all.")] = "all",
    trials: Annotated[int | None, typer.Option(help="Random configurations per head instead of all.")] = None,
    select: Annotated[
        str | None, typer.Option(help="Rows that choose: val or folds.", rich_help_panel="Validation")
    ] = None,
    train: Train = "train",
    val: Val = None,
    test: Test = None,
    group_by: GroupBy = None,
    shuffle_slices: ShuffleSlices = False,
    exclude: Exclude = None,
    memory: Annotated[
        str, typer.Option(help="Memory for training; larger features are streamed.", rich_help_panel="Data")
    ] = "2GiB",
    save_best: Annotated[bool, typer.Option(help="Save the chosen head as a classifier.")] = True,
    refit: Refit = True,
    calibrate: Calibrate = True,
    reject_accuracy: RejectAccuracy = 0.95,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    **axes: Any,
) -> None:
    """Train many heads on cached features, choose on validation rows, and read the test rows once.

    VALUES are one or more, as 0,1e-4, or a range of numbers, as 1e-4:1e-1:log8; all combinations are tried.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    own = {"context", "caches", "config", "as_json", "quiet", "verbose", "device"}
    options = {name: value for name, value in context.params.items() if name not in own}
    if config is not None:
        options |= _from_file(config, options, context)
    from featcache.sweeps.sweep import sweep

    with _live(console) as on_progress:
        result = sweep(caches, on_progress=on_progress, **options)
    console.result(result.to_json() | {"folder": str(result.folder)}, parts(result, verbose=verbose))
    if result.classifier:
        console.note(next_step(result.classifier, tested=result.chosen.test is not None))
    console.note(to_see(result.folder))


def _from_file(path: Path, options: dict[str, Any], context: typer.Context) -> dict[str, Any]:
    """Read options from a TOML file; options of the command line take precedence."""
    import tomllib

    require_file(
        path, "a TOML file with this command's options", missing=f"no config file {path}; check the name"
    )
    with storage_errors(path, "read"):
        content = read_file(path, _MOST_CONFIG + 1)
    if len(content) > _MOST_CONFIG:
        raise UsageError(
            f"{path} is larger than {_MOST_CONFIG:,} bytes; expected a TOML file with this command's options"
        )
    try:
        read = tomllib.loads(content.decode())
        found = {name.replace("-", "_"): value for name, value in read.items()}
        nul = next((name for name, value in found.items() if "\0" in str(value)), None)
    except (
        ValueError,
        RecursionError,
    ) as error:  # ValueError: no TOML, no UTF-8, a number of thousands of digits
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(f"{path} is not valid TOML: {why}; correct it, or name another file") from error
    if nul is not None:
        raise UsageError(f"{path}: {nul} holds a NUL character, which no name has; give another")
    for name in found:
        if name not in options:
            raise UsageError(f"{path}: no option {name!r}; {did_you_mean(name, options)}")
    given = {name for name in found if str(context.get_parameter_source(name)).endswith("COMMANDLINE")}
    return {name: value for name, value in found.items() if name not in given}


def _time(seconds: float) -> str:
    """Return a rough time, in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@contextmanager
def _live(console: Console) -> "Iterator[OnProgress | None]":
    """Say how long streamed heads will take, and draw the best so far above a bar, if the console shows progress."""
    foretold = _Forecast(console)
    if not console.shows_progress:
        yield foretold.hear
        return
    from featcache.cli.terminal.live import head_bar

    with head_bar() as bar:

        def show(progress: "SweepProgress") -> None:
            foretold.hear(progress)
            board = _leaderboard(progress.leaderboard, progress.caches)
            bar.show(progress.done, progress.total, escaped(_doing(progress)), above=board)

        yield show


def _doing(progress: "SweepProgress") -> str:
    """Return what is fitted now, or was last."""
    if (epoch := progress.epoch) is None:
        return f"last: {progress.now}"
    again = ", chosen and fitted again on all rows" if progress.done == progress.total else ""
    return (
        f"now: {progress.now}{again}, {percent(epoch.share)} of epoch {epoch.epoch} of at most {epoch.most}"
    )


class _Forecast:
    """Says once of each kind of heads how long it will take, if that is long, from the first blocks of its features."""

    LONG = 60.0
    """Seconds from which on it is said."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[tuple[str, int]] = set()

    def hear(self, progress: "SweepProgress") -> None:
        """Say it, if it is time."""
        epoch = progress.epoch
        if epoch is None or epoch.seconds is None or progress.done == progress.total:
            return
        key = progress.now, epoch.heads
        if key not in self._said and epoch.seconds * epoch.least >= self.LONG:
            self._said.add(key)
            self._console.note(forecast(progress.now, epoch))


def forecast(head: str, epoch: "EpochProgress") -> str:
    """Return how long heads will take, by the seconds of an epoch, and what takes less."""
    seconds, more = epoch.seconds or 0.0, epoch.least < epoch.most
    count, beyond = (
        (f"{epoch.least} or more (at most {epoch.most})", " or more") if more else (epoch.least, "")
    )
    return (
        f"{epoch.heads} {head} head{'s' if epoch.heads > 1 else ''}: an epoch of {epoch.rows:,} rows takes about "
        f"{_time(seconds)}, and there will be {count}: {_time(seconds * epoch.least)}{beyond}; then the chosen one "
        "is fitted again on all rows (not with --no-refit). Less takes less: --train 'train[:10%]' "
        "--shuffle-slices, or one --lr"
    )


def _leaderboard(
    leaderboard: "Sequence[LeaderboardEntry]",
    caches: "Sequence[str]",
    chosen: "LeaderboardEntry | None" = None,
    *,
    task: str = MULTICLASS,
    every_row: bool = False,
) -> list[Part]:
    """Return a leaderboard as a table: the best configuration of each kind of head, and the chosen one, marked."""
    every = [entry.key.settings for entry in leaderboard]
    header = ["", "val", "sd", "backbone", "head", "layer", "settings"]
    shown = set(range(len(leaderboard))) if every_row else _best_of_kinds(leaderboard)
    rows = [
        [
            f"*{place}" if entry == chosen else str(place),
            _score(entry.accuracy, task),
            _points(entry.deviation, task) if entry.trials > 1 else "",
            str(caches[entry.key.cache]),
            str(entry.key.settings.head),
            str(entry.key.layer),
            varied(entry.key.settings, every),
        ]
        for place, entry in enumerate(leaderboard, 1)
        if place - 1 in shown or entry == chosen
    ]
    absent = {"backbone"} if len(caches) == 1 else set()
    absent |= {"sd"} if all(entry.trials == 1 for entry in leaderboard) else set()
    kept = [number for number, name in enumerate(header) if name not in absent]
    header, *rows = ([row[number] for number in kept] for row in (header, *rows))
    hidden = len(leaderboard) - len(rows)
    more = [f"the best of each kind of head; {hidden} more with -v"] if hidden else []
    strong = [number for number, row in enumerate(rows) if row[0].startswith("*")]
    board = Table(header, rows, right=("", "val", "sd"), indent=2, strong=strong)
    return [board, *(f"  {line}" for line in more)]


def _best_of_kinds(leaderboard: "Sequence[LeaderboardEntry]", most: int = 10) -> set[int]:
    """Return the numbers of the best configurations of each kind of head on each layer of each cache."""
    first: dict[tuple[Any, ...], int] = {}
    for number, entry in enumerate(leaderboard):
        first.setdefault((entry.key.cache, entry.key.layer, entry.key.settings.head), number)
    return set(sorted(first.values())[:most])


def varied(settings: Any, every: "Sequence[Any]" = ()) -> str:
    """Return one line with the settings that differ from the defaults or among heads of this kind."""
    from featcache.heads.settings import Settings
    from featcache.sweeps.lines import describe_settings, value_text

    usual = describe_settings(Settings(head=settings.head))
    others = [describe_settings(other) for other in every if other.head == settings.head]
    own = {
        name: value
        for name, value in describe_settings(settings).items()
        if value != usual[name] or any(other[name] != value for other in others)
    }
    return " ".join(f"{name}={value_text(value)}" for name, value in own.items()) or "defaults"


_SCORED = {
    MULTILABEL: "shares of right answers",
    REGRESSION: "R², the share of the variance that is explained",
}


def _score(value: float, task: str) -> str:
    return f"{value:.4f}" if task == REGRESSION or not math.isfinite(value) else percent(value)


def _points(deviation: float, task: str) -> str:
    """Return a deviation between heads, in points where scores are shares."""
    return f"± {deviation:.4f}" if task == REGRESSION else f"± {100 * deviation:.1f}"


def lines(result: "SweepResult", *, verbose: bool = False) -> list[str]:
    """Return a sweep as lines of text, what was chosen first, then the leaderboard: every row of it if `verbose`."""
    return plain(parts(result, verbose=verbose))


def parts(result: "SweepResult", *, verbose: bool = False) -> list[Part]:
    """Return what `lines` does, with the leaderboard as a table."""
    text: list[Part] = [line for choice in result.choices for line in _choice_lines(result, choice)]
    if result.task != MULTICLASS:
        text.append(f"scores are {_SCORED[result.task]}")
    if result.classifier:
        text.append(f"classifier: {escaped(str(result.classifier))}")
    text.append(
        f"{escaped(str(result.folder))}: {result.heads} heads, {result.fitted} fitted now, {result.seconds:.1f} s"
    )
    board = _leaderboard(
        result.leaderboard, result.caches, result.chosen.entry, task=result.task, every_row=verbose
    )
    return text + board


def _simpler_line(
    taken: "LeaderboardEntry", first: "LeaderboardEntry", every: "Sequence[Any]", task: str
) -> str:
    """Return why the first of the leaderboard is not the choice."""
    other, score = varied(first.key.settings, every), _score(first.accuracy, task)
    if score == _score(taken.accuracy, task):
        return f"  as good as {other} on these rows, and simpler"
    return f"  {other} has {score}: within one standard error on these rows, so the simpler is taken"


def _choice_lines(result: "SweepResult", choice: "Choice") -> list[str]:
    from featcache.sweeps.results import shots_text

    every = [entry.key.settings for entry in result.leaderboard]
    name = "chosen" if len(result.choices) == 1 else shots_text(choice.shots)
    entry, task = choice.entry, result.task
    heads = f" {_points(entry.deviation, task)} over {entry.trials} heads" if entry.trials > 1 else ""
    text = [
        f"{name}: {entry.key.settings.head} on {result.caches[entry.key.cache]} {entry.key.layer}, "
        f"{varied(entry.key.settings, every)}; validation {_score(entry.accuracy, task)}{heads}"
    ]
    if choice.first is not None:
        text.append(_simpler_line(entry, choice.first, every, task))
    if choice.test:
        low, high = choice.test.interval
        several = len(choice.test.values) > 1
        spread = (
            f" {_points(choice.test.deviation, task)} over {len(choice.test.values)} seeds" if several else ""
        )
        interval = f"{low:.3f}–{high:.3f}" if task == REGRESSION else percents(low, high)
        text.append(
            f"  test {_score(choice.test.mean, task)}{spread} (95 % interval {interval}, {choice.test.count} photos, "
            "read once)"
        )
    if choice.image_floor is not None:
        text.append(f"  colours alone would get {percent(choice.image_floor)} of the validation photos right")
    equal = [c for c in choice.contenders if not c.against.told_apart]
    if equal:
        text.append(f"  not told apart from {len(equal)} of the next {len(choice.contenders)} on these rows")
    return text
