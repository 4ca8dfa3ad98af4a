"""``featcache finetune``: continue training a classifier together with its backbone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.given_paths import refuse_cache_as_photos, refuse_no_cache, refuse_swapped
from featcache.cli.arguments.options import Exclude, RejectAccuracy, option, with_options
from featcache.cli.commands.extract import AllowEmptyClasses, ClassesAt, LabelFrom, Splits
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.signals import stop_gently
from featcache.cli.terminal.drawings import Curve, Part, Table, plain
from featcache.core.display import SPLIT_WORDS, percent, percents
from featcache.finetuning.settings import SETTINGS

if TYPE_CHECKING:
    from featcache.finetuning.dry_run import FineTuningPlan
    from featcache.finetuning.result import FineTuning

NAME = "finetune"


@with_options(
    common=("train_from", "epochs", "learning_rate", "batch_size", "augment", "cache", "output", "resume"),
    # Of rates, --rate takes one at a time.
    options=[option(setting) for name, setting in SETTINGS.items() if name != "rates"],
)
def command(
    classifier: Annotated[Path, typer.Argument(help="Folder made by featcache train-head.")],
    dataset: Annotated[
        str | None, typer.Argument(help="Photos [default: those that the classifier was trained on].")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Train from a cached cut: activations made with extract --layer STAGE:map."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", "-l", help="Layer of --cache to train from.", rich_help_panel="Data"),
    ] = None,
    label_from: LabelFrom = None,
    splits: Splits = None,
    classes_at: ClassesAt = None,
    allow_empty_classes: AllowEmptyClasses = False,
    exclude: Exclude = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the classifier; checkpoints go to OUTPUT.run.")
    ] = Path("finetuned"),
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=RATE",
            help="Learning rate of stages, such as 'block6*=1e-4'; may be repeated.",
            rich_help_panel="Optimisation",
        ),
    ] = None,
    reject_accuracy: RejectAccuracy = 0.95,
    checkpoint_minutes: Annotated[
        float, typer.Option(help="Minutes between checkpoints within an epoch.")
    ] = 10.0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write scalars for TensorBoard.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would train, and the time that a cached cut saves."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Decoding threads [default: one per core].", rich_help_panel="Data"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    **settings: Any,
) -> None:
    """Fine-tune a classifier: its head and the last stages of its backbone, from photos or a cached cut.

    Stages before --train-from are frozen. It can be stopped at any time; --resume continues it.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    refuse_swapped(NAME, classifier, dataset, cache)
    refuse_no_cache(cache)
    refuse_cache_as_photos(classifier, dataset)
    arguments = {
        "cache": cache,
        "layer": layer,
        "label_from": label_from,
        "splits": splits,
        "classes_at": classes_at,
        "allow_empty_classes": allow_empty_classes,
        "exclude": exclude,
        "rates": rate or (),
        "workers": workers,
        **settings,
    }
    if dry_run:
        from featcache.finetuning.dry_run import plan_finetuning

        with console.progress() as on_progress:
            plan = plan_finetuning(classifier, dataset, on_progress=on_progress, **arguments)
        console.result(plan.to_json(), plan_lines(plan))
        return
    from featcache.finetuning.finetune import finetune, run_place

    with stop_gently() as stop, console.progress() as on_progress:
        done = finetune(
            classifier,
            dataset,
            output=output,
            reject_accuracy=reject_accuracy,
            checkpoint_minutes=checkpoint_minutes,
            resume=resume,
            overwrite=overwrite,
            tensorboard=tensorboard,
            on_progress=on_progress,
            on_epoch=lambda record: console.note(epoch_line(record)),
            stop=stop,
            **arguments,
        )
    console.result(done.to_json(), parts(done, verbose=verbose))
    for note in done.notes:
        console.note(f"note: {note}")
    _report(done, run_place(output), console)
    console.note(next_step(done, classifier))


def next_step(done: "FineTuning", start: Path) -> str:
    """Return which classifier to go on with: the frozen head where fine-tuning has not told itself apart from it."""
    if done.worth_it:
        return f"next: featcache predict {escaped(str(done.folder))} PHOTO…"
    name = escaped(str(start))
    return (
        f"next: go on with the frozen head: featcache evaluate {name}, then featcache predict {name} PHOTO…"
    )


def _report(done: "FineTuning", place: Path, console: Console) -> None:
    """Write curves and table to an HTML page, if the extra for it is installed."""
    from featcache.errors import MissingExtraError, StorageError
    from featcache.finetuning.runs.report import write_report

    try:
        page = write_report(
            place / "report.html",
            title=f"Fine-tuning {done.classifier.backbone}",
            history=done.history,
            best=done.best_epoch,
            table=[list(COLUMNS), *comparison_rows(done)],
            facts=facts(done),
            verdict=f"Fine-tuning is {done.verdict}",
            stopped=done.stopped,
            compared=_COMPARED.format(SPLIT_WORDS.get(done.tuned.split, done.tuned.split)),
            notes=(*done.warnings, *done.notes),
        )
    except MissingExtraError as error:
        console.detail(str(error))
    except StorageError as error:
        console.note(
            f"warning: {error}; the run is done, and the same command with --resume writes the page again"
        )
    else:
        console.note(f"curves: {escaped(str(page))}")


