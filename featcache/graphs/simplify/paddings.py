"""Zeros that are added around a map before a convolution or a pooling become the operator's own."""

import numpy as np

from featcache.graphs.graph import Graph, Node
from featcache.graphs.simplify.look import Look


def paddings(graph: Graph) -> None:
    """Take paddings of height and width into the convolutions and poolings that read them."""
    look = Look(graph)
    for node in list(graph.nodes):
        if node.op not in ("Conv", "MaxPool", "AveragePool"):
            continue
        pad = look.made_by(node.inputs[0], "Pad", alone=False)
        sizes = None if pad is None else look.numbers(pad.inputs[1])
        filling = None if pad is None else look.one_number(pad.inputs[2])
        if pad is None or sizes is None or len(sizes) != 8 or any((*sizes[:2], *sizes[4:6])):
            continue
        if node.op == "MaxPool" and filling == 0:
            _apart(graph, node)
        if filling != (float("-inf") if node.op == "MaxPool" else 0.0):
            continue
        more = [*sizes[2:4], *sizes[6:8]]
        pads = [int(own + other) for own, other in zip(node.attributes["pads"], more, strict=True)]
        kernel = node.attributes["kernel_shape"]
        if node.op != "Conv" and any(p >= k for p, k in zip(pads, [*kernel, *kernel], strict=True)):
            continue  # which runtimes refuse
        inputs = [pad.inputs[0], *node.inputs[1:]]
        look.replace(node, node.op, inputs, **{**node.attributes, "pads": pads})


def _apart(graph: Graph, pool: Node) -> None:
    """Keep zeros around a map out of its pooling.

    onnxruntime 1.20 takes them for the pooling's own padding, which is −∞: 1.5e-4 of ResNet50 V2's features. A largest
    value with −∞ between the two changes nothing and keeps it from that.
    """
    least = graph.constant(np.float32(-np.inf))
    same = Node("Max", [pool.inputs[0], least], [graph.name("max")])
    graph.nodes.insert(graph.nodes.index(pool), same)
    pool.inputs[0] = same.output
