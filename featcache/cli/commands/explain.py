"""``featcache explain``: why photos are taken for what, as a page, a picture or a folder of both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.given_paths import refuse_no_photo, refuse_without_classifier
from featcache.cli.arguments.output_files import require_output
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.core.disk.names import FOLDER, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.documents.json_text import to_text
from featcache.errors import DataError, UsageError

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.explanations.channels import ChannelGrids
    from featcache.explanations.explanation import Explanation

NAME = "explain"

DEFAULT = Path("explain.html")
PAGES, PICTURES = (".html", ".htm"), (".png",)
_ANOTHER = "name another file"
_ANOTHER_FOLDER = "name another folder with --output"


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLASSIFIER] PHOTO…",
            help="A classifier folder, then images, or folders of images; with --backbone images alone.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A page (.html), a picture (.png), or a folder for both and the numbers."
        ),
    ] = DEFAULT,
    method: Annotated[
        str,
        typer.Option(
            help="auto, cam (exact), grad-cam, gradient, occlusion or rollout.", rich_help_panel="Heat"
        ),
    ] = "auto",
    stage: Annotated[
        str | None,
        typer.Option(help="Stage of the map for gradients [default: the last].", rich_help_panel="Heat"),
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to show heat for.", rich_help_panel="Heat")] = 3,
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", help="Show heat for this class instead; may be repeated.", rich_help_panel="Heat"),
    ] = None,
    neighbours: Annotated[
        int, typer.Option(help="Nearest training photos to show; 0 for none.", rich_help_panel="Heat")
    ] = 3,
    photos: Annotated[
        str | None,
        typer.Option(help="The training photos, as for extract, if they have moved.", rich_help_panel="Heat"),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE", help="Show the channels of this stage instead.", rich_help_panel="Channels"
        ),
    ] = None,
    filters: Annotated[
        bool,
        typer.Option(
            "--filters", help="Show the filters of the first convolution instead.", rich_help_panel="Channels"
        ),
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", "-b", help="Explain a backbone's own ImageNet classes, no classifier.",
            rich_help_panel="Backbone",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights file for --backbone.", rich_help_panel="Backbone")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Show where in photos a classifier sees their class, and which training photos they look like to it.

    The method is chosen from the network and named: exact class-activation maps wherever the head allows it.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    given = _Given(paths or [], backbone, weights, filters)
    _refuse_mixed(activations, filters, method=method != "auto", stage=stage is not None, class_=bool(class_))
    kind = _kind_of(output, given.paths)
    images = given.check()
    with console.progress() as on_progress:
        model = given.load()
        if filters or activations is not None:
            shown: Any = _channels(model, images, activations)
        else:
            from featcache.explanations.explain import explain

            shown = explain(
                model, images, method=method, stage=stage, top=top, classes=class_ or None,
                neighbours=neighbours, training=photos, on_progress=on_progress,
            )  # fmt: skip
        written = _WRITING[kind](shown, output)
    console.result(_value(shown, written), _lines(shown, written))
    if kind == "page" and not as_json:
        console.note(f"next: open {escaped(str(output))} in a browser")
    if _nothing_read(shown):
        raise DataError("none of the images could be read")


@dataclass(frozen=True)
class _Given:
    """What was named: a classifier and photos, or a backbone and photos."""

    paths: list[str]
    backbone: str | None
    weights: str | None
    filters: bool

    def check(self) -> list[str]:
        """Return the photos; raise for what is plainly something else, before anything is loaded."""
        if self.weights is not None and self.backbone is None:
            raise UsageError("--weights goes with --backbone; a classifier knows its own")
        if self.backbone is not None:
            images = self.paths
            named = f"--backbone {self.backbone} "
        else:
            if not self.paths:
                raise UsageError(
                    "no classifier and no photos given: featcache explain CLASSIFIER PHOTO… (or --backbone NAME PHOTO…)"
                )
            folder, *images = self.paths
            refuse_without_classifier(folder, images, NAME)
            named = f"{folder} "
        if self.filters and images:
            raise UsageError("--filters shows the network's weights and takes no photos; leave them out")
        if not self.filters and not images:
            raise UsageError(f"no images given: featcache explain {named}PHOTO…")
        if images and self.backbone is None:
            from featcache.classifier.classifier import Classifier

            Classifier.load(Path(self.paths[0]))
            refuse_no_photo(self.paths[0], images)
        return images

    def load(self) -> "Path | LoadedBackbone":
        """Return what is explained."""
        if self.backbone is None:
            return Path(self.paths[0])
        from featcache.backbones import load

        return load(self.backbone, weights=self.weights)


def _refuse_mixed(activations: str | None, filters: bool, **heat: bool) -> None:
    if activations is not None and filters:
        raise UsageError("--activations and --filters are two pictures; ask for one of them")
    option = "--filters" if filters else "--activations" if activations is not None else ""
    for name, given in heat.items():
        if option and given:
            raise UsageError(
                f"--{name.rstrip('_')} is about heat, and {option} shows none; leave one of them out"
            )


def _kind_of(output: Path, inputs: list[str]) -> str:
    """Return what is to be written, and refuse what would be replaced."""
    suffix = output.suffix.casefold()
    if suffix in PAGES + PICTURES:
        require_output("--output", output, PAGES if suffix in PAGES else PICTURES, inputs)
        return "page" if suffix in PAGES else "picture"
    if suffix and not output.is_dir():
        raise UsageError(
            f"--output {output}: expected a page (.html), a picture (.png), or a folder's name without an ending"
        )
    require_free(output, FOLDER, elsewhere=_ANOTHER_FOLDER)
    return "folder"


def _channels(model: "Path | LoadedBackbone", images: list[str], stage: str | None) -> "ChannelGrids":
    from featcache.explanations.channels import activations, filters

    return filters(model) if stage is None else activations(model, images, stage)


def _page(shown: "Explanation | ChannelGrids", output: Path) -> list[Path]:
    shown.to_html(output)
    return [output]


def _picture(shown: "Explanation | ChannelGrids", output: Path) -> list[Path]:
    shown.to_png(output)
    return [output]


def _folder(shown: "Explanation | ChannelGrids", output: Path) -> list[Path]:
    from featcache.core.disk.files import make_folder, replace_file

    with storage_errors(output, elsewhere=_ANOTHER_FOLDER):
        make_folder(output, elsewhere=_ANOTHER_FOLDER)
    page, picture, numbers = (output / f"explain{end}" for end in (".html", ".png", ".json"))
    shown.to_html(page)
    shown.to_png(picture)
    with storage_errors(numbers, elsewhere=_ANOTHER):
        replace_file(numbers, to_text(shown.to_json(), indent=1).encode() + b"\n")
    return [page, picture, numbers]


_WRITING: dict[str, Callable[..., list[Path]]] = {"page": _page, "picture": _picture, "folder": _folder}


def _value(shown: Any, written: list[Path]) -> dict[str, Any]:
    from featcache.explanations.explanation import Explanation

    value = shown.to_json(maps=False) if isinstance(shown, Explanation) else shown.to_json()
    return value | {"written": [escaped(str(path)) for path in written]}


def _lines(shown: Any, written: list[Path]) -> list[str]:
    from featcache.explanations.explanation import Explanation
    from featcache.explanations.records import caption_of, told_names

    said = [shown.words]
    if isinstance(shown, Explanation):
        names = told_names([photo.id for photo in shown.photos])
        for name, photo in zip(names, shown.photos, strict=True):
            said.append(f"{escaped(name)}  {caption_of(photo, shown.task)}")
            said += [f"  {heat.name}: {heat.remark}" for heat in photo.heats if heat.remark]
        said += [f"note: {note}" for note in shown.notes]
    else:
        said += [f"{grid.title}  cannot be read ({grid.error})" for grid in shown.grids if grid.error]
    return [*said, *(f"{path}: written" for path in written)]


def _nothing_read(shown: Any) -> bool:
    parts = getattr(shown, "photos", None) or getattr(shown, "grids", ())
    return bool(parts) and all(each.error for each in parts)
