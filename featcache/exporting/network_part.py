"""Which nodes of an exported model are the network: what makes features of normalised pictures.

Quantisation is for these alone. What stands before them (normalisation) and behind (head, softmax, distance) is little
work, and is where rounding hurts.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

PREDICTIONS = ("probabilities", "logits", "values", "distance")
"""Outputs that a head gives; all others are features."""

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Operators that layers with weights are made of."""


def constants(model: "onnx.ModelProto") -> dict[str, "onnx.TensorProto"]:
    """Return a model's constants by name."""
    return {each.name: each for each in model.graph.initializer}


def is_layer(node: "onnx.NodeProto", known: "dict[str, onnx.TensorProto]") -> bool:
    """Whether a node is a convolution or a product with weights, and not of two values that are computed."""
    return node.op_type in PRODUCTS and any(name in known for name in node.input[:2])


def network_part(model: "onnx.ModelProto") -> "list[onnx.NodeProto]":
    """Return the nodes from the first layer with weights to the features, in their order.

    Of a model without features, such as a backbone's own classes, the last layer is the head, and is left out.
    """
    known = constants(model)
    outputs = [each.name for each in model.graph.output]
    features = [name for name in outputs if name not in PREDICTIONS]
    behind: set[str] = set()
    if not features:
        features = outputs
        layers = [node for node in _before(model, outputs) if is_layer(node, known)]
        behind = _reached(model, layers[-1:])
    before = {node.name for node in _before(model, features)}
    found: list[onnx.NodeProto] = []
    after: set[str] = set()
    for node in model.graph.node:
        if is_layer(node, known) or after & set(node.input):
            after.update(node.output)
            if node.name in before and node.name not in behind:
                found.append(node)
    return found


def _before(model: "onnx.ModelProto", names: list[str]) -> "list[onnx.NodeProto]":
    """Return the nodes that values depend on."""
    needed, found = set(names), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            found.append(node)
            needed.update(node.input)
    return found[::-1]


def _reached(model: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> set[str]:
    """Return the names of nodes, and of all that depend on them."""
    names = {node.name for node in nodes}
    values = {name for node in nodes for name in node.output}
    for node in model.graph.node:
        if values & set(node.input):
            names.add(node.name)
            values.update(node.output)
    return names


def with_nodes(model: "onnx.ModelProto", nodes: Iterable[Any], tensors: Iterable[Any]) -> "onnx.ModelProto":
    """Return a model with other nodes and constants, and all else as it was."""
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    del found.graph.node[:], found.graph.initializer[:], found.graph.value_info[:]
    found.graph.node.extend(nodes)
    found.graph.initializer.extend(tensors)
    return found
