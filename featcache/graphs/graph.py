"""A graph while it is written: nodes in the order of the data, and the constants that they use."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Node:
    """One operator: its name in ONNX, the names of what it reads and of what it gives, and its attributes."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The name of its first output."""
        return self.outputs[0]


@dataclass(frozen=True)
class Reduction:
    """What a reduction reads: how many numbers become one, the order of its axes, and the places that are gone."""

    count: int
    order: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Number of axes of what it reads."""
        return len(self.order)

    @property
    def gone(self) -> list[int]:
        """The axes of what it reads that its output does not have."""
        return sorted(self.order[place] for place in self.places)

    @property
    def order_left(self) -> tuple[int, ...]:
        """The order of its output's axes."""
        left = [axis for axis in range(self.rank) if axis not in self.gone]
        return tuple(left.index(axis) for axis in self.order if axis in left)


@dataclass
class Graph:
    """Nodes, constants, and which values come in and go out.

    Parameters
    ----------
    inputs
        Name to ``(shape of one example, dtype)``.
    outputs
        Name to ``(shape with None for the batch, dtype)``; each is the output of a node.
    reduced
        What is known of each reduction's output.
    widened
        What constants repeated along an axis: maps of one channel that became three, say.
    windows
        Of each mean over windows whose padding counts: how many numbers of the map itself are in each, ``[H, W]``.
    turned
        Value and order of its axes to the transpose that gives it so.
    taken
        Names that nodes in between may not have, because outputs have them.
    """

    inputs: dict[str, tuple[tuple[int, ...], Any]]
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    outputs: dict[str, tuple[tuple[int | None, ...], Any]] = field(default_factory=dict)
    reduced: dict[str, Reduction] = field(default_factory=dict)
    windows: dict[str, np.ndarray] = field(default_factory=dict)
    widened: set[str] = field(default_factory=set)
    taken: frozenset[str] = frozenset()
    turned: dict[tuple[str, tuple[int, ...]], str] = field(default_factory=dict)
    _named: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def name(self, stem: str) -> str:
        """Return a name that nothing has yet."""
        while True:
            self._named[stem] += 1
            name = f"{stem}_{self._named[stem]}"
            if name not in self.taken and name not in self.inputs:
                return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; return the name of its first output (with several, see ``nodes[-1].outputs``)."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        given = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(Node(op, list(inputs), names, given))
        return names[0]

    def constant(self, value: Any, stem: str = "constant") -> str:
        """Return the name of a constant; small ones that are equal share it."""
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= 256 else ()
        if key and self._known.get(key) in self.constants:  # else none has it, or it was removed
            return self._known[key]
        name = self.name(stem)
        self.constants[name] = array
        if key:
            self._known[key] = name
        return name

    def integers(self, values: Iterable[int]) -> str:
        """Return the name of a vector of int64, in which ONNX takes axes and shapes."""
        return self.constant(np.array(list(values), np.int64))

    # What the simplifications ask --------------------------------------------------------------------------

    def uses(self) -> Counter[str]:
        """Return how often each value is read, by nodes and as an output."""
        found = Counter(name for node in self.nodes for name in node.inputs)
        found.update(list(self.outputs))
        return found

    def producers(self) -> dict[str, Node]:
        """Return the node that gives each value."""
        return {name: node for node in self.nodes for name in node.outputs}

    def remove(self, gone: Sequence[Node]) -> None:
        """Remove nodes."""
        numbers = {id(node) for node in gone}
        self.nodes = [node for node in self.nodes if id(node) not in numbers]

    def rename(self, old: str, new: str) -> None:
        """Let every node that reads `old` read `new`; an output keeps its name by `featcache.graphs.convert`."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]

    def prune(self) -> None:
        """Remove nodes that nothing reads, and constants that no node does."""
        needed = set(self.outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}
