"""How a classifier reads: one line for a terminal, a table for a notebook."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from featcache.core.display import SPLIT_WORDS, html_table, percent, percents, some
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.splits.left_out import left_out_text

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier


def classifier_text(classifier: "Classifier") -> str:
    """Return a classifier in one line."""
    scores = [
        f"{SPLIT_WORDS.get(split, split)} {_score(classifier.task, own)}"
        for split, own in classifier.metrics.items()
    ]
    told = f"; {', '.join(scores)}" if scores else ""
    return (
        f"Classifier({classifier.head} head on {classifier.backbone} {classifier.layer}, {len(classifier.classes)} "
        f"{classifier.task}: {some(classifier.classes)}{told})"
    )


def classifier_html(classifier: "Classifier") -> str:
    """Return a classifier as a table."""
    training, threshold = classifier.training, classifier.calibration.threshold
    rows = [
        ("head", classifier.head),
        ("features", f"{classifier.backbone} {classifier.layer}"),
        (classifier.task, f"{len(classifier.classes)}: {some(classifier.classes, 20)}"),
        *(
            (SPLIT_WORDS.get(split, split), _in_full(classifier.task, own))
            for split, own in classifier.metrics.items()
        ),
    ]
    if "best_epoch" in training:
        rows.append(("epochs", f"{training['best_epoch']} of {training['epochs_run']}"))
    if left_out := left_out_text(training.get("left_out")):
        rows.append(("left out", left_out))
    if threshold is not None:
        rows.append(("unknown", f"below a confidence of {percent(threshold)}"))
    rows += [("warning", found["message"]) for found in training.get("warnings", ())]
    return html_table("Classifier", rows)


def _score(task: str, scores: Mapping[str, Any]) -> str:
    # Scores are only told, so that a document may hold anything under their names.
    name = "r2" if task == REGRESSION else "accuracy"
    value = scores.get(name)
    if not isinstance(value, int | float):
        return "not told"
    return f"R² {value:.3f}" if task == REGRESSION else percent(value)


def _in_full(task: str, scores: Mapping[str, Any]) -> str:
    match scores.get("interval"):
        case [int() | float() as low, int() | float() as high] if task == MULTICLASS:
            interval = f" (95 % interval {percents(low, high)})"
        case _:
            interval = ""
    return f"{_score(task, scores)} of {scores.get('count', 'unknown rows')}{interval}"
