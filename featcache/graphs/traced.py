"""Walk through the trace of a function: what depends on the input becomes nodes, all else is computed here and now."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import export as jax_export
from jax.extend.core import Literal

from featcache.errors import ExportError, did_you_mean
from featcache.graphs.graph import Graph
from featcache.graphs.known_numbers import computed
from featcache.graphs.rules import RULES
from featcache.graphs.values import BATCH, Known, Value, known, plain, tensor

_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Primitives that call a part of the trace, and the parameter that holds it."""

# What JAX raises where the open batch size would decide; its earlier versions have it in another module.
_INCONCLUSIVE: Any = getattr(jax.errors, "InconclusiveDimensionOperation", jax.errors.ConcretizationTypeError)

_DECIDES = "this model decides by its input what it computes, which is not written to ONNX here"

_COUNTS = (
    "this model computes with the number of examples in a batch (or takes one by its place), so that an example "
    "depends on the others in it"
)

UNCOUNTED = known(np.asarray(np.nan))
"""The number of examples, and what is computed with it: nothing may."""

Inputs = Mapping[str, tuple[tuple[int, ...], Any]]


def trace(function: Callable[..., Mapping[str, Any]], inputs: Inputs) -> tuple[Any, list[str]]:
    """Return a function's trace with an open batch size, and the names of its outputs in their order.

    Parameters
    ----------
    function
        Of keyword arrays ``[N, …]`` to a dict of arrays ``[N, …]``.
    inputs
        Name to ``(shape of one example, dtype)``.

    Raises
    ------
    ExportError
        If the function decides by its input, or by how many examples there are, what it computes; or if JAX, as it
        is set up, has no numbers of an input's type.
    """
    (batch,) = jax_export.symbolic_shape(BATCH)
    given = {name: jax.ShapeDtypeStruct((batch, *shape), dtype) for name, (shape, dtype) in inputs.items()}
    names: list[str] = []

    def in_order(kept: dict[str, Any]) -> list[Any]:
        found = function(**kept)
        names[:] = [str(name) for name in found]
        return list(found.values())  # of a dict, a trace would return the values by the order of their names

    for name, value in given.items():
        taken = jax.dtypes.canonicalize_dtype(value.dtype)
        if taken != value.dtype:
            raise ExportError(
                f"the input {name!r} is {value.dtype}, which JAX takes as {taken}; declare it as {taken}"
            )
    try:
        return jax.make_jaxpr(in_order)(given), names
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise ExportError(f"{_DECIDES}; JAX says: {_first_line(error)}") from error
    except _INCONCLUSIVE as error:
        raise ExportError(
            f"{_DECIDES.replace('its input', 'the size of its batch')}; JAX says: {_first_line(error)}"
        ) from error


def write_trace(graph: Graph, traced: Any) -> list[Value]:
    """Write the equations of a closed trace into a graph; return its outputs.

    Raises
    ------
    ExportError
        Naming the primitive that ONNX has no exact form of.
    """
    # A trace takes a dict's values by the order of their names.
    arguments: list[Value] = [
        tensor(name, (None, *shape), dtype) for name, (shape, dtype) in sorted(graph.inputs.items())
    ]
    found = _run(graph, traced.jaxpr, [known(np.asarray(each)) for each in traced.consts], arguments)
    if any(each is UNCOUNTED for each in found):
        raise ExportError(_COUNTS)
    return found


def _run(graph: Graph, jaxpr: Any, constants: Sequence[Value], arguments: Sequence[Value]) -> list[Value]:
    held: dict[Any, Value] = {}

    def read(variable: Any) -> Value:
        if isinstance(variable, Literal):
            aval: Any = variable.aval
            return known(np.asarray(variable.val, aval.dtype))  # Python's whole numbers would be int64
        return held[variable]

    held.update(zip(jaxpr.constvars, constants, strict=True))
    held.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        found = _equation(graph, equation, [read(variable) for variable in equation.invars])
        held.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _equation(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    name = equation.primitive.name
    if name == "platform_index":
        return [known(np.int32(_portable(equation.params["platforms"])))]
    if name == "cond":
        return _chosen(graph, equation, inputs)
    if name in _CALLS:
        called = equation.params[_CALLS[name]]
        inner, constants = (called.jaxpr, called.consts) if hasattr(called, "consts") else (called, ())
        return _run(graph, inner, [known(np.asarray(each)) for each in constants], inputs)
    if name == "dim_as_value" or any(each is UNCOUNTED for each in inputs):
        return _counted(equation, inputs)
    numbers = [each for each in inputs if isinstance(each, Known)]
    if len(numbers) == len(inputs):
        found = computed(equation, numbers)
        if found is not None:
            return [*found]
        inputs = [plain(graph, each) if None in each.shape else each for each in numbers]
    if name not in RULES:
        raise ExportError(
            f"this model cannot be exported as it is computed: ONNX has no exact form here of JAX's {name!r}"
            f"{_where(equation)} ({did_you_mean(name, RULES)}); leave out what it is of, or export features of a "
            "layer before it"
        )
    found = RULES[name](graph, equation, *inputs)
    return found if isinstance(found, list) else [found]


def _counted(equation: Any, inputs: Sequence[Value]) -> list[Value]:
    """Follow the number of examples as far as nothing depends on it.

    Where a part begins (``lax.dynamic_slice``), JAX adds an axis' size to what is negative: for the batch, too, though
    it begins at 0.
    """
    choice = inputs[0] if equation.primitive.name == "select_n" else None
    if isinstance(choice, Known) and choice.array.size == 1:
        return [inputs[1 + int(choice.array.reshape(()))]]
    if all(isinstance(each, Known) for each in inputs):
        return [UNCOUNTED] * len(equation.outvars)
    raise ExportError(_COUNTS)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _portable(platforms: Sequence[Any]) -> int:
    """Return the branch for platforms that are not named: the one without what is only fast on a CPU in XLA."""
    for number, platform in enumerate(platforms):
        if platform is None:
            return number
    return len(platforms) - 1


def _chosen(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    index, *arguments = inputs
    if not isinstance(index, Known) or index is UNCOUNTED:
        raise ExportError(
            f"{_DECIDES} (JAX's 'cond'{_where(equation)}); export features of a layer before it"
        )
    branches = equation.params["branches"]
    branch = branches[min(max(int(index.array), 0), len(branches) - 1)]
    return _run(graph, branch.jaxpr, [known(np.asarray(each)) for each in branch.consts], arguments)


def _where(equation: Any) -> str:
    """Return in which function a primitive is, as far as its trace knows."""
    stack = str(equation.source_info.name_stack)
    return f" in {stack}" if stack else ""
