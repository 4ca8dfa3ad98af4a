"""``featcache train-head``: train one head on a cache."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.options import (
    Calibrate,
    GroupBy,
    RejectAccuracy,
    ShuffleSlices,
    Test,
    Train,
    Val,
    option,
    with_options,
)
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.errors import UsageError
from featcache.heads.settings import SETTINGS

if TYPE_CHECKING:
    from featcache.classifier.calibration import Calibration
    from featcache.classifier.classifier import Classifier

NAME = "train-head"


@with_options(
    common=("head", "layer", "learning_rate", "weight_decay", "batch_size", "epochs", "seed", "output"),
    options=map(option, SETTINGS.values()),
)
def command(
    cache: Annotated[Path, typer.Argument(help="A cache made by featcache extract.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the classifier.")] = Path(
        "classifier"
    ),
    layer: Annotated[str | None, typer.Option("--layer", "-l", help="Layer [default: the first].")] = None,
    train: Train = "train",
    val: Val = None,
    test: Test = None,
    group_by: GroupBy = None,
    shuffle_slices: ShuffleSlices = False,
    tta: Annotated[
        bool,
        typer.Option(help="Score the mean over an image's cached views.", rich_help_panel="Validation"),
    ] = False,
    calibrate: Calibrate = True,
    reject_accuracy: RejectAccuracy = 0.95,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    **settings: Any,
) -> None:
    """Train a head on cached features; takes seconds.

    The validation rows choose the epoch and calibrate the head, so validation accuracy and calibration error
    are slightly optimistic. The test rows are read once, at the end.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.classifier.train_head import train_head

    settings["hidden"] = _widths(settings["hidden"])
    replaced = (output / "classifier.json").is_file()
    classifier = train_head(
        cache,
        output=output,
        layer=layer,
        train=train,
        val=val,
        test=test,
        group_by=group_by,
        shuffle_slices=shuffle_slices,
        tta=tta,
        calibrate=calibrate,
        reject_accuracy=reject_accuracy,
        **settings,
    )
    console.result(to_json(classifier, output), lines(classifier, output))
    for found in classifier.training["warnings"]:
        console.note(f"warning: {escaped(found['message'])}")
    if replaced:
        console.note(f"(an earlier classifier in {output} was replaced)")
    if "test" not in classifier.metrics and "val" in classifier.metrics:
        console.note("no test split: the validation accuracy chose the epoch, so it is slightly optimistic")
    console.note(f"next: featcache predict {escaped(str(output))} PHOTO…")


def _widths(text: str) -> tuple[int, ...]:
    """Parse the widths of hidden layers, such as ``256,128``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"hidden {text!r}: expected widths of layers such as 256 or 512,128; give --hidden N,N…"
        ) from None


def to_json(classifier: "Classifier", output: Path) -> dict[str, Any]:
    """Return a trained classifier as plain JSON values."""
    return {
        "classifier": str(output),
        "metrics": dict(classifier.metrics),
        "warnings": list(classifier.training["warnings"]),
        "calibration": classifier.calibration.to_json(),
        "training": dict(classifier.training),
    }


def lines(classifier: "Classifier", output: Path) -> list[str]:
    """Return a trained classifier as lines of text."""
    training = classifier.training
    names = {"val": "validation", "test": "test"}
    text = [
        f"{escaped(str(output))}: {classifier.head} head on {classifier.backbone} {classifier.layer}, "
        f"{len(classifier.classes)} {classifier.task}; epoch {training['best_epoch']} of {training['epochs_run']}, "
        f"{training['seconds']:.1f} s",
        *(
            f"  {names.get(split, split):<11} {score_text(classifier.task, scores)}"
            for split, scores in classifier.metrics.items()
        ),
    ]
    if recipe := training.get("view_recipe"):
        learnt = training["views"] or 1
        measured = f"the mean of all {recipe['count']}" if training["tta"] else "the plain images"
        text.append(f"  views       learnt from {learnt} of {recipe['count']}; measured on {measured}")
    if (floor := training["image_floor"]) is not None:
        text.append(f"  image floor {floor:.4f}: colours alone, on the validation images")
    return text + calibration_lines(classifier.calibration)


def _class_scores(scores: Mapping[str, Any]) -> str:
    low, high = scores["interval"]
    return (
        f"accuracy {scores['accuracy']:.4f}  (95 % interval {low:.3f}–{high:.3f}, {scores['count']} images, "
        f"loss {scores['loss']:.3f})"
    )


def _answer_scores(scores: Mapping[str, Any]) -> str:
    low, high = scores["interval"]
    precision = scores["mean_average_precision"]
    ranked = "" if precision is None else f"mean average precision {precision:.4f}, "
    return (
        f"{ranked}F1 {scores['f1']:.4f}, {scores['accuracy']:.2%} of the answers right  "
        f"(95 % interval {low:.2%}–{high:.2%}, {scores['count']} images)"
    )


def _number_scores(scores: Mapping[str, Any]) -> str:
    low, high = scores["interval"]
    return (
        f"R² {scores['r2']:.4f}, mean absolute error {scores['mae']:.4g}  "
        f"(95 % interval {low:.4g}–{high:.4g}, {scores['count']} images, root of squares {scores['rmse']:.4g})"
    )


def score_text(task: str, scores: Mapping[str, Any]) -> str:
    """Return a split's scores as text, by task."""
    return _SCORES[task](scores)


_SCORES = {MULTICLASS: _class_scores, MULTILABEL: _answer_scores, REGRESSION: _number_scores}


def calibration_lines(calibration: "Calibration") -> list[str]:
    """Return lines on a classifier's temperature and rejection threshold."""
    if not calibration.count:
        return [f"  calibrated  no: {calibration.note}"]
    before, after = calibration.error_before, calibration.error_after
    how = (
        f"as it is; calibration error {before:.3f}"
        if calibration.temperature == 1
        else f"temperature {calibration.temperature:.2f}; calibration error {before:.3f} → {after:.3f}"
    )
    kept = calibration.rejection
    unknown = (
        f"never: {calibration.note}"
        if kept is None or kept.threshold is None
        else f"below {kept.threshold:.3f}: {1 - kept.coverage:.1%} of them; of the others {kept.accuracy:.1%} are "
        f"right (at least {kept.lower:.1%})"
    )
    return [f"  calibrated  {how} on {calibration.count} validation images", f"  unknown     {unknown}"]
