"""Which labels are probably wrong: classes that exclude each other, and labels of which a photo may have several.

Held-out probabilities (`featcache.auditing.labels.held_out`) go into confident learning
(`featcache.auditing.labels.confident`).
Numbers have residuals instead: `featcache.auditing.labels.wrong_numbers`.
"""

from typing import Any

import numpy as np

from featcache.auditing.evidence import nearest_as_evidence
from featcache.auditing.labels.confident import LabelQuality, label_quality, require_cleanlab
from featcache.auditing.labels.held_out import FOLDS, HeldOut, held_out
from featcache.auditing.material import Audited
from featcache.auditing.ranked import RankedList, Resembled, Suspect
from featcache.auditing.suspects import ranked_places, suspect
from featcache.core.display import counted, percent, percents, some
from featcache.core.tasks import MULTILABEL, REGRESSION, require_labels

KIND = "wrong-labels"
TITLE = "Labels that are probably wrong"


def find_wrong_labels(rows: Audited) -> RankedList:
    """Rank all labels by how badly they fit what other photos' labels say.

    Parameters
    ----------
    rows
        Of a labelled cache. Numbers are ranked by their residuals, see `featcache.auditing.labels.wrong_numbers`.

    Returns
    -------
    RankedList
        Its score is 1 minus the held-out probability of the given label. ``figures`` holds ``"share"``, the estimated
        share of wrong labels, its ``"interval"`` (95 %), and ``"by_class"``.

    Raises
    ------
    UsageError
        If the cache is unlabelled.
    DataError
        If too few photos of two classes are there.
    MissingExtraError
        If cleanlab is not installed.
    """
    require_labels(rows.cache, "a search for wrong labels")
    if rows.task == REGRESSION:
        from featcache.auditing.labels.wrong_numbers import find_wrong_numbers

        return find_wrong_numbers(rows)
    require_cleanlab()
    return _of_labels(rows) if rows.task == MULTILABEL else _of_classes(rows)


# Classes that exclude each other -------------------------------------------------------------------------------


def class_quality(rows: Audited) -> tuple[HeldOut, np.ndarray, np.ndarray, LabelQuality]:
    """Return held-out probabilities, the classes that are judged, the places of their rows, and the labels' quality."""
    if "class quality" not in rows.shared:
        found = held_out(rows)
        places = np.flatnonzero(found.judged)
        classes, labels = np.unique(rows.labels[places], return_inverse=True)
        quality = label_quality(labels, _AmongJudged(found.probabilities, places, classes))
        rows.shared["class quality"] = found, classes, places, quality
    return rows.shared["class quality"]


