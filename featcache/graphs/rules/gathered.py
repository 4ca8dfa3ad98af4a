"""What indexing becomes in a trace: gathers, mostly of places that are known (``x[:, 0]``, ``x[:, ::2, ::2]``)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from featcache.errors import ExportError
from featcache.graphs.graph import Graph
from featcache.graphs.rules.shapes import reshaped, sliced
from featcache.graphs.values import Known, Tensor, Value, plain, shape_of, tensor, whole

_OTHERWISE = "numbers are gathered from places that are no grid, which is not written to ONNX here"

Label = tuple[str, int]
"""Where an axis comes from: ``("own", axis)`` of the input, ``("place", axis)`` of places, or ``("gone", axis)``."""


def _gather(graph: Graph, equation: Any, x: Value, places: Value) -> Tensor:
    held = x if isinstance(x, Tensor) else plain(graph, x)
    if isinstance(places, Known):
        return _of_known_places(graph, equation, whole(graph, held), places.dense())
    return _of_rows(graph, equation, plain(graph, held), places)


def _of_known_places(graph: Graph, equation: Any, x: Tensor, places: np.ndarray) -> Tensor:
    """Write a gather whose places form a grid: of each axis a part, regular steps, or some places."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    if numbers.operand_batching_dims:
        raise ExportError(_OTHERWISE)
    cuts: dict[int, tuple[int, int, int]] = {}
    chosen: dict[int, np.ndarray] = {}
    labels: list[Label] = [("own", axis) for axis in range(len(x.shape))]
    for number, axis in enumerate(numbers.start_index_map):
        limit = x.shape[axis]
        if limit is None:
            raise ExportError(
                "examples are gathered by their number in the batch, which says nothing of them"
            )
        first = np.clip(places[..., number], 0, limit - int(sizes[axis]))
        if equation.params["mode"] == GatherScatterMode.FILL_OR_DROP and (first != places[..., number]).any():
            raise ExportError(
                f"numbers are gathered from beyond an axis of {limit}, which is not written to ONNX here"
            )
        varies = [
            each for each in range(first.ndim) if first.shape[each] > 1 and np.ptp(first, axis=each).any()
        ]
        if len(varies) > 1 or (varies and axis not in numbers.collapsed_slice_dims):
            raise ExportError(_OTHERWISE)
        if not varies:
            start = int(first.flat[0])
            cuts[axis] = (start, start + int(sizes[axis]), 1)
            if axis in numbers.collapsed_slice_dims:
                labels[axis] = ("gone", axis)
            continue
        labels[axis] = ("place", varies[0])
        line = np.moveaxis(first, varies[0], -1).reshape(-1, first.shape[varies[0]])[0]
        steps = np.unique(np.diff(line))
        if len(steps) == 1 and steps[0] > 0:
            cuts[axis] = (int(line[0]), int(line[-1]) + 1, int(steps[0]))
        else:
            chosen[axis] = line
    return _laid_out(graph, equation, _taken(graph, x, cuts, chosen), labels)


def _taken(
    graph: Graph, x: Tensor, cuts: Mapping[int, tuple[int, int, int]], chosen: Mapping[int, np.ndarray]
) -> Tensor:
    shape = list(x.shape)
    for axis, (first, stop, step) in cuts.items():
        shape[axis] = len(range(first, stop, step))
    real = {axis: cut for axis, cut in cuts.items() if cut != (0, x.shape[axis], 1)}
    x = sliced(graph, x, real, tuple(shape))
    for axis, line in chosen.items():
        shape[axis] = len(line)
        index = graph.constant(line.astype(np.int64))
        x = tensor(
            graph.add("Gather", x.name, index, axis=x.order.index(axis)), tuple(shape), x.dtype, x.order
        )
    return x


def _laid_out(graph: Graph, equation: Any, x: Tensor, labels: list[Label]) -> Tensor:
    """Return a tensor whose axes come from where `labels` say with its axes as the equation's output has them."""
    (out,) = equation.outvars
    shape = shape_of(out.aval)
    offsets = list(equation.params["dimension_numbers"].offset_dims)
    own = iter(label for label in labels if label[0] == "own")
    places = iter(range(len(shape)))
    wanted: list[Label] = [
        next(own) if axis in offsets else ("place", next(places)) for axis in range(len(shape))
    ]
    name, kept = x.name, [labels[axis] for axis in x.order if labels[axis][0] != "gone"]
    gone = [place for place, axis in enumerate(x.order) if labels[axis][0] == "gone"]
    if gone:
        name = graph.add("Squeeze", name, graph.integers(gone))
    new = [label for label in wanted if label not in kept]
    if any(shape[wanted.index(label)] != 1 for label in new):
        raise ExportError(_OTHERWISE)
    if new:
        name = graph.add("Unsqueeze", name, graph.integers(range(len(kept), len(kept) + len(new))))
    order = tuple(wanted.index(label) for label in [*kept, *new])
    return tensor(name, shape, out.aval.dtype, order)


def _of_rows(graph: Graph, equation: Any, x: Tensor, places: Value) -> Tensor:
    """Write a gather of whole rows along one axis, by numbers that depend on the input."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape = shape_of(equation.outvars[0].aval)
    single = len(numbers.start_index_map) == 1 and not numbers.operand_batching_dims
    axis = numbers.start_index_map[0] if single else 0
    count = len(places.shape) - 1
    expected = tuple(each for each in range(len(shape)) if not axis <= each < axis + count)
    others = all(sizes[each] == x.shape[each] for each in range(len(x.shape)) if each != axis)
    rows = (
        tuple(numbers.collapsed_slice_dims) == (axis,) and others and tuple(numbers.offset_dims) == expected
    )
    if not single or not rows or x.shape[axis] is None:
        raise ExportError(_OTHERWISE)
    index = reshaped(graph, plain(graph, places), places.shape[:-1]).name
    return tensor(_rows(graph, equation, x, index, places.dtype), shape, x.dtype)


def _rows(graph: Graph, equation: Any, x: Tensor, index: str, dtype: Any) -> str:
    """Write rows by numbers that may lie beyond the axis: of its ends, as JAX takes them, or what JAX fills in."""
    (axis,) = equation.params["dimension_numbers"].start_index_map
    size = x.shape[axis]
    assert size is not None
    # ONNX counts negative numbers from the end, and refuses those beyond it while it runs.
    first, last = (graph.constant(np.asarray(each, dtype)) for each in (0, size - 1))
    within = graph.add("Min", graph.add("Max", index, first), last)
    found = graph.add("Gather", x.name, within, axis=axis)
    if equation.params["mode"] != GatherScatterMode.FILL_OR_DROP:
        return found
    filling = equation.params["fill_value"]
    if filling is None:
        raise ExportError(
            "numbers are gathered that may lie beyond an axis, and nothing says what they are then"
        )
    inside = graph.add("Equal", index, within)
    others = len(x.shape) - axis - 1
    if others:
        inside = graph.add("Unsqueeze", inside, graph.integers(range(-others, 0)))
    return graph.add("Where", inside, found, graph.constant(np.asarray(filling, x.dtype)))


RULES: Mapping[str, Callable[..., Any]] = {"gather": _gather}
