"""What each primitive is written as gives in onnxruntime what JAX computes.

Each group of functions is one model, so that the suite compiles a dozen programs and not two hundred. All are compared
on three examples and on one: a graph that has the number of examples in it would fail.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.graphs import assert_alike
from jax import lax

MAP = {"x": ((8, 9, 4), np.float32)}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Constants of a shape: the same whenever a function is traced."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


W_4_6, W_4, W_9_7, W_8_9, W_9_4_2 = numbers(4, 6), numbers(4), numbers(7, 9), numbers(8, 9), numbers(9, 4, 2)
KERNEL, DEPTHWISE, GROUPED, POINT = (
    numbers(3, 3, 4, 5),
    numbers(3, 3, 1, 4),
    numbers(2, 3, 2, 6),
    numbers(1, 1, 4, 5),
)
MASK = np.arange(9) % 2 == 0
TABLE = numbers(5, 3)


def convolved(
    x: Any, kernel: np.ndarray, strides: tuple[int, int] = (1, 1), padding: Any = "SAME", **asked: Any
) -> Any:
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=order, **asked)


def mean_of_windows(x: Any, size: int, steps: int, padding: Any, *, counted: bool) -> Any:
    window = ((1, size, size, 1), (1, steps, steps, 1), padding)
    total = lax.reduce_window(x, 0.0, lax.add, *window)
    count = size * size if counted else lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *window)
    return total / count


def maximum_of_windows(x: Any, size: int, steps: int, padding: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, steps, steps, 1), padding)


def elementwise(x: Any) -> dict[str, Any]:
    positive = jnp.abs(x) + 0.1
    return {
        "arithmetic": (x + 2) * x - x / 3,
        "from a number": 1 - x,
        "number over it": 1 / positive,
        "extremes": jnp.maximum(x, -0.5) + jnp.minimum(x, 0.5),
        "powers": x**2 + x**3 + x**-2.0 * 0 + positive**0.5 + x**0,
        "reciprocal power": positive**-2,
        "functions": jnp.exp(x) + jnp.log(positive) + jnp.sqrt(positive) + lax.rsqrt(positive) + jnp.tanh(x),
        "waves": jnp.sin(x) + jnp.cos(x),
        "parts": jnp.abs(x)
        + jnp.sign(x)
        + jnp.floor(x)
        + jnp.ceil(x)
        + jnp.round(x * 2)
        + jnp.square(x)
        - (-x),
        "remainder": jnp.mod(x, 1.5),
        "remainder of whole": (x * 10).astype(jnp.int32) % 3,
        "errors": lax.erf(x) + lax.erfc(x),
        "comparisons": (x > 0.1) & (x < 1) | (x >= 2) | ~(x <= -1) & (x != 0) | (x == 3),
        "clip": jnp.clip(x, -0.3, 0.7),
        "clip by channel": jnp.clip(x, -jnp.abs(W_4), jnp.abs(W_4)),
        "where": jnp.where(x > 0.5, x, 0),
        "where of constants": jnp.where(MASK[None, :, None], x, -jnp.inf).max(2),
        "finite": jnp.isfinite(x / jnp.maximum(x, 0)),
        "not a number": jnp.isnan(jnp.sqrt(x)),
        "bytes": (positive * 9).astype(jnp.uint8) + np.uint8(3),
        "whole numbers": (x * 10).astype(jnp.int32) * 3 - 1,
        "quotient": lax.div((x * 10).astype(jnp.int32), 4),
        "mean of whole numbers": lax.div((x * 10).astype(jnp.int32).sum(-1), 4),
        "limits of whole numbers": jnp.clip((x * 10).astype(jnp.int32), -3, 6),
        "half": jnp.clip(x.astype(jnp.float16) * 2, -1, 1).astype(jnp.float32),
        "one of true": (x > 0).astype(jnp.float32),
        "minus infinity": x * 0 + jnp.log(jnp.zeros(4)),
        "same": lax.stop_gradient(x),
    }


def activations(x: Any) -> dict[str, Any]:
    return {
        "relu": jax.nn.relu(x),
        "relu6": jax.nn.relu6(x),
        "leaky": jax.nn.leaky_relu(x),
        "gelu": jax.nn.gelu(x, approximate=False),
        "gelu by tanh": jax.nn.gelu(x, approximate=True),
        "silu": jax.nn.silu(x),
        "sigmoid": jax.nn.sigmoid(x),
        "hard sigmoid": jax.nn.hard_sigmoid(x),
        "hard swish": jax.nn.hard_swish(x),
        "hard swish by a product": x * (jax.nn.relu6(x + 3) * (1 / 6)),
        "gelu by parts": (0.5 * x) * lax.erfc(-x * np.float32(np.sqrt(0.5))),
        "softmax": jax.nn.softmax(x),
        "softmax of rows": jax.nn.softmax(x, axis=1),
        "log softmax": jax.nn.log_softmax(x),
        "sums of powers": jax.nn.logsumexp(x, axis=(1, 3)),
        "unit vectors": x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12),
    }


def indexed(x: Any) -> dict[str, Any]:
    top = lax.top_k(x[:, 0], 2)[1]
    rows = (jnp.abs(x[:, :, 0, 0]) * 3).astype(jnp.int32)  # 0 to 20, of a table of five
    return {
        "one": x[:, 0],
        "last": x[:, -1],
        "one of two axes": x[:, 2, :, 1],
        "a part": x[:, 1:5],
        "a part from the end": x[:, -3:-1],
        "steps": x[:, ::2, 1::3],
        "backwards": x[..., ::-1],
        "backwards in steps": x[:, ::-2],
        "new axis": x[:, None, 1:7:2].transpose(0, 2, 1, 3, 4),
        "some": x[:, jnp.array([3, 1, 1])],
        "some from the end": x[:, :, jnp.array([-1, 0])],
        "some, and one": x[:, jnp.array([3, 1]), 2],
        "beyond the end": x[:, jnp.array([1, 20])],
        "mask": x[:, :, MASK],
        "turned, then some": x.transpose(0, 3, 1, 2)[:, :, 2:5][:, 0],
        "rows": jnp.asarray(TABLE)[rows % 5],
        "rows beyond": jnp.asarray(TABLE)[rows],
        "rows beyond, clipped": jnp.take(TABLE, rows, axis=0, mode="clip"),
        "rows beyond, filled": jnp.take(TABLE, rows, axis=0),
        "columns beyond, filled": jnp.take(TABLE, rows - 8, axis=1, fill_value=-1.0).transpose(1, 2, 0),
        "rows of the nearest": jnp.take(TABLE[:, 0], top),
        "part by number": lax.dynamic_slice_in_dim(x, 2, 3, axis=1),
        "split": jnp.concatenate(jnp.split(x, [2, 5], axis=2)[::-1], axis=2),
        "rolled": jnp.roll(x, 2, axis=1),
        "triangle": jnp.tril(x),
    }


def moved(x: Any) -> dict[str, Any]:
    tokens = x.reshape(x.shape[0], -1, 4)
    first = jnp.broadcast_to(W_4, (x.shape[0], 1, 4))
    places = jnp.broadcast_to(W_8_9.reshape(1, 72, 1), tokens.shape)
    sums = x.sum(3)
    return {
        "flat": x.reshape(x.shape[0], -1),
        "flat of turned": x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1),
        "rows of all": (x.reshape(-1, 4) + W_4).reshape(x.shape),
        "places of all": (tokens.reshape(-1, 4) + places.reshape(-1, 4)).reshape(tokens.shape),
        "heads": tokens.reshape(-1, 72, 2, 2).transpose(0, 2, 1, 3),
        "token before": jnp.concatenate([first, tokens], axis=1),
        "constants beside": jnp.concatenate([x, jnp.broadcast_to(W_4, x.shape)], axis=-1),
        "maps beside": jnp.concatenate([convolved(x, KERNEL), x, convolved(x, POINT)], axis=-1),
        "stacked": jnp.stack([x, x * 2, jnp.broadcast_to(W_4, x.shape)], axis=2),
        "tiled": jnp.tile(x, (1, 2, 1, 3)),
        "repeated": jnp.repeat(x, 2, axis=2),
        "pad": jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
        "pad by a number": jnp.pad(x, ((0, 0), (0, 0), (2, 0), (1, 0)), constant_values=0.5),
        "pad of maps, cut": jnp.pad(convolved(x, KERNEL), ((0, 0), (1, 0), (0, 0), (0, 0)))[:, ::-1],
        "squeezed": x[:, :1].squeeze(1),
        "widened": x[:, :, :1] * W_9_7[0][None, :, None],
        "sums turned, then one more axis": sums.transpose(0, 2, 1)[..., None] * W_4,
        "sums turned, with their map": x[:, :8, :8].sum(3).transpose(0, 2, 1)[..., None] * x[:, :8, :8],
        "sums over one axis of maps": convolved(x, KERNEL).sum(1)[:, None] + convolved(x, KERNEL),
        "batch later": x.transpose(1, 0, 2, 3).sum(0),
        "repeated in the batch": jnp.broadcast_to(W_4_6, (x.shape[0], 4, 6)),
        "by a vector": x.mean((1, 2))[:, None, None] * x,
    }


def reduced(x: Any) -> dict[str, Any]:
    return {
        "sum": x.sum(1),
        "sum of all": x.sum((1, 2, 3)),
        "mean kept": x.mean((1, 2), keepdims=True),
        "mean": x.mean((1, 2)),
        "mean of turned": x.transpose(0, 3, 1, 2).mean((2, 3)),
        "largest": x.max((1, 2)) + x.min((1, 2)),
        "product": x[:, :2].prod(1),
        "any and all": jnp.stack([jnp.any(x > 2, axis=1), jnp.all(x > -2, axis=1)], axis=-1),
        "variance": jnp.var(x, axis=(1, 2)),
        "deviation": jnp.std(x, axis=-1),
        "largest place": jnp.argmax(x, axis=-1),
        "smallest place": jnp.argmin(x, axis=2),
        "first of equals": jnp.argmax((x > 0).astype(jnp.float32), axis=1),
        "top": lax.top_k(x.reshape(x.shape[0], -1), 5)[0],
        "top places": lax.top_k(x.reshape(x.shape[0], -1), 5)[1],
        "top of rows": lax.top_k(x, 3, axis=1)[0],
        "running sum": jnp.cumsum(x, axis=2),
        "running sum, backwards": lax.cumsum(x, 1, reverse=True),
        "one hot": jax.nn.one_hot((jnp.abs(x[:, 0, 0]) * 2).astype(jnp.int32), 5),
        "distances": jnp.sum((x[:, 0, 0, None, :] - numbers(5, 4)) ** 2, axis=-1),
        "trace": jnp.trace(x[:, :4, :4], axis1=1, axis2=2),
    }


def multiplied(x: Any) -> dict[str, Any]:
    return {
        "matrix": x @ W_4_6,
        "matrix before": W_9_7 @ x,
        "vector": x @ W_4,
        "with itself": jnp.einsum("nijk,nijl->nkl", x, x),
        "with itself, by rows": jnp.einsum("nijk,nilk->nijl", x, x),
        "rows first": jnp.einsum("nijk,nilk->ijnl", x, x).transpose(2, 0, 1, 3),
        "two axes": jnp.einsum("nijk,nljk->nil", x, x),
        "middle axis": jnp.einsum("nijk,mj->nimk", x, W_9_7),
        "two axes with constants": jnp.einsum("nijk,jkm->nim", x, W_9_4_2),
        "constants by axis": jnp.einsum("nijk,ij->nijk", x, W_8_9),
        "all but the batch": jnp.einsum("nijk,nijk->n", x, x),
        "outer": x[:, 0, 0, :, None] * x[:, 0, 1, None, :],
        "by example": jax.vmap(lambda one: one[:, 0] @ one[:, 1].T)(x),
        "of maps": convolved(x, KERNEL) @ numbers(5, 3),
        "whole numbers": lax.div((x * 10).astype(jnp.int32) @ np.arange(12, dtype=np.int32).reshape(4, 3), 4),
    }


def convolutions(x: Any) -> dict[str, Any]:
    line, turned = x[:, 0], x.transpose(0, 3, 1, 2)
    five, offsets = numbers(5), numbers(5, seed=1)
    squeezed = jax.nn.silu(convolved(x, POINT).mean((1, 2), keepdims=True) @ numbers(5, 3))
    along = numbers(3, 4, 4)
    gray = x[..., :1]
    rgb, offset = np.array([1, 2, 3], np.float32), np.array([0.1, 0.2, 0.3], np.float32)

    def of_line(values: Any) -> Any:
        return lax.conv_general_dilated(values, along, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    return {
        "same": convolved(x, KERNEL),
        "valid": convolved(x, KERNEL, padding="VALID"),
        "strides": convolved(x, KERNEL, (2, 2)),
        "uneven strides and pads": convolved(x, KERNEL, (2, 1), ((0, 1), (2, 0))),
        "dilated": convolved(x, KERNEL, rhs_dilation=(2, 1)),
        "depthwise": convolved(x, DEPTHWISE, feature_group_count=4),
        "grouped": convolved(x, GROUPED, feature_group_count=2),
        "point": convolved(x, POINT, (2, 2)),
        "channels first": lax.conv_general_dilated(turned, KERNEL.transpose(3, 2, 0, 1), (1, 1), "SAME"),
        "by example": jax.vmap(lambda one: convolved(one[None], KERNEL)[0])(x),
        "after each other": convolved(jax.nn.relu(convolved(x, DEPTHWISE, feature_group_count=4)), KERNEL),
        "scaled on both sides": convolved(x * W_4 + 1, KERNEL) * five + offsets,
        "scaled on both sides, valid": convolved((x - W_4) / 2, KERNEL, padding="VALID") / numbers(5)
        - numbers(5, seed=1),
        "line": of_line(line),
        "line, scaled": of_line(line * 2 + 1),
        "line, scaled by channel": of_line(line * W_4 + 1) * W_4,
        "one channel becomes three": convolved(gray * rgb + offset, numbers(3, 3, 3, 5)),
        "one channel becomes three, valid": convolved(
            gray * rgb + offset, numbers(3, 3, 3, 5), padding="VALID"
        ),
        "one channel becomes three by an offset": convolved(gray * 2 + offset, numbers(3, 3, 3, 5)),
        "one channel, three copies": convolved(
            jnp.broadcast_to(gray, (*gray.shape[:3], 3)), numbers(3, 3, 3, 5)
        ),
        "squeeze and excite": x * jax.nn.sigmoid(squeezed @ numbers(3, 4)),
    }


def pools(x: Any) -> dict[str, Any]:
    around, wide = ((0, 0), (1, 1), (1, 0), (0, 0)), ((0, 0), (2, 3), (0, 2), (0, 0))
    return {
        "largest": maximum_of_windows(x, 3, 2, "VALID"),
        "largest, same": maximum_of_windows(x, 3, 2, "SAME"),
        "largest, padded": maximum_of_windows(x, 3, 2, around),
        "largest, padded with zeros before": maximum_of_windows(jnp.pad(x, around), 3, 2, "VALID"),
        "largest, of more padding than window": maximum_of_windows(x, 2, 1, ((0, 0), (3, 0), (2, 3), (0, 0))),
        "mean": mean_of_windows(x, 2, 2, "VALID", counted=True),
        "mean, padding counted": mean_of_windows(x, 3, 2, around, counted=True),
        "mean, padding not counted": mean_of_windows(x, 3, 1, "SAME", counted=False),
        "mean of maps": mean_of_windows(convolved(x, KERNEL), 3, 2, around, counted=False),
        "sum, of more padding than window": lax.reduce_window(
            x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), wide
        ),
        "resized": jax.image.resize(x, (x.shape[0], 16, 12, 4), "bilinear"),
        "resized by nearest": jax.image.resize(x, (x.shape[0], 4, 18, 4), "nearest"),
    }


def normalised(x: Any) -> dict[str, Any]:
    def layer_norm(values: Any, channels: int) -> Any:
        gap = values - values.mean(-1, keepdims=True)
        return gap * lax.rsqrt(jnp.square(gap).mean(-1, keepdims=True) + 1e-6) * numbers(channels) + numbers(
            channels, seed=1
        )

    batch_norm = numbers(5) * lax.rsqrt(jnp.abs(numbers(5, seed=1)) + 1e-3)
    return {
        "layer": layer_norm(x, 4),
        "layer of tokens": layer_norm(x.reshape(-1, 72, 4), 4),
        "layer of maps": convolved(layer_norm(convolved(x, KERNEL), 5), numbers(1, 1, 5, 4)),
        "layer of one number": layer_norm(x[..., :1], 4),
        "batch": jax.nn.relu(convolved(x, KERNEL) * batch_norm + numbers(5)),
        "batch before": convolved(jax.nn.relu(x * W_4 + W_4), KERNEL),
        "rms": x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * W_4,
    }


GROUPS = (elementwise, activations, indexed, moved, reduced, multiplied, convolutions, pools, normalised)


@pytest.mark.parametrize("function", GROUPS, ids=lambda function: function.__name__)
def test_primitives_equal_jax(function: Callable[..., Any]):
    model = assert_alike(function, MAP)
    assert len(model.graph.output) > 5
