"""What ``featcache predict`` writes beside its text as photos are classified: tables, and folders of sorted photos."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from featcache.cli.console import escaped
from featcache.core.disk.growing_file import GrowingFile
from featcache.core.disk.names import FOLDER, no_folder, require_free, resolved
from featcache.core.disk.storage import ELSEWHERE
from featcache.core.documents.csv_text import csv_row
from featcache.core.documents.json_text import to_text
from featcache.core.tasks import MULTILABEL, REGRESSION, TASK_NAMES
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.classifier.prediction import Prediction
    from featcache.classifier.sorted_photos import SortedPhotos

LABELS_BETWEEN = "|"
"""Stands between the labels of one photo in a table, and between the classes of its set."""

_LAST = ("unknown", "error", "unlike")


def prediction_json(prediction: "Prediction") -> dict[str, Any]:
    """Return a prediction as plain JSON values."""
    value = vars(prediction) | {"id": escaped(prediction.id)}
    near = prediction.neighbours
    if near is None:  # they were not asked for, or the photo cannot be read
        del value["neighbours"]
        return value
    return value | {"neighbours": [vars(each) | {"id": escaped(each.id)} for each in near]}


@dataclass
class PredictionFiles:
    """The files of one run; a context manager, at whose end they are whole.

    Parameters
    ----------
    task, classes
        Of the classifier.
    shown
        Number of classes in a row of the table.
    csv, jsonl
        Files to write; ``None`` for none.
    sorter
        Puts photos into folders; ``None`` for none.
    neighbours
        Number of training photos in a row of the table.
    sets
        Whether predictions have sets of classes.
    """

    task: str
    classes: Sequence[str]
    shown: int
    csv: Path | None = None
    jsonl: Path | None = None
    sorter: "SortedPhotos | None" = None
    neighbours: int = 0
    sets: bool = False
    count: int = 0
    _open: ExitStack = field(default_factory=ExitStack)
    _files: dict[str, GrowingFile] = field(default_factory=dict)

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for kind, path in (("csv", self.csv), ("jsonl", self.jsonl)):
                if path is not None:
                    self._files[kind] = opened.enter_context(GrowingFile(path))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def wanted(self) -> bool:
        """Whether any file was asked for."""
        return any(each is not None for each in (self.csv, self.jsonl, self.sorter))

    def add(self, prediction: "Prediction") -> None:
        """Write one prediction everywhere."""
        if (table := self._files.get("csv")) is not None:
            header = b"" if table.size else csv_row(self._columns() + self._near_columns())
            table.write(header + csv_row(self._cells(prediction) + self._near_cells(prediction)))
        if (log := self._files.get("jsonl")) is not None:
            log.write(to_text(prediction_json(prediction)).encode() + b"\n")
        if self.sorter is not None:
            self.sorter.put(prediction)
        self.count += 1

    def kept(self, total: int) -> str:
        """Return what is there of an unfinished run, in words; ``""`` if nothing is."""
        parts = [
            f"{self.count} of {total} photos are in {file.partial}, and {file.path} "
            + ("is as it was" if file.path.exists() else "was not written")
            for file in self._files.values()
            if file.left
        ]
        if self.sorter is not None and self.count:
            parts.append(f"{self.count} of {total} photos were sorted into {self.sorter.folder}")
        return "; ".join(parts)

    def lines(self) -> list[str]:
        """Return what was written, in words."""
        text = [f"{file.path}: {self.count} photos" for file in self._files.values()]
        return text + ([] if self.sorter is None else sorted_lines(self.sorter))

    def _columns(self) -> list[str]:
        if self.task == REGRESSION:
            return ["file", *self.classes, "error", "unlike"]
        ranks = ["", *(f"_{rank}" for rank in range(2, self.shown + 1))]
        ranking = [f"{what}{rank}" for rank in ranks for what in ("class", "probability")]
        return [
            "file",
            *(["labels"] if self.task == MULTILABEL else []),
            *ranking,
            *_LAST,
            *(["set"] if self.sets else []),
        ]

    def _cells(self, prediction: "Prediction") -> list[Any]:
        unlike = None if prediction.error else prediction.unlike
        if self.task == REGRESSION:
            numbers = prediction.numbers or [None] * len(self.classes)
            return [prediction.id, *numbers, prediction.error, unlike]
        pairs = list(zip(prediction.classes, prediction.probabilities, strict=True))[: self.shown]
        pairs += [(None, None)] * (self.shown - len(pairs))  # type: ignore[list-item]
        labels = LABELS_BETWEEN.join(prediction.answers or ())
        unknown = None if prediction.error else prediction.unknown
        return [
            prediction.id,
            *([labels] if self.task == MULTILABEL else []),
            *(cell for pair in pairs for cell in pair),
            unknown,
            prediction.error,
            unlike,
            *([LABELS_BETWEEN.join(prediction.set or ())] if self.sets else []),
        ]

    def _near_columns(self) -> list[str]:
        ranks = ["", *(f"_{rank}" for rank in range(2, self.neighbours + 1))][: self.neighbours]
        return [f"{what}{rank}" for rank in ranks for what in ("neighbour", "neighbour_label", "similarity")]

    def _near_cells(self, prediction: "Prediction") -> list[Any]:
        cells = [
            cell for each in prediction.neighbours or () for cell in (each.id, each.label, each.similarity)
        ]
        return cells + [None] * (3 * self.neighbours - len(cells))


def sorted_lines(sorter: "SortedPhotos") -> list[str]:
    """Return how photos were put into folders, in words."""
    parts: Mapping[str, int] = {
        "as hard links (the photo itself under another name: no further space, a change changes both)": sorter.linked,
        "as copies": sorter.copied,
        "were there before": sorter.present,
    }
    said = ", ".join(f"{count} {how}" for how, count in parts.items() if count) or "no photos"
    text = [f"{sorter.folder}: {said}"]
    if sorter.taken:
        text.append(
            f"warning: {len(sorter.taken)} photos were not put there, because another file has their name: "
            f"{sorter.taken[0]}"
        )
    return text


def require_apart(folder: Path, given: Sequence[str]) -> None:
    """Refuse what is no folder, or within one whose photos are classified: the next run would take both."""
    from featcache.classifier.photos import local_path

    elsewhere = ELSEWHERE.replace("--output", "--copy-to")
    blocked = no_folder(folder)
    if blocked:
        raise UsageError(f"--copy-to {folder}: {blocked}; {elsewhere}")
    require_free(folder, FOLDER, elsewhere=elsewhere)
    for path in map(local_path, given):
        if path.is_dir() and resolved(folder).is_relative_to(resolved(path)):
            raise UsageError(
                f"--copy-to {folder} lies in {path}, whose photos are classified: the next run would classify the "
                "sorted ones, too; name a folder outside"
            )


def require_classes(task: str) -> None:
    """Refuse to sort by numbers."""
    if task == REGRESSION:
        raise UsageError(
            f"--copy-to sorts photos by their class, and this classifier's task is {TASK_NAMES[task]}; leave it "
            "out, or write the numbers with --csv FILE"
        )
