"""Settings of a head and its training, checked without importing JAX, so that a command can refuse at once."""

from dataclasses import dataclass

from featcache.errors import UsageError, did_you_mean
from featcache.heads.probabilities import LOSSES

# Written out, because the tables themselves need JAX; a test compares them.
DESCENT = ("linear", "mlp")
SOLVED = ("logistic", "ridge")
NEAREST = ("knn", "prototype")
HEADS = (*DESCENT, *SOLVED, *NEAREST)
ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
STEPPING = ("adam", "adamw", "sgd", "nesterov")
FULL_BATCH = ("lbfgs",)
OPTIMIZERS = (*STEPPING, *FULL_BATCH)
SCHEDULES = ("constant", "cosine", "exponential", "polynomial")
MONITORS = ("loss", "score")
METRICS = ("cosine", "euclidean")


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
        As in other libraries; decay does not apply to biases.
    schedule
        Of the learning rate: ``"constant"``, ``"cosine"``, ``"exponential"`` or ``"polynomial"``.
    end, power, warmup
        What is left of the learning rate at the end, as a factor; the polynomial's power; epochs of growing.
    clip
        Largest norm of a gradient; ``None`` for any.
    mixup, noise
        α of mixup, and deviation of noise on the features in units of each feature's own.
    class_weights
        ``"none"``, or ``"balanced"``: every class counts the same in the loss, however rare.
    batch_size, epochs
        Rows per step, and the most epochs to run.
    monitor
        The value that chooses the epoch: the validation ``"loss"``, or its ``"score"`` (accuracy; for regression the
        negative squared error).
    patience, min_delta
        Stop when it has not improved by `min_delta` for `patience` epochs.
    val_fraction
        Share of the training rows held out for validation where the cache has no validation split.
    standardize
        Bring features to mean 0 and deviation 1 (folded into the saved weights).
    seed
        Of the initialisation, the order of the rows, the views that are drawn, and the held-out share.
    c
        ``logistic``: inverse strength of the penalty, as in scikit-learn.
    l2
        ``ridge``: strength of the penalty, scikit-learn's ``alpha``.
    neighbours, temperature
        ``knn``: how many vote, and how fast a vote fades with the distance; ``None``: all count the same.
    metric
        ``knn`` and ``prototype``: ``"cosine"`` or ``"euclidean"``.
    views
        How many of the views of each image that a cache holds are learnt from, the first ones; 1: the plain images;
        ``None``: all. By gradient descent every epoch takes one view of each image, drawn anew; heads that are solved
        take all at once, each at a share of its image's weight; ``knn`` knows the plain images alone.
    """

    head: str = "linear"
    hidden: tuple[int, ...] = (256,)
    activation: str = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    loss: str = "softmax"
    optimizer: str = "adam"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    end: float = 0.0
    power: float = 1.0
    warmup: float = 0.0
    clip: float | None = None
    mixup: float = 0.0
    noise: float = 0.0
    class_weights: str = "none"
    batch_size: int = 128
    epochs: int = 100
    monitor: str = "loss"
    patience: int = 10
    min_delta: float = 0.0
    val_fraction: float = 0.2
    standardize: bool = True
    seed: int = 0
    c: float = 1.0
    l2: float = 1.0
    neighbours: int = 20
    temperature: float | None = None
    metric: str = "cosine"
    views: int | None = None

    def __post_init__(self) -> None:
        words = {
            "head": HEADS,
            "activation": ACTIVATIONS,
            "loss": LOSSES,
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "class_weights": ("none", "balanced"),
            "monitor": MONITORS,
            "metric": METRICS,
        }
        for field, known in words.items():
            if (name := getattr(self, field)) not in known:
                raise UsageError(f"no {field.replace('_', '-')} {name!r}; {did_you_mean(name, known)}")
        infinite = float("inf")
        limits = {
            "hidden": (bool(self.hidden) and min(self.hidden) >= 1, "one or more widths of at least 1"),
            "dropout": (0 <= self.dropout < 1, "in 0..1"),
            "learning_rate": (0 < self.learning_rate < infinite, "above 0"),
            "weight_decay": (0 <= self.weight_decay < infinite, "0 or above"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in 0..1"),
            "momentum": (0 <= self.momentum < 1, "in 0..1"),
            "end": (0 <= self.end <= 1, "in 0..1"),
            "power": (0 < self.power < infinite, "above 0"),
            "warmup": (0 <= self.warmup < infinite, "0 or more epochs"),
            "min_delta": (0 <= self.min_delta < infinite, "0 or above"),
            "clip": (self.clip is None or self.clip > 0, "above 0"),
            "mixup": (0 <= self.mixup < infinite, "0 or above"),
            "noise": (0 <= self.noise < infinite, "0 or above"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "patience": (self.patience >= 1, "at least 1"),
            "val_fraction": (0 <= self.val_fraction < 1, "in 0..1"),
            "seed": (0 <= self.seed < 2**32, "in 0..2^32"),
            "c": (0 < self.c < infinite, "above 0"),
            "l2": (0 < self.l2 < infinite, "above 0"),
            "neighbours": (self.neighbours >= 1, "at least 1"),
            "temperature": (self.temperature is None or 0 < self.temperature < infinite, "above 0"),
            "views": (self.views is None or self.views >= 1, "at least 1, which is the plain image"),
        }
        for field, (good, expected) in limits.items():
            if not good:
                raise UsageError(f"{field.replace('_', '-')} {getattr(self, field)}: expected {expected}")
        if self.schedule == "exponential" and not self.end:
            raise UsageError(
                "schedule exponential with end 0: the learning rate would be 0 from the second step on; "
                "give what is left of it at the end, such as end 0.01"
            )
        if self.head in DESCENT and self.optimizer in FULL_BATCH:
            self._refuse_random()

    def _refuse_random(self) -> None:
        """Refuse what makes each step's loss another one: a line search would compare what cannot be compared."""
        given = {
            "dropout": self.dropout,
            "mixup": self.mixup,
            "noise": self.noise,
            "batch_norm": self.batch_norm,
        }
        relevant = given if self.head == "mlp" else {name: given[name] for name in ("mixup", "noise")}
        if wrong := [name.replace("_", "-") for name, value in relevant.items() if value]:
            raise UsageError(
                f"{', '.join(wrong)} with optimizer {self.optimizer}, whose steps are all of the same rows; "
                "leave that out, or use adam"
            )


def loss_of(settings: Settings) -> str:
    """Return the loss by which outputs are interpreted: softmax for all heads that descent does not train."""
    return settings.loss if settings.head in DESCENT else "softmax"
