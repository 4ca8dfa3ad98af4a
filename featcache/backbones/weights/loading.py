"""Build a network abstractly and fill it with tensors; every name and shape is checked."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone, variables
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import family_of
from featcache.backbones.weights.key_mapping import KeyTable, convert
from featcache.backbones.weights.readers import read_tensors
from featcache.errors import WeightsError

Tensors = Mapping[str, np.ndarray]


def load_file(pretrained: Pretrained, path: Path, *, tag: str) -> LoadedBackbone:
    """Load weights from a file in the layout of `pretrained`; see `featcache.backbones.load`.

    A user's file may have another number of classes than the original, or no classifier at all
    (``notop``, ``num_classes=0``): the chain then ends before the first stage that the file lacks.

    Raises
    ------
    WeightsError
        If the file cannot be read, or does not fit; if it fits other weights of this architecture, it names them.
    """
    family = family_of(pretrained)
    given = read_tensors(path)
    own = tag == "custom"
    if own:
        pretrained = _with_classes(family, pretrained, given)
    graphdef, state, shapes = _abstract(family, pretrained, given if own else None)
    try:
        tensors = convert(given, _table(family, pretrained), shapes, origin=str(path))
    except WeightsError as error:
        if fitting := [other.name for other in _siblings(family, pretrained) if _fits(family, other, given)]:
            raise WeightsError(
                f"{path} has the layout of {fitting[0]}, not of {pretrained.name}; name it as the backbone: "
                f"{fitting[0]}"
            ) from error
        raise
    return LoadedBackbone(family, pretrained, tag, graphdef, fill_state(state, tensors), tensors, str(path))


def _table(family: Family, pretrained: Pretrained) -> KeyTable:
    return family.key_tables[pretrained.layout](pretrained.config)


def _with_classes(family: Family, pretrained: Pretrained, given: Tensors) -> Pretrained:
    """Return the record with the number of classes of the file's classifier."""
    kernel = _translated(family, pretrained, given).get("logits.kernel")
    if kernel is None or kernel.shape[-1] == pretrained.config.classes:
        return pretrained
    return replace(pretrained, config=replace(pretrained.config, classes=kernel.shape[-1]))


def _translated(family: Family, pretrained: Pretrained, given: Tensors) -> dict[str, np.ndarray]:
    """Return a file's tensors by our names; those that the table does not know are left out."""
    table = _table(family, pretrained)
    names = table.renumber(given)
    pairs = (table.translate(names[name], tensor) for name, tensor in given.items())
    return dict(pair for pair in pairs if pair)


def _siblings(family: Family, pretrained: Pretrained) -> list[Pretrained]:
    """Return the first weights of each other layout of the architecture."""
    others = [w for w in family.pretrained if w.arch == pretrained.arch and w.layout != pretrained.layout]
    return list({w.layout: w for w in reversed(others)}.values())[::-1]


def _fits(family: Family, pretrained: Pretrained, given: Tensors) -> bool:
    pretrained = _with_classes(family, pretrained, given)
    shapes = _abstract(family, pretrained, given)[2]
    try:
        convert(given, _table(family, pretrained), shapes, origin="")
    except WeightsError:
        return False
    return True


def load_random(pretrained: Pretrained) -> LoadedBackbone:
    """Draw weights instead of loading them, the same ones each time; the tag is ``"random"``."""
    family = family_of(pretrained)
    graphdef, state, shapes = _abstract(family, pretrained)
    rng = np.random.default_rng(0)
    tensors = {name: _drawn(name, shape, rng) for name, shape in shapes.items()}
    return LoadedBackbone(family, pretrained, "random", graphdef, fill_state(state, tensors), tensors, None)


def _abstract(
    family: Family, pretrained: Pretrained, given: Tensors | None = None
) -> tuple[Any, Any, dict[str, tuple[int, ...]]]:
    """Return the network without parameters: its graph, its abstract state, and the shapes by our names.

    With `given`, the tensors of a file, the chain ends before the top that the file lacks.
    """
    # Abstractly: drawing random numbers only to overwrite them takes 8 s, tracing them 1 s.
    network = nnx.eval_shape(lambda: family.build(pretrained.config, None))
    if given is not None and (lacking := _lacking_top(network, _translated(family, pretrained, given))):
        network = network.without(lacking)
    graphdef, state = nnx.split(network)
    return graphdef, state, shapes_of(state)


def _lacking_top(network: Backbone, ours: Tensors) -> list[str]:
    """Return the last stages if a file has no tensor of them, but some of all stages before."""
    of_stage: dict[str, list[str]] = {}
    for name, (path, _) in variables(nnx.state(network)).items():
        of_stage.setdefault(str(path[1]), []).append(name)
    learnt = [stage for stage in network.order if stage in of_stage]
    present = [any(name in ours for name in of_stage[stage]) for stage in learnt]
    end = sum(present)
    if end == len(learnt) or not all(present[:end]):
        return []
    # What is left behind the default layer without anything to learn (flattening for dense layers) goes too.
    after = network.order.index(network.stage_of(network.resolve("pool"))) + 1
    first = network.order.index(learnt[end])
    return [*network.order[after if end and network.order.index(learnt[end - 1]) < after else first :]]


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a random tensor: kernels by He et al., scales and variances 1, the rest 0."""
    leaf = name.rpartition(".")[2]
    if leaf != "kernel":
        return np.full(shape, leaf in ("scale", "var"), np.float32)
    # By numpy: JAX compiles a generator for each of the many shapes, 8 s and more in all.
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))


def fill_state(state: Any, tensors: Tensors) -> Any:
    """Return a chain's state with some tensors, by our names, replaced by these."""
    # One device_put: jnp.asarray would compile a copy for each of the many shapes.
    arrays = jax.device_put(dict(tensors))
    return nnx.from_flat_state(
        [
            (path, leaf.replace(arrays[name]) if name in arrays else leaf)
            for name, (path, leaf) in variables(state).items()
        ]
    )


def shapes_of(state: Any) -> dict[str, tuple[int, ...]]:
    """Return our names of a chain's parameters and statistics to their shapes."""
    return {name: tuple(leaf.shape) for name, (_, leaf) in variables(state).items()}
