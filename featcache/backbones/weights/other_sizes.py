"""Name the size of an architecture that a file's shapes belong to, where it is not the one that was asked for."""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path

import numpy as np
from flax import nnx

from featcache.backbones.chain import variables
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.registry import family_of
from featcache.backbones.weights.key_mapping import KeyTable
from featcache.backbones.weights.partial_fit import required_stages
from featcache.backbones.weights.readers import read_tensors
from featcache.errors import WeightsError

Shapes = Mapping[str, tuple[int, ...]]

MOST_TRIED = 4
"""Building a network abstractly takes up to a second, and the numbers of parameters tell the sizes apart."""

MOST_FOREIGN = 8
"""Tensors of an own classifier that no table knows; the further blocks of a deeper network are more."""

_STATISTICS = ("running_mean", "running_var", "moving_mean", "moving_variance", "num_batches_tracked")


def of_other_size(pretrained: Pretrained, path: Path) -> WeightsError | None:
    """Return the error that names the architecture of the same family whose shapes a file has; ``None`` if none has.

    Only names and shapes of the stages that features come from are compared, so an own classifier does not matter.

    Parameters
    ----------
    pretrained
        The weights that were asked for, which the file does not fit.
    path
        The file.
    """
    try:
        tensors = read_tensors(path)
    except WeightsError:
        return None
    alike = with_shapes_of(pretrained, tensors)
    if not alike:
        return None
    right = _likeliest(alike, path, pretrained)
    rest = [each.name for each in alike if each is not right]
    also = f" ({', '.join(rest)} {'has' if len(rest) == 1 else 'have'} the same shapes)" if rest else ""
    return WeightsError(
        f"{path} has the shapes of {right.name}, not of {pretrained.name}; name it as the backbone: "
        f"{right.name}{also}"
    )


def with_shapes_of(pretrained: Pretrained, tensors: Mapping[str, np.ndarray]) -> list[Pretrained]:
    """Return the weights of another architecture of the family that have these names and shapes; empty if none has.

    Parameters
    ----------
    pretrained
        The weights that were asked for.
    tensors
        A file's tensors by its names.
    """
    family = family_of(pretrained)
    for other in _by_nearness(family, pretrained, tensors):
        if _has_shapes(family, other, tensors):
            return [each for each in family.pretrained if _same_shapes(each, other)]
    return []


def _same_shapes(one: Pretrained, other: Pretrained) -> bool:
    return (one.arch, one.layout) == (other.arch, other.layout)


def _likeliest(alike: list[Pretrained], path: Path, asked: Pretrained) -> Pretrained:
    """Return the weights whose file has this name, else those of the input size that was asked for."""
    named = [each for each in alike if each.file.filename == path.name]
    sized = [each for each in alike if each.transforms.input_size == asked.transforms.input_size]
    return (named or sized or alike)[0]


def _by_nearness(
    family: Family, pretrained: Pretrained, tensors: Mapping[str, np.ndarray]
) -> list[Pretrained]:
    """Return the first weights of each other architecture and layout, the nearest in number of parameters first."""
    count = sum(prod(t.shape) for name, t in tensors.items() if not name.endswith(_STATISTICS))

    def distance(weights: Pretrained) -> int:
        top = (weights.features + 1) * weights.config.classes
        return min(abs(weights.params - count), abs(weights.params - top - count))

    if distance(pretrained) == 0:  # the right size in another layout
        return []
    firsts: dict[tuple[str, str], Pretrained] = {}
    for weights in family.pretrained:
        if weights.arch != pretrained.arch:
            firsts.setdefault((weights.arch, weights.layout), weights)
    archs = dict.fromkeys(weights.arch for weights in sorted(firsts.values(), key=distance))
    nearest = list(archs)[:MOST_TRIED]
    # The layout of what was asked for first: in another one, the names would not fit, and nothing is built.
    found = [weights for arch in nearest for weights in firsts.values() if weights.arch == arch]
    return sorted(
        found, key=lambda weights: (nearest.index(weights.arch), weights.layout != pretrained.layout)
    )


def _has_shapes(family: Family, weights: Pretrained, tensors: Mapping[str, np.ndarray]) -> bool:
    table = family.key_tables[weights.layout](weights.config)
    found = next((ours for ours in _translations(table, tensors) if ours), None)
    if found is None or len(tensors) - len(found) > MOST_FOREIGN + _left_out(table, tensors):
        return False
    needed = _needed(family, weights)
    return all(found.get(name) == shape for name, shape in needed.items())


def _left_out(table: KeyTable, names: Iterable[str]) -> int:
    return sum(table.ignores(name) or table.constant(name) is not None for name in names)


def _translations(table: KeyTable, tensors: Mapping[str, np.ndarray]) -> Iterator[dict[str, tuple[int, ...]]]:
    """Yield the shapes by our names, of a file as it is and without the prefix that all of its names have."""
    given = dict(tensors)
    for _ in range(3):
        names = table.renumber(given)
        pairs = (_translated(table, names[name], tensor) for name, tensor in given.items())
        yield dict(pair for pair in pairs if pair)
        first = {name.partition(".")[0] for name in given}
        if len(first) > 1:
            return
        given = {name.partition(".")[2]: tensor for name, tensor in given.items()}


def _translated(table: KeyTable, name: str, tensor: np.ndarray) -> tuple[str, tuple[int, ...]] | None:
    try:
        pair = table.translate(name, tensor)
    except (ValueError, IndexError):  # the layout of another network's tensor
        return None
    return None if pair is None else (pair[0], tuple(pair[1].shape))


def _needed(family: Family, weights: Pretrained) -> Shapes:
    """Return our names to the shapes of all stages up to the default layer."""
    network = family.abstract(weights.config)
    stages = required_stages(network)
    return {
        name: tuple(leaf.shape)
        for name, (path, leaf) in variables(nnx.state(network)).items()
        if str(path[1]) in stages
    }
