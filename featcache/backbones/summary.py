"""The chain of a backbone as a table, as ``model.summary()`` gives it: shapes, parameters and work of each stage.

Everything is traced and nothing is computed, so no weights are needed and nothing is compiled or downloaded.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from featcache.backbones import classifier_folder, load
from featcache.backbones.chain import Backbone
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.input_size import ImageSize, read_size
from featcache.backbones.layer import Layer, make_layer
from featcache.backbones.macs import count_macs
from featcache.backbones.registry import family_of, resolve
from featcache.backbones.shape_inference import Shape, tapped_shapes
from featcache.errors import UnknownNameError, UsageError

DEFAULT_LAYER = "pool"


@dataclass(frozen=True)
class Counts:
    """Parameters and work of some stages.

    Parameters
    ----------
    params
        Number of trainable parameters (``nnx.Param``).
    statistics
        Number of means and variances of batch normalisations (``nnx.BatchStat``), which only training mode changes.
    macs
        Multiply-accumulates for one image; see `featcache.backbones.macs`.
    """

    params: int
    statistics: int
    macs: int

    def to_json(self) -> dict[str, int]:
        """Return the fields as a JSON object."""
        return {"params": self.params, "statistics": self.statistics, "macs": self.macs}


@dataclass(frozen=True)
class StageSummary:
    """One stage of a chain.

    Parameters
    ----------
    name
        The stage's name.
    shape
        Of its output for one image, without the batch axis: ``(H, W, C)``, ``(N, D)`` for tokens, or ``(D,)``.
    points
        Whole names of the values inside that can be tapped (``block_1_expand_relu``), to their shapes.
    counts
        Parameters and work of this stage alone.
    """

    name: str
    shape: Shape
    points: Mapping[str, Shape]
    counts: Counts

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        points = {point: list(shape) for point, shape in self.points.items()}
        return {"name": self.name, "shape": list(self.shape), **self.counts.to_json(), "points": points}


@dataclass(frozen=True)
class BackboneSummary:
    """A backbone, stage by stage.

    Parameters
    ----------
    pretrained, family
        Records of the weights and the architecture.
    image_size
        Height and width of the image, in pixels.
    layer
        What the default layer ``pool`` is: a stage of that name, or the pooling of another; of a chain that ends
        before it, as that of a classifier may, the last stage.
    features
        Width of that layer for images of this size.
    stages
        In the order the data flows.
    left_out
        Why the stages after the default layer are missing, if they cannot take images of this size.
    weights_path
        The file of the weights, where they are not those of `pretrained`.
    """

    pretrained: Pretrained
    family: Family
    image_size: tuple[int, int]
    layer: Layer
    features: int
    stages: tuple[StageSummary, ...]
    left_out: str | None = None
    weights_path: str | None = None

    @property
    def total(self) -> Counts:
        """Sum over all stages listed."""
        return _sum(self.stages)

    @property
    def to_layer(self) -> Counts:
        """Sum over the stages up to the default layer, which an extraction runs."""
        reached = [self.layer.stage in (stage.name, *stage.points) for stage in self.stages]
        return _sum(self.stages[: reached.index(True) + 1])

    def to_json(self) -> dict[str, Any]:
        """Return the table and its totals as a JSON object."""
        return {
            "image_size": list(self.image_size),
            "layer": str(self.layer),
            "layer_features": self.features,
            "stages": [stage.to_json() for stage in self.stages],
            "to_layer": self.to_layer.to_json(),
            "total": self.total.to_json(),
            "left_out": self.left_out,
        }


def describe(name: str, *, image_size: ImageSize | None = None) -> BackboneSummary:
    """Summarise a backbone by its name; its weights need not be on this machine.

    Parameters
    ----------
    name
        ``arch`` or ``arch.tag``, or an alias, or a classifier's folder, as for `featcache.backbones.load`. Only
        for a folder are weights read.
    image_size
        Pixels, as for `featcache.backbones.load`; by default those of the weights.

    Raises
    ------
    UnknownNameError
        If there is no such backbone.
    UsageError
        If `image_size` is no size, or nothing of such an image is left at the default layer.

    Examples
    --------
    >>> found = describe("mobilenet_v2.tv_in1k")
    >>> found.stages[0].name, found.stages[0].shape, found.stages[0].counts.macs
    ('Conv1_relu', (112, 112, 32), 10838016)
    """
    pretrained, network, path = _named(name)
    family = family_of(pretrained)
    size = pretrained.transforms.input_size if image_size is None else read_size(image_size)
    point = _default_point(network)
    last = network.order.index(network.stage_of(point)) + 1
    try:
        stages, left_out = summarise(network, size, name=pretrained.name), None
    except UsageError as error:
        if last == len(network.order):
            raise
        # Dense layers behind a flattened map fit one size only, and features do not need them.
        below = network.without(network.order[last:])
        stages, left_out = summarise(below, size, name=pretrained.name), str(error)
    reached = stages[last - 1]
    shape = reached.shape if point == reached.name else reached.points[point]
    layer = make_layer(point, None, shape, network.prefix_tokens)
    features = prod(jax.eval_shape(layer.apply, _image(shape)).shape)
    return BackboneSummary(pretrained, family, size, layer, features, tuple(stages), left_out, path)


def _default_point(network: Backbone) -> str:
    try:
        return network.resolve(DEFAULT_LAYER)
    except UnknownNameError:
        return network.order[-1]


def _named(name: str) -> tuple[Pretrained, Backbone, str | None]:
    """The weights that a name means, the chain without its numbers, and the weights' file where it is not theirs."""
    if classifier_folder(name) is None and os.sep not in name:
        pretrained = resolve(name)
        return pretrained, family_of(pretrained).abstract(pretrained.config), None
    loaded = load(name)
    base = loaded.pretrained
    if loaded.tag == base.tag:
        return base, loaded.network, None
    changed = replace(base, tag=loaded.tag, source=f"changed from {base.name}", top1=None)
    return changed, loaded.network, loaded.weights_path


