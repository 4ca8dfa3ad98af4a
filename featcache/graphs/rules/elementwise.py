"""Primitives that treat every number by itself: arithmetic, comparisons, functions of one variable."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from featcache.errors import ExportError
from featcache.graphs.graph import Graph
from featcache.graphs.values import Known, Shape, Tensor, Value, ordered, shape_of


def _held_together(shapes: Sequence[Shape]) -> Shape:
    """Return the shape that values held in these shapes give together."""
    return tuple(
        max(sizes, key=lambda size: (size is None, size or 0)) for sizes in zip(*shapes, strict=True)
    )


def joined(graph: Graph, values: Sequence[Value]) -> tuple[list[str], tuple[int, ...], Shape]:
    """Return the names of values whose axes lie in one order, that order, and the shape that they give together.

    The order is that of the largest of them that is no plain one, so that maps stay as they are convolved.
    """
    tensors = [value for value in values if isinstance(value, Tensor)]
    rank = max(len(value.shape) for value in values)
    turned = [value for value in tensors if not value.plain and len(value.shape) == rank]
    most = max(turned, key=lambda value: sum(size != 1 for size in value.held), default=None)
    order = most.order if most else tuple(range(rank))
    names = []
    for value in values:
        if isinstance(value, Known):
            scalar = value.array.ndim == 0 or value.array.size == 1
            names.append(graph.constant(value.array.reshape(()) if scalar else value.array.transpose(order)))
        else:
            names.append(ordered(graph, value, order).name if len(value.shape) == rank else value.name)
    held = [value.held if len(value.shape) == rank else (1,) * rank for value in values]
    return names, order, _held_together(held)


def write(op: str, graph: Graph, equation: Any, *inputs: Value, **attributes: Any) -> Tensor:
    """Write one node that treats each number by itself."""
    (out,) = equation.outvars
    names, order, held = joined(graph, inputs)
    name = graph.add(op, *names, **attributes)
    own = [each.held for each in inputs if isinstance(each, Tensor) and len(each.held) == len(held)]
    if not own or _held_together(own) != held:
        graph.widened.add(name)
    return Tensor(name, shape_of(out.aval), out.aval.dtype, held, order)


def _chain(*ops: str) -> Callable[..., Tensor]:
    """Return the rule of functions of one variable, applied one after the other."""

    def rule(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        name = x.name
        for op in ops:
            name = graph.add(op, name)
        (out,) = equation.outvars
        return Tensor(name, x.shape, out.aval.dtype, x.held, x.order)

    return rule


def _same(graph: Graph, equation: Any, *inputs: Value) -> list[Value]:
    del graph, equation
    return list(inputs)


def _square(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    return write("Mul", graph, equation, x, x)


def _erfc(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    # erfc(x) = 1 − erf(x) = 1 + erf(−x). Where x is large and positive 1 − erf(x) is off by half a unit of 1, 6e-8,
    # which GELU multiplies by x / 2: 3e-7 at most, because beyond x = 4 both are 0.
    turned = graph.add("Neg", x.name)
    one = graph.constant(np.asarray(1, x.dtype))
    name = graph.add("Add", graph.add("Erf", turned), one)
    return Tensor(name, x.shape, x.dtype, x.held, x.order)


def _integer_power(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    power = equation.params["y"]
    if power == 2:
        return _square(graph, equation, x)
    name = graph.add("Pow", x.name, graph.constant(np.asarray(power, x.dtype)))
    return Tensor(name, x.shape, x.dtype, x.held, x.order)


def _convert(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    (out,) = equation.outvars
    if x.dtype == out.aval.dtype:
        return x
    if str(out.aval.dtype) == "bfloat16":
        raise ExportError(
            "this model computes in bfloat16, which ONNX's operators do not; export it in float32"
        )
    name = graph.add("Cast", x.name, to=np.dtype(out.aval.dtype))
    return Tensor(name, x.shape, out.aval.dtype, x.held, x.order)


def _select(graph: Graph, equation: Any, which: Value, *cases: Value) -> Tensor:
    if len(cases) != 2:
        raise ExportError(f"a choice between {len(cases)} values, where ONNX has one between two")
    no, yes = cases
    if which.dtype != np.bool_:
        raise ExportError(f"a choice by numbers ({which.dtype}), where ONNX has one by true and false")
    return write("Where", graph, equation, which, yes, no)


def _clamp(graph: Graph, equation: Any, low: Value, x: Value, high: Value) -> Tensor:
    (out,) = equation.outvars
    above = write("Max", graph, equation, x, low)
    names, order, held = joined(graph, [above, high])
    return Tensor(graph.add("Min", *names), shape_of(out.aval), out.aval.dtype, held, order)


def _is_finite(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    # x − x is 0 for finite numbers, and NaN for infinite ones and NaN.
    gap = graph.add("Sub", x.name, x.name)
    name = graph.add("Equal", gap, graph.constant(np.asarray(0, x.dtype)))
    (out,) = equation.outvars
    return Tensor(name, x.shape, out.aval.dtype, x.held, x.order)


def _not_equal(graph: Graph, equation: Any, x: Value, y: Value) -> Tensor:
    equal = write("Equal", graph, equation, x, y)
    return Tensor(graph.add("Not", equal.name), equal.shape, equal.dtype, equal.held, equal.order)


def _round(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    if int(equation.params["rounding_method"]) != 1:
        raise ExportError("ONNX rounds halves to even numbers (jnp.round), not away from zero (lax.round)")
    return write("Round", graph, equation, x)


def _divide(graph: Graph, equation: Any, x: Value, y: Value) -> Tensor:
    return write("Div", graph, equation, x, y)


def _logical(op: str, graph: Graph, equation: Any, *inputs: Value) -> Tensor:
    if inputs[0].dtype != np.bool_:
        raise ExportError(
            f"JAX's {equation.primitive.name!r} of the bits of {inputs[0].dtype} is not written to ONNX here; of true "
            "and false it is"
        )
    return write(op, graph, equation, *inputs)


_BINARY = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
}
_LOGICAL = {"and": "And", "or": "Or", "not": "Not"}
_UNARY = {
    "neg": ("Neg",),
    "abs": ("Abs",),
    "sign": ("Sign",),
    "floor": ("Floor",),
    "ceil": ("Ceil",),
    "exp": ("Exp",),
    "log": ("Log",),
    "tanh": ("Tanh",),
    "sqrt": ("Sqrt",),
    "rsqrt": ("Sqrt", "Reciprocal"),
    "erf": ("Erf",),
    "logistic": ("Sigmoid",),
    "sin": ("Sin",),
    "cos": ("Cos",),
}

RULES: Mapping[str, Callable[..., Any]] = {
    **{name: partial(write, op) for name, op in _BINARY.items()},
    **{name: _chain(*ops) for name, ops in _UNARY.items()},
    **{name: partial(_logical, op) for name, op in _LOGICAL.items()},
    "div": _divide,
    "rem": partial(write, "Mod", fmod=1),  # the remainder has the sign of what is divided, as in C
    "round": _round,
    "ne": _not_equal,
    "square": _square,
    "integer_pow": _integer_power,
    "erfc": _erfc,
    "is_finite": _is_finite,
    "convert_element_type": _convert,
    "select_n": _select,
    "clamp": _clamp,
    "stop_gradient": _same,
    "copy": _same,
    "copy_p": _same,
    "optimization_barrier": _same,
}
