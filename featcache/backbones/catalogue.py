"""The catalogue of backbones: names and weights matched by patterns, without building a network."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from featcache.backbones.family import Pretrained
from featcache.backbones.registry import families, pretrained_weights
from featcache.errors import did_you_mean


def match_names(pattern: str = "*") -> list[Pretrained]:
    """Return the known weights whose names match a pattern.

    Families come in the order of the registry, in a family the architectures from small to large, and of an
    architecture its default first.

    Parameters
    ----------
    pattern
        ``*`` stands for any characters, ``?`` for one, ``[ab]`` for one of several. Compared with ``arch``,
        ``arch.tag`` and their aliases; case does not matter, nor do ``_`` and ``-`` (``MobileNetV2``). Without
        any of these it may be a part of a name: ``resnet``.

    Examples
    --------
    >>> [weights.name for weights in match_names("EfficientNet-Lite[01]")]
    ['efficientnet_lite0.tf_in1k', 'efficientnet_lite1.tf_in1k']
    """
    defaults, aliases = _defaults(), _aliases()
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [
        weights
        for family in families()
        for weights in sorted(family.pretrained, key=lambda w: (defaults[w.arch].params, w.arch))
        if any(_like(name, pattern) for name in _names(weights, aliases))
    ]


def nearest(pattern: str) -> str:
    """Return a clause that names the backbones nearest to a pattern that matches none."""
    wanted = pattern.strip("*?")
    known = pretrained_weights().values()
    return did_you_mean(wanted, dict.fromkeys(w.name if "." in wanted else w.arch for w in known))


def is_default(weights: Pretrained) -> bool:
    """Return whether these weights are the default of their architecture."""
    return _defaults()[weights.arch] is weights


def tags_of(arch: str) -> list[str]:
    """Return the tags of an architecture, its default first."""
    return [weights.tag for weights in pretrained_weights().values() if weights.arch == arch]


def aliases_of(arch: str) -> list[str]:
    """Return the names that other frameworks have for an architecture."""
    return _aliases().get(arch, [])


def _defaults() -> dict[str, Pretrained]:
    found: dict[str, Pretrained] = {}
    for weights in pretrained_weights().values():
        found.setdefault(weights.arch, weights)
    return found


def _aliases() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for family in families():
        for alias, arch in family.aliases.items():
            found.setdefault(arch, []).append(alias)
    return found


def _names(weights: Pretrained, aliases: dict[str, list[str]]) -> Iterator[str]:
    for arch in (weights.arch, *aliases.get(weights.arch, ())):
        yield arch
        yield f"{arch}.{weights.tag}"


def _like(name: str, pattern: str) -> bool:
    name, pattern = name.lower(), pattern.lower()
    return fnmatchcase(name, pattern) or fnmatchcase(_plain(name), _plain(pattern))


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "")