class _AmongJudged:
    """Probabilities of judged rows and classes only, brought to a sum of 1 as they are asked for: no copy of all."""

    def __init__(self, probabilities: np.ndarray, places: np.ndarray, classes: np.ndarray) -> None:
        self._probabilities, self._places, self._classes = probabilities, places, classes
        self.shape = len(places), len(classes)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        own = self._probabilities[np.ix_(self._places[part], self._classes)]
        return own / np.maximum(own.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _of_classes(rows: Audited) -> RankedList:
    found, classes, places, quality = class_quality(rows)
    first = ranked_places(1 - quality.quality, quality.wrong)
    near = nearest_as_evidence(rows, places[first])
    entries = tuple(
        _class_suspect(rows, found, int(places[each]), bool(quality.wrong[each]), evidence)
        for each, evidence in zip(first, near, strict=True)
    )
    share, (low, high) = quality.share, quality.interval()
    by_class = _by_class(rows, classes, places, quality)
    unjudged = [name for number, name in enumerate(rows.classes) if number not in classes]
    finding = (
        f"{counted(int(quality.wrong.sum()), 'label')} of {len(places):,} probably wrong; "
        f"an estimated {percent(share)} of all are ({percents(low, high)})"
    )
    return RankedList(
        kind=KIND,
        title=TITLE,
        finding=finding,
        meaning="1 minus the probability of the given label, by heads that learnt from the other photos only; certain: "
        "another class is as probable as it is for photos of that class (confident learning)"
        + _few_learnt(rows, found)
        + _left_out(unjudged),
        entries=entries,
        figures={
            "share": round(share, 6),
            "interval": [round(low, 6), round(high, 6)],
            "rows": len(places),
            "strength": found.strength,
            "learnt_from": found.learnt,
            "by_class": by_class,
            "not_judged": unjudged,
        },
    )


def _few_learnt(rows: Audited, found: HeldOut) -> str:
    if found.learnt == len(rows):
        return ""
    some = f"{found.learnt:,} photos, drawn evenly over the classes"
    return f"; the heads learnt from {some}, and judged all {len(rows):,}"


def _left_out(unjudged: list[str]) -> str:
    if not unjudged:
        return ""
    return f"; not judged: classes of fewer than {FOLDS} different photos ({some(unjudged)})"


def _class_suspect(
    rows: Audited, found: HeldOut, place: int, certain: bool, evidence: tuple[Resembled, ...]
) -> Suspect:
    own = found.probabilities[place]
    given, best = int(rows.labels[place]), int(own.argmax())
    if best == given:
        why = f"fits {rows.classes[given]} less than other photos do: probability {own[given]:.3f}"
    else:
        why = f"looks like {rows.classes[best]} ({own[best]:.3f}), labelled {rows.classes[given]} ({own[given]:.3f})"
    return suspect(
        rows,
        place,
        score=1 - float(own[given]),
        why=why,
        certain=certain,
        suggested=None if best == given else rows.classes[best],
        evidence=evidence,
    )


def _by_class(
    rows: Audited, classes: np.ndarray, places: np.ndarray, quality: LabelQuality
) -> dict[str, dict[str, Any]]:
    labels = rows.labels[places]
    given = quality.joint.sum(axis=1)
    shares = 1 - np.diag(quality.joint) / np.where(given > 0, given, 1)
    return {
        rows.classes[label]: {
            "rows": int((labels == label).sum()),
            "certain": int(quality.wrong[labels == label].sum()),
            "share": round(max(0.0, float(share)), 6),
        }
        for label, share in zip(classes.tolist(), shares, strict=True)
    }


# Labels of which a photo may have several ----------------------------------------------------------------------


def _of_labels(rows: Audited) -> RankedList:
    found = held_out(rows)
    judged = np.flatnonzero(found.judged.all(axis=0))
    each = [_quality_of_label(rows, found, label) for label in judged.tolist()]
    wrong = np.stack([own.wrong for own in each], axis=1)
    quality = _row_quality(np.stack([own.quality for own in each], axis=1))
    first = ranked_places(1 - quality, np.asarray(wrong.any(axis=1)))
    near = nearest_as_evidence(rows, first)
    entries = tuple(
        _labels_suspect(rows, found, int(place), judged[wrong[place]], 1 - float(quality[place]), evidence)
        for place, evidence in zip(first, near, strict=True)
    )
    unjudged = [name for number, name in enumerate(rows.classes) if number not in judged]
    by_class = {}
    for label, own in zip(judged.tolist(), each, strict=True):
        by_class[rows.classes[label]] = {
            "rows": int(rows.labels[:, label].sum()),
            "certain": int(own.wrong.sum()),
            "missing": int((own.wrong & ~rows.labels[:, label]).sum()),
            "share": round(own.share, 6),
            "interval": [round(end, 6) for end in own.interval()],
        }
    photos, answers = int(wrong.any(axis=1).sum()), int(wrong.sum())
    return RankedList(
        kind=KIND,
        title=TITLE,
        finding=f"{counted(answers, 'answer')} of {counted(photos, 'photo')} probably wrong, of {len(rows):,} photos "
        f"with {counted(len(judged), 'label')} each",
        meaning="how badly a photo's labels fit what heads say that learnt from the other photos only, its worst "
        "labels counting most (cleanlab's moving average)" + _few_learnt(rows, found) + _left_out(unjudged),
        entries=entries,
        figures={
            "rows": len(rows),
            "strength": found.strength,
            "learnt_from": found.learnt,
            "by_class": by_class,
            "not_judged": unjudged,
        },
    )


def _quality_of_label(rows: Audited, found: HeldOut, label: int) -> LabelQuality:
    has = found.probabilities[:, label].astype(np.float64)
    return label_quality(rows.labels[:, label].astype(np.int64), np.stack([1 - has, has], axis=1))


def _row_quality(quality: np.ndarray, *, forgetting: float = 0.8) -> np.ndarray:
    """Return one number for each row of ``[M, C]``: the exponential moving average from the best label to the worst.

    Of a photo with one wrong label among many it is low, which the mean is not, and it is steadier than the least
    (Thyagarajan et al., "Identifying incorrect annotations in multi-label classification data", 2022, whose factor
    this is).
    """
    ordered = -np.sort(-quality, axis=1)
    average = ordered[:, 0]
    for column in ordered.T[1:]:
        average = forgetting * column + (1 - forgetting) * average
    return average


def _labels_suspect(
    rows: Audited,
    found: HeldOut,
    place: int,
    wrong: np.ndarray,
    score: float,
    evidence: tuple[Resembled, ...],
) -> Suspect:
    has, own = rows.labels[place], found.probabilities[place]
    told = [
        f"has {rows.classes[label]}, probability {own[label]:.3f}"
        if has[label]
        else f"lacks {rows.classes[label]}, probability {own[label]:.3f}"
        for label in wrong.tolist()
    ]
    if not told:
        worst = int(np.abs(has - own).argmax())
        verb = "has" if has[worst] else "lacks"
        told = [f"fits less than others; {verb} {rows.classes[worst]}, probability {own[worst]:.3f}"]
    turned = has.copy()
    turned[wrong] = ~turned[wrong]
    names = ", ".join(name for name, own in zip(rows.classes, turned, strict=True) if own)
    return suspect(
        rows,
        place,
        score=score,
        why="; ".join(told),
        certain=len(wrong) > 0,
        suggested=(names or "no label") if len(wrong) else None,
        evidence=evidence,
    )
