"""Means over windows, which a trace has as sums: divided by how many numbers they have, or by those inside the map."""

import numpy as np

from featcache.graphs.graph import Graph, Node
from featcache.graphs.simplify.look import Look


def pools(graph: Graph) -> None:
    """Of a mean of windows, times their size, divided by a count, make one operator."""
    look = Look(graph)
    for node in list(graph.nodes):
        if node.op in ("Div", "Mul"):
            _mean(look, node)


def _mean(look: Look, node: Node) -> None:
    counted = look.with_constant(node)
    times = None if counted is None or node.inputs[0] != counted[0] else look.made_by(counted[0], "Mul")
    size = look.with_number(times)
    pool = None if size is None else look.made_by(size[0], "AveragePool")
    if counted is None or times is None or size is None or pool is None or pool.output in look.graph.widened:
        return
    counts = counted[1] if node.op == "Div" else 1 / counted[1].astype(np.float64)
    if counts.ndim not in (0, 4) or size[1] != np.prod(pool.attributes["kernel_shape"]):
        return
    inside = look.graph.windows.get(pool.output)
    if np.allclose(counts, size[1], rtol=1e-6, atol=0):
        attributes = pool.attributes
    elif inside is not None and inside.all() and counts.ndim == 4 and _same_everywhere(counts, inside):
        attributes = {**pool.attributes, "count_include_pad": 0}
    else:
        return
    look.replace(node, "AveragePool", pool.inputs, **attributes)


def _same_everywhere(counts: np.ndarray, inside: np.ndarray) -> bool:
    """Whether counts ``[1, 1 or C, H, W]`` (or 1 for H, W) are those of each window."""
    if (
        len(counts) != 1
        or counts.shape[2] not in (1, len(inside))
        or counts.shape[3] not in (1, inside.shape[1])
    ):
        return False
    return np.allclose(counts, inside, rtol=1e-6, atol=0)
