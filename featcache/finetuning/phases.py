"""Builds the phases of a fine-tuning: which stages train in each, and at which learning rates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from featcache.classifier.classifier import Classifier
from featcache.errors import UnknownNameError, UsageError, did_you_mean
from featcache.finetuning.data import FineTuningData
from featcache.finetuning.learning_rates import learning_rates
from featcache.finetuning.model import PREFIX, Model
from featcache.finetuning.settings import HEAD, FineTuningSettings
from featcache.finetuning.train_step import Phase
from featcache.heads.model import form_of
from featcache.images.transforms import Transforms

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

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


def make_model(classifier: Classifier, network: "LoadedBackbone", compute_dtype: str) -> Model:
    """Return the classifier as a function of arrays."""
    transforms = Transforms.from_json(dict(classifier.recipe["transforms"]))
    (layer,) = network.layers([classifier.layer], transforms)
    form = form_of(classifier.head, classifier.parameters, classifier.settings.activation)
    return Model(network, layer, transforms, form, compute_dtype)


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


def build_phases(
    model: Model, head: Sequence[str], division: Division, settings: FineTuningSettings, data: FineTuningData
) -> list[Phase]:
    """Return the phases: where `head_epochs` is set, the first trains the head alone.

    Parameters
    ----------
    model, division
        The model, and which stages train.
    head
        Names of the head's arrays.
    settings, data
        How it is trained, and on which rows.

    Raises
    ------
    UsageError
        See `featcache.finetuning.learning_rates.learning_rates`.
    """
    own = [PREFIX + name for name in head]
    training = settings.training
    rows = len(data.rows.train)
    size = min(training.batch_size, rows)
    drop = settings.batch_norm == "update" and rows >= size
    count = rows // size if drop else -(-rows // size)
    common = {
        "steps_per_epoch": max(1, count // settings.accumulate),
        "accumulate": settings.accumulate,
        "average": settings.average,
    }
    phases = []
    if settings.head_epochs:
        alone = replace(
            training, learning_rate=settings.head_learning_rate, epochs=settings.head_epochs, batch_size=size
        )
        phases.append(
            Phase(
                name=HEAD,
                settings=alone,
                rates=dict.fromkeys(own, settings.head_learning_rate),
                moving=(),
                after=data.cut or HEAD,
                **common,
            )
        )
    names = [*trained_names(model, division), *own]
    stages = {name: model.stage_of.get(name, HEAD) for name in names}
    rates = learning_rates(stages, settings.rates, default=training.learning_rate)
    with_norm = {model.stage_of[name] for name in model.statistics()}
    moving = tuple(stage for stage in division.trained if stage in with_norm)
    phases.append(
        Phase(
            name="backbone" if division.trained else HEAD,
            settings=replace(training, batch_size=size),
            rates={name: rate for name, rate in rates.items() if rate > 0},
            moving=moving if settings.batch_norm == "update" else (),
            after=data.cut or division.after,
            **common,
        )
    )
    return phases
