"""The result of a fine-tuning: a classifier with its own backbone, compared with the frozen head."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.finetuned import truncate_after, with_tensors
from featcache.classifier.classifier import Classifier
from featcache.classifier.finishing import calibrate_and_score
from featcache.classifier.known.knowledge import Knowledge
from featcache.classifier.scored.seen import merge_seen, seen_images
from featcache.core.display import SPLIT_WORDS, data_frame, html_table, percent, percents
from featcache.finetuning.loop import Loop
from featcache.finetuning.model import head_of
from featcache.finetuning.setup import FineTuningSetup
from featcache.finetuning.validation import ValidationResult
from featcache.heads.probabilities import class_probabilities
from featcache.metrics.classification import Scores, score
from featcache.metrics.comparison import Comparison, compare
from featcache.splits.left_out import left_out_record

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class FineTuning:
    """A finished fine-tuning.

    Parameters
    ----------
    classifier
        With its own backbone's weights, where any of them changed.
    folder
        Folder of the saved classifier, if it was saved.
    history
        A record of each epoch; epoch 0 is the frozen head.
    best_epoch
        The epoch that was kept; 0 if none was better than the frozen head.
    frozen, tuned
        Scores of the starting head and of the result, on the test rows (without any, on the validation rows).
    comparison
        The difference of their accuracies on the same rows.
    seconds
        Wall time of the whole run.
    stopped
        ``"finished"``, ``"no longer better"`` (early stopping), or how it diverged.
    unreadable
        Id and reason of each image that could not be read.
    trained, frozen_stages
        Names of the trained and the frozen stages.
    parameters
        Number of trained parameters.
    notes
        Caveats about the scores.
    """

    classifier: Classifier
    folder: Path | None
    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    frozen: Scores
    tuned: Scores
    comparison: Comparison
    seconds: float
    stopped: str
    unreadable: Mapping[str, str]
    trained: tuple[str, ...]
    frozen_stages: tuple[str, ...]
    parameters: int
    notes: tuple[str, ...] = ()

    @property
    def worth_it(self) -> bool:
        """Whether it is better than the frozen head by more than chance."""
        return bool(self.best_epoch and self.comparison.told_apart and self.comparison.difference > 0)

    @property
    def verdict(self) -> str:
        """Whether it was worth it, in one sentence."""
        gain, (low, high) = self.comparison.difference, self.comparison.interval
        where = f"on the {self.tuned.count} {SPLIT_WORDS.get(self.tuned.split, self.tuned.split)} images"
        if not self.best_epoch:
            return "not worth it: no epoch was better than the frozen head, which was kept as it is"
        span = f"{100 * gain:+.1f} points {where} (95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
        if not self.comparison.told_apart:
            return f"not told apart from the frozen head: {span}; the frozen head is the simpler one"
        return f"worth it: {span}" if gain > 0 else f"worse than the frozen head: {span}; keep that one"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what went wrong: it diverged, or images could not be read."""
        found = []
        if self.stopped.startswith("diverged"):
            found.append(f"it {self.stopped}; the best epoch was kept. Try a tenth of the learning rate")
        if self.unreadable:
            first, why = next(iter(self.unreadable.items()))
            found.append(f"{len(self.unreadable)} images could not be read, such as {first}: {why}")
        return tuple(found)

    def __repr__(self) -> str:
        place = "" if self.folder is None else f"{str(self.folder)!r}, "
        return f"FineTuning({place}epoch {self.best_epoch} of {self._epochs} kept; {self.verdict})"

    @property
    def _epochs(self) -> int:
        return max((int(record["epoch"]) for record in self.history), default=0)

    def _repr_html_(self) -> str:
        rows = [
            (name, percent(own.accuracy), percents(*own.interval), f"{own.loss:.3f}", own.count)
            for name, own in (("frozen head", self.frozen), ("fine-tuned", self.tuned))
        ]
        columns = ("", "accuracy", "95 % interval", "loss", "images")
        return html_table(str(self.folder or "FineTuning"), rows, columns, self.verdict, right=columns[1:])

    def to_frame(self) -> "pandas.DataFrame":
        """Return the history as a data frame with a row for each epoch, epoch 0 being the frozen head; needs pandas."""
        return data_frame([dict(record) for record in self.history]).set_index("epoch")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "classifier": None if self.folder is None else str(self.folder),
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "frozen": self.frozen.to_json(),
            "tuned": self.tuned.to_json(),
            "difference": self.comparison.difference,
            "interval": list(self.comparison.interval),
            "p_value": self.comparison.p_value,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 3),
            "trained_stages": list(self.trained),
            "frozen_stages": list(self.frozen_stages),
            "trained_parameters": self.parameters,
            "unreadable": dict(self.unreadable),
            "notes": list(self.notes),
            "history": [dict(record) for record in self.history],
        }


