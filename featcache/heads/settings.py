"""Settings of a head and its training, checked without importing JAX, so that a command can refuse at once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict

from featcache.core.argument_types import SEED_WORDS, SEEDS, spelled
from featcache.core.schema import Limit, Setting, check_settings, declare, require_sensible, settings_of
from featcache.errors import UsageError
from featcache.heads.weights_by_class import EXAMPLE, WORDS, is_weights

# Written out, because the tables themselves need JAX; a test compares them.
DESCENT = ("linear", "mlp")
SOLVED = ("logistic", "ridge")
NEAREST = ("knn", "prototype")
FITTED = (*DESCENT, *SOLVED)
HEADS = (*FITTED, *NEAREST)
CLASS_LOSSES = ("softmax", "sigmoid")
"""Those that tell exclusive classes apart."""

LOSSES = (*CLASS_LOSSES, "squared")
"""All of `featcache.heads.losses.LOSSES`: ``sigmoid`` also learns answers, ``squared`` numbers."""

ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
STEPPING = ("adam", "adamw", "sgd", "nesterov")
FULL_BATCH = ("lbfgs",)
OPTIMIZERS = (*STEPPING, *FULL_BATCH)
SCHEDULES = ("constant", "cosine", "exponential", "polynomial")
MONITORS = ("loss", "score")
METRICS = ("cosine", "euclidean")
SCALINGS = ("unit", "standard", "none")

SHARE = Limit(lambda share: 0 <= share < 1, "in 0..1")
FACTOR = Limit(lambda factor: 0 <= factor <= 1, "in 0..1")
POSITIVE = Limit(lambda value: 0 < value < math.inf, "above 0")
NOT_NEGATIVE = Limit(lambda value: 0 <= value < math.inf, "0 or above")
BOUND = Limit(lambda value: value > 0, "above 0")
DURATION = Limit(lambda epochs: 0 <= epochs < math.inf, "0 or more epochs")
AT_LEAST_ONE = Limit(lambda count: count >= 1, "at least 1")
STEP = Limit(lambda rate: rate <= 100, "at most 100, and usually below 1")
SEED = Limit(lambda seed: seed in SEEDS, SEED_WORDS)
WIDTHS = Limit(lambda widths: bool(widths) and min(widths) >= 1, "one or more widths of at least 1")


@dataclass(frozen=True, kw_only=True)
class HeadSetting(Setting):
    """A setting of heads.

    Parameters
    ----------
    heads
        The kinds of head that it changes; none where it is of no kind in particular.
    optimizers
        The optimizers that know it.
    axis
        Whether a sweep may try several values.
    grid
        What a sweep tries where nothing is said, in its grammar; the default alone where this is empty.
    """

    heads: tuple[str, ...]
    optimizers: tuple[str, ...] = OPTIMIZERS
    axis: bool = True
    grid: str = ""


def _setting(default: Any, help: str, panel: str, *, heads: tuple[str, ...] = DESCENT, **more: Any) -> Any:
    return declare(HeadSetting(default=default, help=help, panel=panel, heads=heads, **more))


@dataclass(frozen=True)
class Settings:
    """The settings of a head and its training.

    Parameters
    ----------
    head
        Kind of head: ``"linear"`` and ``"mlp"`` by gradient descent; ``"logistic"`` (L-BFGS, scikit-learn's
        objective), ``"ridge"`` (closed form), ``"knn"`` and ``"prototype"`` (nearest neighbours, nearest class
        mean).
    hidden
        Widths of the hidden layers of an ``mlp``.
    activation
        After each hidden layer: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.
    dropout
        Share of hidden units dropped in training.
    batch_norm
        Normalise hidden layers over the batch (folded into the saved weights).
    loss
        ``"softmax"``, or ``"sigmoid"``: each class against the rest, one output where there are two classes; or
        the labels of a multilabel task. ``"squared"`` is for regression.
    optimizer
        ``"adam"``, ``"adamw"``, ``"sgd"`` or ``"nesterov"``, on batches; or ``"lbfgs"``, one step of all rows an
        epoch, as long as it needs to be: it knows no batches, learning rate, schedule, momentum, clipping, and
        nothing random (dropout, mixup, noise), nor `batch_norm`.
    learning_rate, weight_decay, label_smoothing, momentum
        As in other libraries; decay does not apply to biases. `featcache.train_head` and `featcache.sweep` take the
        decay, the epochs and the patience of `featcache.heads.usual_settings.for_rows` where nothing is said.
    schedule
        Of the learning rate: ``"constant"``, ``"cosine"``, ``"exponential"`` or ``"polynomial"``.
    end, power, warmup
        What is left of the learning rate at the end, as a factor; the polynomial's power; epochs of growing.
    clip
        Largest norm of a gradient; ``None`` for any.
    mixup, noise
        α of mixup, and deviation of noise on the features in units of each feature's own.
    class_weights
        ``"none"``; ``"balanced"``: every class counts the same in the loss, however rare; or how often each class's
        rows count, ``"daisy=1,roses=5"``, and 1 for classes that are not named. Functions take a mapping too, by name
        or number of the class: ``{"roses": 5, "daisy": 1}``; see `featcache.heads.weights_by_class`.
    batch_size, epochs
        Rows per step, and the most epochs to run.
    monitor
        The value that chooses the epoch: the validation ``"loss"``, or its ``"score"`` (accuracy; for regression the
        negative squared error).
    patience, min_delta
        Stop when it has not improved by `min_delta` for `patience` epochs.
    val_fraction
        Share of the training rows held out for validation where the cache has no validation split.
    scaling
        ``"unit"``: each row to length 1, then each feature to mean 0 and a deviation near 1 that few rows cannot
        distort (see `featcache.heads.scaling`); ``"standard"``: each feature to mean 0 and deviation 1 over the
        training rows, as scikit-learn's ``StandardScaler``; ``"none"``. Penalties and learning rates act on the scaled
        features.
    seed
        Of the initialisation, the order of the rows, the views that are drawn, and the held-out share.
    c
        ``logistic``: inverse strength of the penalty, as in scikit-learn.
    l2
        ``ridge``: strength of the penalty, scikit-learn's ``alpha``.
    neighbours, temperature
        ``knn``: how many vote, and how fast a vote fades with the distance; ``None``: all count the same, but
        `featcache.heads.usual_settings.with_fading_votes` is what `featcache.train_head` and `featcache.sweep` take.
    metric
        ``knn`` and ``prototype``: ``"cosine"`` or ``"euclidean"``.
    views
        How many of the views of each image that a cache holds are learnt from, the first ones; 1: the plain images;
        ``None``: all. By gradient descent every epoch takes one view of each image, drawn anew; heads that are solved
        take all at once, each at a share of its image's weight; ``knn`` knows the plain images alone.
    """

    head: str = _setting(
        "linear",
        "kind of head",
        "Head",
        choices=HEADS,
        heads=(),
        otherwise="logistic for few photos, linear for many, both in sweeps; ridge for numbers",
    )
    hidden: tuple[int, ...] = _setting(
        (256,),
        "widths of hidden layers",
        "Head",
        heads=("mlp",),
        limit=WIDTHS,
        sensible=Limit(lambda widths: max(widths) <= 100_000, "widths of at most 100000"),
    )
    activation: str = _setting("relu", "after each hidden layer", "Head", heads=("mlp",), choices=ACTIVATIONS)
    dropout: float = _setting(0.0, "share of hidden units dropped", "Head", heads=("mlp",), limit=SHARE)
    batch_norm: bool = _setting(False, "normalise hidden layers over the batch", "Head", heads=("mlp",))
    loss: str = _setting(
        "softmax",
        "what is minimised",
        "Head",
        choices=LOSSES,
        otherwise="softmax; for answers sigmoid; for numbers squared",
    )
    optimizer: str = _setting("adam", "update rule", "Optimisation", choices=OPTIMIZERS)
    learning_rate: float = _setting(
        3e-4,
        "step size",
        "Optimisation",
        limit=POSITIVE,
        sensible=STEP,
        aliases=("--lr",),
        optimizers=STEPPING,
        grid="1e-4:1e-2:log3",
    )
    weight_decay: float = _setting(
        0.0,
        "L2 decay of the weights, not of biases",
        "Optimisation",
        limit=NOT_NEGATIVE,
        otherwise="0.1 for classes; less where rows are many",
    )
    label_smoothing: float = _setting(0.0, "share of the target spread evenly", "Optimisation", limit=SHARE)
    momentum: float = _setting(
        0.9, "momentum of sgd and nesterov", "Optimisation", limit=SHARE, optimizers=STEPPING
    )
    schedule: str = _setting(
        "constant", "course of the learning rate", "Optimisation", choices=SCHEDULES, optimizers=STEPPING
    )
    end: float = _setting(
        0.0, "factor on the rate at the last step", "Optimisation", limit=FACTOR, optimizers=STEPPING
    )
    power: float = _setting(
        1.0, "power of the polynomial schedule", "Optimisation", limit=POSITIVE, optimizers=STEPPING
    )
    warmup: float = _setting(
        0.0, "epochs of growing learning rate", "Optimisation", limit=DURATION, optimizers=STEPPING
    )
    clip: float | None = _setting(
        None, "largest norm of a gradient", "Optimisation", limit=BOUND, optimizers=STEPPING
    )
    mixup: float = _setting(0.0, "alpha of mixup on features", "Optimisation", limit=NOT_NEGATIVE)
    noise: float = _setting(0.0, "noise on features, in deviations", "Optimisation", limit=NOT_NEGATIVE)
    class_weights: str = _setting(
        "none",
        "how classes count in the loss",
        "Optimisation",
        heads=FITTED,
        choices=WORDS,
        beside=Limit(is_weights, EXAMPLE),
    )
    batch_size: int = _setting(128, "rows per step", "Optimisation", limit=AT_LEAST_ONE, optimizers=STEPPING)
    epochs: int = _setting(
        100,
        "the most epochs to run",
        "Optimisation",
        limit=AT_LEAST_ONE,
        otherwise="100; more where rows are few",
        sensible=Limit(lambda count: count <= 1_000_000, "at most 1000000"),
    )
    monitor: str = _setting("loss", "what chooses the epoch", "Validation", choices=MONITORS)
    patience: int = _setting(
        10,
        "epochs without a better validation",
        "Validation",
        limit=AT_LEAST_ONE,
        otherwise="10; fewer where rows are many",
    )
    min_delta: float = _setting(0.0, "how much better counts", "Validation", limit=NOT_NEGATIVE)
    val_fraction: float = _setting(
        0.2, "held out where there is no val split", "Validation", heads=(), limit=SHARE, axis=False
    )
    scaling: str = _setting(
        "unit",
        "how features are scaled",
        "Head",
        heads=FITTED,
        choices=SCALINGS,
        otherwise="unit; standard for numbers",
    )
    seed: int = _setting(
        0, "seed of everything that is drawn", "Optimisation", heads=(), limit=SEED, axis=False
    )
    c: float = _setting(
        1.0,
        "inverse strength of the penalty",
        "Head",
        heads=("logistic",),
        limit=POSITIVE,
        grid="1e-4:1e2:log13",
        otherwise="chosen by folds",
    )
    l2: float = _setting(
        1.0,
        "strength of the penalty",
        "Head",
        heads=("ridge",),
        limit=POSITIVE,
        grid="1e-2:1e6:log9",
        otherwise="chosen by folds",
    )
    neighbours: int = _setting(20, "how many vote", "Head", heads=("knn",), limit=AT_LEAST_ONE, grid="5,20")
    temperature: float | None = _setting(
        None,
        "how fast votes fade with the distance",
        "Head",
        heads=("knn",),
        limit=POSITIVE,
        otherwise="0.07 for cosine; all count the same for euclidean",
    )
    metric: str = _setting("cosine", "which rows are near", "Head", heads=NEAREST, choices=METRICS)
    views: int | None = _setting(
        None,
        "cached views to learn from",
        "Data",
        heads=(*FITTED, "prototype"),
        limit=Limit(lambda count: count >= 1, "at least 1, which is the plain image"),
        otherwise="all",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.schedule == "exponential" and not self.end:
            raise UsageError(
                "schedule exponential with end 0: the learning rate would be 0 from the second step on; "
                "give what is left of it at the end, such as end 0.01"
            )
        if self.head in DESCENT and self.optimizer in FULL_BATCH:
            self._refuse_random()

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Return settings from arguments of a function: `hidden` may be any sequence of widths, ``None`` a default.

        Raises
        ------
        UsageError
            A value is invalid, or one that nobody can mean.
        """
        told = {
            name: SETTINGS[name].default if value is None and not SETTINGS[name].optional else value
            for name, value in arguments.items()
        }
        given: dict[str, Any] = {**told, "hidden": tuple(arguments["hidden"])}
        settings = cls(**given)
        require_sensible(settings)
        return settings

    def _refuse_random(self) -> None:
        """Refuse what makes each step's loss another one: a line search would compare what cannot be compared."""
        given = {
            "dropout": self.dropout,
            "mixup": self.mixup,
            "noise": self.noise,
            "batch_norm": self.batch_norm,
        }
        relevant = given if self.head == "mlp" else {name: given[name] for name in ("mixup", "noise")}
        if wrong := [spelled(name) for name, value in relevant.items() if value]:
            raise UsageError(
                f"{', '.join(wrong)} with optimizer {self.optimizer}, whose steps are all of the same rows; "
                "leave that out, or use adam"
            )


