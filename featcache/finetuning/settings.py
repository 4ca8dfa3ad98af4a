"""The settings of a fine-tuning in one record; JAX is not imported, so that a command rejects bad values at once."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, get_type_hints

from featcache.core.schema import Limit, Setting, check_settings, declare, settings_of
from featcache.errors import UsageError
from featcache.heads.settings import AT_LEAST_ONE, NEAREST, POSITIVE, SHARE, STEP, STEPPING, Settings
from featcache.heads.settings import SETTINGS as HEAD_SETTINGS
from featcache.heads.weights_by_class import named_weights

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

BATCH_NORMS = ("frozen", "update")
COMPUTE_DTYPES = ("float32", "bfloat16")
PHOTO_AUGMENTATION = "flip,random-square-crop=32"
"""Default augmentation of training photos: mild, so that few epochs suffice."""

HEAD = "head"
"""The head, where a stage is expected: ``train_from="head"``, and in patterns of learning rates."""


def _setting(default: Any, help: str, panel: str, **more: Any) -> Any:
    return declare(Setting(default=default, help=help, panel=panel, **more))


@dataclass(frozen=True)
class FineTuningSettings:
    """The settings of a fine-tuning.

    Parameters
    ----------
    training
        The settings that heads have too: optimiser, learning rate, schedule, decay, smoothing, mixup, clipping, batch
        size, epochs, patience, seed, and the head's architecture. Mixup is on the input of the first trained stage.
    train_from
        The first stage that trains; ``"all"``, ``"head"``, or ``None`` for the last third of the stages.
    head_epochs, head_learning_rate
        A first phase, in which only the head trains.
    rates
        Pattern and learning rate, first match first, instead of the one learning rate; see
        `featcache.finetuning.learning_rates.learning_rates`.
    accumulate
        Batches whose gradients are averaged into one step.
    average
        Decay of an exponential moving average of the parameters, which is then validated and kept; ``None`` for none.
    batch_norm
        BatchNorm of trained stages: ``"frozen"`` statistics, or ``"update"``: normalise by the batch and update them.
    augment
        Augmentation of training photos, a text that `featcache.images.augmentation.Augmentation.parse` reads.
    compute_dtype
        The dtype that the network computes in; parameters and updates are float32.

    Raises
    ------
    UsageError
        A value is invalid.
    """

    training: Settings
    train_from: str | None = _setting(
        None,
        "first stage that trains, or all, or head",
        "Head",
        otherwise="the last third of the stages",
    )
    head_epochs: int = _setting(
        0,
        "epochs of a first phase: the head alone",
        "Head",
        limit=Limit(lambda count: count >= 0, "0 or more"),
    )
    head_learning_rate: float = _setting(
        1e-3, "step size in that phase", "Head", limit=POSITIVE, sensible=STEP, aliases=("--head-lr",)
    )
    rates: tuple[tuple[str, float], ...] = _setting(
        (),
        "step size of stages, such as 'block6*=1e-4'",
        "Optimisation",
        limit=Limit(
            lambda rates: all(0 <= rate < math.inf for _, rate in rates),
            "PATTERN=RATE with rates of 0 or above",
        ),
    )
    accumulate: int = _setting(1, "batches averaged into one step", "Optimisation", limit=AT_LEAST_ONE)
    average: float | None = _setting(
        None, "keep a moving average of the weights, with this decay", "Optimisation", limit=SHARE
    )
    batch_norm: str = _setting(
        "frozen", "statistics of stages that train", "Optimisation", choices=BATCH_NORMS
    )
    augment: str = _setting(
        "none",
        "what is done to photos: flip, random-resized-crop, random-square-crop=MARGIN, colour, or none",
        "Data",
        otherwise=PHOTO_AUGMENTATION,
    )
    compute_dtype: str = _setting(
        "float32",
        "what is computed in",
        "Optimisation",
        choices=COMPUTE_DTYPES,
        otherwise="as the classifier's features",
    )

    def __post_init__(self) -> None:
        if self.training.head in NEAREST:
            raise UsageError(
                f"a {self.training.head} head has no gradient, so nothing can be fine-tuned through it; "
                "train a linear, mlp, logistic or ridge head first"
            )
        SETTINGS["optimizer"].require_known(self.training.optimizer)
        check_settings(self)
        from featcache.images.augmentation import Augmentation

        Augmentation.parse(self.augment)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = asdict(self)
        training = plain.pop("training")
        return {
            **training,
            **plain,
            "hidden": list(self.training.hidden),
            "rates": [list(r) for r in self.rates],
        }


class FineTuningArguments(TypedDict, total=False):
    """The settings as arguments of `featcache.finetune`, those of heads among them: names and types.

    A type checker needs them written out; a test compares with what `FineTuningSettings` and
    `featcache.heads.settings.Settings` declare.
    """

    train_from: str | None
    epochs: int
    learning_rate: float
    head_epochs: int
    head_learning_rate: float
    rates: Mapping[str, float] | Sequence[str]
    optimizer: str
    momentum: float
    schedule: str
    end: float
    power: float
    warmup: float
    weight_decay: float
    clip: float | None
    label_smoothing: float
    mixup: float
    dropout: float
    class_weights: str | Mapping[Any, float]
    batch_size: int
    accumulate: int
    average: float | None
    batch_norm: str
    augment: str | None
    compute_dtype: str | None
    monitor: str
    patience: int
    min_delta: float
    seed: int


_OTHERWISE: Mapping[str, Mapping[str, Any]] = {
    "epochs": {"default": 10, "otherwise": ""},
    "learning_rate": {"default": 1e-4},
    "optimizer": {"default": "adamw", "choices": STEPPING},
    "schedule": {"default": "cosine"},
    "weight_decay": {"help": "decay of weights, not of biases and norms", "otherwise": ""},
    "mixup": {"help": "alpha of mixup of the first trained stage's input"},
    "batch_size": {"default": 32, "help": "images per step"},
    "patience": {"default": 5, "otherwise": ""},
    "seed": {"help": "seed of order and augmentation"},
}
"""How settings of heads differ in fine-tuning: defaults, choices, help."""

_OWN: Mapping[str, Setting] = settings_of(FineTuningSettings)

SETTINGS: Mapping[str, Setting] = {
    name: _OWN[name] if name in _OWN else replace(HEAD_SETTINGS[name], **_OTHERWISE.get(name, {}))
    for name in get_type_hints(FineTuningArguments)
}
"""The settings of `featcache.finetune` by name."""


def read_rates(rates: Mapping[str, float] | Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return pairs of pattern and learning rate, from a mapping or from texts such as ``"block_1*=1e-4"``.

    Raises
    ------
    UsageError
        If a text is no such pair.
    """
    if isinstance(rates, str):
        rates = (rates,)
    if not isinstance(rates, Mapping | Sequence) or isinstance(rates, bytes):
        raise UsageError(
            f"rates {reprlib.repr(rates)}: expected a mapping such as {{'head': 1e-3, '*': 1e-5}}, or texts such as "
            "'block_1*=1e-4'"
        )
    pairs = rates.items() if isinstance(rates, Mapping) else map(_pattern_and_rate, rates)
    return tuple((str(pattern), _rate(pattern, rate)) for pattern, rate in pairs)


