"""``featcache export``: a classifier or a backbone as one file that runs without featcache and JAX."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.arguments.output_files import require_output
from featcache.cli.console import Console, Json, Quiet, Verbose
from featcache.core.disk.storage import amount

if TYPE_CHECKING:
    from featcache.exporting.result import ExportedModel

NAME = "export"

DEFAULT = Path("model.onnx")


def command(
    model: Annotated[
        str, typer.Argument(metavar="CLASSIFIER|BACKBONE", help="A classifier folder, or a backbone's name.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The model's file: .onnx, or .stablehlo for JAX [default: model.onnx, or none with --web].",
        ),
    ] = None,
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
    float16: Annotated[
        bool, typer.Option("--float16", help="Half precision: half the size, faster on GPUs and phones.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Eight bits: a quarter of the size, faster on most CPUs; tells what accuracy it costs.",
        ),
    ] = False,
    web: Annotated[
        Path | None, typer.Option(help="Write a folder with a page that classifies photos in a browser.")
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="Where onnxruntime-web is for --web: a folder of npm install, or the package (.tgz)."
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
    file = DEFAULT if output is None and web is None else output
    if file is not None:
        from featcache.exporting.files import require_no_folder

        require_no_folder(file)
        require_output("--output", file, (file.suffix.casefold(),), [model, *(photos or [])], made=True)
    from featcache.exporting.export import export

    with console.step(f"exporting {model}"):
        exported = export(
            model,
            file,
            layer=layer or None,
            weights=weights,
            photos=photos or None,
            float16=float16,
            int8=int8,
            web=web,
            runtime=runtime,
        )
    console.result(exported.to_json(), lines(exported))
    if web is not None:
        console.note(
            f"next: (cd {shlex.quote(str(web))}; python3 -m http.server 8000), then open http://localhost:8000/"
        )


def lines(exported: "ExportedModel") -> list[str]:
    """Return what was exported as text."""
    rows = exported.rows()
    width = max(len(name) for name, _ in rows)
    return [
        f"{exported.path}: {exported.kind}, {amount(exported.size)}",
        *(f"  {name:{width}}  {text}" for name, text in rows),
    ]
