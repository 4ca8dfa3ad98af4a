"""``featcache export``: a classifier or a backbone as one file that runs without featcache and JAX."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.arguments.output_files import require_output as require_output_file
from featcache.cli.console import Console, Json, Quiet, Verbose
from featcache.core.disk.storage import amount
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.exporting.result import ExportedModel

NAME = "export"

DEFAULT = Path("model.onnx")


def command(
    model: Annotated[
        str, typer.Argument(metavar="CLASSIFIER|BACKBONE", help="A classifier folder, or a backbone's name.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model's file: .onnx, or .stablehlo for JAX.")
    ] = DEFAULT,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Features of this layer alone; may be repeated [default of a backbone: pool]. Of a backbone, logits "
            "gives its own classes."
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Weights file of a backbone.")] = None,
    photos: Annotated[
        list[str] | None,
        typer.Option(
            help="Photos, or folders of them, to compare the model on; may be repeated [default: training photos]."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a model that runs without featcache and JAX: photos' pixels in, probabilities out.

    It is compared with JAX on photos before it is written; its preprocessing and classes are written beside it.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.exporting.files import require_output

    if photos == [""]:
        raise UsageError("--photos is empty; name photos, or folders of them")
    require_output_file("--output", output, (output.suffix.casefold(),), [model, *(photos or [])])
    require_output(output)
    from featcache.exporting.export import export

    with console.step(f"exporting {model}"):
        exported = export(model, output, layer=layer or None, weights=weights, photos=photos or None)
    console.result(exported.to_json(), lines(exported))


def lines(exported: "ExportedModel") -> list[str]:
    """Return what was exported as text."""
    rows = exported.rows()
    width = max(len(name) for name, _ in rows)
    return [
        f"{exported.path}: {exported.kind}, {amount(exported.size)}",
        *(f"  {name:{width}}  {text}" for name, text in rows),
    ]
