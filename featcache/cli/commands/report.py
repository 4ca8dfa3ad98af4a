"""``featcache report``: one page about a classifier, a sweep, a cache, a fine-tuning run, or records."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from featcache.cli.arguments.output_files import require_output
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.core.disk.names import FOLDER, require_free
from featcache.core.disk.storage import storage_errors

if TYPE_CHECKING:
    from featcache.reports.report import Report

NAME = "report"
ANOTHER_FOLDER = "name another folder"


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="CLASSIFIER|SWEEP|CACHE|RUN|RECORDS…",
            help="What train-head, sweep, extract or finetune wrote; several classifiers or sweeps are compared. Or "
            "records of experiments, or a folder of them.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page [default: PATH-report.html].")
    ] = None,
    photos: Annotated[
        str | None,
        typer.Option(
            help="The photos, as for extract, if they have moved; a classifier without its cache is scored on them.",
            rich_help_panel="Data",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Cache to score the classifier on [default: the one it was trained on].",
            rich_help_panel="Data",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split or slice to score [default: its test rows].", rich_help_panel="Data"),
    ] = None,
    map_: Annotated[
        Literal["pca", "tsne"],
        typer.Option(
            "--map", help="How the map of the features is made: pca or tsne.", rich_help_panel="Page"
        ),
    ] = "pca",
    audit: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|run",
            help="Show what an audit found: of featcache audit CACHE --json > FILE, or run it now.",
            rich_help_panel="Data",
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(help="Most pictures on the page; 0 for none.", rich_help_panel="Page")
    ] = 3000,
    seed: Annotated[int, typer.Option(help="Seed of which pictures are shown.", rich_help_panel="Page")] = 0,
    figures: Annotated[
        Path | None,
        typer.Option(help="Also write every chart to this folder, as SVG and PNG.", rich_help_panel="Page"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file at the output that is no report.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make one page to look at: data, recipe, scores, curves, confusions, mistakes, a map of the features.

    The page is one file that needs no network; --json prints the numbers behind it.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.reports.opening import kinds_of

    kinds_of(paths)
    target = Path(default_name(paths)) if output is None else output
    inputs = [str(each) for each in (*paths, cache, photos, audit) if each is not None]
    require_output("--output", target, (".html", ".htm"), inputs)
    from featcache.reports.report import report

    folder = nullcontext() if figures is None else _folder_for(figures)
    with folder, console.progress() as on_progress:
        made = report(
            list(paths),
            target,
            photos=photos,
            cache=cache,
            split=split,
            map=map_,
            audit=audit,
            pictures=pictures,
            seed=seed,
            overwrite=overwrite,
            on_progress=on_progress,
        )
        drawn = [] if figures is None else made.figures(figures)
    value = made.to_json() | {"report": str(target), "figures": [str(path) for path in drawn]}
    console.result(value, lines(made, target, figures, len(drawn)))
    for text in filter(None, [*made.material.notes, made.material.moved]):
        console.note(text)
    console.note(f"next: open {escaped(str(target))} in a browser")


@contextmanager
def _folder_for(figures: Path) -> Iterator[None]:
    """Make the folder before anything is computed for it."""
    from featcache.core.disk.files import made_folder  # which imports numpy

    require_free(figures, FOLDER, elsewhere=ANOTHER_FOLDER)
    with storage_errors(figures, elsewhere=ANOTHER_FOLDER), made_folder(figures, elsewhere=ANOTHER_FOLDER):
        yield


def default_name(paths: list[Path]) -> str:
    """Return the name of the page where none is given: that of what it shows, in the working folder."""
    first = paths[0].resolve().name
    stem = first.removesuffix(".h5").removesuffix(".run").removesuffix(".json") or "featcache"
    more = f"-and-{len(paths) - 1}" if len(paths) > 1 else ""
    return f"{stem}{more}-report.html"


def lines(made: "Report", target: Path, figures: Path | None, drawn: int) -> list[str]:
    """Return a report as lines of text: the finding first, then what is on the page."""
    size = len(made.html.encode("utf-8", "replace"))
    rows = [(each.title, each.headline) for each in made.sections]
    rows.append(("page", f"{size / 1e6:.1f} MB, {len(made.sections)} sections"))
    if figures is not None:
        rows.append(("figures", f"{drawn} files in {escaped(str(figures))}"))
    width = max(len(title) for title, _ in rows)
    first = f"{escaped(str(target))}: {made.summary.headline}"
    return [first, *(f"  {title:<{width}}  {told}" for title, told in rows)]
