"""``featcache data``: check datasets before an extraction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.options import WholeHelpGroup
from featcache.cli.commands.extract import (
    DATASET,
    AllowEmptyClasses,
    ClassesAt,
    LabelFrom,
    Splits,
    Unlabelled,
)
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.drawings import Part, Table, plain
from featcache.core.tasks import MULTICLASS, UNLABELLED

if TYPE_CHECKING:
    from featcache.checks.dataset_report import Copies, DatasetCheck, Quartiles

NAME = "data"
FEW = 10
"""Maximum number of listed items of each kind in text; --json lists all."""
MANY_CLASSES = 30

group = typer.Typer(
    name=NAME,
    cls=WholeHelpGroup,
    help="Look at datasets before anything is computed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@group.command("check")
def check_(
    dataset: Annotated[str, typer.Argument(help=DATASET)],
    data_dir: Annotated[Path | None, typer.Option(help="Where TFDS's datasets are prepared.")] = None,
    label_from: LabelFrom = None,
    splits: Splits = None,
    classes_at: ClassesAt = None,
    unlabelled: Unlabelled = False,
    allow_empty_classes: AllowEmptyClasses = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 if an image is unreadable or in several splits.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Decoding threads [default: one per core].")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Decode every image: formats, modes, sizes, balance of classes, copies, and what is unreadable.

    Needs no backbone. An extraction would leave out the same unreadable images.
    """
    console = Console("data check", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.checks.dataset import check_dataset

    with console.progress() as on_progress:
        found = check_dataset(
            dataset,
            data_dir=data_dir,
            label_from=label_from,
            splits=splits,
            classes_at=classes_at,
            unlabelled=unlabelled,
            allow_empty_classes=allow_empty_classes,
            workers=workers,
            on_progress=on_progress,
        )
    console.result(printable(found.to_json()), parts(found))
    if strict:
        found.require_sound()


def printable(value: Any) -> Any:
    """Return JSON values with all text, such as file names, made safe to print."""
    if isinstance(value, Mapping):
        return {escaped(str(key)): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable(item) for item in value]
    return escaped(value) if isinstance(value, str) else value


def lines(found: "DatasetCheck") -> list[str]:
    """Return a dataset check as lines of text."""
    return plain(parts(found))


def parts(found: "DatasetCheck") -> list[Part]:
    """Return a dataset check as text and a table of its classes."""
    readable = found.images - len(found.unreadable)
    kinds = "without labels" if found.task == UNLABELLED else f"{len(found.classes)} {found.task}"
    bad = f" ({readable} of them readable)" if found.unreadable else ""
    return [
        f"{escaped(found.spec)}: {found.images} images{bad}, {kinds}, {found.total_bytes / 1e6:.1f} MB",
        *([] if not readable else _pictures(found)),
        *_classes(found),
        *_list_lines(
            "misnamed",
            "another format than their name says",
            [f"{name} is {kind}" for name, kind in found.misnamed.items()],
        ),
        *_list_lines("several", "frames, pages or pictures in one file; the first is taken", found.several),
        *_list_lines(
            "unreadable",
            "an extraction leaves them out",
            [f"{name}: {reason}: {detail}" for name, (reason, detail) in found.unreadable.items()],
        ),
        *_count_line("left out", found.skipped),
        *_list_lines(
            "copies", "images of the same bytes", [_copies(copies) for copies in _worst_first(found.copies)]
        ),
        *(f"  warning: {escaped(finding.message)}" for finding in found.findings),
    ]


def _pictures(found: "DatasetCheck") -> list[str]:
    from featcache.checks.dataset_report import SMALL

    turned = {f"with orientation {number}": count for number, count in found.orientations.items()}
    size = f"width {_spread(found.width)}, height {_spread(found.height)} (smallest, median, largest)"
    nbytes = f"{_spread(found.nbytes)} (smallest, median, largest file)"
    small = f"; {found.small} with a side below {SMALL}" if found.small else ""
    return [
        *_count_line("formats", found.formats),
        *_count_line("modes", found.modes),
        f"  {'pixels':<12}{size}{small}",
        f"  {'bytes':<12}{nbytes}",
        *_count_line("turned", turned),
        *_shallow(found),
        *(
            [f"  {'transparent':<12}{found.transparent}, which are laid on white"]
            if found.transparent
            else []
        ),
    ]


def _shallow(found: "DatasetCheck") -> list[str]:
    """Return what to do with 16-bit grey that uses fewer bits, and is nearly black as it stands."""
    if not found.shallow:
        return []
    return [
        f"  {'16 bits':<12}{len(found.shallow)} of {found.deep} grey pictures use no more than {found.bits} bits "
        f"(largest value {max(found.shallow.values())}), and are dark as they stand; featcache extract --rgb "
        f"range=0:{2**found.bits - 1} scales them:",
        *_items([f"{name}: {value}" for name, value in found.shallow.items()]),
    ]


def _spread(spread: "Quartiles") -> str:
    return f"{spread.min}, {spread.median}, {spread.max}"


def _count_line(title: str, counts: Mapping[Any, int]) -> list[str]:
    return (
        [f"  {title:<12}" + ", ".join(f"{n} {escaped(str(what))}" for what, n in counts.items())]
        if counts
        else []
    )


def _list_lines(title: str, meaning: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    return [f"  {title:<12}{len(items)} ({meaning}):", *_items(items)]


def _items(items: Sequence[str]) -> list[str]:
    """Return the first lines of a list, and how many there are beyond them."""
    more = [f"    … and {len(items) - FEW} more (--json lists all)"] if len(items) > FEW else []
    return [*(f"    {escaped(item)}" for item in items[:FEW]), *more]


def _classes(found: "DatasetCheck") -> list[Part]:
    """Return a table of classes and splits; if there are many, only the largest classes."""
    splits = list(found.counts)
    totals = {name: sum(found.counts[split].get(name, 0) for split in splits) for name in found.classes}
    if not any(totals.values()):
        return []
    names = sorted(totals, key=lambda name: -totals[name]) if len(totals) > MANY_CLASSES else list(totals)
    shown = (
        [*names[: MANY_CLASSES // 2], *names[-(MANY_CLASSES // 2) :]] if len(names) > MANY_CLASSES else names
    )
    columns = ("classes", *(split or "images" for split in splits))
    rows = [(name, *(str(found.counts[split][name]) for split in splits)) for name in shown]
    if len(names) > len(shown):
        rows.insert(MANY_CLASSES // 2, (f"… {len(names) - len(shown)} more", *("" for _ in splits)))
    if found.task == MULTICLASS:  # with several labels per image
        rows.append(("all", *(str(sum(found.counts[split].values())) for split in splits)))
    if found.imbalance:
        rows.append(("largest : smallest", *(f"{found.imbalance.get(split, 0):.1f}" for split in splits)))
    return [Table(columns, rows, right=columns[1:], indent=2)]


def _worst_first(copies: "Sequence[Copies]") -> "list[Copies]":
    return sorted(copies, key=lambda found: (not found.contradict, not found.leak))


def _copies(copies: "Copies") -> str:
    said = [
        word
        for word, true in (("different labels", copies.contradict), ("several splits", copies.leak))
        if true
    ]
    more = f" and {len(copies.ids) - 3} more" if len(copies.ids) > 3 else ""
    return " = ".join(copies.ids[:3]) + more + (f" ({', '.join(said)})" if said else "")
