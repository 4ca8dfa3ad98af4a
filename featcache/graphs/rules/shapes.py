"""Primitives that move numbers: other shapes, axes in another order, parts, and parts put together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from featcache.errors import ExportError
from featcache.graphs.graph import Graph
from featcache.graphs.values import (
    MAPS,
    OVER_BATCH,
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


def reshaped(graph: Graph, x: Tensor, shape: Shape) -> Tensor:
    """Return a plain tensor's numbers in another shape."""
    sizes = [-1 if size is None else size for size in shape]
    return tensor(graph.add("Reshape", x.name, graph.integers(sizes)), shape, x.dtype)


def _reshape(graph: Graph, equation: Any, x: Value) -> Tensor:
    if equation.params.get("dimensions") is not None:
        raise ExportError("a reshape that also turns axes around is not written to ONNX here")
    return reshaped(graph, plain(graph, x), shape_of(equation.outvars[0].aval))


def _squeeze(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    gone = {axis % len(x.shape) for axis in equation.params["dimensions"]}
    kept = [axis for axis in x.order if axis not in gone]
    places = [place for place, axis in enumerate(x.order) if axis in gone]
    left = [axis for axis in range(len(x.shape)) if axis not in gone]
    name = graph.add("Squeeze", x.name, graph.integers(places))
    order = tuple(left.index(axis) for axis in kept)
    return Tensor(name, shape_of(equation.outvars[0].aval), x.dtype, tuple(x.held[a] for a in left), order)


def _expand_dims(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    shape = shape_of(equation.outvars[0].aval)
    new = {axis % len(shape) for axis in equation.params["dimensions"]}
    return _in_axes(graph, x, shape, [axis for axis in range(len(shape)) if axis not in new])


def _in_axes(graph: Graph, x: Tensor, shape: Shape, axes: Sequence[int]) -> Tensor:
    """Return a tensor as one of more axes, held once along the new ones; its own become `axes` of `shape`."""
    new = [axis for axis in range(len(shape)) if axis not in axes]
    if not new:
        return Tensor(x.name, shape, x.dtype, x.held, tuple(axes[axis] for axis in x.order))
    reduced = graph.reduced.get(x.name)
    if reduced and reduced.rank == len(shape) and reduced.gone == new and reduced.order_left == x.order:
        # What a reduction took away comes back where it was, so that its output lies as its input does.
        name, order = graph.add("Unsqueeze", x.name, graph.integers(reduced.places)), reduced.order
    else:
        x, order = ordered(graph, x, range(len(x.shape))), tuple(range(len(shape)))
        name = graph.add("Unsqueeze", x.name, graph.integers(new))
    held: list[int | None] = [1] * len(shape)
    for own, axis in enumerate(axes):
        held[axis] = x.held[own]
    return Tensor(name, shape, x.dtype, tuple(held), order)


def _broadcast(graph: Graph, equation: Any, x: Value, *sizes: Value) -> Value:
    del sizes  # of an open batch, which the shape of the output tells
    shape = shape_of(equation.outvars[0].aval)
    axes = [int(axis) for axis in equation.params["broadcast_dimensions"]]
    if isinstance(x, Known):
        from featcache.graphs.known_numbers import broadcast

        return broadcast(x, shape, axes)
    if sorted(axes) != axes:
        raise ExportError("a broadcast that turns axes around is not written to ONNX here")
    return _in_axes(graph, x, shape, axes)


def _transpose(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    # Nothing moves yet: only what its axes are called.
    turn = [int(axis) for axis in equation.params["permutation"]]
    order = tuple(turn.index(axis) for axis in x.order)
    held = tuple(x.held[axis] for axis in turn)
    return Tensor(x.name, shape_of(equation.outvars[0].aval), x.dtype, held, order)


def _concatenate(graph: Graph, equation: Any, *parts: Value) -> Tensor:
    axis = equation.params["dimension"]
    within_examples(parts[0], [axis])
    (out,) = equation.outvars
    turned = [part.order for part in parts if isinstance(part, Tensor) and not part.plain]
    order = turned[0] if turned else tuple(range(len(out.aval.shape)))
    names = []
    for part in parts:
        held = part if isinstance(part, Tensor) else plain(graph, part)
        names.append(ordered(graph, whole(graph, held), order).name)
    name = graph.add("Concat", *names, axis=order.index(axis))
    return tensor(name, shape_of(out.aval), out.aval.dtype, order)


def _is_grid(shape: Shape, cuts: Mapping[int, tuple[int, int, int]]) -> bool:
    """Whether every few rows and columns of maps are taken, from the first on."""
    return all(
        axis in (1, 2) and first == 0 and step > 1 and range(0, stop, step)[-1] + step >= (shape[axis] or 0)
        for axis, (first, stop, step) in cuts.items()
    )


def sliced(graph: Graph, x: Tensor, cuts: Mapping[int, tuple[int, int, int]], shape: Shape) -> Tensor:
    """Return a part of a tensor: axis to its start, stop and step."""
    if not cuts:
        return x
    if x.order == MAPS and x.dtype == np.float32 and _is_grid(x.shape, cuts):
        # Runtimes keep maps in a form of their own between poolings, but not for slices.
        ones, strides = [1, 1], [cuts[axis][2] if axis in cuts else 1 for axis in (1, 2)]
        name = graph.add("MaxPool", x.name, kernel_shape=ones, strides=strides, pads=[0, 0, 0, 0])
        return tensor(name, shape, x.dtype, MAPS)
    starts, stops, steps = (graph.integers(cut[i] for cut in cuts.values()) for i in range(3))
    places = graph.integers(x.order.index(axis) for axis in cuts)
    name = graph.add("Slice", x.name, starts, stops, places, steps)
    return tensor(name, shape, x.dtype, x.order)


def _slice(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    shape = shape_of(equation.outvars[0].aval)
    starts, stops = equation.params["start_indices"], equation.params["limit_indices"]
    steps = equation.params["strides"] or (1,) * len(shape)
    cuts = {}
    for axis, size in enumerate(x.shape):
        if size is not None and (starts[axis], stops[axis], steps[axis]) != (0, size, 1):
            cuts[axis] = (int(starts[axis]), int(stops[axis]), int(steps[axis]))
        elif size is None and str(equation.outvars[0].aval.shape[axis]) != str(
            equation.invars[0].aval.shape[axis]
        ):
            raise ExportError("a part of the batch is taken, which depends on the other examples in it")
    return sliced(graph, whole(graph, x), cuts, shape)


def _split(graph: Graph, equation: Any, x: Tensor) -> list[Value]:
    axis, found, first = equation.params["axis"], [], 0
    within_examples(x, [axis])
    x = whole(graph, x)
    for variable, size in zip(equation.outvars, equation.params["sizes"], strict=True):
        found.append(sliced(graph, x, {axis: (first, first + int(size), 1)}, shape_of(variable.aval)))
        first += int(size)
    return found


def _reverse(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    within_examples(x, equation.params["dimensions"])
    last = np.iinfo(np.int64).min
    return sliced(
        graph, whole(graph, x), dict.fromkeys(equation.params["dimensions"], (-1, last, -1)), x.shape
    )


def _dynamic_slice(graph: Graph, equation: Any, x: Tensor, *starts: Value) -> Tensor:
    shape = shape_of(equation.outvars[0].aval)
    cuts = {}
    for axis, (size, wanted, start) in enumerate(zip(x.shape, shape, starts, strict=True)):
        if size is None or wanted is None:
            if wanted != size:
                raise ExportError(OVER_BATCH)
            continue
        if not isinstance(start, Known):
            raise ExportError("where a part begins depends on the input, which is not written to ONNX here")
        first = min(max(int(start.array), 0), size - wanted)
        if (first, wanted) != (0, size):
            cuts[axis] = (first, first + wanted, 1)
    return sliced(graph, whole(graph, x), cuts, shape)


def _pad(graph: Graph, equation: Any, x: Tensor, value: Value) -> Tensor:
    config = [tuple(int(n) for n in sizes) for sizes in equation.params["padding_config"]]
    within_examples(x, [axis for axis, sizes in enumerate(config) if any(sizes)])
    if any(between or low < 0 or high < 0 for low, high, between in config) or not isinstance(value, Known):
        raise ExportError(
            "a padding between numbers, or one that takes some away, is not written to ONNX here"
        )
    x = whole(graph, x)
    turned = [config[axis] for axis in x.order]
    pads = [low for low, _, _ in turned] + [high for _, high, _ in turned]
    if not any(pads):
        return x
    filling = graph.constant(value.array.reshape(()).astype(x.dtype))
    name = graph.add("Pad", x.name, graph.integers(pads), filling, mode="constant")
    return tensor(name, shape_of(equation.outvars[0].aval), x.dtype, x.order)


def _iota(graph: Graph, equation: Any, *inputs: Value) -> Value:
    del graph, inputs
    (out,) = equation.outvars
    shape, axis = shape_of(out.aval), equation.params["dimension"]
    size = shape[axis]
    if size is None:
        raise ExportError("the number of an example in its batch is used, which says nothing of the example")
    held = [1] * len(shape)
    held[axis] = size
    return Known(np.arange(size, dtype=out.aval.dtype).reshape(held), shape)


def _stack(graph: Graph, equation: Any, *parts: Value) -> Tensor:
    """Write parts put beside each other along a new axis."""
    axis, shape = equation.params["axis"], shape_of(equation.outvars[0].aval)
    place = graph.integers([axis])
    names = [graph.add("Unsqueeze", plain(graph, part).name, place) for part in parts]
    return tensor(graph.add("Concat", *names, axis=axis), shape, equation.outvars[0].aval.dtype)


def _tile(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    repeats = equation.params["reps"]
    within_examples(x, [axis for axis, count in enumerate(repeats) if count != 1])
    x = whole(graph, x)
    name = graph.add("Tile", x.name, graph.integers(repeats[axis] for axis in x.order))
    return tensor(name, shape_of(equation.outvars[0].aval), x.dtype, x.order)


RULES: Mapping[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "squeeze": _squeeze,
    "expand_dims": _expand_dims,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "split": _split,
    "rev": _reverse,
    "dynamic_slice": _dynamic_slice,
    "pad": _pad,
    "iota": _iota,
    "stack": _stack,
    "tile": _tile,
}
