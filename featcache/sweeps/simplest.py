"""The one-standard-error rule: of configurations that validation rows do not tell apart, the simplest is chosen.

The best of many configurations is best partly by chance, and chance favours those that follow the rows closely. So the
choice goes to the simplest one whose accuracy is within one standard error of the best (Breiman, Friedman, Olshen and
Stone, "Classification and Regression Trees", 1984, section 3.4.3). The standard error here is that of the difference
between the two on the same rows: most rows are right or wrong with both, so that it is much smaller than that of either
accuracy, and less is given away.

It must be so of the loss, too. An accuracy on few rows is coarse: on 20 of them a penalty that leaves next to nothing
of the weights often has the same rows right as the best one, and its loss shows that it knows less. With the accuracy
alone, logistic regression on 100 photos of flowers (20 of them for validation, 8 draws) fell from .801 to .748 on other
photos; with both it had .798.

What is simpler is only said within one kind of head on one layer of one cache: a stronger penalty or fewer units
restrict the same functions further. Between kinds there is no such order (a nearest class mean has as many parameters
as a linear head, and k nearest neighbours have none), and there the validation rows alone decide.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from featcache.heads.settings import Settings
from featcache.metrics.comparison import within_one_error
from featcache.sweeps.leaderboard import LeaderboardEntry

MOST = 30
"""Configurations of the best one's kind that are looked at, the best ones: each may have to be fitted again."""

SIMPLICITY: Mapping[str, Callable[[Settings], tuple[float, ...]]] = {
    # Decay pulls the weights to 0; then smaller steps, which early stopping ends nearer to where they began.
    "linear": lambda own: (-own.weight_decay, own.learning_rate),
    # The units of the hidden layers count first: they multiply with the width of the features.
    "mlp": lambda own: (sum(own.hidden), len(own.hidden), -own.dropout, -own.weight_decay, own.learning_rate),
    "logistic": lambda own: (own.c,),
    "ridge": lambda own: (-own.l2,),
    # k neighbours of N rows fit about N / k values.
    "knn": lambda own: (-own.neighbours,),
    # The class means know no strength.
    "prototype": lambda own: (),
}
"""Simplest first, for each kind of head; other settings do not make it simpler, and there the better one stays."""


def simplest(
    ranked: Sequence[LeaderboardEntry], judged: Callable[[Any], np.ndarray], *, bounded: bool = True
) -> LeaderboardEntry:
    """Return the simplest configuration that is within one standard error of the best.

    Parameters
    ----------
    ranked
        The leaderboard, best first.
    judged
        Returns the loss and the score of a configuration on each validation row, float ``[2, N]``; called for those
        that may be chosen only.
    bounded
        Whether scores are in 0..1, as all but those of regression are.
    """
    best = ranked[0]
    own = best.key.settings
    order = SIMPLICITY[own.head]
    rivals = [
        entry for entry in ranked if _is_alike(entry.key, best.key) and order(entry.key.settings) < order(own)
    ]
    rivals = sorted(rivals[:MOST], key=lambda entry: order(entry.key.settings))
    if not rivals:
        return best
    losses, scores = judged(best.key)
    for entry in rivals:
        if not _may_be_near(best.accuracy, entry.accuracy, len(scores), bounded=bounded):
            continue
        other_losses, other_scores = judged(entry.key)
        if within_one_error(scores, other_scores) and within_one_error(-losses, -other_losses):
            return entry
    return best


def _is_alike(key: Any, best: Any) -> bool:
    return (key.cache, key.layer, key.settings.head) == (best.cache, best.layer, best.settings.head)


def _may_be_near(best: float, other: float, count: int, *, bounded: bool) -> bool:
    """Return whether a difference of accuracies can be a standard error, from the most rows that can differ."""
    if not np.isfinite(other) or count < 2:
        return False
    if not bounded:
        return True
    difference = best - other
    most = min(1.0, (1 - best) + (1 - other))
    return difference <= np.sqrt(max(most - difference**2, 0.0) / (count - 1)) + 1e-6
