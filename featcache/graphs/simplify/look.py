"""What a pass asks of a graph: who gives a value, who reads it, what is constant."""

from collections.abc import Sequence

import numpy as np

from featcache.graphs.graph import Graph, Node


class Look:
    """A graph as it was when a pass began, kept up to date by what the pass says that it changes.

    Parameters
    ----------
    graph
        The graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.givers = graph.producers()
        self.uses = graph.uses()

    def made_by(self, name: str, *ops: str, alone: bool = True) -> Node | None:
        """Return the node that gives a value, if it is one of `ops`; `alone`: and one node only reads that value."""
        node = self.givers.get(name)
        if node is None or node.op not in ops or (alone and self.uses[name] != 1):
            return None
        return node

    def numbers(self, name: str) -> np.ndarray | None:
        """Return a constant's numbers; ``None`` for what is computed."""
        return self.graph.constants.get(name)

    def one_number(self, name: str) -> float | None:
        """Return a constant of one number."""
        found = self.numbers(name)
        return None if found is None or found.size != 1 else float(found.reshape(()))

    def with_constant(self, node: Node) -> tuple[str, np.ndarray] | None:
        """Return what a node with two inputs computes with a constant: the other's name, and the constant."""
        if len(node.inputs) != 2:
            return None
        for own, other in ((0, 1), (1, 0)):
            found = self.numbers(node.inputs[other])
            if found is not None and self.numbers(node.inputs[own]) is None:
                return node.inputs[own], found
        return None

    def with_number(self, node: Node | None) -> tuple[str, float] | None:
        """Return what a node computes with a single number: the other input's name, and the number."""
        found = None if node is None else self.with_constant(node)
        return None if found is None or found[1].size != 1 else (found[0], float(found[1].reshape(())))

    def replace(self, node: Node, op: str, inputs: Sequence[str], **attributes: object) -> None:
        """Let a node compute something else under the name of its output."""
        self.uses.subtract(node.inputs)
        node.op, node.inputs, node.attributes = op, list(inputs), dict(attributes)
        self.uses.update(node.inputs)

    def bypass(self, node: Node, name: str) -> None:
        """Let all that reads a node's output read `name`."""
        gone = node.output
        self.graph.rename(gone, name)
        self.uses[name] += self.uses.pop(gone, 0)
        self.uses.subtract(node.inputs)
        self.graph.remove([node])
        self.givers.pop(gone, None)