def summarise(
    network: Backbone, input_size: tuple[int, int], *, name: str = "the network"
) -> list[StageSummary]:
    """Summarise every stage of a chain.

    Parameters
    ----------
    network
        With or without its parameters (``nnx.eval_shape``).
    input_size
        Height and width of the image, in pixels.
    name
        Name of the network in error messages.

    Raises
    ------
    UsageError
        If a stage's output is empty at this size, or it cannot take its input.
    """
    graphdef, state = nnx.split(network)
    shapes = tapped_shapes(graphdef, state, network.points, input_size, name=name)
    inputs = [(*input_size, 3), *(shapes[stage] for stage in network.order)]
    return [
        _stage(network, stage, given, shapes) for stage, given in zip(network.order, inputs, strict=False)
    ]


def _stage(network: Backbone, name: str, given: Shape, shapes: Mapping[str, Shape]) -> StageSummary:
    link = Backbone({name: network.stages[name]})
    graphdef, state = nnx.split(link)
    program = jax.make_jaxpr(lambda state, x: nnx.merge(graphdef, state)(x, taps=(name,)))
    macs = count_macs(program(state, _image(given)))
    counts = Counts(_size(link, nnx.Param), _size(link, nnx.BatchStat), macs)
    return StageSummary(name, shapes[name], {p: shapes[p] for p in link.points if p != name}, counts)


def _image(shape: Shape) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def _size(module: nnx.Module, kind: type[nnx.Variable]) -> int:
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, kind)))


def _sum(stages: Sequence[StageSummary]) -> Counts:
    counts = [stage.counts for stage in stages]
    return Counts(
        sum(c.params for c in counts), sum(c.statistics for c in counts), sum(c.macs for c in counts)
    )
