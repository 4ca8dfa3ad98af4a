"""Architectures of heads: parameters and logits of ONE head on ONE example.

Batches and many heads at once are the caller's ``vmap``. A head never sees an image or a backbone.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from featcache.errors import UnknownNameError, did_you_mean
from featcache.heads.scaling import divisors, unit_length
from featcache.heads.settings import Settings
from featcache.heads.shapes import layer_shapes

Parameters = Mapping[str, jax.Array]

BATCH_AXIS = "rows"
"""Name of the ``vmap`` axis over the rows of a batch, over which batch normalisation takes its means."""

NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.9
"""Of the hidden layers' batch normalisation: what is added to the variance, what stays of the old statistics."""

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


@dataclass(frozen=True)
class HeadArchitecture:
    """Everything that determines a head's arrays and the computation with them.

    Parameters
    ----------
    head
        Kind of head, a key of `HEADS`.
    outputs
        Number of outputs C.
    hidden
        Widths of the hidden layers; ``mlp`` only.
    activation
        After each hidden layer, a key of `ACTIVATIONS`.
    batch_norm
        Whether hidden layers are normalised over the batch before their activation (folded into the weights
        when training ends).
    unit_rows
        Whether each example is brought to length 1 first. While heads train on cached features it is false: their
        table does it once (`featcache.heads.feature_table.unit_rows`).
    """

    head: str
    outputs: int
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    batch_norm: bool = False
    unit_rows: bool = False

    @property
    def units(self) -> int:
        """Total number of hidden units: dropout draws as many numbers for one example."""
        return sum(self.hidden)

    @property
    def first(self) -> str:
        """Name of the first layer's kernel, which multiplies the features."""
        return "kernel_0" if self.hidden else "kernel"

    def scaled(self, x: jax.Array) -> jax.Array:
        """Return examples ``[…, D]`` as the first kernel takes them: what could not be folded into its weights."""
        return unit_length(x, jnp) if self.unit_rows else x


class Scaling(NamedTuple):
    """Scaling of the features, learnt on the training rows: their `mean`, and the `deviation` to divide by, ``[D]``."""

    mean: jax.Array
    deviation: jax.Array


@dataclass(frozen=True)
class Head:
    """A kind of head.

    Parameters
    ----------
    init
        ``(key, D, form) -> parameters``.
    logits
        ``(form, parameters, x [D]) -> [C]`` of finished parameters.
    train_logits
        ``(form, parameters, product, weight, dropout, uniform [units]) -> ([C], statistics)`` while training, under
        a ``vmap`` over the batch named `BATCH_AXIS`. `product` is the product of the features with the kernel
        ``form.first``: computed for all heads at once, it is the one large product of a step. A hidden unit is
        dropped where its uniform number is below `dropout`. Statistics are parameters that are updated from the batch
        and not by a gradient.
    scale
        ``(form, parameters, scaling) -> parameters`` of the same head on raw features: standardisation costs
        nothing once it is part of the weights, and needs no second copy of the features.
    finish
        ``(form, parameters) -> parameters`` without those that only training needs.
    """

    init: Callable[[jax.Array, int, HeadArchitecture], dict[str, jax.Array]]
    logits: Callable[[HeadArchitecture, Parameters, jax.Array], jax.Array]
    train_logits: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    scale: Callable[[HeadArchitecture, Parameters, Scaling], dict[str, jax.Array]]
    finish: Callable[[HeadArchitecture, Parameters], dict[str, jax.Array]]


# ---- linear


def _linear_init(key: jax.Array, features: int, form: HeadArchitecture) -> dict[str, jax.Array]:
    del key  # the loss is convex: zeros are the best start, and every seed finds the same minimum
    return {name: jnp.zeros(shape) for name, shape in layer_shapes(features, form.outputs).items()}


def _linear_logits(form: HeadArchitecture, parameters: Parameters, x: jax.Array) -> jax.Array:
    return _last_layer(parameters, form.scaled(x))


def _last_layer(parameters: Parameters, x: jax.Array) -> jax.Array:
    return x @ parameters["kernel"] + parameters["bias"]


