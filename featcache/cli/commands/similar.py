"""``featcache similar``: the photos of a cache that are nearest to others, as text, a table or a contact sheet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.arguments.output_files import require_output
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.drawings import Part, Table
from featcache.errors import DataError, UsageError

if TYPE_CHECKING:
    from featcache.retrieval.result import Neighbourhood, SimilarPhotos

NAME = "similar"

PAGES = (".html", ".htm")


def command(
    cache: Annotated[Path, typer.Argument(help="Cache made by featcache extract.")],
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO|ID…",
            help="Photos, folders of them, or rows of the cache: their ids, or row:NUMBER.",
        ),
    ],
    top: Annotated[int, typer.Option(help="How many to find for each.")] = 12,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a contact sheet: one page (.html).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a table, a row for each photo found.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to compare [default: the first].")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split or slice to search, such as train [default: every row].")
    ] = None,
    itself: Annotated[
        bool,
        typer.Option(
            "--itself/--not-itself", help="Whether a photo that is a row may be found as its own neighbour."
        ),
    ] = False,
    weights: Annotated[
        str | None, typer.Option(help="Weights file of the cache's backbone, if it has moved.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--photos", help="The cache's photos, as for extract, if they have moved (for --output)."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the photos of a cache that look most like others to its network; every row is compared.

    Features of photos that the cache does not hold are computed by its own recipe.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    if where is not None and output is None:
        raise UsageError(
            "--photos says where the pictures of a contact sheet are; name one with --output FILE.html"
        )
    _refuse_swapped(cache, photos)
    for option, file, endings in (("--output", output, PAGES), ("--csv", csv, (".csv",))):
        if file is None:
            continue
        if file.suffix.casefold() not in endings:
            raise UsageError(f"{option} {file}: expected a name that ends in {' or '.join(endings)}")
        require_output(option, file, endings, [str(cache), *photos])
    from featcache.retrieval.similar import similar

    with console.progress() as on_progress:
        shown = similar(
            cache, photos, top=top, layer=layer, split=split, itself=itself, weights=weights,
            on_progress=on_progress,
        )  # fmt: skip
    console.result(shown.to_json(), parts(shown))
    for note in shown.notes:
        console.note(note)
    if csv is not None:
        shown.to_csv(csv)
        console.note(f"{csv}: {sum(len(each.found) for each in shown.photos)} photos")
    if output is not None:
        shown.to_html(output, photos=where)
        console.note(f"next: open {escaped(str(output))} in a browser")
    if all(each.error for each in shown.photos):
        raise DataError("none of the photos could be read")


def _refuse_swapped(cache: Path, photos: list[str]) -> None:
    from featcache.images.given_path import CACHE, what_is

    found = next((each for each in photos if what_is(each) == CACHE), None)
    if found is not None and what_is(cache) != CACHE:
        raise UsageError(f"{found} is a cache, which comes first: featcache similar {found} {cache}")


def parts(shown: "SimilarPhotos") -> list[Part]:
    """Return a search as text: for each photo a table of the nearest ones."""
    text: list[Part] = []
    for each in shown.photos:
        text += _photo_parts(each)
    return text


def _photo_parts(each: "Neighbourhood") -> list[Part]:
    if each.error:
        return [f"{escaped(each.id)}  cannot be read ({escaped(each.error)})"]
    place = ", ".join(filter(None, [escaped(each.label), escaped(each.split)]))
    head = f"{escaped(each.id)}{f'  ({place})' if place else ''}"
    if not each.found:
        return [head, "  no other photo to compare it with"]
    rows = [
        (
            f"{near.similarity:.3f}",
            escaped(near.label),
            escaped(near.split),
            escaped(near.id) + ("  (the same bytes)" if near.same_bytes else ""),
        )
        for near in each.found
    ]
    return [head, Table(("similarity", "label", "split", "photo"), rows, right=("similarity",), indent=2)]
