"""Builds the phases of a fine-tuning: which stages train in each, and at which learning rates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from featcache.classifier.classifier import Classifier
from featcache.finetuning.cut import Division, trained_names
from featcache.finetuning.data import FineTuningData
from featcache.finetuning.learning_rates import learning_rates
from featcache.finetuning.model import PREFIX, Model
from featcache.finetuning.settings import HEAD, FineTuningSettings
from featcache.finetuning.train_step import Phase
from featcache.heads.model import form_of
from featcache.images.transforms import Transforms

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone


def make_model(classifier: Classifier, network: "LoadedBackbone", compute_dtype: str) -> Model:
    """Return the classifier as a function of arrays."""
    transforms = Transforms.from_json(dict(classifier.recipe["transforms"]))
    (layer,) = network.layers([classifier.layer], transforms)
    form = form_of(classifier.settings, classifier.parameters)
    return Model(network, layer, transforms, form, compute_dtype)


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
