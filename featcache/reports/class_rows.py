"""The scores of a class or of a multilabel answer with their intervals, and how a table lists them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featcache.core.display import escaped, percent
from featcache.metrics.classification import ClassScore
from featcache.metrics.intervals import f1_interval, wilson_interval
from featcache.metrics.multilabel import LabelScore
from featcache.metrics.ranking import Ranking

IN_ORDER = 8
"""Classes that are listed in their own order; of more the worst come first."""

NARROW = 12
"""Classes at most whose charts need not the whole width, so that they are read on a phone, too."""

MOST_ROWS = 200
"""Rows of a table; of more classes those with the lowest F1 are listed, and all stand in the data."""

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class ClassRow:
    """The scores of one class, each with its 95 % interval; ``None`` where no row tells.

    Parameters
    ----------
    name
        Of the class.
    support, said, right
        Rows that have it, that are said to have it, and both.
    precision, recall, f1
        As in `featcache.metrics.classification.ClassScore`: 0 where no row tells.
    average_precision, roc_area
        See `featcache.metrics.ranking.Ranking`.
    """

    name: str
    support: int
    said: int
    right: int
    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    f1: float
    f1_interval: Interval
    average_precision: float | None
    average_precision_interval: Interval
    roc_area: float | None

    @property
    def shown_name(self) -> str:
        """The name, printable."""
        return escaped(self.name)

    @property
    def cells(self) -> list[Any]:
        """The cells of its row in a table."""
        return [
            self.shown_name,
            self.support,
            self.said,
            _share_cell(self.precision, self.precision_interval),
            _share_cell(self.recall, self.recall_interval),
            _share_cell(self.f1, self.f1_interval),
            _share_cell(self.average_precision, self.average_precision_interval),
            None if self.roc_area is None else {"value": self.roc_area, "text": f"{self.roc_area:.3f}"},
        ]


def class_row(score: ClassScore | LabelScore, *, said: int, right: int, ranking: Ranking) -> ClassRow:
    """Return the scores of a class with their intervals.

    Parameters
    ----------
    score
        Its scores.
    said, right
        Rows that are said to have it, and those of them that have it.
    ranking
        Of all rows by its probability.
    """
    return ClassRow(
        name=score.name,
        support=score.support,
        said=said,
        right=right,
        precision=float(score.precision),
        precision_interval=wilson_interval(right, said) if said else None,
        recall=float(score.recall),
        recall_interval=wilson_interval(right, score.support) if score.support else None,
        f1=float(score.f1),
        f1_interval=f1_interval(right, score.support, said),
        average_precision=ranking.average_precision,
        average_precision_interval=ranking.average_precision_interval,
        roc_area=ranking.roc_area,
    )


def listing(rows: Sequence[ClassRow]) -> tuple[Sequence[int], Sequence[int]]:
    """Return in which order rows are listed, and from the worst on; those that no photo tells of come last.

    The first is the second where there are many.
    """
    worst = sorted(range(len(rows)), key=lambda c: (not rows[c].support, rows[c].f1, rows[c].recall))
    return (range(len(rows)) if len(rows) <= IN_ORDER else worst), worst


def _share_cell(value: float | None, interval: Interval) -> dict[str, Any] | None:
    """Return a cell with a share and its interval, sorted by the share; ``None``, shown as –, where no row tells."""
    if value is None or interval is None:
        return None
    low, high = (100 * end for end in interval)
    return {"value": value, "text": f"{percent(value)} ({low:.0f}–{high:.0f})"}
