"""``featcache train-head``: train one head on a cache."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.options import (
    Calibrate,
    Exclude,
    GroupBy,
    Refit,
    RejectAccuracy,
    ShuffleSlices,
    Test,
    Train,
    Val,
    option,
    with_options,
)
from featcache.cli.console import Console, Json, Quiet, Verbose, draws, escaped
from featcache.cli.terminal.drawings import Curve, Part, plain
from featcache.cli.terminal.mistakes import mistake_parts
from featcache.core.display import SPLIT_WORDS, percent, percents
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.errors import UsageError
from featcache.heads.settings import DESCENT, SETTINGS, STRENGTHS

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
    exclude: Exclude = None,
    tta: Annotated[
        bool,
        typer.Option(help="Score the mean over an image's cached views.", rich_help_panel="Validation"),
    ] = False,
    refit: Refit = True,
    calibrate: Calibrate = True,
    reject_accuracy: RejectAccuracy = 0.95,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    **settings: Any,
) -> None:
    """Train a head on cached features; takes seconds.

    Validation rows choose the epoch, or folds the penalty; then the head is fitted again on all of them, and calibrated
    on outputs of heads that have not learnt from what they are asked. The test rows are read once, at the end.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.classifier.train_head import train_head

    settings["hidden"] = _widths(settings["hidden"])
    replaced = (output / "classifier.json").is_file()
    with console.step(f"training a {settings['head']} head on {cache.name}"):
        classifier = train_head(
            cache,
            output=output,
            layer=layer,
            train=train,
            val=val,
            test=test,
            group_by=group_by,
            shuffle_slices=shuffle_slices,
            exclude=exclude,
            tta=tta,
            refit=refit,
            calibrate=calibrate,
            reject_accuracy=reject_accuracy,
            **settings,
        )
    text = parts(classifier, output, verbose=verbose)
    if draws() and not as_json:
        with console.step("reading the test photos' features"):
            text += _mistakes(classifier, output)
    console.result(to_json(classifier, output), text)
    if replaced:
        console.note(f"(an earlier classifier in {output} was replaced)")
    if "test" not in classifier.metrics and "val" in classifier.metrics:
        chosen = "penalty" if classifier.head in STRENGTHS else "epoch"
        console.note(
            f"no test split: the validation photos helped to choose the {chosen}, so their score is a little too good"
        )
    if said := _unequal(classifier):
        console.note(said)
    console.note(next_step(output, tested="test" in classifier.metrics))
    console.note(to_see(output))


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
    from featcache.classifier.known.stored import known_document

    return {
        "classifier": str(output),
        "metrics": dict(classifier.metrics),
        "warnings": list(classifier.training["warnings"]),
        "calibration": classifier.calibration.to_json(),
        "known": known_document(classifier.known),
        "training": dict(classifier.training),
    }


def _unequal(classifier: "Classifier") -> str:
    """Return why scores are not those of the same head without a list; empty where the list leaves them alone."""
    rows = (classifier.training.get("left_out") or {}).get("rows", {})
    scored = [word for part, word in (("val", "validation"), ("test", "test")) if rows.get(part)]
    if not scored:
        return ""
    return (
        f"the list leaves out {' and '.join(scored)} photos, too: the score is of those that are left, and cannot be "
        "compared with one that was measured on all; featcache audit CACHE --effect compares on the same photos"
    )


def next_step(folder: Path, *, tested: bool = True) -> str:
    """Return what to do with a classifier: look at its mistakes where it has test rows, then use it."""
    name = escaped(str(folder))
    look = f"featcache evaluate {name}  (class by class), then " if tested else ""
    return f"next: {look}featcache predict {name} PHOTO…"


def to_see(path: Path) -> str:
    """Return the command that makes a page about what was made."""
    return f"to see it: featcache report {shlex.quote(str(path))}"


def lines(classifier: "Classifier", output: Path, *, verbose: bool = False) -> list[str]:
    """Return a trained classifier as lines of text, the result first; loss and calibration in full if verbose."""
    return plain(parts(classifier, output, verbose=verbose))


def parts(classifier: "Classifier", output: Path, *, verbose: bool = False) -> list[Part]:
    """Return what `lines` does, with the curve of the validation score, which only a terminal shows."""
    training, metrics = classifier.training, classifier.metrics
    first = "test" if "test" in metrics else next(iter(metrics), None)
    told = "not measured: there are no validation or test photos"
    if first:
        told = score_text(classifier.task, metrics[first], rows=f"{SPLIT_WORDS.get(first, first)} ")
    text: list[Part] = [f"{escaped(str(output))}: {told}"]
    text += [
        f"  {SPLIT_WORDS.get(split, split):<11} {score_text(classifier.task, scores)}"
        for split, scores in metrics.items()
        if split != first
    ]
    text.append(
        f"  head        {classifier.head} on {classifier.backbone} {classifier.layer}, {len(classifier.classes)} "
        f"{classifier.task}; {_how_long(classifier.head, training)}{training['seconds']:.1f} s"
    )
    text += _curves(classifier)
    if left_out := training.get("left_out"):
        from featcache.splits.left_out import left_out_text

        text.append(f"  left out    {left_out_text(left_out)}")
    if again := training.get("refitted"):
        text.append(f"  refitted    on all {again['images']} training and validation images")
    if recipe := training.get("view_recipe"):
        learnt = training["views"] or 1
        measured = f"the mean of all {recipe['count']}" if training["tta"] else "the plain images"
        text.append(f"  views       learnt from {learnt} of {recipe['count']}; measured on {measured}")
    if (floor := training["image_floor"]) is not None:
        text.append(f"  colours     alone would get {percent(floor)} of the validation photos right")
    text += unknown_lines(classifier.calibration) + unlike_lines(classifier)
    return text + (detail_lines(classifier) if verbose else [])


