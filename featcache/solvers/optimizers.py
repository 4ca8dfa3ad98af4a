"""Steps of gradient descent for ONE head: optimisers, learning-rate schedules, hyperparameters.

Strings and flags are compiled into the program; every number is an array with one value per head.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from featcache.errors import UsageError, did_you_mean

Array: TypeAlias = Any
"""An array of jax or numpy."""


class Hyperparameters(NamedTuple):
    """Values that differ between the heads of one program, each float ``[K]`` (`seed`: uint32 ``[K]``).

    Parameters
    ----------
    learning_rate
        Of the first step after warm-up.
    weight_decay
        Of kernels, never of biases: coupled (part of the gradient), but decoupled in ``adamw``.
    label_smoothing
        See `featcache.heads.losses`.
    dropout
        Share of hidden units dropped in training.
    momentum
        Of ``sgd`` and ``nesterov``.
    clip
        Largest norm of a gradient; infinite for none.
    warmup
        Epochs over which the learning rate grows from 0.
    end
        What is left of the learning rate at the last step, as a factor.
    power
        Of the polynomial schedule; 1 is linear.
    mixup
        α of the Beta distribution (Zhang et al., https://arxiv.org/abs/1710.09412); 0 for none.
    noise
        Deviation of normal noise on the features, in units of each feature's own.
    patience
        Epochs without an improvement before a head stops.
    min_delta
        How much the monitored value must improve to count.
    learnt
        Training loss, in nats, below which a head stops: it has learnt its rows. 0 for none.
    last_epoch
        The epoch after which a head stops, whatever its schedule would still do; infinite for the program's own.
    seed
        Of the start, of dropout, of mixup and noise.
    """

    learning_rate: Array
    weight_decay: Array
    label_smoothing: Array
    dropout: Array
    momentum: Array
    clip: Array
    warmup: Array
    end: Array
    power: Array
    mixup: Array
    noise: Array
    patience: Array
    min_delta: Array
    learnt: Array
    last_epoch: Array
    seed: Array


NEUTRAL: Mapping[str, float] = {
    "learning_rate": 3e-4,
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "momentum": 0.9,
    "clip": float("inf"),
    "warmup": 0.0,
    "end": 0.0,
    "power": 1.0,
    "mixup": 0.0,
    "noise": 0.0,
    "patience": float("inf"),
    "min_delta": 0.0,
    "learnt": 0.0,
    "last_epoch": float("inf"),
    "seed": 0,
}
"""Default of each hyperparameter: without effect, where there is such a value."""


def hyperparameters(**given: Any) -> Hyperparameters:
    """Return hyperparameters of K heads from numbers and sequences of K numbers.

    Parameters
    ----------
    **given
        Fields of `Hyperparameters`; a single number applies to every head, an absent field is `NEUTRAL`.

    Raises
    ------
    UsageError
        An unknown name, or sequences of different lengths.

    Examples
    --------
    >>> hyperparameters(learning_rate=[0.1, 0.01], seed=7).seed
    array([7, 7], dtype=uint32)
    """
    for name in given:
        if name not in NEUTRAL:
            raise UsageError(f"no hyperparameter {name!r}; {did_you_mean(name, NEUTRAL)}")
    # numpy arrays: making them with jax.numpy would compile a small program for each.
    values = {
        name: np.atleast_1d(np.asarray(value, np.uint32 if name == "seed" else np.float32))
        for name, value in {**NEUTRAL, **given}.items()
    }
    heads = max(len(value) for value in values.values())
    if wrong := [name for name, value in values.items() if len(value) not in (1, heads)]:
        raise UsageError(
            f"{', '.join(wrong)}: other numbers of values than {heads}; give one value, or one for each head"
        )
    return Hyperparameters(**{name: np.broadcast_to(value, (heads,)) for name, value in values.items()})


FIRST_DECAY, SECOND_DECAY, ADAM_EPSILON = 0.9, 0.999, 1e-8
"""Of Adam's two moments, and what is added to the root of the second."""


def _adam(gradients: Any, state: Any, momentum: Array, number: Array) -> tuple[Any, Any]:
    """Adam (Kingma and Ba, https://arxiv.org/abs/1412.6980); optax's steps, with one division a parameter for three.

    A thousand heads spend a third of their time here.
    """
    del momentum
    # m ← β₁·m + (1 − β₁)·g and v ← β₂·v + (1 − β₂)·g² start at 0, and are too small by the factor 1 − β^t after t
    # steps. The step is m̂ / (√v̂ + ε) with m̂ = m / (1 − β₁^t) and v̂ = v / (1 − β₂^t).
    first = jax.tree.map(lambda m, g: FIRST_DECAY * m + (1 - FIRST_DECAY) * g, state["first"], gradients)
    second = jax.tree.map(
        lambda v, g: SECOND_DECAY * v + (1 - SECOND_DECAY) * g * g, state["second"], gradients
    )
    grown = 1 / (1 - FIRST_DECAY ** (number + 1.0))
    spread = 1 / (1 - SECOND_DECAY ** (number + 1.0))
    steps = jax.tree.map(lambda m, v: grown * m / (jnp.sqrt(spread * v) + ADAM_EPSILON), first, second)
    return steps, {"first": first, "second": second}


def _trace(nesterov: bool, gradients: Any, state: Any, momentum: Array, number: Array) -> tuple[Any, Any]:
    del number
    steps, left = optax.trace(decay=momentum, nesterov=nesterov).update(gradients, state["trace"])
    return steps, {"trace": left}


@dataclass(frozen=True)
class Optimizer:
    """An update rule.

    Parameters
    ----------
    start
        ``parameters -> state`` before the first step.
    steps
        ``(gradients, state, momentum, number) -> (steps, state)`` of unit learning rate; the rate and the decay are
        scaled in by `step`, because they differ between heads. `number` counts steps from 0.
    """

    start: Callable[[Any], Any]
    steps: Callable[..., tuple[Any, Any]]


def _moments(parameters: Any) -> Any:
    return {name: jax.tree.map(jnp.zeros_like, parameters) for name in ("first", "second")}


def _velocity(parameters: Any) -> Any:
    return {"trace": optax.trace(decay=0.0).init(parameters)}


OPTIMIZERS: Mapping[str, Optimizer] = {
    "adam": Optimizer(_moments, _adam),
    "adamw": Optimizer(_moments, _adam),
    "sgd": Optimizer(_velocity, partial(_trace, False)),
    "nesterov": Optimizer(_velocity, partial(_trace, True)),
}

# ``(hyper, t) -> factor`` on the learning rate, t in 0..1 from the end of the warm-up to the last step.
SCHEDULES: Mapping[str, Callable[[Hyperparameters, jax.Array], jax.Array | float]] = {
    "constant": lambda hyper, t: 1.0,
    # Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without restarts
    "cosine": lambda hyper, t: hyper.end + (1 - hyper.end) * 0.5 * (1 + jnp.cos(jnp.pi * t)),
    "exponential": lambda hyper, t: hyper.end**t,
    "polynomial": lambda hyper, t: hyper.end + (1 - hyper.end) * (1 - t) ** hyper.power,
}


def rate(
    schedule: str, hyper: Hyperparameters, number: jax.Array, *, steps_per_epoch: int, epochs: int
) -> jax.Array:
    """Return the learning rate of one head at a step.

    Parameters
    ----------
    schedule
        A key of `SCHEDULES`.
    hyper
        Of one head.
    number
        Steps done before this one.
    steps_per_epoch, epochs
        Steps in an epoch, and the most epochs.
    """
    warm = hyper.warmup * steps_per_epoch
    last = steps_per_epoch * epochs - 1
    t = jnp.clip((number - warm) / jnp.maximum(last - warm, 1.0), 0.0, 1.0)
    growing = jnp.where(warm > 0, jnp.minimum((number + 1) / jnp.maximum(warm, 1.0), 1.0), 1.0)
    return hyper.learning_rate * growing * SCHEDULES[schedule](hyper, t)


def start(optimizer: str, parameters: Any) -> Any:
    """Return the optimiser's state before the first step."""
    return OPTIMIZERS[optimizer].start(parameters)


def step(
    optimizer: str,
    parameters: Any,
    state: Any,
    gradients: Any,
    hyper: Hyperparameters,
    learning_rate: jax.Array,
    number: jax.Array,
    *,
    clip: bool = False,
) -> tuple[Any, Any]:
    """Return the parameters and the optimiser's state of one head after a step.

    Parameters
    ----------
    optimizer, parameters, state, gradients, hyper, number, clip
        See `directions`.
    learning_rate
        At this step.
    """
    steps, state = directions(optimizer, parameters, state, gradients, hyper, number, clip=clip)
    return jax.tree.map(lambda p, s: p - learning_rate * s, parameters, steps), state


def directions(
    optimizer: str,
    parameters: Any,
    state: Any,
    gradients: Any,
    hyper: Hyperparameters,
    number: jax.Array,
    *,
    clip: bool = False,
) -> tuple[Any, Any]:
    """Return the steps that are subtracted from the parameters at a learning rate of 1, and the optimiser's new state.

    Parameters
    ----------
    optimizer
        A key of `OPTIMIZERS`.
    parameters, state, gradients
        Of one head, or of a network; kernels are the arrays with more than one axis, and only they decay.
    hyper
        Of one head.
    number
        Steps done before this one.
    clip
        Whether gradients are clipped to the norm ``hyper.clip`` at all.
    """
    if clip:
        # Its square may overflow where a head diverges: the factor is then 0 and the head stands still.
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradients)))
        shrink = jnp.minimum(1.0, hyper.clip / jnp.maximum(norm, 1e-12))
        gradients = jax.tree.map(lambda g: g * shrink, gradients)
    decayed = jax.tree.map(lambda p: hyper.weight_decay * p if p.ndim > 1 else jnp.zeros_like(p), parameters)
    if optimizer != "adamw":  # coupled decay: part of the loss's gradient
        gradients = jax.tree.map(jnp.add, gradients, decayed)
    steps, state = OPTIMIZERS[optimizer].steps(gradients, state, hyper.momentum, number)
    if optimizer == "adamw":
        steps = jax.tree.map(jnp.add, steps, decayed)
    return steps, state
