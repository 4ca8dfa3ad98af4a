"""Factors and summands beside a convolution or a product with constant weights become part of the weights."""

import numpy as np

from featcache.graphs.graph import Graph, Node
from featcache.graphs.simplify.activations import ends_gelu
from featcache.graphs.simplify.look import Look


def outputs_into_weights(graph: Graph) -> None:
    """Take what a layer's output is multiplied by, and what is added to it, into its weights: batch normalisation."""
    # (x ∗ k + b) · s + t = x ∗ (k · s) + (b · s + t), channel by channel; in float64, rounded once.
    look = Look(graph)
    for node in list(graph.nodes):
        found = look.with_constant(node) if node.op in ("Mul", "Add", "Sub", "Div") else None
        if found is None or (node.op in ("Sub", "Div") and look.numbers(node.inputs[1]) is None):
            continue
        name, numbers = found
        if numbers.dtype.kind != "f":
            continue
        values = numbers.astype(np.float64)
        if node.op == "Div":
            values = 1 / values
        if node.op == "Sub":
            values = -values
        scales = node.op in ("Mul", "Div")
        layer = look.made_by(name, "Conv", "MatMul", "Add")
        if layer is None:
            continue
        if layer.op == "Conv":
            done = _into_convolution(look, layer, values, scales=scales)
        elif layer.op == "MatMul":
            done = scales and _into_product(look, layer, values)
            if node.op == "Sub":  # a bias, into which what follows can go
                look.replace(node, "Add", [name, look.graph.constant(-numbers, "bias")])
        else:
            done = _into_biased_product(look, layer, values, scales=scales)
        if done:
            look.bypass(node, name)


def _by_channel(values: np.ndarray, channels: int, axis: int) -> np.ndarray | None:
    """Return one number a channel, of constants along `axis` (counted from the end) alone."""
    if values.size == 1:
        return np.full(channels, values.reshape(()))
    if values.size != channels or values.ndim < -axis or values.shape[axis] != channels:
        return None
    return values.reshape(-1)


def _into_convolution(look: Look, layer: Node, values: np.ndarray, *, scales: bool) -> bool:
    kernel = look.numbers(layer.inputs[1])
    if kernel is None or kernel.ndim != 4:
        return False
    channel = _by_channel(values, kernel.shape[0], -3)
    if channel is None:
        return False
    bias = np.zeros(kernel.shape[0])
    if len(layer.inputs) == 3:
        held = look.numbers(layer.inputs[2])
        if held is None:
            return False
        bias = held.astype(np.float64)
    inputs = [layer.inputs[0], layer.inputs[1]]
    if scales:
        bias = bias * channel
        scaled = kernel.astype(np.float64) * channel[:, None, None, None]
        inputs[1] = look.graph.constant(scaled.astype(kernel.dtype), "kernel")
    else:
        bias = bias + channel
    if np.any(bias) or len(layer.inputs) == 3:
        inputs.append(look.graph.constant(bias.astype(kernel.dtype), "bias"))
    look.replace(layer, "Conv", inputs, **layer.attributes)
    return True


def _into_product(look: Look, layer: Node, values: np.ndarray) -> bool:
    kernel = look.numbers(layer.inputs[1])
    channel = None if kernel is None or kernel.ndim != 2 else _by_channel(values, kernel.shape[1], -1)
    if kernel is None or channel is None:
        return False
    scaled = (kernel.astype(np.float64) * channel).astype(kernel.dtype)
    look.replace(layer, "MatMul", [layer.inputs[0], look.graph.constant(scaled, "kernel")])
    return True