class HeadArguments(TypedDict, total=False):
    """The settings as arguments of functions such as `featcache.train_head`: names and types of `Settings`.

    `head`, `loss` and `scaling` may be ``None``: what suits the kind of labels; so may `epochs`, `patience`,
    `weight_decay`, `c` and `l2`: what suits the rows. A type checker needs them written out; a test
    compares with `Settings`.
    """

    head: str | None
    hidden: Sequence[int]
    activation: str
    dropout: float
    batch_norm: bool
    loss: str | None
    optimizer: str
    learning_rate: float
    weight_decay: float | None
    label_smoothing: float
    momentum: float
    schedule: str
    end: float
    power: float
    warmup: float
    clip: float | None
    mixup: float
    noise: float
    class_weights: str | Mapping[Any, float]
    batch_size: int
    epochs: int | None
    monitor: str
    patience: int | None
    min_delta: float
    val_fraction: float
    scaling: str | None
    seed: int
    c: float | None
    l2: float | None
    neighbours: int
    temperature: float | None
    metric: str
    views: int | None


SETTINGS: Mapping[str, HeadSetting] = settings_of(Settings)
"""What `Settings` declares, by name."""


STRENGTHS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "logistic": ("c", tuple(float(f"{10 ** (half / 2):.12g}") for half in range(-8, 5))),
    "ridge": ("l2", tuple(10.0**power for power in range(6, -3, -1))),
}
"""The setting that is the strength of a solved head's penalty, and what is tried of it, the strongest first."""


def settings_for(head: str) -> tuple[str, ...]:
    """Return the names of the settings that change a kind of head: those of this kind alone first."""
    names = [name for name, setting in SETTINGS.items() if head in setting.heads]
    return tuple(sorted(names, key=lambda name: len(SETTINGS[name].heads) > 1))


def loss_of(settings: Settings) -> str:
    """Return the loss by which outputs are interpreted: softmax for all heads that descent does not train."""
    return settings.loss if settings.head in DESCENT else "softmax"
