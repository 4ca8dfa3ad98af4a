"""Scores of regression predictions: pure functions of targets and predicted numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.core.display import html_table
from featcache.metrics.intervals import mean_interval


@dataclass(frozen=True)
class RegressionScores:
    """Scores of a regression on one split; for several targets, the means over them.

    Parameters
    ----------
    split, count
        Name and number of the rows.
    mae
        Mean absolute error, in the targets' units.
    interval
        95 % interval of it over rows.
    rmse
        Root mean squared error.
    r2
        Coefficient of determination; predicting the mean of the split gives 0.
    """

    split: str
    count: int
    mae: float
    interval: tuple[float, float]
    rmse: float
    r2: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True)
class TargetScore:
    """Scores of one target: mean absolute error, root mean squared error, R²."""

    name: str
    mae: float
    rmse: float
    r2: float


@dataclass(frozen=True, repr=False)
class RegressionEvaluation(RegressionScores):
    """Regression scores with those of each target, `numbers`.

    `seen`, `note` and `unlike` as in `featcache.classifier.classifier.ClassifierEvaluation`.
    """

    numbers: tuple[TargetScore, ...]
    seen: int | None = None
    note: str = ""
    unlike: int | None = None

    def __repr__(self) -> str:
        return f"RegressionEvaluation({self._in_words()})"

    def _in_words(self) -> str:
        return f"{self.split}: R² {self.r2:.3f}, mean absolute error {self.mae:.4g} on {self.count} images"

    def _repr_html_(self) -> str:
        rows = [(own.name, f"{own.r2:.3f}", f"{own.mae:.4g}", f"{own.rmse:.4g}") for own in self.numbers]
        columns = ("number", "R²", "mean absolute error", "root of squares")
        return html_table(self._in_words(), rows, columns, right=columns[1:])


def evaluate_regression(
    targets: np.ndarray, numbers: np.ndarray, *, classes: Sequence[str], split: str
) -> RegressionEvaluation:
    """Score predicted numbers float ``[N, T]`` against targets ``[N, T]``; `classes` names the T targets."""
    from sklearn import metrics

    errors = np.abs(numbers.astype(np.float64) - targets)
    mae, rmse = errors.mean(axis=0), np.sqrt(np.square(errors).mean(axis=0))
    if len(targets) > 1:
        r2 = np.atleast_1d(metrics.r2_score(targets, numbers, multioutput="raw_values"))
    else:  # a single row has no variance to explain
        r2 = np.zeros(targets.shape[1])
    return RegressionEvaluation(
        split=split,
        count=len(targets),
        mae=float(mae.mean()),
        interval=mean_interval(errors.mean(axis=1)),
        rmse=float(rmse.mean()),
        r2=float(r2.mean()),
        numbers=tuple(
            TargetScore(name, float(a), float(b), float(c))
            for name, a, b, c in zip(classes, mae, rmse, r2, strict=True)
        ),
    )
