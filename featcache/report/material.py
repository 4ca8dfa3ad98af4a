"""What a report is made of, opened once: a classifier, its evaluation, a cache, its photos, a sweep, a fine-tuning.

`featcache.report.opening` fills it from the path that a user named; sections read it, and return ``None`` where their
part is missing.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.cache import FeatureCache
    from featcache.classifier.classifier import Classifier
    from featcache.datasets import Dataset
    from featcache.pages.sprites import Sprites


@dataclass(frozen=True)
class Material:
    """What there is to show.

    Parameters
    ----------
    path
        What the user named.
    sprites
        Thumbnails: sections ask it for pictures, the page embeds what was asked for.
    classifier, folder
        The classifier and its folder.
    evaluation
        Its scores on `rows`: a `ClassifierEvaluation`, or one of multilabel answers or numbers.
    cache, rows, split
        The cache, the numbers of its scored rows, int ``[n]``, in the order of the evaluation, and what they are called.
    values, labels
        float32 ``[n, C]`` and int ``[n]`` (or ``[n, T]``): the classifier's answers on `rows` (probabilities; numbers
        of a regression) and the truth, in the classifier's classes.
    dataset
        The photos; ``None`` where they have moved (`moved` says so).
    moved
        Why there are no pictures, as a sentence.
    sweep, lines
        ``summary.json`` of a sweep, and the rows of its results.
    history
        Records of epochs of a head or a fine-tuning.
    run
        Document of a fine-tuning run.
    seed
        For what is drawn at random: which pictures are shown.
    tsne
        Whether the map of features is made by t-SNE, not by principal components.
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
