"""Where a backbone is cut: the stages before are frozen, those after it train."""

from dataclasses import dataclass

from featcache.errors import UnknownNameError, UsageError, did_you_mean
from featcache.finetuning.model import Model
from featcache.finetuning.settings import HEAD

ALL = "all"


@dataclass(frozen=True)
class Division:
    """The frozen and the trained stages.

    Parameters
    ----------
    frozen, trained
        Stages before and after the cut, in forward order.
    """

    frozen: tuple[str, ...]
    trained: tuple[str, ...]

    @property
    def after(self) -> str | None:
        """The input of the trained part: a stage's output, ``None`` for photos, ``"head"`` for features."""
        if not self.trained:
            return HEAD
        return self.frozen[-1] if self.frozen else None


def divide(model: Model, train_from: str | None, *, cached: str | None = None) -> Division:
    """Split the stages before the first one that trains.

    Parameters
    ----------
    model
        The model.
    train_from
        A stage, ``"all"``, ``"head"``; ``None``: the last third of the stages, or what follows the cached one.
    cached
        The stage whose output comes from a cache: it and those before it cannot train.

    Raises
    ------
    UnknownNameError
        If there is no such stage, or it lies behind the head's layer.
    UsageError
        If a stage would have to train that the cached output replaces.
    """
    stages = model.stages
    first = _first_trained(model, train_from, cached)
    if cached is not None:
        if cached not in stages:
            raise UsageError(
                f"the cache holds {cached}, which lies behind the head's layer {model.layer}; extract an earlier stage"
            )
        earliest = stages.index(cached) + 1
        if first < earliest:
            possible = (
                f"the first stage that can is {stages[earliest]}"
                if earliest < len(stages)
                else "the head can"
            )
            needed = f"cache {stages[first - 1]}:map" if first else "train from photos"
            raise UsageError(
                f"{stages[first]} cannot train: the cache holds the output of {cached}; {possible}, or {needed}"
            )
    return Division(stages[:first], stages[first:])


def _first_trained(model: Model, train_from: str | None, cached: str | None) -> int:
    stages = model.stages
    if train_from is None:
        return stages.index(cached) + 1 if cached in stages else len(stages) - max(1, len(stages) // 3)
    if train_from == HEAD:
        return len(stages)
    if train_from == ALL:
        return 0
    chain = model.network.network
    try:
        point = chain.resolve(train_from)
    except UnknownNameError:
        raise UnknownNameError(
            f"no stage {train_from!r} to train from; {did_you_mean(train_from, (ALL, HEAD, *stages))}"
        ) from None
    if point not in chain.order:
        raise UsageError(
            f"{train_from!r} lies inside stage {chain.stage_of(point)!r}; training begins with a whole stage"
        )
    if point not in stages:
        raise UnknownNameError(
            f"{train_from!r} lies behind {model.layer}, where the head is; the stages before it are "
            f"{', '.join(stages[-5:])}"
        )
    return stages.index(point)


def trained_names(model: Model, division: Division) -> list[str]:
    """Return the names of the parameters of the trained stages, without running statistics."""
    statistics, trained = model.statistics(), {*division.trained}
    return [n for n in model.network.tensors if model.stage_of[n] in trained and n not in statistics]
