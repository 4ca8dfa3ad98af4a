"""``featcache demo``."""

from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import evaluate as evaluate_command
from featcache.cli import extract as extract_command
from featcache.cli import predict as predict_command
from featcache.cli import train_head as train_head_command
from featcache.cli.console import Console, Json, Quiet, Verbose

NAME = "demo"


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what the demo makes.")] = Path(
        "featcache-demo"
    ),
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="Network.")] = "efficientnet_lite0",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run the whole job on nine textures that come with featcache: extract, train, evaluate, predict."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.demo import run_demo

    with console.progress() as on_progress:
        demo = run_demo(output, backbone=backbone, on_progress=on_progress)
    text = [
        f"$ featcache extract {demo.dataset}",
        *extract_command.lines(demo.extraction),
        "",
        f"$ featcache train-head {demo.extraction.path}",
        *train_head_command.lines(demo.classifier, demo.folder),
        "",
        f"$ featcache evaluate {demo.folder} --split test",
        *evaluate_command.lines(demo.evaluation),
        "",
        f"$ featcache predict {demo.folder} {demo.dataset / 'test'}/…",
        *predict_command.lines(demo.predictions),
        "",
        f"{demo.seconds:.1f} s in all. What was made:",
        f"  features    {demo.extraction.path}",
        f"  classifier  {demo.folder}",
        "Now your own photos: featcache extract PHOTOS/ (PHOTOS/CLASS/*.jpg, or PHOTOS/{train,test}/CLASS/*.jpg)",
    ]
    value = {
        "extract": extract_command.to_json(demo.extraction),
        "train_head": train_head_command.to_json(demo.classifier, demo.folder),
        "evaluate": demo.evaluation.to_json(),
        "predictions": [vars(p) for p in demo.predictions],
        "seconds": round(demo.seconds, 3),
    }
    console.result(value, text)
