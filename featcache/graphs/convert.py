"""A JAX function as an ONNX model."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.errors import ExportError
from featcache.graphs.graph import Graph, Node
from featcache.graphs.sessions import unusable
from featcache.graphs.simplify import simplify
from featcache.graphs.traced import Inputs, trace, write_trace
from featcache.graphs.values import BATCH, is_open, plain

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""Version of ONNX's operators: the first with layer normalisation, and one that every runtime in use reads."""

IR_VERSION = 9
"""Version of the file's form: that of onnxruntime 1.17 (2024) and later."""

MOST_BYTES = 2**31 - 2**20
"""What a file may have: protobuf's limit, less the nodes."""


def require_onnx() -> Any:
    """Return the package `onnx`.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    FeatcacheError
        If it is, and cannot be imported.
    """
    try:
        import onnx
    except Exception as error:
        raise unusable("onnx", "writing ONNX models", error) from error
    return onnx


def graph_of(function: Callable[..., Mapping[str, Any]], inputs: Inputs) -> Graph:
    """Return a function as a graph.

    Parameters
    ----------
    function
        JAX function of keyword arrays ``[N, …]`` to a dict of arrays ``[N, …]``, the same for an example whatever the
        others in its batch are.
    inputs
        Name to ``(shape of one example, dtype)``.

    Raises
    ------
    ExportError
        Naming the primitive that ONNX has no exact form of; or the output that is not one row an example, or has an
        input's name.
    """
    traced, names = trace(function, inputs)
    _check_outputs(inputs, dict(zip(names, traced.out_avals, strict=True)))
    graph = Graph(dict(inputs), taken=frozenset(names))
    for name, value in zip(names, write_trace(graph, traced), strict=True):
        found = plain(graph, value)
        # A node of its own, so that the name is the caller's, and two outputs may be one value.
        graph.nodes.append(Node("Identity", [found.name], [name]))
        graph.outputs[name] = found.shape, found.dtype
    simplify(graph)
    return graph


def _check_outputs(inputs: Inputs, outputs: Mapping[str, Any]) -> None:
    if not outputs:
        raise ExportError("this function returns nothing; an ONNX model has one output at least")
    for name, aval in outputs.items():
        shape = ", ".join(map(str, aval.shape))
        if name in inputs:
            raise ExportError(
                f"an input and an output are both called {name!r}; an ONNX model has one value of a name"
            )
        if not any(is_open(size) for size in aval.shape):
            raise ExportError(f"the output {name!r} is the same for every image: ({shape}), not [N, …]")
        if str(aval.shape[0]) != BATCH:
            raise ExportError(f"the output {name!r} is no row for each image: ({shape}), not [N, …]")


def onnx_model(
    function: Callable[..., Mapping[str, Any]],
    inputs: Inputs,
    *,
    metadata: Mapping[str, str] | None = None,
    doc: str = "",
) -> "onnx.ModelProto":
    """Return a function as an ONNX model with an open batch size ``N``.

    Parameters
    ----------
    function, inputs
        See `graph_of`.
    metadata
        What the model says about itself (``metadata_props``).
    doc
        Its description.

    Raises
    ------
    ExportError
        Naming the primitive that ONNX has no exact form of; or if the model is larger than one file may be.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    require_onnx()
    graph = graph_of(function, inputs)
    return model_of(graph, metadata=metadata or {}, doc=doc)


def model_of(graph: Graph, *, metadata: Mapping[str, str], doc: str = "") -> "onnx.ModelProto":
    """Return a finished graph as an ONNX model."""
    require_onnx()
    from onnx import helper, numpy_helper

    size = sum(array.nbytes for array in graph.constants.values())
    if size > MOST_BYTES:
        raise ExportError(
            f"this model has {size / 1e9:.1f} GB of numbers, and one ONNX file holds 2 GB; take a smaller backbone"
        )

    def value(name: str, shape: Any, dtype: Any) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, [BATCH if each is None else each for each in shape])

    nodes = []
    for node in graph.nodes:
        given: dict[str, Any] = {
            name: helper.np_dtype_to_tensor_dtype(each) if isinstance(each, np.dtype) else each
            for name, each in node.attributes.items()
        }
        nodes.append(helper.make_node(node.op, node.inputs, node.outputs, name=node.output, **given))
    made = helper.make_graph(
        nodes,
        "featcache",
        [value(name, (None, *shape), dtype) for name, (shape, dtype) in graph.inputs.items()],
        [value(name, shape, dtype) for name, (shape, dtype) in graph.outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, producer_name="featcache", opset_imports=opsets, ir_version=IR_VERSION)
    model.doc_string = doc
    helper.set_model_props(model, dict(metadata))
    return model
