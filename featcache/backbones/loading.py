"""Build a network abstractly and fill it with tensors, every name and shape checked both ways."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from featcache.backbones import family_of
from featcache.backbones.convert import convert
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.readers import read_tensors


def load_file(pretrained: Pretrained, path: Path, *, tag: str) -> LoadedBackbone:
    """Load weights from a file in the layout of `pretrained`; see `featcache.backbones.load`."""
    family = family_of(pretrained)
    graphdef, state, shapes = _abstract(family, pretrained)
    table = family.key_tables[pretrained.layout](pretrained.config)
    tensors = convert(read_tensors(path), table, shapes, origin=str(path))
    return LoadedBackbone(family, pretrained, tag, graphdef, _filled(state, tensors), tensors, str(path))


def load_random(pretrained: Pretrained) -> LoadedBackbone:
    """Draw weights instead of loading them, the same ones each time; the tag is ``"random"``."""
    family = family_of(pretrained)
    graphdef, state, shapes = _abstract(family, pretrained)
    rng = np.random.default_rng(0)
    tensors = {name: _drawn(name, shape, rng) for name, shape in shapes.items()}
    return LoadedBackbone(family, pretrained, "random", graphdef, _filled(state, tensors), tensors, None)


def _abstract(family: Family, pretrained: Pretrained) -> tuple[Any, Any, dict[str, tuple[int, ...]]]:
    """The network without numbers: its graph, its state, and our names to shapes."""
    # Abstractly: drawing random numbers only to overwrite them takes 8 s, tracing them 1 s.
    graphdef, state = nnx.split(nnx.eval_shape(lambda: family.build(pretrained.config, None)))
    return graphdef, state, {name: tuple(leaf.shape) for name, leaf in _named(state).items()}


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Kernels by He et al., scales and variances 1, the rest 0."""
    leaf = name.rpartition(".")[2]
    if leaf != "kernel":
        return np.full(shape, leaf in ("scale", "var"), np.float32)
    # By numpy: JAX compiles a generator for each of the many shapes, 8 s and more in all.
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))


def _named(state: Any) -> dict[str, Any]:
    """Our names, such as ``block_1.expand.conv.kernel``, to the variables of a state."""
    return {_name(path): leaf for path, leaf in nnx.to_flat_state(state)}


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path[1:])  # the first part is the chain's own "stages"


def _filled(state: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    # One device_put: jnp.asarray would compile a copy for each of the many shapes.
    arrays = jax.device_put(dict(tensors))
    flat = [(path, leaf.replace(arrays[_name(path)])) for path, leaf in nnx.to_flat_state(state)]
    return nnx.from_flat_state(flat)
