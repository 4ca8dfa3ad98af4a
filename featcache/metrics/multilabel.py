"""How good a head is that gives answers or numbers instead of one class: pure functions, scikit-learn inside."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.metrics.intervals import bootstrap_interval, mean_interval
from featcache.metrics.regression import RegressionEvaluation, RegressionScores


@dataclass(frozen=True)
class MultilabelScores:
    """How good yes-or-no answers are on one split.

    Parameters
    ----------
    split, count
        Which rows, and how many.
    accuracy
        Share of right answers, at a probability of one half.
    interval
        Bootstrap 95 % interval of it over rows: the answers about one image are not independent.
    mean_average_precision
        Average precision, averaged over the answers that are yes for a row at least; ``None`` where none is.
    f1
        F1, averaged over all answers (one that is never yes, and never said to be, counts as 0).
    loss
        Mean cross-entropy of an answer in nats.
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
    """One answer: average precision (``None`` where it is never yes), precision, recall, F1, how often it is yes."""

    name: str
    average_precision: float | None
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class MultilabelEvaluation(MultilabelScores):
    """Scores with the `answers` one by one; `seen` as in `featcache.classifier.classifier.ClassifierEvaluation`."""

    answers: tuple[LabelScore, ...]
    seen: int | None = None


def evaluate_multilabel(
    targets: np.ndarray, probabilities: np.ndarray, *, classes: Sequence[str], split: str
) -> MultilabelEvaluation:
    """Score probabilities float ``[N, T]`` against answers 0 and 1 ``[N, T]``; `classes` names them."""
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
        # Where every answer is right, resampling would claim certainty.
        interval=mean_interval(right) if np.ptp(right) else bootstrap_interval(right > 0.5),
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
    """Return the scores without those of the single answers or numbers."""
    kind = MultilabelScores if isinstance(evaluation, MultilabelEvaluation) else RegressionScores
    return kind(**{name: getattr(evaluation, name) for name in kind.__dataclass_fields__})
