"""What simplifying does, and where it must not: operators are counted, numbers compared with the graph as traced."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.graphs import assert_alike, differences, drawn_inputs, operators, run_graph, without_simplifying
from jax import lax

MAP = {"x": ((8, 9, 4), np.float32)}
PICTURE = {"x": ((12, 12, 3), np.uint8)}
FIVE, FIVE_MORE = np.float32([1, -2, 0.5, 3, 4]), np.float32([0.1, 0.2, -0.3, 0.4, 0.5])
FOUR, FOUR_MORE = FIVE[:4], FIVE_MORE[:4]
SCALE, OFFSET = np.float32([0.016, 0.017, 0.018]), np.float32([-2.1, -2, -1.8])


def constants(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


KERNEL, POINT, MATRIX = constants(3, 3, 4, 5), constants(1, 1, 4, 5), constants(4, 5)


def convolved(x: Any, kernel: Any = KERNEL, padding: Any = "SAME", **asked: Any) -> Any:
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=order, **asked)


def windows(x: Any, kind: str, size: int, padding: Any, steps: int = 2) -> Any:
    asked = ((1, size, size, 1), (1, steps, steps, 1), padding)
    if kind == "largest":
        return lax.reduce_window(x, -jnp.inf, lax.max, *asked)
    inside = lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *asked)
    return lax.reduce_window(x, 0.0, lax.add, *asked) / (inside if kind == "inside" else size * size)


def layer_norm(x: Any, scale: Any = FOUR, bias: Any = FOUR_MORE) -> Any:
    gap = x - x.mean(-1, keepdims=True)
    return gap * lax.rsqrt(jnp.square(gap).mean(-1, keepdims=True) + 1e-6) * scale + bias


def padded(x: Any, low: int, high: int, value: float = 0.0) -> Any:
    return jnp.pad(x, ((0, 0), (low, high), (low, high), (0, 0)), constant_values=value)


def shared(value: Any, *others: Any) -> Any:
    """Values of one shape put beside each other, so that the first is read twice."""
    return jnp.concatenate([value, *others], axis=-1)


def attention(x: Any) -> Any:
    parts = (x.reshape(-1, 72, 4) @ constants(4, 24) + constants(24)).reshape(-1, 72, 3, 2, 4)
    query, key, value = parts.transpose(2, 0, 3, 1, 4)
    return jax.nn.softmax(query * 0.5 @ key.swapaxes(-1, -2), axis=-1) @ value


def patches(x: Any) -> Any:
    cut = (x.astype(jnp.float32) * SCALE + OFFSET).reshape(-1, 3, 4, 3, 4, 3).swapaxes(2, 3)
    return jnp.einsum("brcijk,ijkd->brcd", cut, constants(4, 4, 3, 6)) + constants(6)


Case = tuple[Callable[[Any], Any], dict[str, int]]

FOUND: dict[str, Case] = {
    "relu": (jax.nn.relu, {"Relu": 1}),
    "relu6": (jax.nn.relu6, {"Clip": 1}),
    "hard sigmoid": (lambda x: jnp.clip(x + 3.0, 0.0, 6.0) * (1 / 6), {"HardSigmoid": 1}),
    "hard swish": (lambda x: x * (jnp.clip(x + 3.0, 0.0, 6.0) * (1 / 6)), {"HardSwish": 1}),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), {"Div": 1, "Erf": 1, "Add": 1, "Mul": 2}),
    "gelu before a convolution": (
        lambda x: convolved(jax.nn.gelu(x, approximate=False), padding="VALID"),
        {"Transpose": 2, "Div": 1, "Erf": 1, "Add": 1, "Mul": 2, "Conv": 1},
    ),
    "softmax": (jax.nn.softmax, {"Softmax": 1}),
    "softmax of rows is none": (
        lambda x: jax.nn.softmax(x, axis=1),
        {"ReduceMax": 1, "Sub": 1, "Exp": 1, "ReduceSum": 1, "Div": 1},
    ),
    "layer normalisation": (layer_norm, {"LayerNormalization": 1}),
    "layer normalisation of maps": (
        lambda x: convolved(layer_norm(convolved(x, constants(3, 3, 4, 4))), POINT),
        {"Transpose": 4, "Conv": 2, "LayerNormalization": 1},
    ),
    "mean": (lambda x: x.mean(-1), {"ReduceMean": 1}),
    "mean of maps": (
        lambda x: convolved(x).mean((1, 2)),
        {"Transpose": 1, "Conv": 1, "GlobalAveragePool": 1, "Flatten": 1},
    ),
    "batch normalisation": (
        lambda x: jax.nn.relu(convolved(x) * FIVE + FIVE_MORE),
        {"Transpose": 2, "Conv": 1, "Relu": 1},
    ),
    "batch normalisation of a product": (
        lambda x: (x.mean((1, 2)) @ MATRIX - FIVE_MORE) * FIVE + FIVE_MORE,
        {"ReduceMean": 1, "MatMul": 1, "Add": 1},
    ),
    "normalisation by division": (lambda x: (convolved(x) - FIVE_MORE) / FIVE, {"Transpose": 2, "Conv": 1}),
    "normalisation before": (
        lambda x: convolved(x * FOUR + FOUR_MORE, padding="VALID"),
        {"Transpose": 2, "Conv": 1},
    ),
    "normalisation before a padding": (
        lambda x: convolved(x * FOUR + FOUR_MORE),
        {"Transpose": 2, "Add": 1, "Conv": 1},
    ),
    "normalisation of a sum of maps": (
        lambda x: convolved(jax.nn.relu((convolved(x, constants(1, 1, 4, 4)) + x) * FOUR + FOUR_MORE)),
        {"Transpose": 2, "Conv": 2, "Add": 1, "BatchNormalization": 1, "Relu": 1},
    ),
    "pad and convolution": (
        lambda x: convolved(padded(x, 1, 2), padding="VALID"),
        {"Transpose": 2, "Conv": 1},
    ),
    "pad and largest": (
        lambda x: windows(padded(x, 1, 0, -np.inf), "largest", 3, "VALID"),
        {"Transpose": 2, "MaxPool": 1},
    ),
    "pad and mean": (
        lambda x: windows(padded(x, 1, 1), "all", 3, "VALID"),
        {"Transpose": 2, "AveragePool": 1},
    ),
    "mean of windows": (lambda x: windows(x, "all", 2, "VALID"), {"Transpose": 2, "AveragePool": 1}),
    "mean of what is inside": (lambda x: windows(x, "inside", 3, "SAME"), {"Transpose": 2, "AveragePool": 1}),
    "every second": (
        lambda x: convolved(convolved(x)[:, ::2, ::2], constants(1, 1, 5, 2)),
        {"Transpose": 2, "Conv": 2, "MaxPool": 1},
    ),
    "attention": (attention, {"Reshape": 4, "MatMul": 5, "Add": 3, "Transpose": 3, "Mul": 1, "Softmax": 1}),
}

KEPT: dict[str, Case] = {
    "a factor behind a value that is read twice": (lambda x: shared(convolved(x), convolved(x) * FIVE), {}),
    "a factor behind a convolution that is read twice": (
        lambda x: (lambda y: shared(y, y * FIVE))(convolved(x)),
        {"Transpose": 2, "Conv": 1, "Mul": 1, "Concat": 1},
    ),
    "an offset behind a product that is read twice": (
        lambda x: (lambda y: shared(y, y + FIVE))(x @ MATRIX),
        {"MatMul": 1, "Add": 1, "Concat": 1},
    ),
    "a factor before a convolution that is read elsewhere": (
        lambda x: (lambda y: shared(convolved(y), y))(x * FOUR),
        {"Transpose": 2, "Mul": 1, "Conv": 1, "Concat": 1},
    ),
    "a factor before groups": (
        lambda x: convolved(x * FOUR, constants(3, 3, 1, 4), feature_group_count=4),
        {"Transpose": 2, "Mul": 1, "Conv": 1},
    ),
    "a factor that removes a channel": (
        lambda x: convolved(x * np.float32([1, 0, 2, 3])),
        {"Transpose": 2, "Mul": 1, "Conv": 1},
    ),
    "factors of places": (lambda x: convolved(x) * constants(9, 1), {"Transpose": 2, "Conv": 1, "Mul": 1}),
    "a pad by another number": (
        lambda x: convolved(padded(x, 1, 1, 0.5), padding="VALID"),
        {"Transpose": 2, "Pad": 1, "Conv": 1},
    ),
    "zeros around the largest": (
        lambda x: windows(padded(x, 1, 0), "largest", 3, "VALID"),
        {"Transpose": 2, "Pad": 1, "Max": 1, "MaxPool": 1},
    ),
    "a pad larger than the windows": (
        lambda x: windows(padded(x, 2, 2, -np.inf), "largest", 2, "VALID"),
        {"Transpose": 2, "Pad": 1, "MaxPool": 1},
    ),
    "a pad that is read elsewhere": (
        lambda x: (lambda y: shared(convolved(y), y))(padded(x, 1, 1)),
        {"Transpose": 2, "Pad": 1, "Conv": 1, "Concat": 1},
    ),
    "a count that is none of the windows": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 3,
        {"Transpose": 2, "AveragePool": 1, "Mul": 1, "Div": 1},
    ),
    "a variance that is read elsewhere": (
        lambda x: (lambda v: layer_norm(x) + v)(
            jnp.square(x - x.mean(-1, keepdims=True)).mean(-1, keepdims=True)
        ),
        {},
    ),
    "a mean over more than it divides by": (lambda x: x.sum(-1) / 3, {"ReduceSum": 1, "Div": 1}),
    "a gelu of another width": (
        lambda x: (0.5 * x) * lax.erfc(-x * 0.7),
        {"Neg": 2, "Mul": 3, "Erf": 1, "Add": 1},
    ),
    "a limit at minus one": (lambda x: jnp.maximum(x, -1), {"Max": 1}),
}


@pytest.mark.parametrize(("function", "expected"), [*FOUND.values(), *KEPT.values()], ids=[*FOUND, *KEPT])
def test_forms_are_found_and_what_is_read_elsewhere_stays(
    function: Callable[[Any], Any], expected: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    def program(x: Any) -> dict[str, Any]:
        return {"y": function(x)}

    model = assert_alike(program, MAP)
    found = operators(model)
    if expected:
        assert dict(found) == expected
    plain = without_simplifying(program, MAP, monkeypatch)
    assert sum(operators(plain).values()) >= sum(
        (found - Counter(Max=1)).values()
    )  # see simplify/paddings.py
    given = drawn_inputs(MAP, 2, seed=5)
    # Folding rounds a weight once more, and sums in another order.
    assert differences(run_graph(model, given), run_graph(plain, given))["y"] < 1e-5


def test_the_normalisation_of_a_picture_goes_into_the_first_convolution():
    def program(x: Any) -> dict[str, Any]:
        return {"y": convolved(x.astype(jnp.float32) * SCALE + OFFSET, constants(3, 3, 3, 5), "VALID")}

    model = assert_alike(program, PICTURE)
    assert operators(model) == {"Transpose": 2, "Cast": 1, "Conv": 1}
    first = model.graph.node[0]
    assert (first.op_type, first.input[0]) == ("Transpose", "x")  # bytes are turned, not numbers


def test_the_normalisation_of_a_picture_goes_into_the_product_with_its_patches():
    model = assert_alike(lambda x: {"y": patches(x)}, PICTURE)
    found = operators(model)
    assert (found["Mul"], found["Sub"], found["Div"], found["Cast"]) == (0, 0, 0, 1)
    names = [node.op_type for node in model.graph.node]
    assert names.index("Transpose") < names.index("Cast") < names.index("MatMul")


def test_a_normalisation_that_differs_from_patch_to_patch_stays():
    def program(x: Any) -> dict[str, Any]:
        cut = (x.astype(jnp.float32) * constants(12, 12, 3) + 1).reshape(-1, 3, 4, 3, 4, 3).swapaxes(2, 3)
        return {"y": jnp.einsum("brcijk,ijkd->brcd", cut, constants(4, 4, 3, 6))}

    assert operators(assert_alike(program, PICTURE))["Mul"] == 1


def test_parts_of_a_product_that_is_read_as_a_whole_too_stay_parts():
    def program(x: Any) -> dict[str, Any]:
        whole = (x.mean((1, 2)) @ constants(4, 6)).reshape(-1, 2, 3)
        return {"first": whole[:, 0], "second": whole[:, 1], "whole": whole}

    assert operators(assert_alike(program, MAP))["MatMul"] == 1


def test_every_node_is_named_and_none_is_unread():
    model = assert_alike(lambda x: {"y": attention(x)}, MAP)
    read = {name for node in model.graph.node for name in node.input} | {"y"}
    assert {name for node in model.graph.node for name in node.output} <= read
    assert {each.name for each in model.graph.initializer} <= read
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