def _pattern_and_rate(text: Any) -> tuple[str, Any]:
    pattern, _, rate = text.rpartition("=") if isinstance(text, str) else ("", "", "")
    if not pattern.strip():
        raise UsageError(f"rate {text!r}: expected PATTERN=RATE, such as 'block_1*=1e-4'")
    return pattern.strip(), rate


def _rate(pattern: str, rate: Any) -> float:
    try:
        return float(rate)
    except (ValueError, TypeError):
        raise UsageError(
            f"rate {f'{pattern}={rate}'!r}: expected PATTERN=RATE, such as 'block_1*=1e-4'"
        ) from None


def tune_settings(
    classifier: "Classifier", *, cached: bool, **given: Unpack[FineTuningArguments]
) -> FineTuningSettings:
    """Return the settings of a fine-tuning from the arguments of `featcache.finetune`.

    Parameters
    ----------
    classifier
        The classifier to fine-tune; the architecture of its head stays.
    cached
        Whether the training reads a cached cut, not photos.
    **given
        Given settings; all others have their defaults.

    Raises
    ------
    UsageError
        A value is invalid.
    """
    for name in given.keys() - SETTINGS.keys():
        raise TypeError(f"finetune() got an unexpected keyword argument {name!r}")
    told: dict[str, Any] = {name: setting.public_default for name, setting in SETTINGS.items()} | given
    own = {name: told.pop(name) for name in _OWN}
    told["class_weights"] = named_weights(told["class_weights"], classifier.classes)
    # Noise and views are settings of training on cached features; fine-tuning has views of its own.
    training = replace(classifier.settings, noise=0.0, views=None, **told)
    augment = own.pop("augment")
    if cached and augment not in (None, "none"):
        raise UsageError(
            f"augment {augment!r} with a cached cut, whose photos were prepared when it was made; "
            "cache views (extract --views 8 --augment …), or train from photos"
        )
    own["rates"] = read_rates(own["rates"])
    own["compute_dtype"] = own["compute_dtype"] or classifier.recipe["compute_dtype"]
    chosen = FineTuningSettings(
        training=training, augment=augment or ("none" if cached else PHOTO_AUGMENTATION), **own
    )
    for name, value in given.items():
        SETTINGS[name].require_sensible(value)
    return chosen
