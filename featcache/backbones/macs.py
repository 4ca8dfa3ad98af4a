"""Count the multiply-accumulates of a network in its traced program, without running it.

Counted are the products of convolutions and of matrix products, padding included: what the tables of papers and
of timm call MACs, GMACs or (at twice the number) FLOPs. Elementwise work is not: normalisation, activations,
pooling, softmax, additions of residuals.
"""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def count_macs(program: Jaxpr | ClosedJaxpr) -> int:
    """Count the multiply-accumulates of a traced program.

    Parameters
    ----------
    program
        As ``jax.make_jaxpr`` gives it. Functions inside are counted where they are called: a loop of known
        length each time, one of unknown length (``while``) once, of alternatives the costliest, of
        alternatives by platform (``jax.lax.platform_dependent``) the default.

    Returns
    -------
    int
        Multiply-accumulates of one call.

    Examples
    --------
    >>> import jax, numpy as np
    >>> count_macs(jax.make_jaxpr(lambda x, y: x @ y)(np.ones((2, 3)), np.ones((3, 5))))
    30
    """
    equations = program.jaxpr.eqns if isinstance(program, ClosedJaxpr) else program.eqns
    return sum(_RULES.get(equation.primitive.name, _inside)(equation) for equation in equations)


def _product(equation: Any) -> int:
    """Count a matrix product: each output sums over all contracted axes."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    return prod(equation.outvars[0].aval.shape) * prod(shape[axis] for axis in contracted)


def _convolution(equation: Any) -> int:
    """Count a convolution: each output sums over the kernel's pixels and the input channels of its group."""
    kernel = equation.invars[1].aval.shape
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return prod(equation.outvars[0].aval.shape) * prod(kernel) // features


def _alternatives(equation: Any) -> int:
    counts = [count_macs(branch) for branch in equation.params["branches"]]
    # The same convolution is written otherwise for some platforms; a sum of shifted products would count nothing.
    platforms = equation.params.get("branches_platforms")
    return counts[platforms.index(None)] if platforms and None in platforms else max(counts)


def _loop(equation: Any) -> int:
    return equation.params["length"] * count_macs(equation.params["jaxpr"])


def _inside(equation: Any) -> int:
    return sum(map(count_macs, _programs(equation.params)))


def _programs(parameters: Mapping[str, Any]) -> Iterator[Jaxpr | ClosedJaxpr]:
    for value in parameters.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Jaxpr | ClosedJaxpr):
                yield item


_RULES: Mapping[str, Callable[[Any], int]] = {
    "dot_general": _product,
    "conv_general_dilated": _convolution,
    "cond": _alternatives,
    "scan": _loop,
}
