"""The wrong photos that a classifier is surest of, for a terminal."""

from typing import TYPE_CHECKING

from featcache.cli.terminal.drawings import Part, Table
from featcache.core.display import percent

if TYPE_CHECKING:
    from featcache.classifier.classifier import ClassifierEvaluation


def mistake_parts(evaluation: "ClassifierEvaluation", more: str, most: int = 3) -> list[Part]:
    """Return the wrong photos that the classifier is most certain of, for a terminal; `more` says how to see all."""
    if evaluation.images is None or not (count := len(evaluation.images.wrong)):
        return []
    sure = evaluation.images.most_confident_mistakes(most)
    rows = [(each.file, each.truth, each.guess, percent(each.probability)) for each in sure]
    shown = f", the {most} it is surest of" if count > most else ""
    return [
        "",
        f"{count} of {evaluation.count} wrong{shown}:",
        Table(("file", "truth", "guess", "probability"), rows, right=("probability",)),
        *([f"(all of them: {more})"] if count > most else []),
    ]
