"""``featcache suggest``: which unlabelled photos to label next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.arguments.output_files import require_distinct, require_output
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.core.display import counted
from featcache.errors import DataError, UsageError

if TYPE_CHECKING:
    from featcache.labelling.suggestions import Suggestions

NAME = "suggest"

_MOST_WIDTH = 60
"""Columns that names are padded to, at most."""


def command(
    cache: Annotated[Path, typer.Argument(help="A cache of photos without labels (extract --unlabelled).")],
    classifier: Annotated[
        Path | None,
        typer.Argument(metavar="[CLASSIFIER]", help="What was trained so far; at the very start, none."),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of photos to suggest.")] = 50,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write a contact sheet (.html).")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Also write a table with a column for labels; a table that is there grows, and its labels count."
        ),
    ] = None,
    links: Annotated[
        Path | None,
        typer.Option(help="Also put the photos into this new folder, as hard links or copies."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split or slice to choose from, as if unlabelled.", rich_help_panel="Data"),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Layer, without a classifier [default: the first].", rich_help_panel="Data"),
    ] = None,
    photos: Annotated[
        str | None,
        typer.Option(help="The photos, as for extract, if they have moved.", rich_help_panel="Data"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the clusters.", rich_help_panel="Data")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Suggest the unlabelled photos whose labels would help most.

    With a classifier: photos that stand for many of which it is unsure, unlike each other. Without: photos that are
    typical of many others.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    _refuse_swapped(cache, classifier)
    _check_outputs(
        output, csv, links, [str(each) for each in (cache, classifier, photos) if each is not None]
    )
    from featcache.labelling.suggest import suggest

    with console.progress() as on_progress:
        found = suggest(
            cache, classifier, count=count, split=split, layer=layer, table=csv, photos=photos, seed=seed,
            on_progress=on_progress,
        )  # fmt: skip
    written: dict[Path, str] = {}
    try:
        _write(found, output, csv, links, written)
    finally:  # on a full disk, or where photos have moved, what was found is printed all the same
        value = found.to_json() | {"written": [escaped(str(each)) for each in written]}
        console.result(value, lines(found))
    for text in [*found.notes, *written.values()]:
        console.note(text)
    if not written:
        console.note(
            "next: --csv LABELS.csv writes a table to fill in, -o SHEET.html a page to look at, --links DIR a folder"
        )


def _refuse_swapped(cache: Path, classifier: Path | None) -> None:
    from featcache.core.classifier_folder import is_classifier

    if is_classifier(cache):
        other = "CACHE" if classifier is None else str(classifier)
        raise UsageError(
            f"{cache} is a classifier, and the cache comes first: featcache {NAME} {other} {cache}"
        )
    from featcache.images.given_path import PHOTO, PHOTOS, what_is

    if (kind := what_is(cache)) in (PHOTO, PHOTOS):
        more = "" if classifier is None else f" {classifier}"
        raise DataError(
            f"{cache} is {kind}, no cache of features; featcache extract {cache} --unlabelled -o NEW.h5, then "
            f"featcache {NAME} NEW.h5{more}"
        )


def _check_outputs(output: Path | None, csv: Path | None, links: Path | None, inputs: list[str]) -> None:
    """Refuse what cannot be written before anything is computed."""
    require_distinct({"--csv": csv, "--links": links, "--output": output})
    if output is not None:
        if output.suffix.casefold() not in (".html", ".htm"):
            raise UsageError(
                f"--output {output}: expected a page, FILE.html; --csv writes a table and --links a folder"
            )
        require_output("--output", output, (".html", ".htm"), inputs)
        from featcache.pages.page import environment

        environment()  # which says what is not installed
    if csv is not None:
        require_output("--csv", csv, (".csv",), inputs)
        from featcache.labelling.label_table import require_table

        require_table(csv)
    if links is not None:
        from featcache.labelling.photo_folder import require_empty

        require_empty(links)


def _write(
    found: "Suggestions", output: Path | None, csv: Path | None, links: Path | None, written: dict[Path, str]
) -> None:
    """Write what was asked for, and add to `written` what is to be said of each.

    The folder comes first: where the photos have moved, nothing else is written, and no table has grown.
    """
    if links is not None:
        put = found.to_folder(links)
        unread = "".join(
            f"; {counted(len(put.unread), 'photo')} could not be read, such as {escaped(name)}: {escaped(why)}"
            for name, why in list(put.unread.items())[:1]
        )
        written[links] = (
            f"{links}: {counted(put.linked + put.copied, 'photo')}{unread}. Sort them into a folder for each class, "
            f"then: featcache extract {links} -b {found.backbone}"
        )
    if csv is not None:
        new = found.to_csv(csv)
        written[csv] = _said_of_table(found, csv, new)
    if output is not None:
        found.to_html(output)
        written[output] = f"next: open {output} in a browser"


def _said_of_table(found: "Suggestions", csv: Path, new: int) -> str:
    there = len(found) - new
    already = f", {there} stood there already" if there else ""
    return (
        f"{csv}: {counted(new, 'photo')} added{already}. Fill in the column label, then: featcache extract "
        f"'csv:{csv}?no_label=skip' -b {found.backbone}"
    )


def lines(found: "Suggestions") -> list[str]:
    """Return suggestions as lines of text."""
    width = min(max((len(escaped(each.id)) for each in found.photos), default=0), _MOST_WIDTH)
    digits = len(str(len(found)))
    left = [
        f"{number:,} {what}"
        for number, what in (
            (found.labelled, "labelled already"),
            (found.copies, "copies of others" if found.copies > 1 else "copy of another"),
        )
        if number
    ]
    out = f" ({', '.join(left)} left out)" if left else ""
    return [
        f"{found.headline}{out}: {found.words}",
        *(
            f"{each.rank:{digits}}  {escaped(each.id).ljust(width)}  {each.why}".rstrip()
            for each in found.photos
        ),
    ]