COLUMNS = ("", "accuracy", "95 % interval", "loss", "images")
_COMPARED = (
    "Both on the same {} images. The interval is of the accuracy; the loss is the mean cross-entropy, of which "
    "less is better."
)


def comparison_rows(done: "FineTuning") -> list[list[str]]:
    """Return the frozen head and the result, side by side."""
    return [
        [
            name,
            percent(scores.accuracy),
            percents(*scores.interval),
            f"{scores.loss:.3f}",
            str(scores.count),
        ]
        for name, scores in (("frozen head", done.frozen), ("fine-tuned", done.tuned))
    ]


def facts(done: "FineTuning") -> dict[str, str]:
    """Return further facts of a run: trained stages, epochs, duration."""
    trained = done.trained
    span = f"{trained[0]} to {trained[-1]}, and the head" if trained else "the head"
    epochs = max((int(record["epoch"]) for record in done.history), default=0)
    return {
        "trained": f"{span} ({done.parameters:,} parameters)",
        "frozen": f"{len(done.frozen_stages)} stages" if done.frozen_stages else "nothing",
        "epochs": f"epoch {done.best_epoch} of {epochs} kept; {done.stopped}",
        "time": f"{done.seconds:.1f} s",
    }


def lines(done: "FineTuning", *, verbose: bool = False) -> list[str]:
    """Return a fine-tuning as lines of text, the result first; the calibration in numbers if verbose."""
    return plain(parts(done, verbose=verbose))


def parts(done: "FineTuning", *, verbose: bool = False) -> list[Part]:
    """Return what `lines` does, with a table, and with curves that only a terminal shows."""
    from featcache.cli.commands.train_head import calibration_lines, unknown_lines, unlike_lines

    made = done.classifier
    text: list[Part] = [f"{escaped(str(done.folder))}: {done.verdict}"]
    text.append(f"  {'head':<11} {made.head} on {made.backbone} {made.layer}")
    text += [f"  {name:<11} {value}" for name, value in facts(done).items()]
    text.append(f"  compared on the {SPLIT_WORDS.get(done.tuned.split, done.tuned.split)} images:")
    text.append(Table(COLUMNS, comparison_rows(done), right=COLUMNS[1:], indent=4))
    text += _curves(done.history)
    text += unknown_lines(made.calibration) + unlike_lines(made)
    return text + (calibration_lines(made.calibration) if verbose else [])


def _curves(history: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return the validation's loss and accuracy by epoch, where there is more than one."""

    def values(name: str) -> list[float]:
        found = [record.get(name) for record in history]
        return [float("nan") if value is None else float(value) for value in found]

    if len(history) < 2:
        return []
    return [
        Curve("loss", values("val_loss"), "validation loss"),
        Curve("accuracy", values("val_accuracy"), "validation accuracy", shares=True),
    ]


def epoch_line(record: Mapping[str, Any]) -> str:
    """Return an epoch as one line of text."""
    judged = (
        f"validation loss {record['val_loss']:.4f}, accuracy {percent(record['val_accuracy'])}"
        if "val_loss" in record
        else ""
    )
    if not record["epoch"]:
        return f"epoch 0 (the frozen head): {judged}"
    own = f"loss {record['loss']:.4f}, accuracy {percent(record['accuracy'])}"
    speed = f"{record['images_per_second']:.0f} images/s"
    return f"epoch {record['epoch']}: " + "; ".join(part for part in (own, judged, speed) if part)


def plan_lines(plan: "FineTuningPlan") -> list[str]:
    """Return a plan as lines of text."""
    trained = plan.trained
    span = f"{trained[0]} to {trained[-1]}, and the head" if trained else "the head"
    text = [
        f"{span} would train: {plan.trained_parameters:,} of {plan.parameters:,} parameters, on {plan.train} images "
        f"({plan.val} validation, {plan.test} test)",
        f"  frozen      {', '.join(plan.frozen) or 'nothing'}",
    ]
    if plan.epoch_from_photos is not None:
        text.append(f"  from photos about {plan.epoch_from_photos:.0f} s an epoch")
    if plan.cut is not None and plan.epoch_from_cut is not None:
        text.append(
            f"  from a cut  about {plan.epoch_from_cut:.0f} s an epoch"
            + (
                f", after {plan.extract_seconds:.0f} s once; {plan.cut_bytes / 1e6:.0f} MB on disk in float16"
                if plan.extract_seconds is not None and plan.cut_bytes is not None
                else ""
            )
        )
        if plan.extract_seconds is not None:
            text.append(f"  to make it  {escaped(plan.command)}")
    return text
