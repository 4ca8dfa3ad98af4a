"""A picture is turned around while it is bytes: a quarter of what moves when it is numbers."""

from featcache.graphs.graph import Graph
from featcache.graphs.simplify.activations import ends_gelu
from featcache.graphs.simplify.look import Look


def transposes(graph: Graph) -> None:
    """Move transposes before what treats every number by itself, with constants or none."""
    look = Look(graph)
    for node in list(graph.nodes):
        while node.op == "Transpose" and _moved(look, graph.nodes.index(node)):
            pass


def _moved(look: Look, place: int) -> bool:
    """Swap a transpose with the node before it: what that node reads is turned, and its output is as it was to be."""
    graph = look.graph
    node = graph.nodes[place]
    before = look.made_by(node.inputs[0], "Cast", "Mul", "Add", "Sub", "Div", "Pad")
    if before is None or ends_gelu(look, before.inputs[0]):
        return False
    turn = node.attributes["perm"]
    rest: list[str] = []
    if before.op == "Pad":
        sizes = look.numbers(before.inputs[1])
        if sizes is None:
            return False
        low, high = sizes.reshape(2, -1)
        rest = [graph.integers([*low[turn], *high[turn]]), *before.inputs[2:]]
    inputs, source = [], ""
    for name in before.inputs[:1] if rest else before.inputs:
        numbers = look.numbers(name)
        if numbers is None and source:
            return False
        if numbers is None:
            source = name
            inputs.append(node.output)
        elif numbers.ndim in (0, len(turn)):
            inputs.append(name if numbers.size == 1 else graph.constant(numbers.transpose(turn)))
        else:
            return False
    if not source:
        return False
    # The transpose takes the earlier place, and the name of its output goes to the other node.
    first, second = graph.nodes.index(before), place
    op, attributes, output = before.op, before.attributes, node.output
    inner = before.output
    graph.nodes[first], graph.nodes[second] = node, before
    look.replace(
        before, op, [*(inner if name == node.output else name for name in inputs), *rest], **attributes
    )
    look.replace(node, "Transpose", [source], perm=turn)
    before.outputs, node.outputs = [output], [inner]
    if inner in graph.widened:
        graph.widened.discard(inner)
        graph.widened.add(output)
    look.givers[output], look.givers[inner] = before, node
    return True