OTHER_FEATURES = (
    "fine-tuning has changed its features; to learn it on them, featcache extract PHOTOS --backbone CLASSIFIER, and "
    "train a head on these"
)
"""Why a fine-tuned classifier does not know how far photos may lie from what it has seen."""


def conclude(
    setup: FineTuningSetup,
    loop: Loop,
    start: Classifier,
    output: str | os.PathLike[str] | None,
    *,
    reject_accuracy: float,
    started: float,
    refitted: bool = False,
) -> FineTuning:
    """Evaluate the best arrays on validation and test rows, make a classifier of them, and save it."""
    last = len(setup.phases) - 1
    outputs_of = {part: _outputs_before_and_after(setup, loop, last, part) for part in ("val", "test")}
    outputs = {
        part: (after.outputs, setup.data.labels[after.rows])
        for part, (_, after) in outputs_of.items()
        if len(after.rows)
    }
    kept = _classifier(setup, loop, start)
    classifier = calibrate_and_score(kept, outputs, loss=kept.loss, reject_accuracy=reject_accuracy)
    part = "test" if len(outputs_of["test"][0].rows) else "val"
    frozen, tuned, comparison = _compare(setup, start, classifier, outputs_of[part], part)
    done = FineTuning(
        classifier=classifier,
        folder=None if output is None else Path(output),
        history=loop.history,
        best_epoch=loop.position.best_epoch,
        frozen=frozen,
        tuned=tuned,
        comparison=comparison,
        seconds=time.monotonic() - started,
        stopped=_why_stopped(loop),
        unreadable={
            setup.data.ids[row]: why for source in loop.inputs for row, why in source.unreadable.items()
        },
        trained=setup.division.trained,
        frozen_stages=setup.division.frozen,
        notes=_notes(setup, start, part, refitted=refitted),
        parameters=setup.trained_parameters,
    )
    classifier = replace(classifier, training={**classifier.training, "finetuned": _record(setup, done)})
    done = replace(done, classifier=classifier)
    if output is not None:
        classifier.save(output)
        if loop.folder is not None:
            loop.folder.finish(
                {"verdict": done.verdict, "best_epoch": done.best_epoch, "stopped": done.stopped}
            )
    return done


def _notes(setup: FineTuningSetup, start: Classifier, part: str, *, refitted: bool) -> tuple[str, ...]:
    """Return caveats: what makes the scores too good, or may."""
    notes = []
    if setup.data.rows_sha256 != start.provenance.get("rows_sha256"):
        notes.append(
            "the images are not exactly those that the head was trained on: where it learnt from one that tests "
            "here, both scores are flattered"
        )
    if part == "val":
        notes.append(
            "no test images: the validation images chose the epoch, so its score is a little flattered"
        )
    if refitted:
        notes.append(
            "the frozen head is compared as it was before it was fitted again on validation images too, which "
            "fine-tuning needs to judge by; `featcache evaluate` scores the head that was fitted again"
        )
    return tuple(notes)


