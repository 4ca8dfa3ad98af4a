"""``featcache demo``: extract, train, evaluate and predict, on photos and weights of the installation."""

import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.commands import evaluate as evaluate_command
from featcache.cli.commands import extract as extract_command
from featcache.cli.commands import predict as predict_command
from featcache.cli.commands import train_head as train_head_command
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.drawings import Part

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.evaluation import ClassifierEvaluation
    from featcache.classifier.prediction import Prediction
    from featcache.core.progress import OnProgress
    from featcache.extraction.result import Extraction

NAME = "demo"
DEFAULT_BACKBONE = "efficientnet_lite0"


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the demo's files.")] = Path(
        "featcache-demo"
    ),
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="Network.")] = DEFAULT_BACKBONE,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Only copy the photos into this folder, to try the commands on; nothing else is run."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run the whole job on nine textures that come with featcache: extract, train, evaluate, predict."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    if photos is not None:
        from featcache.images.demo_photos import demo_photos

        folder = demo_photos(photos)
        console.result(*copied(folder))
        console.note(f"next: featcache extract {shlex.quote(escaped(str(folder)))}")
        return
    with console.progress() as on_progress:
        demo = run_demo(output, backbone=backbone, on_progress=on_progress)
    text: list[Part] = [
        f"$ featcache extract {demo.dataset}",
        *extract_command.lines(demo.extraction),
        "",
        f"$ featcache train-head {demo.extraction.path}",
        *train_head_command.parts(demo.classifier, demo.folder),
        "",
        f"$ featcache evaluate {demo.folder} --split test",
        *evaluate_command.parts(demo.evaluation),
        "",
        f"$ featcache predict {demo.folder} {demo.dataset / 'test'}/…",
        *predict_command.lines(demo.predictions, shown=2),
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


def copied(folder: Path) -> tuple[dict[str, object], list[Part]]:
    """Return the values and the lines about photos that were copied."""
    from featcache.images.demo_photos import demo_dataset

    counts = {split: len(list((folder / split).glob("*/*.jpg"))) for split in ("train", "test")}
    classes = sorted(place.name for place in (folder / "train").iterdir())
    text: list[Part] = [
        f"{escaped(str(folder))}: {sum(counts.values())} photos, "
        + ", ".join(f"{split} {count}" for split, count in counts.items()),
        f"  classes   {len(classes)}: {', '.join(classes)}",
        f"  licences  public domain or CC0; whose they are: {escaped(str(demo_dataset().parent / 'README.md'))}",
    ]
    return {"folder": str(folder), "photos": counts, "classes": classes}, text


@dataclass(frozen=True)
class Demo:
    """The results of the demo and their folders.

    Parameters
    ----------
    dataset
        The photos.
    extraction, classifier, evaluation, predictions
        The results of the four steps.
    folder
        The classifier's folder.
    seconds
        Wall time in all.
    """

    dataset: Path
    extraction: "Extraction"
    classifier: "Classifier"
    evaluation: "ClassifierEvaluation"
    predictions: "list[Prediction]"
    folder: Path
    seconds: float


def run_demo(
    output: str | os.PathLike[str] = "featcache-demo",
    *,
    backbone: str = DEFAULT_BACKBONE,
    on_progress: "OnProgress | None" = None,
) -> Demo:
    """Extract, train a head, evaluate it, and classify one test photo of each class.

    Parameters
    ----------
    output
        Folder for the cache and the classifier.
    backbone
        Name of the backbone.
    on_progress
        Called as the extraction proceeds.
    """
    from featcache.classifier.train_head import train_head
    from featcache.datasets.folder_files import image_files
    from featcache.extraction.extract import extract
    from featcache.images.demo_photos import demo_dataset

    started = time.monotonic()
    dataset = demo_dataset()
    target = Path(output)
    extraction = extract(
        dataset, backbone=backbone, output=target / f"textures-{backbone}.h5", on_progress=on_progress
    )
    folder = target / "classifier"
    classifier = train_head(extraction, output=folder)
    evaluation = classifier.evaluate(split="test")
    files, _ = image_files(dataset / "test")
    first_of_class = {file.parent: file for file in reversed(files)}
    predictions = classifier.predict(sorted(first_of_class.values()), top=2)
    seconds = time.monotonic() - started
    return Demo(dataset, extraction, classifier, evaluation, predictions, folder, seconds)
