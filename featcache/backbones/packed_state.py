"""A compiled network whose many small vectors travel to it as one.

A network with batch normalisation has some 250 arrays, four of five of them vectors of a few hundred numbers, and what
JAX does with each argument of a call takes 3 µs, during which no other thread of Python runs. As one vector they save
0.7 ms a call, of 6.5 ms for one image in MobileNetV2; features are the same to the last bit. See
docs/guide/compiled-programs.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

LONGEST = 1 << 14
"""Vectors up to so many numbers are joined: cutting them out again is a copy, of microseconds."""


@dataclass(frozen=True)
class _Layout:
    """Which arrays of a state are joined, and how it is put together again.

    Equal ones are one to a compiled program. Each call asks for the hash, so that it is computed once.
    """

    tree: Any
    joined: tuple[int, ...]
    alone: tuple[int, ...]
    sizes: tuple[int, ...]
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.tree, self.joined, self.alone, self.sizes)))

    def __hash__(self) -> int:
        return self._hash

    def state(self, arrays: tuple[Any, ...], vector: Any) -> Any:
        leaves: list[Any] = [None] * (len(self.joined) + len(self.alone))
        for place, array in zip(self.alone, arrays, strict=True):
            leaves[place] = array
        first = 0
        for place, size in zip(self.joined, self.sizes, strict=True):
            leaves[place] = vector[first : first + size]
            first += size
        return jax.tree.unflatten(self.tree, leaves)


def _layout(leaves: list[Any], tree: Any) -> _Layout:
    joined = tuple(
        place
        for place, leaf in enumerate(leaves)
        if leaf.ndim == 1 and leaf.dtype == jnp.float32 and leaf.size <= LONGEST
    )
    alone = tuple(sorted(set(range(len(leaves))) - set(joined)))
    return _Layout(tree, joined, alone, tuple(leaves[place].size for place in joined))


class PackedProgram:
    """The compiled ``(state, images) -> {layer: features}``; a state's vectors are joined when it is first given.

    Parameters
    ----------
    features
        The function.
    options
        For ``jax.jit(compiler_options=…)``.
    """

    def __init__(self, features: Callable[[Any, Any], Any], options: dict[str, Any]) -> None:
        self._options = options
        self._plain = jax.jit(features, compiler_options=options)
        self._layouts: dict[Any, _Layout] = {}
        self._last: tuple[Any, ...] | None = None

        def packed(layout: _Layout, arrays: tuple[Any, ...], vector: Any, images: Any) -> Any:
            return features(layout.state(arrays, vector), images)

        packed.__name__ = packed.__qualname__ = "features"
        self._packed = jax.jit(packed, static_argnums=0, compiler_options=options)

    def __call__(self, state: Any, images: Any) -> Any:
        """Return the features of images by a state, whose arrays are not changed in place afterwards."""
        # One assignment and one read: threads that come together at worst join the same vectors twice.
        last = self._last
        if last is None or last[0] is not state:
            last = self._pack(state)
            if last is None:
                return self._plain(state, images)
            self._last = last
        return self._packed(*last[1:], images)

    def _pack(self, state: Any) -> tuple[Any, ...] | None:
        leaves, tree = jax.tree.flatten(state)
        # In a function that is being traced or differentiated there is nothing to keep; and where numbers are spread
        # over devices, they stay where they are.
        if any(
            isinstance(leaf, Tracer) or (isinstance(leaf, jax.Array) and len(leaf.devices()) > 1)
            for leaf in leaves
        ):
            return None
        key = (tree, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))
        layout = self._layouts.setdefault(key, _layout(leaves, tree))
        if len(layout.joined) < 2:
            return None
        vector = jnp.concatenate([leaves[place] for place in layout.joined])
        return state, layout, tuple(leaves[place] for place in layout.alone), vector
