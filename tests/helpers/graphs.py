"""A function in JAX and its graph in onnxruntime, beside each other; and networks whose every number is drawn."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from flax import nnx

from featcache.backbones.family import Pretrained
from featcache.backbones.loaded import network_input
from featcache.graphs.convert import graph_of, model_of, onnx_model
from featcache.graphs.graph import Graph
from featcache.graphs.sessions import open_session
from helpers.configs import abstract_network
from helpers.drawing import draw
from helpers.support import compiled_quickly

Function = Callable[..., Mapping[str, Any]]
Inputs = Mapping[str, tuple[tuple[int, ...], Any]]

ROUNDING = 1e-5
"""Of the largest value. One operation rounds to 6e-8 of its result, and a sum of n products in another order to √n of
that; exponentials are right to a few units in both. A wrong axis, pad or constant is off by 1e-2 and more."""


def drawn_inputs(inputs: Inputs, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return numbers for a function's inputs, ``[count, …]``."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, (shape, dtype) in inputs.items():
        numbers = rng.standard_normal((count, *shape)) * 2
        whole = np.issubdtype(dtype, np.integer)
        found[name] = rng.integers(0, 255, numbers.shape).astype(dtype) if whole else numbers.astype(dtype)
    return found


def run_graph(model: onnx.ModelProto, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a model's outputs in onnxruntime, by their names."""
    session = open_session(model)
    return dict(zip([out.name for out in session.get_outputs()], session.run(None, dict(given)), strict=True))


def differences(actual: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> dict[str, float]:
    """Return how far each output is off, of its largest finite value; −∞ and NaN must be where they are expected."""
    assert list(actual) == list(expected)
    found = {}
    for name, value in expected.items():
        wanted, given = np.asarray(value), actual[name]
        assert (given.shape, given.dtype) == (wanted.shape, wanted.dtype), name
        wide, own = wanted.astype(np.float64), given.astype(np.float64)
        finite = np.isfinite(wide)
        np.testing.assert_array_equal(own[~finite], wide[~finite], err_msg=name)
        gap = np.abs(own[finite] - wide[finite])
        largest = np.abs(wide[finite]).max(initial=0)
        found[name] = float(gap.max(initial=0) / (largest or 1)) if np.isfinite(gap).all() else np.inf
    return found


def assert_alike(function: Function, inputs: Inputs, *, tolerance: float = ROUNDING) -> onnx.ModelProto:
    """Compare a function with its graph, of three examples and of one; return the model, checked in full."""
    model = onnx_model(function, inputs)
    onnx.checker.check_model(model, full_check=True)
    for count in (3, 1):
        given = drawn_inputs(inputs, count, seed=count)
        with jax.default_matmul_precision("highest"):
            expected = jax.jit(function, compiler_options=compiled_quickly())(**given)
        ordered = {name: expected[name] for name in function_names(model)}
        off = differences(run_graph(model, given), ordered)
        assert {name: gap for name, gap in off.items() if not gap <= tolerance} == {}
    return model


def function_names(model: onnx.ModelProto) -> list[str]:
    """Return the names of a model's outputs in their order."""
    return [output.name for output in model.graph.output]


def operators(model: onnx.ModelProto | Graph) -> Counter[str]:
    """Return how many nodes of each operator there are, without the one that names each output."""
    nodes = (
        [node.op for node in model.nodes]
        if isinstance(model, Graph)
        else [n.op_type for n in model.graph.node]
    )
    return Counter(op for op in nodes if op != "Identity")


def drawn_network(weights: Pretrained) -> tuple[Any, Any]:
    """Return a network split in two, with every tensor drawn, statistics of normalisations too."""
    graphdef, state = nnx.split(abstract_network(weights))

    def fill(path: Any, leaf: Any) -> jax.Array:
        name = ".".join(map(str, path)).removesuffix(".value")
        own = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
        stem, _, last = name.rpartition(".")
        kernel = last == "kernel"
        fan_in = int(np.prod(leaf.shape[:-1])) if kernel else None
        return jnp.asarray(draw(f"{stem}.{own.get(last, last)}", tuple(leaf.shape), fan_in))

    filled = [(path, leaf.replace(fill(path, leaf))) for path, leaf in nnx.to_flat_state(state)]
    return graphdef, nnx.from_flat_state(filled)


def network_function(
    weights: Pretrained, points: tuple[str, ...], parts: tuple[Any, Any] | None = None
) -> Function:
    """Return a drawn network as a function of uint8 images, with the normalisation that belongs to its weights."""
    graphdef, state = parts or drawn_network(weights)

    def values(images: Any) -> dict[str, Any]:
        found = nnx.merge(graphdef, state)(network_input(images, weights.transforms), taps=points)
        return {point: found[point] for point in points}

    return values


def without_simplifying(function: Function, inputs: Inputs, monkeypatch: Any) -> onnx.ModelProto:
    """Return a function's model with every primitive written as it was traced."""
    monkeypatch.setattr("featcache.graphs.convert.simplify", lambda graph: graph.prune())
    try:
        return model_of(graph_of(function, inputs), metadata={})
    finally:
        monkeypatch.undo()
