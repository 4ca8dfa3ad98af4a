"""Primitives on numbers that do not depend on the input: computed while the graph is written, in numpy where it can.

JAX would compile a program for every shape; a network has some thousand such primitives (of batch normalisations).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from featcache.errors import ExportError
from featcache.graphs.values import BATCH, OVER_BATCH, Known, Shape, is_open, shape_of

_ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "square": np.square,
    "exp": np.exp,
    "log": np.log,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "stop_gradient": lambda x: x,
    "copy": lambda x: x,
    "copy_p": lambda x: x,
}
"""Those that give the same for numbers repeated along an axis as for one of them."""


def computed(equation: Any, inputs: Sequence[Known]) -> list[Known] | None:
    """Return what an equation of a trace gives for known numbers; ``None`` where that depends on the batch's size.

    Numbers that are repeated along the batch are held once. A reshape that merges the batch with an axis along which
    they differ cannot be computed so, nor what goes along the batch (`along_batch`).
    """
    with np.errstate(all="ignore"):  # −∞ and NaN are what the trace says, and pass on as they would
        return _computed(equation, inputs)


def along_batch(equation: Any, inputs: Sequence[Known]) -> bool:
    """Whether an equation on known numbers goes along the batch, or asks how many examples it has."""
    asked = equation.params
    if not inputs:  # a range, or the size itself
        return any(is_open(size) for size in (*asked.get("shape", ()), asked.get("dim")))
    batch = {value.shape.index(None) for value in inputs if None in value.shape}
    if not batch:
        return False
    along = [asked.get(name) for name in ("axes", "axis", "dimension", "dimensions")]
    axes = {axis for each in along for axis in (each if isinstance(each, tuple) else (each,))}
    lost = any(None not in shape_of(variable.aval) for variable in equation.outvars)
    moves_axes = equation.primitive.name in ("squeeze", "expand_dims", "transpose", "reshape")
    return lost or (not moves_axes and bool(batch & axes))


def _computed(equation: Any, inputs: Sequence[Known]) -> list[Known] | None:
    if along_batch(equation, inputs):
        return None
    name = equation.primitive.name
    shapes = [shape_of(variable.aval) for variable in equation.outvars]
    types = [variable.aval.dtype for variable in equation.outvars]
    if name == "broadcast_in_dim":
        _as_batch(equation.outvars[0].aval.shape)
        return [broadcast(inputs[0], shapes[0], equation.params["broadcast_dimensions"])]
    if name == "convert_element_type":
        return [Known(inputs[0].array.astype(types[0]), shapes[0])]
    if name in _ELEMENTWISE:
        found = np.asarray(_ELEMENTWISE[name](*(each.array for each in inputs)), types[0])
        return [Known(found, shapes[0])]
    if name == "rsqrt":
        return [Known(np.asarray(1 / np.sqrt(inputs[0].array), types[0]), shapes[0])]
    if name == "div" and np.issubdtype(types[0], np.floating):
        return [Known(np.asarray(inputs[0].array / inputs[1].array, types[0]), shapes[0])]
    # Of numbers that are repeated along the batch one is computed, as for a batch of one.
    asked = {key: _of_one(value) for key, value in equation.params.items()}
    sizes = [tuple(1 if size is None else size for size in shape) for shape in shapes]
    if name in ("reshape", "squeeze", "expand_dims"):
        numbers = inputs[0].dense()
        return [Known(numbers.reshape(sizes[0]), shapes[0])] if numbers.size == np.prod(sizes[0]) else None
    if name == "transpose":
        return [Known(inputs[0].array.transpose(asked["permutation"]), shapes[0])]
    with jax.default_device(jax.devices("cpu")[0]):
        values = equation.primitive.bind(*(each.dense() for each in inputs), **asked)
    parts = values if equation.primitive.multiple_results else [values]
    return [Known(np.asarray(part), shape) for part, shape in zip(parts, shapes, strict=True)]


def _as_batch(shape: Sequence[Any]) -> None:
    if any(is_open(size) and str(size) != BATCH for size in shape):
        raise ExportError(OVER_BATCH)  # 2 N examples, or N + 1


def _of_one(asked: Any) -> Any:
    """Return a parameter of a primitive for a batch of one example."""
    if isinstance(asked, tuple) and asked and all(isinstance(each, int) or is_open(each) for each in asked):
        return tuple(1 if is_open(each) else each for each in asked)
    return asked


def broadcast(value: Known, shape: Shape, axes: Sequence[int]) -> Known:
    """Return numbers repeated to a shape, whose axes `axes` theirs are."""
    held = [1] * len(shape)
    for own, axis in enumerate(axes):
        held[axis] = value.array.shape[own]
    return Known(value.array.reshape(held), shape)