def _outputs_before_and_after(
    setup: FineTuningSetup, loop: Loop, last: int, part: str
) -> tuple[ValidationResult, ValidationResult]:
    """Return the outputs of the start and of the best arrays on the rows of a part."""
    rows = getattr(setup.data.rows, part)
    values = setup.model.values(setup.head)
    start = loop.validator.outputs(last, values, rows)
    return start, (loop.validator.outputs(last, {**values, **loop.best}, rows) if loop.best else start)


def _classifier(setup: FineTuningSetup, loop: Loop, start: Classifier) -> Classifier:
    """Return the start with its arrays replaced by the best; neither calibrated nor scored yet."""
    own = {n: v for n, v in loop.best.items() if n in setup.model.network.tensors}
    head = {**start.parameters, **head_of(loop.best)}
    seen = merge_seen(start.seen, seen_images(setup.data.digests(setup.data.rows.train, setup.data.rows.val)))
    start = replace(start, training={**start.training, **_rows_record(setup)})
    if not own:
        return replace(start, parameters=head, metrics={}, seen=seen)
    network = truncate_after(with_tensors(setup.model.network, own), setup.model.stages[-1])
    recipe = network.recipe(
        transforms=setup.model.transforms,
        compute_dtype=setup.settings.compute_dtype,  # the dtype that it was evaluated in
        stored_dtype=start.recipe["stored_dtype"],
    )
    return replace(
        start,
        backbone=network.name,
        weights=None,
        network=network,
        recipe=recipe.to_json(),
        fingerprint=recipe.fingerprint(start.layer),
        layer_weights_sha256=network.weights_sha256_to(start.layer),
        parameters=head,
        known=Knowledge(no_familiarity=OTHER_FEATURES),
        metrics={},
        seen=seen,
    )


def _rows_record(setup: FineTuningSetup) -> dict[str, Any]:
    """Return what the record says of rows that were left out: those of the head, and those of this run."""
    asked = setup.data.selection
    if not asked.exclude:
        return {}
    told = {**left_out_record(asked.exclude), "rows": dict(setup.data.rows.left_out)}
    return {"selection": asked.to_json(), "left_out": told}


def _probabilities(classifier: Classifier, result: ValidationResult) -> np.ndarray:
    cooled = classifier.calibration.cooled(result.outputs)
    return class_probabilities(classifier.loss, cooled, len(classifier.classes))


def _compare(
    setup: FineTuningSetup,
    start: Classifier,
    tuned: Classifier,
    results: tuple[ValidationResult, ValidationResult],
    part: str,
) -> tuple[Scores, Scores, Comparison]:
    labels = setup.data.labels[results[0].rows]
    before, after = _probabilities(start, results[0]), _probabilities(tuned, results[1])
    right = [(p.argmax(axis=1) == labels).astype(float) for p in (after, before)]
    return score(labels, before, split=part), score(labels, after, split=part), compare(*right)


def _why_stopped(loop: Loop) -> str:
    if loop.diverged is not None:
        return f"diverged: {loop.diverged}"
    planned = sum(program.phase.settings.epochs for program in loop.programs)
    return "finished" if loop.position.epochs >= planned else "no longer better"


def _record(setup: FineTuningSetup, done: FineTuning) -> dict[str, Any]:
    """Return the record of its fine-tuning that a classifier keeps."""
    return {
        **setup.settings.to_json(),
        "from": setup.data.spec,
        "cut": setup.data.layer,
        "trained_stages": list(done.trained),
        "frozen_stages": list(done.frozen_stages),
        "trained_parameters": done.parameters,
        "best_epoch": done.best_epoch,
        "stopped": done.stopped,
        "seconds": round(done.seconds, 3),
        "frozen_head": done.frozen.to_json(),
        "difference": done.comparison.difference,
        "interval": list(done.comparison.interval),
        "verdict": done.verdict,
        "history": [dict(record) for record in done.history],
    }
