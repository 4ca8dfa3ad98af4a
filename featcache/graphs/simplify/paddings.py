"""Zeros that are added around a map before a convolution or a pooling become the operator's own."""

from featcache.graphs.graph import Graph
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
        if filling != (float("-inf") if node.op == "MaxPool" else 0.0):
            continue
        more = [*sizes[2:4], *sizes[6:8]]
        pads = [int(own + other) for own, other in zip(node.attributes["pads"], more, strict=True)]
        kernel = node.attributes["kernel_shape"]
        if node.op != "Conv" and any(p >= k for p, k in zip(pads, [*kernel, *kernel], strict=True)):
            continue  # which runtimes refuse
        inputs = [pad.inputs[0], *node.inputs[1:]]
        look.replace(node, node.op, inputs, **{**node.attributes, "pads": pads})