def _linear_train_logits(
    form: HeadArchitecture,
    parameters: Parameters,
    product: jax.Array,
    weight: jax.Array,
    dropout: jax.Array,
    uniform: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    del form, weight, dropout, uniform
    return product + parameters["bias"], {}


def _fold_scaling(kernel: jax.Array, bias: jax.Array, scaling: Scaling) -> tuple[jax.Array, jax.Array]:
    # ((x - mean) / deviation) @ W + b  ==  x @ (W / deviation) + (b - (mean / deviation) @ W)
    kernel = kernel / scaling.deviation[:, None]
    return kernel, bias - scaling.mean @ kernel


def _linear_scale(form: HeadArchitecture, parameters: Parameters, scaling: Scaling) -> dict[str, jax.Array]:
    del form
    kernel, bias = _fold_scaling(parameters["kernel"], parameters["bias"], scaling)
    return {"kernel": kernel, "bias": bias}


def _linear_finish(form: HeadArchitecture, parameters: Parameters) -> dict[str, jax.Array]:
    del form
    return dict(parameters)


# ---- mlp: hidden layers ``kernel_0``, ``bias_0``, …, then ``kernel``, ``bias`` as in the linear head


def _mlp_init(key: jax.Array, features: int, form: HeadArchitecture) -> dict[str, jax.Array]:
    # The last layer starts at zero like the linear head: all classes are equally likely. So do biases.
    shapes = layer_shapes(features, form.outputs, form.hidden)
    parameters = {name: jnp.zeros(shape) for name, shape in shapes.items() if name.startswith("bias")}
    for number, (units, layer_key) in enumerate(
        zip(form.hidden, jax.random.split(key, max(len(form.hidden), 1)), strict=False)
    ):
        # He et al., https://arxiv.org/abs/1502.01852: the variance survives a ReLU.
        shape = shapes[f"kernel_{number}"]
        kernel = draw_flat(jax.random.normal, layer_key, shape) * jnp.sqrt(2.0 / shape[0])
        parameters[f"kernel_{number}"] = kernel
        if form.batch_norm:
            parameters |= {
                f"scale_{number}": jnp.ones(units),
                f"offset_{number}": jnp.zeros(units),
                f"mean_{number}": jnp.zeros(units),
                f"var_{number}": jnp.ones(units),
            }
    return parameters | {"kernel": jnp.zeros(shapes["kernel"])}


def _mlp_logits(form: HeadArchitecture, parameters: Parameters, x: jax.Array) -> jax.Array:
    x = form.scaled(x)
    for number in range(len(form.hidden)):
        x = ACTIVATIONS[form.activation](x @ parameters[f"kernel_{number}"] + parameters[f"bias_{number}"])
    return _last_layer(parameters, x)


def _mlp_train_logits(
    form: HeadArchitecture,
    parameters: Parameters,
    product: jax.Array,
    weight: jax.Array,
    dropout: jax.Array,
    uniform: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    statistics: dict[str, jax.Array] = {}
    if not form.hidden:
        return product + parameters["bias"], statistics
    x = product
    draws = jnp.split(uniform, [sum(form.hidden[: n + 1]) for n in range(len(form.hidden) - 1)])
    for number in range(len(form.hidden)):
        bias = parameters[f"bias_{number}"]
        if form.batch_norm:
            # Normalisation takes a bias away again: its gradient is rounding noise, which Adam would blow up to
            # full steps.
            bias = lax.stop_gradient(bias)
        x = (x @ parameters[f"kernel_{number}"] if number else x) + bias
        if form.batch_norm:
            x, new = _batch_norm(parameters, number, x, weight)
            statistics |= new
        x = ACTIVATIONS[form.activation](x)
        # Inverted dropout (Srivastava et al., JMLR 2014): what is kept grows, so that nothing is to do later.
        x = jnp.where(draws[number] < dropout, 0.0, x / (1.0 - dropout))
    return _last_layer(parameters, x), statistics


def _batch_norm(
    parameters: Parameters, number: int, x: jax.Array, weight: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Normalise hidden values over the batch's rows of weight above 0, and move the running statistics."""
    counted = (weight > 0).astype(x.dtype)
    present = lax.psum(counted, BATCH_AXIS)
    rows = jnp.maximum(present, 1.0)
    mean = lax.psum(counted * x, BATCH_AXIS) / rows
    var = lax.psum(counted * jnp.square(x - mean), BATCH_AXIS) / rows
    normed = (x - mean) * lax.rsqrt(var + NORM_EPSILON)
    share = jnp.where(present > 0, 1 - NORM_MOMENTUM, 0.0)
    old = {name: parameters[f"{name}_{number}"] for name in ("mean", "var")}
    moved = {
        f"{name}_{number}": old[name] + share * (new - old[name])
        for name, new in (("mean", mean), ("var", var))
    }
    return normed * parameters[f"scale_{number}"] + parameters[f"offset_{number}"], moved


def _mlp_scale(form: HeadArchitecture, parameters: Parameters, scaling: Scaling) -> dict[str, jax.Array]:
    first_bias = form.first.replace("kernel", "bias")
    kernel, bias = _fold_scaling(parameters[form.first], parameters[first_bias], scaling)
    return {**parameters, form.first: kernel, first_bias: bias}


def _mlp_finish(form: HeadArchitecture, parameters: Parameters) -> dict[str, jax.Array]:
    kept = {"kernel": parameters["kernel"], "bias": parameters["bias"]}
    for number in range(len(form.hidden)):
        kernel, bias = parameters[f"kernel_{number}"], parameters[f"bias_{number}"]
        if form.batch_norm:
            # scale · (z - mean) / √(var + ε) + offset is a factor and a summand, and so part of the layer before.
            factor = parameters[f"scale_{number}"] * lax.rsqrt(parameters[f"var_{number}"] + NORM_EPSILON)
            bias = (bias - parameters[f"mean_{number}"]) * factor + parameters[f"offset_{number}"]
            kernel = kernel * factor
        kept |= {f"kernel_{number}": kernel, f"bias_{number}": bias}
    return kept


_LINEAR = Head(_linear_init, _linear_logits, _linear_train_logits, _linear_scale, _linear_finish)

HEADS: Mapping[str, Head] = {
    "linear": _LINEAR,
    "mlp": Head(_mlp_init, _mlp_logits, _mlp_train_logits, _mlp_scale, _mlp_finish),
    # Fitted by `featcache.solvers.logistic` and `featcache.solvers.ridge`; linear heads afterwards.
    "logistic": _LINEAR,
    "ridge": _LINEAR,
}


def form_of(settings: Settings, parameters: Mapping[str, Any]) -> HeadArchitecture:
    """Return the architecture of fitted parameters, as a classifier stores them, from them and their settings.

    A prototype head is a linear one: the class means are its kernel (see `featcache.heads.nearest.prototypes`).
    """
    if settings.head == "prototype":
        outputs = int(parameters["kernel"].shape[1])
        return HeadArchitecture("linear", outputs, unit_rows=settings.metric == "cosine")
    hidden = []
    while f"kernel_{len(hidden)}" in parameters:
        hidden.append(int(parameters[f"kernel_{len(hidden)}"].shape[1]))
    return HeadArchitecture(
        settings.head,
        int(parameters["kernel"].shape[1]),
        tuple(hidden),
        settings.activation,
        unit_rows=settings.scaling == "unit",
    )


def draw_flat(draw: Callable[..., jax.Array], key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return ``draw(key, shape)``, drawn as a flat array and reshaped.

    The numbers are the same, but XLA unrolls arrays with short rows: with a 16-unit layer, a program compiles in 6 s
    instead of 17.
    """
    return draw(key, (math.prod(shape),)).reshape(shape)


def feature_scaling(x: jax.Array, weight: jax.Array, scaling: str) -> Scaling:
    """Return the scaling of features by their weighted mean and standard deviation.

    Parameters
    ----------
    x
        float ``[N, D]``.
    weight
        float ``[N]``: weight of each row; 0 for one that is no training row.
    scaling
        ``"unit"``, whose rows are of length 1 already, or ``"standard"``; see `featcache.heads.scaling.divisors`.

    Returns
    -------
    Scaling
        Nothing is ever divided by 0.
    """
    # Around a common centre first: the second moment about zero would lose the digits of a small variance.
    centre = jnp.mean(x, axis=0)
    total = jnp.sum(weight)
    share = weight / jnp.maximum(total, 1e-9)
    mean = share @ (x - centre)
    variance = jnp.maximum(share @ jnp.square(x - centre) - jnp.square(mean), 0.0)
    return Scaling(mean + centre, divisors(scaling, variance, centre, total, jnp))


def head_kind(name: str) -> Head:
    """Return a head by name; raise `UnknownNameError` with the known ones."""
    if name not in HEADS:
        raise UnknownNameError(f"no head {name!r}; {did_you_mean(name, HEADS)}")
    return HEADS[name]


def as_arrays(parameters: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Return parameters as float32 device arrays."""
    return {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}
