"""Primitives that take many numbers to few: sums, largest values, windows of maps, the nearest of many."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from featcache.errors import ExportError
from featcache.graphs.graph import Graph, Reduction
from featcache.graphs.values import (
    MAPS,
    Tensor,
    Value,
    ordered,
    plain,
    shape_of,
    tensor,
    whole,
    within_examples,
)


def _without(x: Tensor, axes: Sequence[int]) -> tuple[int, ...]:
    """Return the order of a tensor's axes when some are gone."""
    left = [axis for axis in range(len(x.shape)) if axis not in axes]
    return tuple(left.index(axis) for axis in x.order if axis not in axes)


def _reduce(op: str, graph: Graph, equation: Any, x: Tensor) -> Tensor:
    axes = [int(axis) for axis in equation.params["axes"]]
    within_examples(x, axes)
    x = whole(graph, x)
    places = sorted(x.order.index(axis) for axis in axes)
    out = equation.outvars[0].aval
    if op == "ReduceSum":
        name = graph.add(op, x.name, graph.integers(places), keepdims=0)
    else:
        name = graph.add(op, x.name, axes=places, keepdims=0)
    count = math.prod(x.shape[axis] or 1 for axis in axes)
    graph.reduced[name] = Reduction(count, x.order, tuple(places))
    return tensor(name, shape_of(out), out.dtype, _without(x, axes))


def _any_or_all(op: str, graph: Graph, equation: Any, x: Tensor) -> Tensor:
    counted = Tensor(graph.add("Cast", x.name, to=np.dtype(np.int32)), x.shape, np.int32, x.held, x.order)
    found = _reduce(op, graph, equation, counted)
    name = graph.add("Cast", found.name, to=np.dtype(np.bool_))
    return tensor(name, found.shape, np.bool_, found.order)


def _argument(op: str, graph: Graph, equation: Any, x: Tensor) -> Tensor:
    (axis,) = equation.params["axes"]
    within_examples(x, [axis])
    out = equation.outvars[0].aval
    x = whole(graph, x)
    found = graph.add(op, x.name, axis=x.order.index(axis), keepdims=0)
    name = graph.add("Cast", found, to=np.dtype(out.dtype))
    return tensor(name, shape_of(out), out.dtype, _without(x, [axis]))


def _top(graph: Graph, equation: Any, x: Tensor) -> list[Value]:
    axis = equation.params.get("axis", len(x.shape) - 1)  # which earlier versions of JAX have not
    within_examples(x, [axis])
    x = plain(graph, x)
    values, places = (variable.aval for variable in equation.outvars)
    count = graph.integers([int(equation.params["k"])])
    found = graph.add("TopK", x.name, count, outputs=2, axis=axis, largest=1, sorted=1)
    index = graph.add("Cast", graph.nodes[-1].outputs[1], to=np.dtype(places.dtype))
    return [tensor(found, shape_of(values), x.dtype), tensor(index, shape_of(places), places.dtype)]


def _cumulative_sum(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    within_examples(x, [equation.params["axis"]])
    x = whole(graph, x)
    axis = graph.constant(np.asarray(x.order.index(equation.params["axis"]), np.int64))
    name = graph.add("CumSum", x.name, axis, reverse=int(equation.params["reverse"]))
    return tensor(name, x.shape, x.dtype, x.order)


def _window(op: str, graph: Graph, equation: Any, x: Tensor) -> Tensor:
    """Write the largest value, or the sum, of each window of a map ``[N, H, W, C]``."""
    asked = equation.params
    sizes, steps, pads = asked["window_dimensions"], asked["window_strides"], asked["padding"]
    outer = len(sizes) != 4 or (sizes[0], sizes[3]) != (1, 1) or (steps[0], steps[3]) != (1, 1)
    if outer or {*asked["base_dilation"], *asked["window_dilation"]} != {1} or any((*pads[0], *pads[3])):
        raise ExportError(
            "windows over other axes than a map's height and width are not written to ONNX here"
        )
    within_examples(x, [1, 2, 3])
    out = equation.outvars[0].aval
    margins = [int(low) for low, _ in pads[1:3]] + [int(high) for _, high in pads[1:3]]
    name = ordered(graph, whole(graph, x), MAPS).name
    if any(margin >= size for margin, size in zip(margins, sizes[1:3] * 2, strict=True)):
        # Windows of nothing but what was added, which runtimes refuse of their own padding.
        filling = graph.constant(np.asarray(-np.inf if op == "MaxPool" else 0, x.dtype))
        around = graph.integers([0, 0, *margins[:2], 0, 0, *margins[2:]])
        name, margins = graph.add("Pad", name, around, filling, mode="constant"), [0] * 4
    given: dict[str, Any] = {
        "kernel_shape": [int(size) for size in sizes[1:3]],
        "strides": [int(step) for step in steps[1:3]],
        "pads": margins,
    }
    if op == "MaxPool":
        name = graph.add("MaxPool", name, **given)
    else:  # a sum is a mean, with what was padded, times the window's size
        mean = graph.add("AveragePool", name, count_include_pad=1, **given)
        if any(margins):
            graph.windows[mean] = _counts((x.shape[1] or 0, x.shape[2] or 0), **given)
        name = graph.add("Mul", mean, graph.constant(np.asarray(math.prod(sizes), x.dtype)))
    return tensor(name, shape_of(out), out.dtype, MAPS)


def _counts(
    size: tuple[int, int], kernel_shape: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> np.ndarray:
    """Return how many numbers of a map of ``(height, width)``, and not of its padding, are in each window."""
    lines = []
    for axis, length in enumerate(size):
        low, high = pads[axis], pads[axis + 2]
        first = np.arange(0, length + low + high - kernel_shape[axis] + 1, strides[axis]) - low
        lines.append(np.minimum(first + kernel_shape[axis], length) - np.maximum(first, 0))
    return np.outer(*lines)


RULES: Mapping[str, Callable[..., Any]] = {
    "reduce_sum": partial(_reduce, "ReduceSum"),
    "reduce_max": partial(_reduce, "ReduceMax"),
    "reduce_min": partial(_reduce, "ReduceMin"),
    "reduce_prod": partial(_reduce, "ReduceProd"),
    "reduce_or": partial(_any_or_all, "ReduceMax"),
    "reduce_and": partial(_any_or_all, "ReduceMin"),
    "argmax": partial(_argument, "ArgMax"),
    "argmin": partial(_argument, "ArgMin"),
    "top_k": _top,
    "cumsum": _cumulative_sum,
    "reduce_window_max": partial(_window, "MaxPool"),
    "reduce_window_sum": partial(_window, "AveragePool"),
}
