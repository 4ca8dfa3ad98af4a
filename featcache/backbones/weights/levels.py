"""The sets of tensors in one weights file: levels of a training checkpoint, models inside of a Keras model.

Which set, or which prefix of names, is meant can be said behind the file's name: ``checkpoint.pth#ema``.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.core.disk.names import expanded

Tensors = Mapping[str, np.ndarray]

AVERAGED = ("state_dict_ema", "model_ema")
"""Levels of averaged weights that are taken before those of the last step, as by timm's loader."""

WRAPPERS = (*AVERAGED, "state_dict", "model")
"""Where a training checkpoint keeps its weights."""

NO_PREFIX = "."
"""What stands for the names without prefix behind a file's ``#``."""


@dataclass(frozen=True)
class Levels:
    """The sets of tensors of one file.

    Parameters
    ----------
    sets
        Name of the level, or of the model inside of a Keras model, to its tensors. ``""`` is the whole file.
        What is meant where nothing is chosen comes first.
    doubled
        Of a Keras file: a name that two of its models have, so that it has no set ``""``, and the second path.
    """

    sets: Mapping[str, Tensors]
    doubled: tuple[str, str] | None = None


def split_part(weights: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Split ``FILE#PART`` into the path and the part that is meant (``None`` where not given).

    A file whose own name has a ``#`` is taken as it is.
    """
    path = expanded(weights)
    before, sign, part = str(path).rpartition("#")
    if not (sign and part and before) or os.path.lexists(path) or not os.path.lexists(before):
        return path, None
    return Path(before), part
