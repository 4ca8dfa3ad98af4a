"""Backbones by name, loaded with their weights, with features of any stage."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.input_size import ImageSize, read_size, with_size
from featcache.backbones.registry import DEFAULT, resolve, taken_as
from featcache.core.argument_types import checked_types
from featcache.core.forked import require_jax
from featcache.core.warning import warn_all
from featcache.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone


def classifier_folder(name: str) -> Path | None:
    """Return the folder of a classifier, if `name` means its backbone.

    The name of a backbone takes precedence; a folder of the same name is written ``./mobilenet_v2``.
    """
    folder = _classifier_at(name)
    if not (name and folder):
        return None
    try:
        resolve(name)
    except UnknownNameError:
        return folder
    return None


def _classifier_at(path: str | Path) -> Path | None:
    from featcache.core.classifier_folder import DOCUMENT

    # Of os.path, which has an answer for every text.
    folder = os.path.expanduser(path)
    return Path(folder) if os.path.isfile(os.path.join(folder, DOCUMENT)) else None


@checked_types(but=("image_size",))
def load(
    name: str = DEFAULT, *, weights: str | Path | None = None, image_size: ImageSize | None = None
) -> "LoadedBackbone":
    """Load a backbone with its weights.

    Parameters
    ----------
    name
        ``arch`` or ``arch.tag``, such as ``"mobilenet_v2"`` or ``"efficientnet_lite0.tf_in1k"``; or the folder of
        a classifier, for the backbone that it was trained on, fine-tuned or not, with its transforms.
    weights
        A file of this architecture in the layout of its pretrained weights, instead of the pinned one; or one
        that fine-tuning wrote, or the folder of such a classifier; ``"random"`` for random weights (for
        tests). A prefix of all names and what lies behind the features are left out, with a
        `featcache.FeatcacheWarning`; ``FILE#PART`` chooses one of several sets of weights in a file.
    image_size
        Input size in pixels instead of the one that belongs to the weights: a number (square), ``(height,
        width)``, or text such as ``"150x200"``. The other transforms stay.

    Raises
    ------
    UnknownNameError
        If there is no such backbone.
    UsageError
        If `image_size` is no size, or `weights` are given for a classifier's folder.
    WeightsError
        If the weights are absent and cannot be downloaded, are damaged, or do not fit.
    MissingFileError
        If a file or folder that is named is not there.
    IntegrityError
        If a classifier is damaged, or the backbone here is not the one that it was trained on.
    """
    size = None if image_size is None else read_size(image_size)  # refused before anything is downloaded
    return with_size(_load(name, weights), size)


def _load(name: str, weights: str | Path | None) -> "LoadedBackbone":
    require_jax()
    from featcache.backbones.load_by_name import load_named
    from featcache.backbones.load_from_classifier import load_folder

    if (folder := classifier_folder(name)) or os.sep in name:  # no backbone has a path for a name
        if weights is not None:
            raise UsageError(
                f"weights {weights} for {name}: a classifier's folder has weights of its own; leave --weights out"
            )
        return load_folder(folder or Path(name))
    if weights is not None and weights != "random" and (folder := _classifier_at(weights)):
        return load_folder(folder, arch=resolve(name).arch)
    network = load_named(name, weights)
    # Not said again of a classifier's own backbone, for which `load_named` is called elsewhere.
    warn_all([*taken_as(name, given=weights is not None), *network.remarks])
    return network
