"""How each primitive of a trace is written: one function for each, from its equation and inputs to its outputs."""

from collections.abc import Callable, Mapping
from typing import Any

from featcache.graphs.rules import elementwise, gathered, products, reductions, shapes

RULES: Mapping[str, Callable[..., Any]] = {
    **elementwise.RULES,
    **shapes.RULES,
    **gathered.RULES,
    **products.RULES,
    **reductions.RULES,
}
"""Primitive to its rule: ``(graph, equation, *inputs) -> value``, or a list of values."""
