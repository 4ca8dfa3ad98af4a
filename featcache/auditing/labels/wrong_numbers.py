"""Which numbers are probably wrong in a regression cache: those far from what other photos' numbers say.

Nothing is called certain: how far a right number may lie from a prediction depends on what is measured.
"""

from dataclasses import replace

import numpy as np

from featcache.auditing.evidence import nearest_as_evidence
from featcache.auditing.labels.held_out import FOLDS
from featcache.auditing.material import Audited, TooFewPhotosError
from featcache.auditing.ranked import RankedList
from featcache.auditing.suspects import ranked_places, suspect
from featcache.core.display import counted
from featcache.heads.feature_table import ArrayTable, FeatureRows
from featcache.heads.fitted_head import FittedHead
from featcache.heads.settings import STRENGTHS, Settings
from featcache.heads.target_scaling import TargetScale
from featcache.splits.selection import draw_folds

FAR = 5.0
"""Spreads from the prediction beyond which numbers are counted in the finding."""


def find_wrong_numbers(rows: Audited) -> RankedList:
    """Rank numbers by their distance from the prediction of ridge regressions that have not learnt from the row.

    Returns
    -------
    RankedList
        Its score is the largest distance of a row's numbers, in robust standard deviations of all rows' (1.4826 times
        the median distance from the median). No entry is certain.

    Raises
    ------
    TooFewPhotosError
        If there are fewer than two photos for each fold.
    """
    if len(np.unique(rows.sha256, axis=0)) < 2 * FOLDS:
        raise TooFewPhotosError(
            f"{rows.path}: wrong numbers are found by heads that learn from other photos, for which {2 * FOLDS} "
            "different photos or more are needed; leave this list out, or add photos"
        )
    predicted = _held_out_numbers(rows)
    distance = rows.labels - predicted
    middle = np.median(distance, axis=0)
    spread = 1.4826 * np.median(np.abs(distance - middle), axis=0)
    far = np.abs(distance - middle) / np.where(spread > 0, spread, 1)
    score, which = far.max(axis=1), far.argmax(axis=1)
    first = ranked_places(score, np.zeros(len(score), bool))
    near = nearest_as_evidence(rows, first)
    entries = tuple(
        suspect(
            rows,
            int(place),
            score=float(score[place]),
            why=f"{rows.classes[which[place]]} {rows.labels[place, which[place]]:g}, other photos say "
            f"{predicted[place, which[place]]:.4g}: {score[place]:.1f} times the usual distance",
            certain=False,
            suggested=f"{rows.classes[which[place]]} {predicted[place, which[place]]:.4g}",
            evidence=evidence,
        )
        for place, evidence in zip(first.tolist(), near, strict=True)
    )
    count = int((score > FAR).sum())
    return RankedList(
        kind="wrong-labels",
        title="Numbers that are probably wrong",
        finding=f"{counted(count, 'photo')} of {len(rows):,} with a number more than {FAR:g} times the usual distance "
        "from what other photos say",
        meaning="distance from the prediction of heads that learnt from the other photos only, in robust standard "
        "deviations; nothing is called certain",
        entries=entries,
        figures={"rows": len(rows), "far": count, "spread": [float(own) for own in spread]},
    )


def _held_out_numbers(rows: Audited) -> np.ndarray:
    """Return predictions float64 ``[M, T]`` by heads that have not learnt from the row."""
    from featcache.solvers.fit import fit_heads

    x = rows.vectors(slice(None))
    fold_of = draw_folds(rows.cache, rows.rows, folds=FOLDS, group_by=None, seed=rows.seed)
    scale = TargetScale.of(np.asarray(rows.labels, np.float64), np.ones(len(x)))
    y = scale.scale(rows.labels).astype(np.float32)
    tried = STRENGTHS["ridge"][1]
    ridge = Settings(head="ridge", loss="squared", scaling="standard")
    settings = [replace(ridge, l2=l2) for l2 in tried for _ in range(FOLDS)]
    weight = np.stack([fold_of != fold for fold in range(FOLDS)]).astype(np.float32)
    weight = np.tile(weight, (len(tried), 1))
    nothing = FeatureRows(ArrayTable(x[:0]), y[:0], weight[:, :0])
    fits = fit_heads(settings, FeatureRows(ArrayTable(x), y, weight), nothing, classes=y.shape[1])
    found = np.zeros((len(tried), *y.shape))
    for number, fit in enumerate(fits):
        held = fold_of == number % FOLDS
        head = FittedHead(settings[number], fit.parameters, y.shape[1], rows.task)
        found[number // FOLDS, held] = head.logits(x[held])
    # The median: of wrong numbers the squares would choose the strength.
    best = np.median(np.abs(found - y), axis=(1, 2)).argmin()
    return scale.unscale(found[best])
