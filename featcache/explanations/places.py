"""Which values of a network are maps: where they arise, and how tokens stand for places."""

import math
from collections.abc import Sequence

import numpy as np

from featcache.backbones.layer import Layer
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.nn.attention import TransformerBlock
from featcache.backbones.nn.basic import GlobalAveragePool
from featcache.backbones.nn.tokens import FirstToken
from featcache.core.display import some
from featcache.errors import UsageError
from featcache.images.transforms import Transforms


def is_map(shape: Sequence[int]) -> bool:
    """Whether a value of one image, of this shape, has places: ``[h, w, C]`` or tokens ``[N, D]``, several of them."""
    return (len(shape) == 3 and shape[0] * shape[1] > 1) or (len(shape) == 2 and shape[0] > 1)


def points_to(network: LoadedBackbone, stage: str) -> tuple[str, ...]:
    """Return all points of the chain up to and with one."""
    points = network.network.points
    return points[: points.index(stage) + 1]


def as_grid(values: np.ndarray, network: LoadedBackbone, transforms: Transforms) -> np.ndarray:
    """Return a map ``[…, h, w, C]`` of a value ``[…, h, w, C]`` or of tokens ``[…, N, D]``, those of patches only.

    Parameters
    ----------
    values
        With one axis or more before those of one image; tokens where the network is a transformer.
    network, transforms
        Tell how many patches there are down and across.
    """
    prefix = network.network.prefix_tokens
    patches = values[..., prefix:, :]
    rows, columns = grid_of(patches.shape[-2], transforms.input_size)
    return patches.reshape(*patches.shape[:-2], rows, columns, patches.shape[-1])


def grid_of(count: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of patches, of a picture of ``(height, width)``.

    Examples
    --------
    >>> grid_of(196, (224, 224)), grid_of(98, (112, 224))
    ((14, 14), (7, 14))
    """
    rows = max(1, round(math.sqrt(count * size[0] / size[1])))
    while count % rows:
        rows -= 1
    return rows, count // rows


def averaged_map(network: LoadedBackbone, layer: Layer, transforms: Transforms) -> str | None:
    """Return the point whose map is averaged to the layer, or is the layer itself; ``None`` if there is none."""
    chain = network.network
    if layer.pooling in ("avg", "map", "flatten"):
        return layer.stage if is_map(network.shapes([layer.stage], transforms)[layer.stage]) else None
    if layer.pooling != "none" or layer.stage not in chain.order:
        return None
    place = chain.order.index(layer.stage)
    if place and isinstance(chain.stages[layer.stage], GlobalAveragePool):
        return chain.order[place - 1]
    return None


def last_map(network: LoadedBackbone, layer: Layer, transforms: Transforms) -> str | None:
    """Return the last stage whose map decides about the layer; ``None`` if there is none.

    In a transformer it is the output of a block, not the normalisation behind it, in which the background is loud. Of
    the last block's output a class token alone is read: there it is what goes into that block.
    """
    chain = network.network
    stages = [stage for stage in points_to(network, layer.stage) if stage in chain.order]
    if layer.stage not in stages:
        stages.append(layer.stage)
    blocks = block_stages(network, layer)
    if blocks:
        whole = [stage for stage in stages if stage in chain.order]
        reads_token = layer.pooling == "cls" or any(
            isinstance(chain.stages[stage], FirstToken) for stage in whole
        )
        if not reads_token:
            return blocks[-1]
        before = chain.order.index(blocks[-1]) - 1
        return chain.order[before]
    shapes = network.shapes(stages, transforms)
    return next((stage for stage in reversed(stages) if is_map(shapes[stage])), None)


def require_map(network: LoadedBackbone, name: str, transforms: Transforms, layer: Layer | None) -> str:
    """Return the point of this name, whose value is a map that the layer is computed of.

    Raises
    ------
    UnknownNameError
        If there is no such stage.
    UsageError
        If it is no map, or lies behind the layer; names those that are maps.
    """
    chain = network.network
    point = chain.resolve(name)
    allowed = chain.points if layer is None else points_to(network, layer.stage)
    shapes = network.shapes(allowed, transforms)
    maps = [each for each in allowed if is_map(shapes[each])]
    if point not in allowed:
        raise UsageError(
            f"stage {name!r} lies behind {layer}, which the head reads; ask for one before it, such as {maps[-1]}"
        )
    if point not in maps:
        of_stages = [each for each in maps if each in chain.order]
        raise UsageError(
            f"stage {name!r} is no map but {tuple(shapes[point])}; maps are {some(of_stages[::-1], 12)}"
        )
    return point


def block_stages(network: LoadedBackbone, layer: Layer) -> list[str]:
    """Return the transformer blocks that come before a layer."""
    chain = network.network
    last = chain.order.index(chain.stage_of(layer.stage))
    return [stage for stage in chain.order[: last + 1] if isinstance(chain.stages[stage], TransformerBlock)]
