"""``featcache audit``: what cached features say about the data, as ranked lists."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.arguments.output_files import require_distinct, require_output
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.drawings import Part, Table
from featcache.core.display import counted
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.auditing.audit import Audit
    from featcache.auditing.ranked import RankedList, Suspect
    from featcache.core.progress import Progress

NAME = "audit"

TABLES = (".csv",)


def command(
    cache: Annotated[Path, typer.Argument(help="A cache made by featcache extract.")],
    layer: Annotated[str | None, typer.Option("--layer", "-l", help="Layer [default: the first].")] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="LIST,…",
            help="Lists to make: wrong-labels, overlaps, copies, outliers, inseparable, looks, imbalance, groups "
            "[default: all that suit the data].",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Entries of each list to print.")] = 5,
    csv: Annotated[Path | None, typer.Option(help="Write every entry of every list to a .csv file.")] = None,
    exclude_list: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the photos that are certain to be left out, to edit and for --exclude FILE of train-head.",
        ),
    ] = None,
    effect: Annotated[
        bool,
        typer.Option(
            "--effect", help="Also train a head with and without what the lists would leave out, and compare."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the folds, and of draws of many rows.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List what is probably wrong with the data: labels, copies, odd photos, classes that overlap.

    Nothing is changed. Each list is ranked, the most suspicious photo first, and says why. Wrong labels need the extra
    audit (cleanlab).
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    if top < 0:
        raise UsageError(f"--top {top}: expected 0 or more")
    require_distinct({"--csv": csv, "--exclude-list": exclude_list})
    if csv is not None:
        if csv.suffix.casefold() not in TABLES:
            raise UsageError(f"--csv {csv}: expected a file that ends in .csv")
        require_output("--csv", csv, TABLES, [str(cache)])
    if exclude_list is not None:
        _require_new(exclude_list, cache)
    from featcache.auditing.audit import audit

    with console.progress() as on_progress:

        def told(progress: "Progress") -> None:
            if progress.expected_s:
                console.note(_expected(progress.expected_s, progress.total))
            on_progress(progress)

        found = audit(cache, layer=layer, only=only, effect=effect, seed=seed, on_progress=told)
    value = found.to_json()
    try:
        if csv is not None:
            lines = found.write_csv(csv)
            value |= {"csv": escaped(str(csv)), "csv_lines": lines}
        if exclude_list is not None:
            excluded = found.write_exclude(exclude_list)
            value |= {"exclude_list": escaped(str(exclude_list)), "excluded": excluded}
    finally:  # on a full disk, what took minutes is printed all the same
        lists = [part for each in found.lists for part in _parts(each, top, every=only is not None)]
        console.result(value, lists + _last(found))
    if exclude_list is not None:
        from featcache.datasets.exclude_list import NONE  # the word for no list

        given = os.path.join(".", exclude_list) if str(exclude_list) == NONE else str(exclude_list)
        console.note(
            f"{escaped(str(exclude_list))}: {counted(value['excluded'], 'photo')} to leave out; look at them, then: "
            f"featcache train-head {escaped(shlex.quote(str(cache)))} --exclude {escaped(shlex.quote(given))}"
        )
    if csv is not None:
        console.note(f"{escaped(str(csv))}: {counted(value['csv_lines'], 'line')}")
    elif not as_json and any(len(each.entries) > top for each in found.lists):
        console.note(
            "next: every entry with --csv FILE or --json, more of each list with --top, one list with --only"
        )
    if not as_json:
        console.note(f"to see the photos: featcache report {escaped(str(cache))} --audit run")


def _expected(seconds: float, photos: int) -> str:
    minutes = counted(max(1, round(seconds / 60)), "minute")
    return f"auditing {counted(photos, 'photo')} takes about {minutes} while nothing else runs; fewer lists: --only"


def _require_new(path: Path, cache: Path) -> None:
    """Refuse a list that is there: people may have edited it."""
    require_output("--exclude-list", path, (path.suffix.casefold(),), [str(cache)])
    if path.exists():
        raise UsageError(
            f"--exclude-list {path}: it is there and may have been edited; name another file, or remove it"
        )


def _parts(found: "RankedList", top: int, *, every: bool) -> list[Part]:
    """Return what is printed of a list: its finding, its first entries, and how many are left.

    Without `every`, entries of lists where nothing is certain are only counted: those would hide the others.
    """
    shown = found.entries[:top] if every or found.certain else ()
    parts: list[Part] = [f"{found.title} ({found.kind}): {found.finding}"]
    if shown:
        parts.append(
            Table(
                ("file", "label", "score", "why", "resembles"),
                [_cells(entry) for entry in shown],
                right=("score",),
                indent=2,
                strong=[place for place, entry in enumerate(shown) if entry.certain],
            )
        )
    left = len(found.entries) - len(shown)
    if left and not shown and top:
        parts.append(f"  nothing certain; {left:,} to look at with --only {found.kind}")
    elif left:
        sure = found.certain - sum(entry.certain for entry in shown)
        parts.append(f"  … and {left:,} more" + (f", {sure:,} of them certain" if sure > 0 else ""))
    return [*parts, ""]


def _cells(entry: "Suspect") -> list[str]:
    like = entry.resembles[0] if entry.resembles else None
    near = f"{like.id} ({like.relation})" if like else "–"
    return [entry.id, entry.label or "–", f"{entry.score:.3g}", entry.why, near]


def _last(found: "Audit") -> list[Part]:
    """Return what is printed below the lists: their effect, and those that were not made."""
    told = [f"effect: {found.effect.finding}"] if found.effect else []
    return [*told, *(f"not made: {kind} ({why})" for kind, why in found.skipped.items())]
