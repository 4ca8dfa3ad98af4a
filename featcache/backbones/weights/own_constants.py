"""Keras networks that normalise inside: a file with other values there than the published weights have.

They belong to the transforms. Values that were never set (mean 0, variance 1, of a network built with ``weights=None``)
are taken as the transforms; others depend on how the model was built, which the weights do not say.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from featcache.backbones.family import Pretrained
from featcache.backbones.weights.key_mapping import KeyTable
from featcache.backbones.weights.levels import Levels, Tensors
from featcache.errors import WeightsError

NORMALIZATION = "normalization"
"""Behind a file's ``#``: its values are those of a network built with ``weights=None`` and adapted."""

NORMALIZATION_OF_IMAGENET = "normalization.imagenet"
"""The same of one built with ``weights="imagenet"``, which divides by the root of ImageNet's deviation once more."""


def take_constants(
    pretrained: Pretrained, table: KeyTable, levels: Levels, path: Path, part: str | None
) -> tuple[Pretrained, Levels, str | None, list[str]]:
    """Return the weights with a file's own normalisation as transforms, and the file without it.

    Returns
    -------
    tuple
        The weights; the file's sets of tensors; `part`, unless it chose how to take the values; what to say.

    Raises
    ------
    WeightsError
        If the values are other ones and `part` does not choose; it names both meanings.
    """
    named = {name: tensor for tensors in levels.sets.values() for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in named.items() if not table.agrees(name, tensor)}
    chosen = part in (NORMALIZATION, NORMALIZATION_OF_IMAGENET)
    if not own:
        return pretrained, levels, part, []
    all_constants = {name: tensor for name, tensor in named.items() if table.constant(name) is not None}
    mean, variance = _values(all_constants, "mean"), _values(all_constants, "variance")
    never_set = not mean.any() and (variance == 1).all()
    if not (chosen or never_set) or len(mean) != 3 or len(variance) != 3 or (variance <= 0).any():
        raise _unclear(path, pretrained, own)
    std = np.sqrt(variance)
    if part == NORMALIZATION_OF_IMAGENET:
        std = std * np.sqrt(pretrained.transforms.std)
    transforms = replace(pretrained.transforms, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    told = f"{', '.join(own)}: taken as the transforms (mean {_shown(mean)}, std {_shown(std)} of 0..1)"
    sets = {
        level: {n: t for n, t in tensors.items() if n not in own} for level, tensors in levels.sets.items()
    }
    kept = replace(levels, sets=sets)
    return replace(pretrained, transforms=transforms), kept, None if chosen else part, [told]


def _values(constants: Tensors, leaf: str) -> np.ndarray:
    found = [np.ravel(tensor) for name, tensor in constants.items() if name.endswith(f".{leaf}")]
    return found[0].astype(np.float64) if len(found) == 1 else np.zeros(0)


def _unclear(path: Path, pretrained: Pretrained, own: Tensors) -> WeightsError:
    values = "; ".join(f"{name} is {_shown(np.ravel(tensor))}" for name, tensor in own.items())
    return WeightsError(
        f"{path} normalises its input by values of its own ({values}), not by those of {pretrained.name}. To take "
        "them as the transforms, choose how the network was built: with weights=None, "
        f"--weights {path}#{NORMALIZATION}; with weights='imagenet', which divides by the root of ImageNet's "
        f"deviation once more, --weights {path}#{NORMALIZATION_OF_IMAGENET}"
    )


def _shown(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:3])
