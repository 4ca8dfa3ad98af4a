"""Scores of multilabel predictions: pure functions of targets and probabilities."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.core.display import html_table, percent
from featcache.metrics.intervals import share_interval
from featcache.metrics.regression import RegressionEvaluation, RegressionScores
from featcache.metrics.retrieval import RetrievalScores, with_retrieval


@dataclass(frozen=True)
class MultilabelScores:
    """Scores of multilabel predictions on one split.

    Parameters
    ----------
    split, count
        Name and number of the rows.
    accuracy
        Share of right labels, present or absent, at the threshold 0.5.
    interval
        95 % interval of it over rows, because the labels of one image are not independent.
    mean_average_precision
        Average precision, averaged over the labels that at least one row has; ``None`` if there are none.
    f1
        F1, averaged over all labels (one that no row has and that is never predicted counts as 0).
    loss
        Mean binary cross-entropy of a label in nats.
    """

    split: str
    count: int
    accuracy: float
    interval: tuple[float, float]
    mean_average_precision: float | None
    f1: float
    loss: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True)
class LabelScore:
    """Scores of one label: average precision (``None`` if no row has it), precision, recall, F1, and its rows."""

    name: str
    average_precision: float | None
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, repr=False)
class MultilabelEvaluation(MultilabelScores):
    """Multilabel scores with those of each label, `answers`.

    `seen`, `note`, `unlike` and `retrieval` as in `featcache.classifier.classifier.ClassifierEvaluation`.
    """

    answers: tuple[LabelScore, ...]
    seen: int | None = None
    note: str = ""
    unlike: int | None = None
    retrieval: RetrievalScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return with_retrieval(super().to_json(), self.retrieval)

    def __repr__(self) -> str:
        return f"MultilabelEvaluation({self._in_words()})"

    def _in_words(self) -> str:
        return f"{self.split}: {percent(self.accuracy)} of the answers right on {self.count} images"

    def _repr_html_(self) -> str:
        rows = [
            (own.name, percent(own.precision), percent(own.recall), percent(own.f1), own.support)
            for own in self.answers
        ]
        columns = ("answer", "precision", "recall", "F1", "yes")
        return html_table(self._in_words(), rows, columns, right=columns[1:])


def evaluate_multilabel(
    targets: np.ndarray, probabilities: np.ndarray, *, classes: Sequence[str], split: str
) -> MultilabelEvaluation:
    """Score probabilities float ``[N, T]`` against labels 0 and 1 ``[N, T]``; `classes` names the T labels."""
    from sklearn import metrics

    known, said = targets > 0.5, probabilities > 0.5
    by_answer = metrics.precision_recall_fscore_support(
        known,
        said,
        average=None,
        labels=range(known.shape[1]),
        zero_division=0,  # pyright: ignore[reportArgumentType]  # the stub says str
    )
    precision, recall, f1 = (np.atleast_1d(np.asarray(values)) for values in by_answer[:3])
    ranked = [
        float(metrics.average_precision_score(known[:, own], probabilities[:, own]))
        if known[:, own].any()
        else None
        for own in range(known.shape[1])
    ]
    possible = [value for value in ranked if value is not None]
    right = np.asarray(known == said, np.float64).mean(axis=1)
    sure = np.clip(np.where(known, probabilities, 1 - probabilities), 1e-12, None)
    return MultilabelEvaluation(
        split=split,
        count=len(targets),
        accuracy=float(right.mean()),
        interval=share_interval(right),
        mean_average_precision=float(np.mean(possible)) if possible else None,
        f1=float(np.mean(f1)),
        loss=float(-np.mean(np.log(sure))),
        answers=tuple(
            LabelScore(name, a, float(p), float(r), float(f), int(n))
            for name, a, p, r, f, n in zip(
                classes, ranked, precision, recall, f1, known.sum(axis=0), strict=True
            )
        ),
    )


def summary(evaluation: MultilabelEvaluation | RegressionEvaluation) -> MultilabelScores | RegressionScores:
    """Return the scores without those of each label or target."""
    kind = MultilabelScores if isinstance(evaluation, MultilabelEvaluation) else RegressionScores
    return kind(**{name: getattr(evaluation, name) for name in kind.__dataclass_fields__})
