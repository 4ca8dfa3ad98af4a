"""``featcache predict``: classify photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.errors import DataError, UsageError

if TYPE_CHECKING:
    from featcache.classifier.prediction import Prediction

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
    image_size: Annotated[
        str | None, typer.Option(help="Pixels for --backbone, as SIZE or HEIGHTxWIDTH.")
    ] = None,
    top: Annotated[int, typer.Option(help="Number of classes to print.")] = 5,
    tta: Annotated[
        bool | None, typer.Option(help="Average over views of each photo [default: as it was trained].")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Classify photos with a classifier, or with a backbone's original classes."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    if backbone is not None:
        from featcache.classifier.prediction import backbone_predictor

        if tta:
            raise UsageError(
                "--tta averages over the views that a classifier remembers; give its folder, no --backbone"
            )
        predictor = backbone_predictor(backbone, weights=weights, image_size=image_size)
        predictions = predictor.predict(paths, top=top)
    else:
        _refuse_for_classifiers(weights=weights, image_size=image_size)
        predictions = _with_classifier(paths, top, tta)
    console.result(
        {"predictions": [vars(p) | {"id": escaped(p.id)} for p in predictions]}, lines(predictions)
    )
    if count := sum(p.unknown for p in predictions):
        console.note(
            f"{count} of {len(predictions)} unknown: their confidence is below the threshold that was chosen for the "
            "accuracy of train-head's --reject-accuracy"
        )
    unreadable = [p for p in predictions if p.error]
    if unreadable and len(unreadable) == len(predictions):
        raise DataError("none of the images could be read")


def _refuse_for_classifiers(**options: str | None) -> None:
    for name, given in options.items():
        if given is not None:
            raise UsageError(f"--{name.replace('_', '-')} goes with --backbone; a classifier knows its own")


def _with_classifier(paths: list[str], top: int, tta: bool | None) -> "list[Prediction]":
    from featcache.classifier.classifier import Classifier

    folder, *images = paths
    if not images:
        raise UsageError(
            f"no images given: featcache predict {folder} PHOTO… (or --backbone NAME PHOTO… without a classifier)"
        )
    return Classifier.load(Path(folder)).predict(images, top=top, tta=tta)


def _unknown_text(prediction: "Prediction") -> str:
    """Return the text for an unknown photo: its most probable class, with a question mark."""
    if not prediction.unknown:
        return ""
    return f": unknown ({prediction.probabilities[0]:.2f} {escaped(prediction.classes[0])}?)"


def _labels_text(prediction: "Prediction") -> str:
    """Return the predicted labels of a multilabel classifier."""
    if prediction.answers is None:
        return ""
    return ": " + (escaped(", ".join(prediction.answers)) or "none")


def lines(predictions: "list[Prediction]") -> list[str]:
    """Return predictions as lines of text."""
    text = []
    for prediction in predictions:
        if prediction.error:
            text.append(f"{escaped(prediction.id)}: cannot be read ({escaped(prediction.error)})")
            continue
        text.append(escaped(prediction.id) + _unknown_text(prediction) + _labels_text(prediction))
        width = max(len(escaped(name)) for name in prediction.classes)
        said = [f"{p:.4f}" for p in prediction.probabilities] + [f"{n:.6g}" for n in prediction.numbers or ()]
        text += [
            f"  {escaped(name).ljust(width)}  {value}"
            for name, value in zip(prediction.classes, said, strict=True)
        ]
    return text
