"""A network whose configuration is changed while its tensors stay: what a difference between sources is worth."""

from dataclasses import replace
from typing import Any

from drawing import images
from flax import nnx
from keras_oracle import run_ours
from support import scaled_error

from featcache.backbones import load


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
    loaded = load(name, weights="random")
    config = replace(loaded.pretrained.config, **change)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: loaded.family.build(config, None)))
    as_it_is, changed = (
        run_ours(network, images(*size), [stage])[stage]
        for network in (loaded, replace(loaded, graphdef=graphdef))
    )
    return scaled_error(changed, as_it_is)
