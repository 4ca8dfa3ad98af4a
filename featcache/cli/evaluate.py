"""``featcache evaluate``: score a classifier on a cache."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.console import Console, Json, Quiet, Verbose, escaped, table
from featcache.cli.train_head import score_text
from featcache.core.tasks import MULTILABEL, REGRESSION

if TYPE_CHECKING:
    from featcache.classifier.classifier import ClassifierEvaluation
    from featcache.classifier.rejection import Rejection
    from featcache.metrics.classification import Evaluation
    from featcache.metrics.multilabel import MultilabelEvaluation
    from featcache.metrics.regression import RegressionEvaluation

NAME = "evaluate"


def command(
    classifier: Annotated[Path, typer.Argument(help="Folder made by featcache train-head.")],
    cache: Annotated[
        Path | None, typer.Option(help="Cache to score on [default: the one it was trained on].")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split or slice, such as test, all, 'test[:50%]' [default: its test rows]."),
    ] = None,
    tta: Annotated[
        bool | None,
        typer.Option(help="Average over the cached views of an image [default: as it was trained]."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a classifier: accuracy, scores of each class, confusion matrix."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.classifier.classifier import Classifier

    evaluation = Classifier.load(classifier).evaluate(cache, split, tta=tta)
    console.result(evaluation.to_json(), _LINES[type(evaluation).__name__](evaluation))
    if evaluation.seen is None:
        console.note(
            "the classifier was trained by an older featcache, which did not record its images: how many of these it "
            "has seen is unknown"
        )
    elif evaluation.seen:
        console.note(
            f"warning: {evaluation.seen} of these {evaluation.count} images trained it or chose its epoch: their score "
            "is too good for new images"
        )


def _class_lines(evaluation: "ClassifierEvaluation") -> list[str]:
    return lines(evaluation, evaluation.rejection, views=evaluation.views)


def _answer_lines(evaluation: "MultilabelEvaluation") -> list[str]:
    columns = ("answer", "average precision", "precision", "recall", "f1", "yes")
    rows = [
        (
            escaped(own.name),
            "–" if own.average_precision is None else f"{own.average_precision:.3f}",
            f"{own.precision:.3f}",
            f"{own.recall:.3f}",
            f"{own.f1:.3f}",
            str(own.support),
        )
        for own in evaluation.answers
    ]
    head = f"{evaluation.split}: {score_text(MULTILABEL, evaluation.to_json())}, loss {evaluation.loss:.3f}"
    return [head, "", *table(columns, rows, right=columns[1:])]


def _number_lines(evaluation: "RegressionEvaluation") -> list[str]:
    columns = ("number", "R²", "mean absolute error", "root of squares")
    rows = [
        (escaped(own.name), f"{own.r2:.4f}", f"{own.mae:.4g}", f"{own.rmse:.4g}")
        for own in evaluation.numbers
    ]
    head = f"{evaluation.split}: {score_text(REGRESSION, evaluation.to_json())}"
    return [head, "", *table(columns, rows, right=columns[1:])]


_LINES: Mapping[str, Callable[[Any], list[str]]] = {
    "ClassifierEvaluation": _class_lines,
    "MultilabelEvaluation": _answer_lines,
    "RegressionEvaluation": _number_lines,
}


def lines(evaluation: "Evaluation", rejection: "Rejection | None" = None, *, views: int = 1) -> list[str]:
    """Return an evaluation as lines of text, with coverage and accuracy of the rejection threshold."""
    low, high = evaluation.interval
    top5 = "" if evaluation.top5 is None else f", top-5 {evaluation.top5:.4f}"
    text = [
        f"{evaluation.split}: accuracy {evaluation.accuracy:.4f} (95 % interval {low:.3f}–{high:.3f}) on "
        f"{evaluation.count} images{top5}, loss {evaluation.loss:.3f}, "
        f"calibration error {evaluation.calibration_error:.3f}",
        *([f"  mean of {views} views of each image"] if views > 1 else []),
        *_known(rejection),
        "",
    ]
    rows = [
        (c.name, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", str(c.support))
        for c in evaluation.classes
    ]
    columns = ("class", "precision", "recall", "f1", "images")
    text += [*table(columns, rows, right=columns[1:]), ""]
    return text + confusion_lines(evaluation)


def _known(rejection: "Rejection | None") -> list[str]:
    """Return the line on coverage and accuracy of predictions that are not "unknown"."""
    if rejection is None:
        return []
    right = "" if rejection.accuracy is None else f", accuracy {rejection.accuracy:.4f} there"
    return [
        f"  not unknown {rejection.accepted} ({rejection.coverage:.1%}, from {rejection.threshold:.3f} on){right}"
    ]


def confusion_lines(evaluation: "Evaluation", most: int = 20) -> list[str]:
    """Return the confusion matrix; with many classes only the largest confusions."""
    names = [c.name for c in evaluation.classes]
    if len(names) <= most:
        columns = ("true \\ predicted", *map(escaped, names))
        rows = [(name, *map(str, counts)) for name, counts in zip(names, evaluation.confusion, strict=True)]
        return table(columns, rows, right=columns[1:])
    wrong = [
        (int(count), names[i], names[j])
        for i, row in enumerate(evaluation.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    rows = [(true, predicted, str(count)) for count, true, predicted in sorted(wrong, reverse=True)[:most]]
    return ["largest confusions:", *table(("true", "predicted", "images"), rows, right=("images",))]
