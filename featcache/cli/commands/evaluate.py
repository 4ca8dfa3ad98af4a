"""``featcache evaluate``: score a classifier on photos, and name those that it gets wrong."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.given_paths import refuse_no_cache, refuse_swapped, without_labels
from featcache.cli.arguments.output_files import require_output
from featcache.cli.commands.extract import AllowEmptyClasses, ClassesAt, Engine, LabelFrom, Splits
from featcache.cli.commands.train_head import score_text, to_see
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.confusion import Confusion
from featcache.cli.terminal.drawings import OnTerminal, Part, Table
from featcache.cli.terminal.mistakes import mistake_parts
from featcache.core.display import percent, percents
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION, TASK_NAMES
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier, ClassifierEvaluation
    from featcache.classifier.rejection import Rejection
    from featcache.metrics.classification import Evaluation
    from featcache.metrics.multilabel import MultilabelEvaluation
    from featcache.metrics.regression import RegressionEvaluation
    from featcache.metrics.retrieval import RetrievalScores

NAME = "evaluate"


def command(
    classifier: Annotated[Path, typer.Argument(help="Folder made by featcache train-head.")],
    photos: Annotated[
        str | None,
        typer.Argument(
            help="Labelled photos, as for extract (a folder, csv:TABLE …), or a cache [default: the cache it was "
            "trained on]."
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Cache to score on, in the place of PHOTOS.")] = None,
    label_from: LabelFrom = None,
    splits: Splits = None,
    classes_at: ClassesAt = None,
    allow_empty_classes: AllowEmptyClasses = False,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split or slice, such as test, all, 'test[:50%]' [default: its test rows; of other photos all, or "
            "those of their own test split]."
        ),
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(help="Write the photos it gets wrong, the worst first, to a .csv or .json file."),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="List of photos to leave out: an id in each line; or none [default: those left out of its training].",
        ),
    ] = None,
    tta: Annotated[
        bool | None,
        typer.Option(help="Average over the cached views of an image [default: as it was trained]."),
    ] = None,
    retrieval: Annotated[
        bool,
        typer.Option(
            "--retrieval", help="Also score the features as a search: mAP, and recall at 1, 5 and 10."
        ),
    ] = False,
    engine: Engine = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a classifier: accuracy, scores of each class, confusion matrix, the photos it gets wrong."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.classifier.classifier import Classifier
    from featcache.datasets import photos_spec

    if errors is not None:
        from featcache.classifier.scored.images import errors_format

        errors_format(errors)
        given = [each for each in (classifier, photos, cache) if each is not None]
        require_output("--errors", errors, (".csv", ".json"), map(str, given))
    refuse_swapped(NAME, classifier, photos, cache)
    refuse_no_cache(cache)
    loaded = Classifier.load(classifier)
    _refuse_contradictions(loaded, photos, cache, errors)
    spec = photos_spec(
        photos,
        label_from=label_from,
        splits=splits,
        classes_at=classes_at,
        allow_empty_classes=allow_empty_classes,
    )
    with console.progress() as on_progress, without_labels(classifier):
        evaluation = loaded.evaluate(
            spec or cache,
            split,
            tta=tta,
            exclude=exclude,
            allow_empty_classes=allow_empty_classes,
            retrieval=retrieval,
            engine=engine,
            on_progress=on_progress,
        )
    found = evaluation.retrieval if retrieval else None
    search = [] if found is None else retrieval_lines(found)
    console.result(evaluation.to_json(), [*parts(evaluation, verbose=verbose), *search])
    count = None if errors is None else evaluation.write_errors(errors)  # last: it may fail, scores are there
    if evaluation.note:
        console.note(evaluation.note)
    if count is not None:
        console.note(f"{errors}: {count} of {evaluation.count} photos, which it gets wrong")
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
    if photos is None and cache is None and errors is None:
        console.note(to_see(classifier))


def _refuse_contradictions(
    classifier: "Classifier", photos: str | None, cache: Path | None, errors: Path | None
) -> None:
    if photos is not None and cache is not None:
        raise UsageError(f"{photos} and --cache {cache}: expected one of them, since one is scored at a time")
    if errors is not None and classifier.task != MULTICLASS:
        raise UsageError(
            f"--errors {errors}: it lists photos of a wrong class, and this classifier's task is "
            f"{TASK_NAMES[classifier.task]}; leave it out"
        )


def retrieval_lines(scores: "RetrievalScores") -> list[Part]:
    """Return the scores of a search among the scored photos as lines of text."""
    recall = ", ".join(f"recall@{cut} {percent(share)}" for cut, share in scores.recall.items())
    alone = f"; {scores.alone} others have none of their kind" if scores.alone else ""
    return [
        "",
        f"retrieval: mAP {percent(scores.mean_average_precision)}, {recall}",
        f"  each of {scores.queries} photos searched among the others{alone}",
    ]


def parts(
    evaluation: "ClassifierEvaluation | MultilabelEvaluation | RegressionEvaluation",
    *,
    verbose: bool = False,
) -> list[Part]:
    """Return an evaluation as text, tables and a confusion matrix; a terminal gets more mistakes if `verbose`."""
    return _PARTS[type(evaluation).__name__](evaluation, verbose)


def _class_parts(evaluation: "ClassifierEvaluation", verbose: bool) -> list[Part]:
    scores = _score_parts(evaluation, evaluation.rejection, views=evaluation.views)
    worst = _worst_parts(evaluation)
    return [
        *scores,
        *(worst if verbose else [OnTerminal(mistake_parts(evaluation, "--errors FILE.csv"), worst)]),
    ]


def _worst_parts(evaluation: "ClassifierEvaluation") -> list[Part]:
    """Return the photos whose true class got the least probability."""
    from featcache.classifier.scored.images import WORST

    if evaluation.images is None or not len(evaluation.images.wrong):
        return []
    columns = ("file", "truth", "guess", "probability", "of the truth")
    rows = [
        (
            each.file,
            each.truth,
            f"{each.guess}?" if each.unknown else each.guess,
            percent(each.probability),
            percent(each.truth_probability),
        )
        for each in evaluation.mistakes(WORST)
    ]
    count = len(evaluation.images.wrong)
    title = f"{count} of {evaluation.count} wrong" + (f", the worst {WORST}:" if count > WORST else ":")
    more = "" if count <= WORST else "all of them: --errors FILE.csv"
    unsure = "with a question mark: answered unknown" if any(own[2].endswith("?") for own in rows) else ""
    last = "; ".join(filter(None, [more, unsure]))
    return ["", title, Table(columns, rows, right=columns[3:]), *([f"({last})"] if last else [])]


def _answer_parts(evaluation: "MultilabelEvaluation", verbose: bool) -> list[Part]:
    columns = ("answer", "average precision", "precision", "recall", "f1", "yes")
    rows = [
        (
            escaped(own.name),
            "–" if own.average_precision is None else percent(own.average_precision),
            percent(own.precision),
            percent(own.recall),
            percent(own.f1),
            str(own.support),
        )
        for own in evaluation.answers
    ]
    head = f"{evaluation.split}: {score_text(MULTILABEL, evaluation.to_json())}, loss {evaluation.loss:.3f}"
    return [head, *_unlike(evaluation), "", Table(columns, rows, right=columns[1:])]


def _number_parts(evaluation: "RegressionEvaluation", verbose: bool) -> list[Part]:
    columns = ("number", "R²", "mean absolute error", "root of squares")
    rows = [
        (escaped(own.name), f"{own.r2:.4f}", f"{own.mae:.4g}", f"{own.rmse:.4g}")
        for own in evaluation.numbers
    ]
    head = f"{evaluation.split}: {score_text(REGRESSION, evaluation.to_json())}"
    return [head, *_unlike(evaluation), "", Table(columns, rows, right=columns[1:])]


_PARTS: Mapping[str, Callable[[Any, bool], list[Part]]] = {
    "ClassifierEvaluation": _class_parts,
    "MultilabelEvaluation": _answer_parts,
    "RegressionEvaluation": _number_parts,
}


def _score_parts(evaluation: "Evaluation", rejection: "Rejection | None", *, views: int) -> list[Part]:
    """Return the scores of all classes and of each, with coverage and accuracy of the rejection threshold."""
    low, high = evaluation.interval
    top5 = "" if evaluation.top5 is None else f", top-5 {percent(evaluation.top5)}"
    text: list[Part] = [
        f"{evaluation.split}: accuracy {percent(evaluation.accuracy)} (95 % interval {percents(low, high)}) on "
        f"{evaluation.count} images{top5}, loss {evaluation.loss:.3f}, "
        f"calibration error {percent(evaluation.calibration_error)}",
        f"  balanced accuracy {percent(evaluation.balanced_accuracy)}, macro F1 {percent(evaluation.f1_macro)}",
        *([f"  mean of {views} views of each image"] if views > 1 else []),
        *_known(rejection),
        *_unlike(evaluation),
        "",
    ]
    rows = [
        (
            c.name,
            percent(c.precision),
            percent(c.recall),
            "–" if c.recall_interval is None else percents(*c.recall_interval),
            percent(c.f1),
            str(c.support),
        )
        for c in evaluation.classes
    ]
    columns = ("class", "precision", "recall", "95 % interval", "f1", "images")
    names = [c.name for c in evaluation.classes]
    return [*text, Table(columns, rows, right=columns[1:]), "", Confusion(names, evaluation.confusion)]


def _unlike(evaluation: Any) -> list[str]:
    """Return the line on how many of these photos would be called unlike anything seen."""
    if evaluation.unlike is None:
        return []
    return [
        f"  unlike      {evaluation.unlike} ({percent(evaluation.unlike / evaluation.count)}) are unlike anything seen"
    ]


def _known(rejection: "Rejection | None") -> list[str]:
    """Return the line on coverage and accuracy of predictions that are not "unknown"."""
    if rejection is None or rejection.threshold is None:
        return []
    right = "" if rejection.accuracy is None else f", accuracy {percent(rejection.accuracy)} there"
    return [
        f"  not unknown {rejection.accepted} ({percent(rejection.coverage)}, "
        f"from a confidence of {percent(rejection.threshold)} on){right}"
    ]