def _into_biased_product(look: Look, add: Node, values: np.ndarray, *, scales: bool) -> bool:
    """Take factors into a product and its bias, or summands into the bias."""
    found = look.with_constant(add)
    layer = None if found is None else look.made_by(found[0], "MatMul")
    kernel = None if layer is None else look.numbers(layer.inputs[1])
    if found is None or layer is None or kernel is None or kernel.ndim != 2:
        return False
    channels = kernel.shape[1]
    bias, channel = (_by_channel(each.astype(np.float64), channels, -1) for each in (found[1], values))
    if bias is None or channel is None or (scales and not _into_product(look, layer, values)):
        return False
    bias = bias * channel if scales else bias + channel
    look.replace(add, "Add", [layer.output, look.graph.constant(bias.astype(kernel.dtype), "bias")])
    return True


def inputs_into_weights(graph: Graph) -> None:
    """Take what a convolution's input is multiplied by into its weights, and what is added to it, where that can be.

    With a padding, zeros are added after the summand: it stays, divided by the factor.
    """
    # (x · s + t) ∗ k = x ∗ (s · k) + Σ t · k without a padding, and (x + t / s) ∗ (s · k) with one.
    look = Look(graph)
    for layer in list(graph.nodes):
        kernel = look.numbers(layer.inputs[1]) if layer.op == "Conv" else None
        if kernel is None or kernel.ndim != 4 or layer.attributes["group"] != 1:
            continue
        add = look.made_by(layer.inputs[0], "Add")
        offset = None if add is None else look.with_constant(add)
        multiply = look.made_by(layer.inputs[0] if offset is None else offset[0], "Mul")
        factor = None if multiply is None else look.with_constant(multiply)
        if multiply is None or factor is None or ends_gelu(look, factor[0]):
            continue
        if {multiply.output, *layer.inputs[:1]} & graph.widened:
            continue  # the constants make channels of one, which a kernel cannot
        scale = _by_channel(factor[1].astype(np.float64), kernel.shape[1], -3)
        shift = np.zeros(kernel.shape[1])
        if offset is not None:
            shift = _by_channel(offset[1].astype(np.float64), kernel.shape[1], -3)
        if scale is None or shift is None or not np.all(scale):
            continue
        wide = kernel.astype(np.float64)
        inputs = [
            layer.inputs[0],
            graph.constant((wide * scale[:, None, None]).astype(kernel.dtype), "kernel"),
        ]
        bias = look.numbers(layer.inputs[2]) if len(layer.inputs) == 3 else np.zeros(len(kernel))
        if bias is None:
            continue
        if any(layer.attributes["pads"]):
            if add is not None:
                summand = (shift / scale).astype(kernel.dtype)[None, :, None, None]
                look.replace(add, "Add", [multiply.output, graph.constant(summand, "offset")])
        else:
            bias = bias + np.einsum("ocij,c->o", wide, shift)
            inputs[0] = multiply.output
        inputs.append(graph.constant(np.asarray(bias).astype(kernel.dtype), "bias"))
        look.replace(layer, "Conv", inputs, **layer.attributes)
        look.bypass(multiply, factor[0])


def factors_and_summands(graph: Graph) -> None:
    """Write what is left of normalisations of maps, which no weights could take, as one operator: ``x · s + t``."""
    # Runtimes compute it beside the convolutions, in the form that they keep maps in.
    look = Look(graph)
    for node in list(graph.nodes):
        summand = look.with_constant(node) if node.op == "Add" else None
        multiply = None if summand is None else look.made_by(summand[0], "Mul")
        factor = None if multiply is None else look.with_constant(multiply)
        if summand is None or multiply is None or factor is None:
            continue
        channels = factor[1].size
        if {node.output, multiply.output} & graph.widened or factor[1].dtype != np.float32:
            continue
        if any(each.shape != (1, channels, 1, 1) for each in (factor[1], summand[1])):
            continue
        scale, offset = (graph.constant(each.reshape(-1), "scale") for each in (factor[1], summand[1]))
        mean, variance = (graph.constant(np.full(channels, each, np.float32)) for each in (0, 1))
        look.replace(node, "BatchNormalization", [factor[0], scale, offset, mean, variance], epsilon=0.0)
