"""Random programs of the primitives that networks are made of: their graphs give what JAX computes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers.graphs import differences, drawn_inputs, run_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from featcache.graphs.convert import onnx_model

Step = Callable[[Any], Any]

TOLERANCE = 1e-4
"""Of the largest value: eight steps of up to 6e-8 · √n each, which a normalisation of small differences enlarges by a
hundred at most (values are kept within ±30, and spreads above 0.1)."""


def constants(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).uniform(-1.5, 1.5, shape).astype(np.float32)


def _channels(x: Any) -> np.ndarray:
    return constants(x.shape[-1])


def _kernel(x: Any, size: int, features: int, groups: int = 1) -> np.ndarray:
    return constants(size, size, x.shape[-1] // groups, features) / np.float32(size * x.shape[-1] ** 0.5)


def _convolve(x: Any, size: int, features: int, strides: int, padding: str) -> Any:
    if x.ndim != 4:
        return x @ (constants(x.shape[-1], features) / np.float32(x.shape[-1] ** 0.5))
    order = ("NHWC", "HWIO", "NHWC")
    padding = padding if min(x.shape[1:3]) >= size else "SAME"
    return lax.conv_general_dilated(
        x, _kernel(x, size, features), (strides, strides), padding, dimension_numbers=order
    )


def _depthwise(x: Any) -> Any:
    if x.ndim != 4:
        return x
    order, groups = ("NHWC", "HWIO", "NHWC"), x.shape[-1]
    kernel = _kernel(x, 3, groups, groups)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=order, feature_group_count=groups
    )


def _pool(x: Any, size: int, steps: int, kind: str) -> Any:
    if x.ndim != 4:
        return x
    window = ((1, size, size, 1), (1, steps, steps, 1), "SAME")
    if kind == "largest":
        return lax.reduce_window(x, -jnp.inf, lax.max, *window)
    count = (
        lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *window) if kind == "inside" else float(size * size)
    )
    return lax.reduce_window(x, 0.0, lax.add, *window) / count


def _turn(x: Any, seed: int) -> Any:
    axes = 1 + np.random.default_rng(seed).permutation(x.ndim - 1)
    return x.transpose(0, *axes)


def _normalise(x: Any, axis: int) -> Any:
    axis = 1 + axis % (x.ndim - 1)
    gap = x - x.mean(axis, keepdims=True)
    spread = lax.rsqrt(jnp.square(gap).mean(axis, keepdims=True) + 0.01)
    return gap * spread * _channels(x) + 0.3


def _attend(x: Any) -> Any:
    rows = x.reshape(x.shape[0], -1, x.shape[-1])[:, :24]
    parts = (rows @ (constants(x.shape[-1], 24) / np.float32(x.shape[-1] ** 0.5))).reshape(
        -1, rows.shape[1], 3, 2, 4
    )
    query, key, value = parts.transpose(2, 0, 3, 1, 4)
    mean = jax.nn.softmax(query * 0.5 @ key.swapaxes(-1, -2), axis=-1) @ value
    return mean.swapaxes(1, 2).reshape(-1, rows.shape[1], 8)


def _gate(x: Any) -> Any:
    axes = tuple(range(1, x.ndim - 1))
    mean = x.mean(axes, keepdims=True) if axes else x
    return x * jax.nn.sigmoid(mean @ constants(x.shape[-1], x.shape[-1]))


def _around(x: Any, low: int, high: int) -> Any:
    return jnp.pad(x, ((0, 0), (low, high), *((0, 0),) * (x.ndim - 2)))


def _part(x: Any, first: int, step: int) -> Any:
    return x[:, first % x.shape[1] :: step]


def _flat(x: Any) -> Any:
    return x.reshape(x.shape[0], -1)[:, :40]


def _squares(x: Any) -> Any:
    size = x.shape[1]
    return x.reshape(x.shape[0], size, -1)[:, :, :6]


ACTIVATIONS = (
    jax.nn.relu,
    jax.nn.relu6,
    jax.nn.silu,
    lambda x: jax.nn.gelu(x, approximate=False),
    lambda x: jax.nn.gelu(x, approximate=True),
    lambda x: x * (jnp.clip(x + 3.0, 0.0, 6.0) * (1 / 6)),
    jnp.tanh,
    jnp.abs,
)
STEPS: tuple[st.SearchStrategy[Step], ...] = (
    st.builds(
        lambda *asked: lambda x: _convolve(x, *asked),
        st.sampled_from([1, 3]),
        st.sampled_from([1, 4, 6]),
        st.integers(1, 2),
        st.sampled_from(["SAME", "VALID"]),
    ),
    st.just(_depthwise),
    st.builds(
        lambda *asked: lambda x: _pool(x, *asked),
        st.integers(1, 3),
        st.integers(1, 2),
        st.sampled_from(["largest", "inside", "all"]),
    ),
    st.sampled_from(ACTIVATIONS),
    st.builds(lambda seed: lambda x: _turn(x, seed), st.integers(0, 5)),
    st.builds(lambda axis: lambda x: _normalise(x, axis), st.integers(0, 2)),
    st.just(lambda x: x * _channels(x) + constants(x.shape[-1], 1)[:, 0]),
    st.just(lambda x: x * _channels(x)),
    st.just(lambda x: (x - 0.5) / 1.7),
    st.just(lambda x: jnp.concatenate([x, jax.nn.relu(x)], axis=-1)),
    st.just(lambda x: x + jnp.tanh(x @ constants(x.shape[-1], x.shape[-1]))),
    st.just(_attend),
    st.just(_gate),
    st.builds(lambda *asked: lambda x: _around(x, *asked), st.integers(0, 3), st.integers(0, 2)),
    st.builds(lambda *asked: lambda x: _part(x, *asked), st.integers(0, 3), st.integers(1, 2)),
    st.just(_flat),
    st.just(_squares),
    st.just(lambda x: x.sum(1) if x.ndim > 2 else x),
    st.just(lambda x: x.max(-1, keepdims=True) - x),
    st.just(lambda x: x[..., None] if x.ndim < 4 else x[..., ::-1]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    steps=st.lists(st.one_of(*STEPS), min_size=1, max_size=8),
    shape=st.sampled_from([(6, 5, 4), (4, 4, 1), (8, 6), (7,), (5, 6, 3)]),
    kept=st.integers(0, 7),
)
def test_random_programs_give_what_jax_gives(steps: list[Step], shape: tuple[int, ...], kept: int):
    def program(x: Any) -> dict[str, Any]:
        found = {}
        for number, step in enumerate(steps):
            x = jnp.clip(step(x), -30.0, 30.0) if number % 3 == 2 else step(x)
            if number == kept:
                found["between"] = x  # read elsewhere, too: nothing may be folded through it
        return {**found, "last": x}

    model = onnx_model(program, {"x": (shape, np.float32)})
    values = drawn_inputs({"x": (shape, np.float32)}, 3)
    expected = program(jnp.asarray(values["x"]))
    off = differences(run_graph(model, values), expected)
    assert {name: gap for name, gap in off.items() if not gap <= TOLERANCE} == {}