def _curves(classifier: "Classifier") -> list[Part]:
    """Return the validation's score by epoch, of heads that learnt in several."""
    values = classifier.history.get("val_score", ())
    if len(values) < 2:
        return []
    number = classifier.task == REGRESSION
    what = "validation R²" if number else "validation accuracy"
    return [Curve("curve", list(values), what, shares=not number)]


def _mistakes(classifier: "Classifier", output: Path) -> list[Part]:
    """Return the test photos that it is surest of and gets wrong; their features are in the cache."""
    if classifier.task != MULTICLASS or "test" not in classifier.metrics:
        return []
    return mistake_parts(classifier.evaluate(), f"featcache evaluate {output} --errors FILE.csv")


def _how_long(head: str, training: Mapping[str, Any]) -> str:
    """Return the epoch of a head by descent, or the strength of a solved head's penalty."""
    if head in STRENGTHS:
        name = STRENGTHS[head][0]
        return f"{name} {training[name]:g}, "
    return f"epoch {training['best_epoch']} of {training['epochs_run']}, " if head in DESCENT else ""


def detail_lines(classifier: "Classifier") -> list[str]:
    """Return lines for ``--verbose``: losses, temperature, calibration error, threshold."""
    losses = [
        f"{SPLIT_WORDS.get(split, split)} {scores['loss']:.3f}"
        for split, scores in classifier.metrics.items()
        if "loss" in scores
    ]
    return ([f"  loss        {', '.join(losses)}"] if losses else []) + calibration_lines(
        classifier.calibration
    )


def _class_scores(scores: Mapping[str, Any], rows: str) -> str:
    return (
        f"{percent(scores['accuracy'])} of {scores['count']} {rows}photos right "
        f"(95 % interval {percents(*scores['interval'])})"
    )


def _answer_scores(scores: Mapping[str, Any], rows: str) -> str:
    precision = scores["mean_average_precision"]
    ranked = "" if precision is None else f", mean average precision {percent(precision)}"
    return (
        f"{percent(scores['accuracy'])} of the answers right (95 % interval {percents(*scores['interval'])}, "
        f"{scores['count']} {rows}photos){ranked}, F1 {percent(scores['f1'])}"
    )


def _number_scores(scores: Mapping[str, Any], rows: str) -> str:
    low, high = scores["interval"]
    return (
        f"R² {scores['r2']:.4f}, mean absolute error {scores['mae']:.4g} "
        f"(95 % interval {low:.4g}–{high:.4g}, {scores['count']} {rows}photos, root of squares {scores['rmse']:.4g})"
    )


def score_text(task: str, scores: Mapping[str, Any], *, rows: str = "") -> str:
    """Return a split's scores as text, by task; `rows` names the photos, with a space behind."""
    return _SCORES[task](scores, rows)


_SCORES = {MULTICLASS: _class_scores, MULTILABEL: _answer_scores, REGRESSION: _number_scores}


_MANY_UNKNOWN = 20
"""Of 100 photos: from here on the line on unknown photos says what to do."""


def unknown_lines(calibration: "Calibration") -> list[str]:
    """Return a line on how many photos would be answered "unknown", and one on what lowers that if it is many."""
    kept = calibration.rejection
    if not calibration.count or kept is None or kept.threshold is None:
        return [f"  unknown     is never answered: {calibration.note}"]
    refused = round(100 * (1 - kept.coverage))
    who = (
        f"{refused} of 100 photos"
        if refused
        else "fewer than 1 of 100 photos"
        if kept.coverage < 1
        else "no photo"
    )
    others = "the others" if kept.coverage < 1 else "the answers"
    right = "" if kept.accuracy is None else f"; {percent(kept.accuracy)} of {others} are right"
    lines = [f'  unknown     {who} would be answered "unknown"{right}']
    if refused >= _MANY_UNKNOWN:
        lines.append(
            f"              ({percent(kept.threshold)} is the least confidence that is answered; more photos lower it, "
            "or a lower --reject-accuracy)"
        )
    return lines


def unlike_lines(classifier: "Classifier") -> list[str]:
    """Return a line on whether photos may be answered to be unlike anything seen, in words."""
    known = classifier.known
    if why := known.why_never_unlike():
        return [f"  unlike      is never answered: {why}"]
    from featcache.classifier.known.familiarity import KNOWN_SHARE

    count = known.familiarity.distances.count if known.familiarity else 0
    return [
        f'  unlike      about 1 of {round(1 / (1 - KNOWN_SHARE))} photos like these would be answered "unlike anything '
        f'seen" (measured on {count} photos that were held out)'
    ]


def calibration_lines(calibration: "Calibration") -> list[str]:
    """Return lines on a classifier's temperature and rejection threshold, in numbers."""
    if not calibration.count:
        return [f"  calibrated  no: {calibration.note}"]
    before, after = (error or 0.0 for error in (calibration.error_before, calibration.error_after))
    how = (
        f"as it is; calibration error {percent(before)}"
        if calibration.temperature == 1
        else f"temperature {calibration.temperature:.2f}; calibration error {percent(before)} → {percent(after)}"
    )
    text = [f"  calibrated  {how} on {calibration.count} photos that were held out"]
    kept = calibration.rejection
    if kept is not None and kept.threshold is not None:
        text.append(
            f"  threshold   a confidence of {percent(kept.threshold)}; of what is above, at least "
            f"{percent(kept.lower)} is right"
        )
    return text
