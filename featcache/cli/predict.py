"""``featcache predict``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.errors import DataError, UsageError

if TYPE_CHECKING:
    from featcache.prediction import Prediction

NAME = "predict"


def command(
    paths: Annotated[
        list[str], typer.Argument(help="A classifier folder, then images or folders of images.")
    ],
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", "-b", help="Use a backbone's own ImageNet classes, no classifier."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Weights file for --backbone.")] = None,
    top: Annotated[int, typer.Option(help="How many classes to print.")] = 5,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Classify photos with a classifier, or with a backbone's original classes."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    if backbone is not None:
        from featcache.prediction import backbone_predictor

        predictions = backbone_predictor(backbone, weights=weights).predict(paths, top=top)
    else:
        predictions = _with_classifier(paths, top, weights)
    console.result(
        {"predictions": [vars(p) | {"id": escaped(p.id)} for p in predictions]}, lines(predictions)
    )
    unreadable = [p for p in predictions if p.error]
    if unreadable and len(unreadable) == len(predictions):
        raise DataError("none of the images could be read")


def _with_classifier(paths: list[str], top: int, weights: str | None) -> "list[Prediction]":
    from featcache.classifier import Classifier

    folder, *images = paths
    if weights is not None:
        raise UsageError("--weights goes with --backbone; a classifier knows its own")
    if not images:
        raise UsageError(
            f"no images given: featcache predict {folder} PHOTO… (or --backbone NAME PHOTO… without a classifier)"
        )
    return Classifier.load(Path(folder)).predict(images, top=top)


def lines(predictions: "list[Prediction]") -> list[str]:
    """Return predictions as a person reads them."""
    text = []
    for prediction in predictions:
        if prediction.error:
            text.append(f"{escaped(prediction.id)}: cannot be read ({escaped(prediction.error)})")
            continue
        text.append(escaped(prediction.id))
        width = max(len(escaped(name)) for name in prediction.classes)
        text += [
            f"  {escaped(name).ljust(width)}  {p:.4f}"
            for name, p in zip(prediction.classes, prediction.probabilities, strict=True)
        ]
    return text
