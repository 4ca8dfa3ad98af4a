"""What a report is made of, opened once: a classifier, its evaluation, a cache, its photos, a sweep, a fine-tuning.

`featcache.reports.opening` fills it from the path that a user named; sections read it, and return ``None`` where their
part is missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.core.tasks import REGRESSION

if TYPE_CHECKING:
    from featcache.auditing.written import WrittenAudit
    from featcache.cache import FeatureCache
    from featcache.classifier.classifier import Classifier
    from featcache.datasets import Dataset
    from featcache.pages.sprites import Sprites
    from featcache.reports.experiment_records import ExperimentRecord


@dataclass(frozen=True)
class Contestant:
    """One of several classifiers that a report compares.

    Parameters
    ----------
    name
        What it is called: the end of its path that tells it from the others.
    folder, classifier
        Where it is, and itself.
    scores
        Its scores as plain JSON values: measured for this page, or, without features, those that it was saved with.
    rows_sha256
        Of the images that it was scored on, in their order; ``None`` where `scores` are those it was saved with.
        Scores of the same images may be compared, others are told apart by more than the classifiers.
    right
        bool ``[n]``: which of these images it takes for the right class; ``None`` of other tasks.
    """

    name: str
    folder: Path
    classifier: "Classifier"
    scores: Mapping[str, Any]
    rows_sha256: str | None = None
    right: Any = None

    @property
    def score(self) -> float | None:
        """The score that they are compared by: the accuracy, R² of a regression; ``None`` where there is none."""
        found = self.scores.get("r2" if self.classifier.task == REGRESSION else "accuracy")
        return float(found) if isinstance(found, int | float) else None


@dataclass(frozen=True)
class Material:
    """What there is to show.

    Parameters
    ----------
    path
        What the user named; the first of several.
    sprites
        Thumbnails: sections ask it for pictures, the page embeds what was asked for.
    classifier, folder
        The classifier and its folder.
    evaluation
        Its scores on `rows`: a `ClassifierEvaluation`, or one of multilabel answers or numbers; ``None`` where there
        are no features to score it on.
    cache, rows, split
        The cache, the numbers of its scored rows, int ``[n]``, in the order of the evaluation, and what they are
        called.
    values, labels
        float32 ``[n, C]`` and int ``[n]`` (or ``[n, T]``): the classifier's answers on `rows` (probabilities; numbers
        of a regression) and the truth, in the classifier's classes.
    dataset
        The photos; ``None`` where they have moved (`moved` says so).
    read
        Returns the encoded bytes of the photo with an id, as they were when its features were computed; raises
        `ImageError` or ``OSError`` where it is gone or another one. ``None`` without photos.
    moved
        Why there are no pictures, or of how many, as a sentence.
    sweep, lines
        ``summary.json`` of a sweep, and the rows of its results.
    history
        Records of epochs of a fine-tuning run; a head's are in its ``training``.
    run
        Document of a fine-tuning run.
    seed
        For what is drawn at random: which pictures are shown.
    tsne
        Whether the map of features is made by t-SNE, not by principal components.
    notes
        Sentences about what the page is made of, and what is missing, for its first lines.
    compared
        All classifiers that the user named, where there are several.
    audit
        What an audit of the photos found, where it is to be shown.
    records
        Records of experiments, of which the page is then made alone.
    """

    path: Path
    sprites: "Sprites"
    classifier: "Classifier | None" = None
    folder: Path | None = None
    evaluation: Any = None
    cache: "FeatureCache | None" = None
    rows: Any = None
    split: str = ""
    values: Any = None
    labels: Any = None
    dataset: "Dataset | None" = None
    moved: str = ""
    sweep: dict[str, Any] | None = None
    lines: tuple[dict[str, Any], ...] = ()
    history: tuple[dict[str, Any], ...] = ()
    run: dict[str, Any] | None = None
    seed: int = 0
    tsne: bool = False
    notes: list[str] = field(default_factory=list)
    compared: tuple[Contestant, ...] = ()
    audit: "WrittenAudit | None" = None
    read: Callable[[str], bytes] | None = None
    records: "tuple[ExperimentRecord, ...]" = ()
