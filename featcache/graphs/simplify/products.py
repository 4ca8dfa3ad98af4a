"""Products of tokens: patches cut out of raw bytes; queries, keys and values of attention from weights of their own."""

import math
from collections.abc import Sequence

import numpy as np

from featcache.graphs.graph import Graph, Node
from featcache.graphs.simplify.look import Look


def patches(graph: Graph) -> None:
    """Take the normalisation of a picture into the product with its patches, which are then cut out of bytes."""
    # (x · s + t) W = x (s · W) + t W, where s and t are the same in every patch.
    look = Look(graph)
    for product in list(graph.nodes):
        kernel = look.numbers(product.inputs[1]) if product.op == "MatMul" else None
        if kernel is None or kernel.ndim != 2:
            continue
        name, moves = product.inputs[0], []
        while (move := look.made_by(name, "Reshape", "Transpose")) is not None:
            moves.insert(0, move)
            name = move.inputs[0]
        add = look.made_by(name, "Add")
        summand = None if add is None else look.with_constant(add)
        multiply = look.made_by(name if summand is None else summand[0], "Mul")
        factor = None if multiply is None else look.with_constant(multiply)
        cast = None if factor is None else look.made_by(factor[0], "Cast")
        if (
            not moves
            or multiply is None
            or factor is None
            or cast is None
            or cast.inputs[0] not in graph.inputs
        ):
            continue
        whole = (1, *graph.inputs[cast.inputs[0]][0])
        scale = _of_each_patch(look, factor[1], whole, moves)
        offset = _of_each_patch(look, np.zeros(1) if summand is None else summand[1], whole, moves)
        if scale is None or offset is None or len(scale) != len(kernel):
            continue
        wide = kernel.astype(np.float64)
        weights = graph.constant((wide * scale[:, None]).astype(kernel.dtype), "kernel")
        bias = graph.constant((offset @ wide).astype(kernel.dtype), "bias")
        scaled = Node("MatMul", [cast.output, weights], [graph.name("matmul")])
        place = graph.nodes.index(product)
        graph.nodes[place:place] = [
            Node("Cast", [moves[-1].output], [graph.name("cast")], cast.attributes),
            scaled,
        ]
        scaled.inputs[0] = graph.nodes[place].output
        look.replace(moves[0], moves[0].op, [cast.inputs[0], *moves[0].inputs[1:]], **moves[0].attributes)
        look.replace(product, "Add", [scaled.output, bias])


def _of_each_patch(
    look: Look, numbers: np.ndarray, shape: tuple[int, ...], moves: Sequence[Node]
) -> np.ndarray | None:
    """Return the numbers beside those of each patch, if they are the same for all; float64."""
    if np.broadcast_shapes(numbers.shape, shape) != shape:
        return None
    found = np.broadcast_to(numbers.astype(np.float64), shape)
    for move in moves:
        if move.op == "Transpose":
            found = found.transpose(move.attributes["perm"])
            continue
        sizes = look.numbers(move.inputs[1])
        if sizes is None:
            return None
        found = found.reshape(sizes)
    rows = found.reshape(-1, found.shape[-1])
    return rows[0] if (rows == rows[0]).all() else None


def parts_of_products(graph: Graph) -> None:
    """Let each part of a product that is cut in parts afterwards be a product of its own."""
    look = Look(graph)
    for shaped in list(graph.nodes):
        if shaped.op == "Reshape":
            _parts(look, shaped)


def _parts(look: Look, shaped: Node) -> None:
    graph, sizes = look.graph, look.numbers(shaped.inputs[1])
    add = look.made_by(shaped.inputs[0], "Add")
    bias = None if add is None else look.with_constant(add)
    product = look.made_by(shaped.inputs[0] if bias is None else bias[0], "MatMul")
    kernel = None if product is None else look.numbers(product.inputs[1])
    if sizes is None or product is None or kernel is None or kernel.ndim != 2:
        return
    found = [_part(look, node) for node in graph.nodes if shaped.output in node.inputs]
    if len(found) < 2 or None in found or shaped.output in graph.outputs:
        return
    cuts = [each for each in found if each is not None]
    (axis,) = {axis for axis, _, _ in cuts} if len({axis for axis, _, _ in cuts}) == 1 else (0,)
    if axis < 1 or math.prod(sizes[axis:]) != kernel.shape[1]:
        return
    if bias is not None and bias[1].shape[-1:] != (kernel.shape[1],):
        return
    width = math.prod(sizes[axis + 1 :])
    target = graph.integers([*sizes[:axis], *sizes[axis + 1 :]])
    for _, number, squeeze in cuts:
        columns = slice(number * width, (number + 1) * width)
        weights = graph.constant(kernel[:, columns], "kernel")
        nodes = [Node("MatMul", [product.inputs[0], weights], [graph.name("matmul")])]
        if bias is not None:
            summand = graph.constant(bias[1][..., columns], "bias")
            nodes.append(Node("Add", [nodes[0].output, summand], [graph.name("add")]))
        place = graph.nodes.index(squeeze)
        graph.nodes[place:place] = nodes
        look.replace(squeeze, "Reshape", [nodes[-1].output, target])


def _part(look: Look, cut: Node) -> tuple[int, int, Node] | None:
    """Return the axis and the number of the one place that a slice takes, and the node that removes the axis."""
    asked = [look.numbers(name) for name in cut.inputs[1:]] if cut.op == "Slice" else []
    if len(asked) != 4 or any(each is None or each.size != 1 for each in asked):
        return None
    first, stop, axis, step = (int(each.reshape(())) for each in asked if each is not None)
    readers = [node for node in look.graph.nodes if cut.output in node.inputs]
    if (stop - first, step) != (1, 1) or first < 0 or len(readers) != 1 or readers[0].op != "Squeeze":
        return None
    axes = look.numbers(readers[0].inputs[1])
    return (axis, first, readers[0]) if axes is not None and axes.tolist() == [axis] else None
