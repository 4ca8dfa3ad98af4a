"""How a backbone is fine-tuned: every choice by name, in one record; no JAX, so that a command can refuse at once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from featcache.errors import UsageError, did_you_mean
from featcache.heads.settings import NEAREST, STEPPING, Settings
from featcache.images.augmentation import Augmentation

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

BATCH_NORMS = ("frozen", "update")
COMPUTE_DTYPES = ("float32", "bfloat16")
PHOTO_AUGMENTATION = "flip,random-square-crop=32"
"""What is done to training photos where nobody says: mild, so that few epochs suffice."""

HEAD = "head"
"""The head, where a stage is expected: ``train_from="head"``, and in patterns of learning rates."""


@dataclass(frozen=True)
class FineTuningSettings:
    """How a backbone is fine-tuned.

    Parameters
    ----------
    training
        What heads are trained with too: optimiser, learning rate, schedule, decay, smoothing, mixup, clipping, batch
        size, epochs, patience, seed, and what the head itself is. Mixup mixes what the first trained stage takes.
    train_from
        The first stage that trains; ``"all"``, ``"head"``, or ``None`` for the last third of the chain.
    head_epochs, head_learning_rate
        A first phase, in which only the head trains.
    rates
        Pattern and learning rate, first match first, instead of the one learning rate; see
        `featcache.finetuning.learning_rates.learning_rates`.
    accumulate
        Batches whose gradients are averaged into one step.
    average
        Decay of the exponential moving average of the parameters which is then judged and kept; ``None`` for none.
    batch_norm
        Of stages that train: ``"frozen"`` statistics, or ``"update"``: those of the batch, and running ones.
    augment
        What is done to training photos, a text that `featcache.images.augmentation.Augmentation.parse` reads.
    compute_dtype
        What the network computes in; parameters and their steps are float32.

    Raises
    ------
    UsageError
        A value that cannot work.
    """

    training: Settings
    train_from: str | None = None
    head_epochs: int = 0
    head_learning_rate: float = 1e-3
    rates: tuple[tuple[str, float], ...] = ()
    accumulate: int = 1
    average: float | None = None
    batch_norm: str = "frozen"
    augment: str = "none"
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.training.head in NEAREST:
            raise UsageError(
                f"a {self.training.head} head has no gradient, so nothing can be fine-tuned through it; "
                "train a linear, mlp, logistic or ridge head first"
            )
        words = {
            "optimizer": (self.training.optimizer, STEPPING),
            "batch_norm": (self.batch_norm, BATCH_NORMS),
            "compute_dtype": (self.compute_dtype, COMPUTE_DTYPES),
        }
        for field, (given, known) in words.items():
            if given not in known:
                raise UsageError(f"no {field.replace('_', '-')} {given!r}; {did_you_mean(given, known)}")
        limits = {
            "head_epochs": (self.head_epochs >= 0, "0 or more"),
            "head_learning_rate": (0 < self.head_learning_rate < float("inf"), "above 0"),
            "accumulate": (self.accumulate >= 1, "at least 1"),
            "average": (self.average is None or 0 <= self.average < 1, "in 0..1"),
            "rates": (
                all(0 <= rate < float("inf") for _, rate in self.rates),
                "PATTERN=RATE with rates of 0 or above",
            ),
        }
        for field, (good, expected) in limits.items():
            if not good:
                raise UsageError(f"{field.replace('_', '-')} {getattr(self, field)}: expected {expected}")
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


_READ = {"training", "rates", "augment", "compute_dtype"}
_OWN = {each.name for each in fields(FineTuningSettings)} - _READ
PLAIN_ARGUMENTS = _OWN | {each.name for each in fields(Settings)}
"""Names of arguments that become a setting as they are, of fine-tuning or of training."""


def read_rates(rates: Mapping[str, float] | Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return pairs of pattern and learning rate, from a mapping or from texts such as ``"block_1*=1e-4"``.

    Raises
    ------
    UsageError
        For a text that is no such pair.
    """
    if isinstance(rates, Mapping):
        return tuple((str(pattern), float(rate)) for pattern, rate in rates.items())
    pairs = []
    for text in rates:
        pattern, _, rate = text.rpartition("=")
        try:
            pairs.append((pattern.strip(), float(rate)))
        except ValueError:
            pattern = ""
        if not pattern.strip():
            raise UsageError(f"rate {text!r}: expected PATTERN=RATE, such as 'block_1*=1e-4'")
    return tuple(pairs)


def tune_settings(
    classifier: "Classifier",
    *,
    cached: bool,
    augment: str | None,
    compute_dtype: str | None,
    rates: Any,
    **given: Any,
) -> FineTuningSettings:
    """Return the settings of a fine-tuning from the arguments of `finetune`."""
    # Noise and views are of cached features; what a fine-tuning learns from has views of its own.
    given_training = {name: value for name, value in given.items() if name not in _OWN}
    training = replace(classifier.settings, noise=0.0, views=None, **given_training)
    if cached and augment not in (None, "none"):
        raise UsageError(
            f"augment {augment!r} with a cached cut, whose photos were prepared when it was made; "
            "cache views (extract --views 8 --augment …), or train from photos"
        )
    return FineTuningSettings(
        training=training,
        rates=read_rates(rates),
        augment=augment or ("none" if cached else PHOTO_AUGMENTATION),
        compute_dtype=compute_dtype or classifier.recipe["compute_dtype"],
        **{name: given[name] for name in _OWN},
    )
