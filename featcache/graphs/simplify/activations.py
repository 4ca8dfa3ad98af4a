"""Activations: ReLU and its limits, hard sigmoid and hard swish, GELU."""

import numpy as np

from featcache.graphs.graph import Graph, Node
from featcache.graphs.simplify.look import Look


def activations(graph: Graph) -> None:
    """Find activations in what they are made of."""
    look = Look(graph)
    for node in list(graph.nodes):
        if node.op in ("Max", "Min"):
            _limits(look, node)
        elif node.op == "Mul":
            any(found(look, node) for found in (_hard_sigmoid, _hard_swish, _gelu))


def _limits(look: Look, node: Node) -> None:
    """Of ``max(x, 0)`` make ReLU, of ``min(max(x, a), b)`` one node."""
    found = look.with_number(node)
    if found is None:
        return
    name, limit = found
    number = next(look.graph.constants[each] for each in node.inputs if each != name)
    inner = look.made_by(name, "Max", "Relu") if node.op == "Min" else None
    low = None if inner is None else (inner.inputs[0], 0.0) if inner.op == "Relu" else look.with_number(inner)
    if low is not None:
        if inner is not None:
            look.bypass(inner, low[0])
        bounds = [look.graph.constant(np.asarray(each, number.dtype)) for each in (low[1], limit)]
        look.replace(node, "Clip", [low[0], *bounds])
    elif node.op == "Max" and limit == 0:
        look.replace(node, "Relu", [name])


def _hard_sigmoid(look: Look, node: Node) -> bool:
    """Of ``clip(x + 3, 0, 6) / 6`` make one node: ``clip(x / 6 + 1 / 2, 0, 1)``."""
    sixth = look.with_number(node)
    clip = None if sixth is None or not np.isclose(sixth[1], 1 / 6, 1e-6) else look.made_by(sixth[0], "Clip")
    limits = None if clip is None else [look.one_number(name) for name in clip.inputs[1:]]
    shifted = None if clip is None or limits != [0.0, 6.0] else look.made_by(clip.inputs[0], "Add")
    three = look.with_number(shifted)
    if three is None or three[1] != 3:
        return False
    look.replace(node, "HardSigmoid", [three[0]], alpha=1 / 6, beta=0.5)
    return True


def _hard_swish(look: Look, node: Node) -> bool:
    """Of ``x · hard_sigmoid(x)`` make one node."""
    for x, gate in (node.inputs, node.inputs[::-1]):
        sigmoid = look.made_by(gate, "HardSigmoid")
        if sigmoid is not None and sigmoid.inputs[0] == x:
            look.replace(node, "HardSwish", [x])
            return True
    return False


def _gelu(look: Look, node: Node) -> bool:
    """Write ``0.5 x · erfc(−x / √2)`` as ``x · (1 + erf(x / √2)) · 0.5``, the form that runtimes know as GELU."""
    for half, erfc in (node.inputs, node.inputs[::-1]):
        by_half = look.with_number(look.made_by(half, "Mul"))
        one = look.with_number(look.made_by(erfc, "Add"))
        erf = None if one is None or one[1] != 1 else look.made_by(one[0], "Erf")
        turned = None if erf is None else look.made_by(erf.inputs[0], "Neg")
        argument = None if turned is None else look.made_by(turned.inputs[0], "Mul")
        root = look.with_number(argument)
        inner = None if root is None else look.made_by(root[0], "Neg")
        if by_half is None or by_half[1] != 0.5 or root is None or inner is None or erf is None:
            continue
        if inner.inputs[0] != by_half[0] or not np.isclose(root[1], np.sqrt(0.5), 1e-6):
            continue
        x, add, graph = by_half[0], look.givers[erfc], look.graph
        # The nodes are reused in their order: −x becomes x / √2, and −(…) what erf takes.
        look.replace(inner, "Div", [x, graph.constant(np.float32(np.sqrt(2.0)))])
        look.replace(erf, "Erf", [inner.output])
        times = look.givers[half]
        look.replace(times, "Identity", [x])
        product = Node("Mul", [x, add.output], [graph.name("mul")])
        graph.nodes.insert(graph.nodes.index(node), product)
        look.replace(node, "Mul", [product.output, graph.constant(np.float32(0.5))])
        return True
    return False


def ends_gelu(look: Look, name: str) -> bool:
    """Whether a value is ``x · (1 + erf(x / √2))``: the factor 1/2 behind it stays, by which runtimes know GELU."""
    product = look.made_by(name, "Mul")
    sums = [] if product is None else [look.made_by(each, "Add") for each in product.inputs]
    return any(add is not None and any(look.made_by(each, "Erf") for each in add.inputs) for add in sums)
