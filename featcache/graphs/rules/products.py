"""Convolutions and matrix products."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from featcache.errors import ExportError
from featcache.graphs.graph import Graph
from featcache.graphs.rules.shapes import reshaped
from featcache.graphs.values import (
    MAPS,
    Known,
    Shape,
    Tensor,
    Value,
    ordered,
    plain,
    shape_of,
    tensor,
    whole,
    within_examples,
)


def _convolution(graph: Graph, equation: Any, x: Value, kernel: Value) -> Tensor:
    asked = equation.params
    if not isinstance(x, Tensor) or not isinstance(kernel, Known):
        raise ExportError("a convolution with a kernel that depends on the input is not written to ONNX here")
    if asked["batch_group_count"] != 1 or set(asked["lhs_dilation"]) != {1}:
        raise ExportError("a transposed convolution is not written to ONNX here")
    of_map, of_kernel, of_result = asked["dimension_numbers"]
    within_examples(x, of_map[1:])
    pads = [int(low) for low, _ in asked["padding"]] + [int(high) for _, high in asked["padding"]]
    if min(pads) < 0:
        raise ExportError("a convolution that leaves out a map's margin is not written to ONNX here")
    weights = kernel.dense().transpose(of_kernel)
    out = equation.outvars[0].aval
    name = graph.add(
        "Conv",
        ordered(graph, whole(graph, x), of_map).name,
        graph.constant(weights, "kernel"),
        kernel_shape=list(weights.shape[2:]),
        strides=[int(step) for step in asked["window_strides"]],
        pads=pads,
        dilations=[int(step) for step in asked["rhs_dilation"]],
        group=int(asked["feature_group_count"]),
    )
    return tensor(name, shape_of(out), out.dtype, tuple(of_result))


def _dot(graph: Graph, equation: Any, x: Value, y: Value) -> Tensor:
    ((of_x, of_y), (batch_x, batch_y)) = equation.params["dimension_numbers"]
    out = equation.outvars[0].aval
    shape = shape_of(out)
    within_examples(x, of_x)
    within_examples(y, of_y)
    last = isinstance(x, Tensor) and tuple(of_x) == (len(x.shape) - 1,) and not batch_x
    if last and isinstance(y, Known) and len(y.shape) == 2:
        assert isinstance(x, Tensor)
        weights = y.dense() if tuple(of_y) == (0,) else y.dense().T
        return _affine(graph, whole(graph, x), weights, shape, out.dtype)
    return _product(graph, (x, of_x, batch_x), (y, of_y, batch_y), shape, out.dtype)


def _affine(graph: Graph, x: Tensor, weights: np.ndarray, shape: Shape, dtype: Any) -> Tensor:
    """Write a product of the last axis with a matrix ``[D_in, D_out]``: of maps as they lie, a 1×1 convolution."""
    if x.order == MAPS:
        kernel = graph.constant(weights.T[:, :, None, None], "kernel")
        ones, none = [1, 1], [0, 0, 0, 0]
        name = graph.add(
            "Conv", x.name, kernel, kernel_shape=ones, strides=ones, pads=none, dilations=ones, group=1
        )
        return tensor(name, shape, dtype, MAPS)
    name = graph.add("MatMul", plain(graph, x).name, graph.constant(weights, "kernel"))
    return tensor(name, shape, dtype)


Side = tuple[Value, Sequence[int], Sequence[int]]


def _product(graph: Graph, x: Side, y: Side, shape: Shape, dtype: Any) -> Tensor:
    """Write a product of any axes as one of matrices ``[batch…, M, K] × [batch…, K, N]``.

    The result of a trace has the axes of the batch first, then the free ones of `x`, then those of `y`.
    """
    left, rows = _as_matrices(graph, *x, contracted_last=True)
    right, columns = _as_matrices(graph, *y, contracted_last=False)
    batch = tuple(left.shape[: len(x[2])])
    name = graph.add("MatMul", left.name, right.name)
    found = tensor(name, (*batch, _merged(rows), _merged(columns)), dtype)
    return found if found.shape == shape else reshaped(graph, found, shape)


def _as_matrices(
    graph: Graph, value: Value, contracted: Sequence[int], batch: Sequence[int], *, contracted_last: bool
) -> tuple[Tensor, Shape]:
    """Return a value as matrices, and the sizes of its free axes, which are merged to one."""
    free = [axis for axis in range(len(value.shape)) if axis not in contracted and axis not in batch]
    order = [*batch, *free, *contracted] if contracted_last else [*batch, *contracted, *free]
    sizes = [tuple(value.shape[axis] for axis in axes) for axes in (batch, free, contracted)]
    both = (_merged(sizes[1]), _merged(sizes[2]))
    shape = (*sizes[0], *(both if contracted_last else both[::-1]))
    if isinstance(value, Known):
        turned = value.dense().transpose(order).reshape([-1 if size is None else size for size in shape])
        return tensor(graph.constant(turned, "kernel"), turned.shape, value.dtype), sizes[1]
    held = ordered(graph, whole(graph, value), order)
    turned = tensor(held.name, tuple(value.shape[axis] for axis in order), value.dtype)
    return (turned if turned.shape == shape else reshaped(graph, turned, shape)), sizes[1]


def _merged(sizes: Shape) -> int | None:
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


RULES: Mapping[str, Callable[..., Any]] = {"conv_general_dilated": _convolution, "dot_general": _dot}
