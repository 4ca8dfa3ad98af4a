"""Findings about scores and training that need neither rows nor features."""

from collections.abc import Sequence

from featcache.checks.rows import Finding
from featcache.core.display import percent


def below_chance(accuracy: float, classes: int, what: str) -> list[Finding]:
    """Find a head that is right no more often than a guess among its classes.

    Parameters
    ----------
    accuracy
        The share of rows that it has right, 0..1; NaN finds nothing.
    classes
        Number of classes.
    what
        The rows in words, such as ``"the validation rows"``.

    Returns
    -------
    list of Finding
        ``below-chance``, or nothing.
    """
    if not accuracy <= 1 / classes:
        return []
    message = (
        f"right in {percent(accuracy)} of {what}, which is no better than a guess among {classes} classes "
        f"({percent(1 / classes)}): this head says nothing about them; look at the labels (featcache data check), "
        "give more examples, or try another head or backbone"
    )
    return [Finding("below-chance", message)]


STILL_IMPROVING = 0.05, 0.01
"""Share of the validation loss, and nats, by which the last tenth of the epochs improves a head that is not done yet.

Where classes can be told apart without a mistake the loss shrinks for ever, by less and less.
"""


def unfinished(best_epoch: int, epochs: int, losses: Sequence[float | None]) -> list[Finding]:
    """Find training that its limit of epochs ended while it was still improving.

    Parameters
    ----------
    best_epoch
        The epoch whose validation was best.
    epochs
        The most epochs to run.
    losses
        The validation loss after each epoch; none without validation rows.

    Returns
    -------
    list of Finding
        ``unfinished``, or nothing.
    """
    told = [loss for loss in losses if loss is not None]
    if best_epoch < epochs or len(told) < 2:
        return []
    before = told[min(9 * len(told) // 10, len(told) - 2)]
    share, nats = STILL_IMPROVING
    if before - told[-1] <= max(share * abs(before), nats):
        return []
    message = (
        f"the last of {epochs} epochs was the best on the validation rows: training was still improving; "
        f"give more epochs (--epochs {4 * epochs}), or a higher learning rate"
    )
    return [Finding("unfinished", message)]
