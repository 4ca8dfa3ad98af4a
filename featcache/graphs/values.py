"""The values between the primitives of a trace: known numbers, and tensors that the graph computes.

Both have the shape that the trace gives them, with ``None`` for the batch. An axis along which all is equal may be held
with the size 1 instead (`held`), because ONNX broadcasts; and a tensor may lie with its axes in another order (maps are
``[N, H, W, C]`` to JAX and lie as ``[N, C, H, W]``, in which ONNX convolves), so that nothing is turned around between
two convolutions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import export as jax_export

from featcache.errors import ExportError
from featcache.graphs.graph import Graph

Shape = tuple[int | None, ...]

BATCH = "N"
"""Name of the open batch size in traces and graphs."""

BATCH_FIRST = "the batch is not the first axis of a value, or is more than one"

OVER_BATCH = "something is computed over the batch, so that an example depends on the others in it"


@dataclass(frozen=True)
class Known:
    """Numbers that do not depend on the input; `array` has the rank of `shape`, and 1 where it is only repeated."""

    array: np.ndarray
    shape: Shape

    @property
    def held(self) -> Shape:
        """The shape in which the numbers are held."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Their type."""
        return self.array.dtype

    def dense(self) -> np.ndarray:
        """Return the numbers in their whole shape; along the batch, where all are equal, one of them."""
        shape = [1 if size is None else size for size in self.shape]
        return np.broadcast_to(self.array, shape)


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Parameters
    ----------
    name
        Its name in the graph.
    shape, dtype
        As the trace has them.
    held
        The shape in which it is held, axis by axis as in `shape`: the same, or 1.
    order
        Which axis of `shape` each axis of the value in the graph is.
    """

    name: str
    shape: Shape
    dtype: Any
    held: Shape
    order: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether its axes lie in the order of the trace."""
        return self.order == tuple(range(len(self.shape)))


Value = Known | Tensor

MAPS = (0, 3, 1, 2)
"""Order of maps in the graph: batch, channels, height, width of ``[N, H, W, C]``."""


def known(array: Any) -> Known:
    """Return numbers as a value."""
    held = np.asarray(array)
    return Known(held, held.shape)


def tensor(name: str, shape: Shape, dtype: Any, order: tuple[int, ...] | None = None) -> Tensor:
    """Return a value that is held in its whole shape."""
    return Tensor(name, shape, np.dtype(dtype), shape, tuple(range(len(shape))) if order is None else order)


def is_open(size: Any) -> bool:
    """Whether a size of a trace is that of the batch."""
    return jax_export.is_symbolic_dim(size)


def shape_of(aval: Any) -> Shape:
    """Return the shape of a traced value, with ``None`` for the batch."""
    shape = tuple(None if is_open(size) else int(size) for size in aval.shape)
    if shape.count(None) > 1:
        raise ExportError(BATCH_FIRST)
    return shape


def within_examples(value: Value, axes: Iterable[int]) -> None:
    """Let what goes along some axes pass, unless one of them is the batch.

    Raises
    ------
    ExportError
        If an example would depend on the others in its batch.
    """
    if any(value.shape[axis] is None for axis in axes):
        raise ExportError(OVER_BATCH)


def ordered(graph: Graph, value: Tensor, order: Sequence[int]) -> Tensor:
    """Return a tensor with its axes in another order in the graph."""
    wanted = tuple(order)
    if value.order == wanted:
        return value
    turn = [value.order.index(axis) for axis in wanted]
    key = (value.name, wanted)
    if key not in graph.turned:
        graph.turned[key] = graph.add("Transpose", value.name, perm=turn)
    name = graph.turned[key]
    return Tensor(name, value.shape, value.dtype, value.held, wanted)


def plain(graph: Graph, value: Value) -> Tensor:
    """Return a value as a tensor whose axes lie as the trace has them, held in its whole shape."""
    if isinstance(value, Known):
        name = graph.constant(value.array)
        value = Tensor(name, value.shape, value.dtype, value.held, tuple(range(len(value.shape))))
    return whole(graph, ordered(graph, value, range(len(value.shape))))


def whole(graph: Graph, value: Tensor) -> Tensor:
    """Return a tensor that is held in its whole shape."""
    if value.held == value.shape:
        return value
    shape = [value.shape[axis] for axis in value.order]
    if None in shape:
        sizes = [batch_size(graph) if size is None else graph.integers([size]) for size in shape]
        target = graph.add("Concat", *sizes, axis=0)
    else:
        target = graph.integers(size for size in shape if size is not None)
    return Tensor(graph.add("Expand", value.name, target), value.shape, value.dtype, value.shape, value.order)


def batch_size(graph: Graph) -> str:
    """Return the name of the number of examples, int64 ``[1]``."""
    for node in graph.nodes:
        if node.op == "Shape" and node.attributes.get("end") == 1:
            return node.output
    return graph.add("Shape", next(iter(graph.inputs)), start=0, end=1)
