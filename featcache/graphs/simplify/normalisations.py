"""Means, softmax and layer normalisation, which a trace has as sums."""

import numpy as np

from featcache.graphs.graph import Graph, Node
from featcache.graphs.simplify.look import Look


def means(graph: Graph) -> None:
    """Let reductions keep the axes that are added again after them; of sums over their number make means."""
    look = Look(graph)
    for node in list(graph.nodes):
        if node.op == "Max":
            found = look.with_number(node)
            if found is not None and found[1] == float("-inf"):  # JAX's softmax has it, for what is empty
                look.bypass(node, found[0])
        elif node.op == "Unsqueeze":
            _kept_axes(look, node)
        elif node.op in ("Div", "Mul"):
            _mean(look, node)
    for node in graph.nodes:
        _global_mean(look, node)


def _kept_axes(look: Look, node: Node) -> None:
    inner = look.made_by(node.inputs[0], "ReduceSum", "ReduceMax")
    places = look.numbers(node.inputs[1])
    if inner is None or places is None or inner.attributes["keepdims"]:
        return
    if inner.op == "ReduceSum":
        axes = look.numbers(inner.inputs[1])
        same = axes is not None and list(axes) == list(places)
    else:
        same = inner.attributes["axes"] == list(places)
    if same:
        reduced = look.graph.reduced.get(inner.output)
        look.replace(node, inner.op, inner.inputs, **{**inner.attributes, "keepdims": 1})
        if reduced is not None:
            look.graph.reduced[node.output] = reduced


def _mean(look: Look, node: Node) -> None:
    found = look.with_number(node)
    total = None if found is None else look.made_by(found[0], "ReduceSum")
    reduced = None if total is None else look.graph.reduced.get(total.output)
    if found is None or total is None or reduced is None:
        return
    if any(each.dtype.kind != "f" for name in node.inputs if (each := look.numbers(name)) is not None):
        return  # a mean of whole numbers is rounded in a way of its own
    if node.op == "Div" and (found[1] != reduced.count or node.inputs[0] != found[0]):
        return
    if node.op == "Mul" and not np.isclose(found[1] * reduced.count, 1, 1e-6):
        return
    axes = look.numbers(total.inputs[1])
    assert axes is not None
    look.replace(
        node, "ReduceMean", [total.inputs[0]], axes=axes.tolist(), keepdims=total.attributes["keepdims"]
    )
    look.graph.reduced[node.output] = reduced


def _global_mean(look: Look, node: Node) -> None:
    """Of the mean over all places of maps make the operator that runtimes have for it."""
    if (
        node.op != "ReduceMean"
        or look.graph.reduced[node.output].rank != 4
        or node.attributes["axes"] != [2, 3]
    ):
        return
    graph = look.graph
    if node.attributes["keepdims"]:
        look.replace(node, "GlobalAveragePool", node.inputs)
        return
    pooled = Node("GlobalAveragePool", list(node.inputs), [graph.name("globalaveragepool")])
    graph.nodes = [each for old in graph.nodes for each in ((pooled, old) if old is node else (old,))]
    look.replace(node, "Flatten", [pooled.output], axis=1)


def normalisations(graph: Graph) -> None:
    """Find softmax and layer normalisation in what they are made of."""
    look = Look(graph)
    for node in list(graph.nodes):
        if node.op == "Div":
            _softmax(look, node)
        elif node.op == "Add":
            _layer_norm(look, node)


def _last_axis(look: Look, node: Node | None) -> int | None:
    """Return the axis of a reduction over the last axis alone that keeps it."""
    if node is None or not node.attributes["keepdims"]:
        return None
    reduced = look.graph.reduced.get(node.output)
    axes = node.attributes.get("axes")
    if axes is None:
        found = look.numbers(node.inputs[1])
        axes = None if found is None else found.tolist()
    if reduced is None or axes != [reduced.rank - 1]:
        return None
    return reduced.rank - 1


def _softmax(look: Look, node: Node) -> None:
    """Of ``exp(x − max x) / Σ exp(x − max x)`` make one node."""
    power = look.made_by(node.inputs[0], "Exp", alone=False)
    total = look.made_by(node.inputs[1], "ReduceSum")
    if power is None or total is None or look.uses[power.output] != 2 or total.inputs[0] != power.output:
        return
    gap = look.made_by(power.inputs[0], "Sub")
    largest = None if gap is None else look.made_by(gap.inputs[1], "ReduceMax")
    axis = _last_axis(look, total)
    if gap is None or largest is None or axis is None or _last_axis(look, largest) != axis:
        return
    if largest.inputs[0] == gap.inputs[0]:
        look.replace(node, "Softmax", [gap.inputs[0]], axis=axis)


def _layer_norm(look: Look, node: Node) -> None:
    """Of ``(x − m) / √(v + ε) · scale + bias`` make one node."""
    bias = look.with_constant(node)
    scaled = None if bias is None else look.made_by(bias[0], "Mul")
    scale = None if scaled is None else look.with_constant(scaled)
    normed = None if scale is None else look.made_by(scale[0], "Mul")
    if bias is None or scale is None or normed is None:
        return
    for centred, factor in (normed.inputs, normed.inputs[::-1]):
        spread = look.made_by(factor, "Reciprocal")
        root = None if spread is None else look.made_by(spread.inputs[0], "Sqrt")
        epsilon = None if root is None else look.with_number(look.made_by(root.inputs[0], "Add"))
        variance = None if epsilon is None else look.made_by(epsilon[0], "ReduceMean")
        square = None if variance is None else look.made_by(variance.inputs[0], "Mul")
        gap = look.made_by(centred, "Sub", alone=False)
        mean = None if gap is None else look.made_by(gap.inputs[1], "ReduceMean")
        if epsilon is None or variance is None or square is None or gap is None or mean is None:
            continue
        alike = square.inputs == [centred, centred] and mean.inputs[0] == gap.inputs[0]
        if not alike or look.uses[centred] != 3:
            continue
        _write_layer_norm(look, node, gap.inputs[0], (mean, variance), scale[1], bias[1], epsilon[1])
        return


def _write_layer_norm(
    look: Look,
    node: Node,
    x: str,
    reductions: tuple[Node, Node],
    scale: np.ndarray,
    bias: np.ndarray,
    epsilon: float,
) -> None:
    graph = look.graph
    axes = {each.attributes["axes"][0] for each in reductions if len(each.attributes["axes"]) == 1}
    rank = graph.reduced[reductions[0].output].rank
    if (
        len(axes) != 1
        or {scale.size, bias.size} != {graph.reduced[reductions[0].output].count}
        or not all(each.attributes["keepdims"] for each in reductions)
    ):
        return
    (axis,) = axes
    if any(each.ndim != rank or each.shape[axis] != each.size for each in (scale, bias)):
        return
    numbers = [graph.constant(each.reshape(-1), stem) for each, stem in ((scale, "scale"), (bias, "bias"))]
    if axis == rank - 1:
        look.replace(node, "LayerNormalization", [x, *numbers], axis=-1, epsilon=epsilon)
        return
    # Maps lie with their channels before their places, and the operator takes the last axis.
    turn = [each for each in range(rank) if each != axis] + [axis]
    before = Node("Transpose", [x], [graph.name("transpose")], {"perm": turn})
    normed = Node(
        "LayerNormalization",
        [before.output, *numbers],
        [graph.name("layernormalization")],
        {"axis": -1, "epsilon": epsilon},
    )
    graph.nodes = [each for old in graph.nodes for each in ((before, normed, old) if old is node else (old,))]
    look.replace(node, "Transpose", [normed.output], perm=[turn.index(each) for each in range(rank)])
