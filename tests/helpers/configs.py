"""Networks from their configurations: built once without tensors, or changed while the tensors stay."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from flax import nnx

from featcache.backbones import load
from featcache.backbones.chain import Backbone
from featcache.backbones.family import Pretrained
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import families, family_of
from helpers.drawing import images
from helpers.keras_oracle import run_ours
from helpers.support import scaled_error


def all_weights() -> list[Any]:
    """Parameters of a test of all weights: by default it has the first and the last of each family, in seconds."""
    params = []
    for family in families():
        ends = (family.pretrained[0], family.pretrained[-1])
        for weights in family.pretrained:
            marks = [] if weights in ends else [pytest.mark.slow]
            params.append(pytest.param(weights, id=weights.name, marks=marks))
    return params


def abstract_network(weights: Pretrained) -> Backbone:
    """Return the network of some weights with shapes in place of tensors; tests only read it.

    Building it takes up to a second and depends on the configuration alone, which half the weights share with others.
    """
    return _built(family_of(weights).build, weights.config)


@cache
def _built(build: Any, config: Any) -> Backbone:
    return nnx.eval_shape(lambda: build(config, None))


def effect_of(change: dict[str, Any], name: str, stage: str, size: tuple[int, int] = (32, 32)) -> float:
    """Return how far a changed configuration moves a stage's output, as a fraction of its largest value.

    Parameters
    ----------
    change
        Fields of the family's configuration.
    name
        Our ``arch`` or ``arch.tag``; its weights are drawn.
    stage
        Whose outputs are compared.
    size
        Of the image, in pixels.
    """
    loaded, as_it_is = _unchanged(name, stage, size)
    config = replace(loaded.pretrained.config, **change)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: loaded.family.build(config, None)))
    changed = run_ours(replace(loaded, graphdef=graphdef), images(*size), [stage])[stage]
    return scaled_error(changed, as_it_is)


@cache
def _unchanged(name: str, stage: str, size: tuple[int, int]) -> tuple[LoadedBackbone, np.ndarray]:
    loaded = load(name, weights="random")
    return loaded, run_ours(loaded, images(*size), [stage])[stage]
