"""Resolve an extraction spec: load its network, and derive the recipe and the shapes of its layers."""

import platform
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.input_size import with_size
from featcache.cache import LayerSpec
from featcache.core.devices.choice import used_devices
from featcache.core.identity import Recipe
from featcache.extraction.spec import ExtractionSpec
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.colour_statistics import WIDTH
from featcache.images.transforms import Transforms
from featcache.images.views import Views

if TYPE_CHECKING:
    from featcache.backbones.layer import Layer
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.extraction.cluster.runner import ClusterEngine
    from featcache.extraction.engines import Engine


@dataclass(frozen=True, kw_only=True)
class ResolvedExtraction:
    """An extraction spec with its network loaded.

    Parameters
    ----------
    spec
        The spec of the extraction.
    network, layers
        The backbone at the requested input size, and its layers; empty if only the image statistics or the prepared
        images are requested.
    digest
        `ExtractionSpec.digest` of the arguments as the user gave them; ``None`` if it has none.
    """

    spec: ExtractionSpec
    network: "LoadedBackbone"
    layers: "tuple[Layer, ...]"
    digest: str | None = None

    @property
    def transforms(self) -> Transforms:
        """The preprocessing of images."""
        return _record_of(self.spec) or self.network.transforms

    @property
    def compute_dtype(self) -> str:
        """The dtype that the network computes in."""
        return self.spec.compute_dtype

    @property
    def views(self) -> Views:
        """The views of each image that are computed."""
        return self.spec.views

    @property
    def image_statistics(self) -> bool:
        """Whether the statistics of the plain images are computed as an additional layer."""
        return self.spec.image_statistics

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe that identifies the features, as JSON values."""
        return self._recipe.to_json()

    @cached_property
    def specs(self) -> Mapping[str, LayerSpec]:
        """Shape, dtype and fingerprint of each layer, including the image statistics."""
        shapes = self.network.feature_shapes(self.layers, _record_of(self.spec))
        # Image statistics are computed from the plain view only.
        views = {str(layer): self.views.count for layer in self.layers}
        if self.image_statistics:
            shapes, views = shapes | {STATISTICS: (WIDTH,)}, views | {STATISTICS: 1}
        return {
            name: LayerSpec(
                shapes[name],
                self.spec.dtype,
                self._recipe.fingerprint(name),
                count,
                self.network.weights_sha256_to(name),
            )
            for name, count in views.items()
        }

    @cached_property
    def _recipe(self) -> Recipe:
        plain = self.network.recipe(
            transforms=_record_of(self.spec), compute_dtype=self.compute_dtype, stored_dtype=self.spec.dtype
        )
        return replace(plain, views=self.views.to_json())

    def without_statistics(self) -> "ResolvedExtraction":
        """Return a copy without the image statistics."""
        return replace(self, spec=replace(self.spec, image_statistics=False))


def resolve(spec: ExtractionSpec) -> ResolvedExtraction:
    """Load the network and its layers; raises the errors of `featcache.load_backbone`."""
    network, digest = _loaded(spec.backbone, spec.weights), spec.digest
    if isinstance(spec.transforms, str):
        from featcache.backbones.protocols import with_transforms

        network = with_transforms(network, spec.transforms)
        spec = replace(spec, transforms=None)
    network = _with_rgb(with_size(network, spec.image_size), spec.rgb)
    layers = tuple(network.layers(spec.layers, _record_of(spec))) if spec.layers else ()
    return ResolvedExtraction(spec=spec, network=network, layers=layers, digest=digest())


def _record_of(spec: ExtractionSpec) -> Transforms | None:
    """Return the transforms of a resolved spec: those with a name have become the network's own."""
    assert not isinstance(spec.transforms, str)
    return spec.transforms


def _with_rgb(network: "LoadedBackbone", rule: str | None) -> "LoadedBackbone":
    """Return the backbone with another RGB rule in its transforms, and therefore in its recipe."""
    if rule is None:
        return network
    own = network.pretrained
    return replace(network, pretrained=replace(own, transforms=own.transforms.with_rgb(rule)))


def _loaded(backbone: "str | LoadedBackbone", weights: str | Path | None) -> "LoadedBackbone":
    if not isinstance(backbone, str):
        return backbone
    from featcache.backbones import load

    return load(backbone, weights=weights)


def backbone_label(network: "LoadedBackbone") -> str:
    """Return a backbone's name for file names: its architecture, with the tag if it is not the default."""
    arch, default = network.pretrained.arch, network.tag == network.pretrained.tag
    return arch if default else network.name


def provenance_of(
    resolved: ResolvedExtraction, engine: "Engine | ClusterEngine | None" = None
) -> dict[str, Any]:
    """Return the provenance of a new cache (versions, host, device, time), which is recorded but never compared.

    Parameters
    ----------
    resolved
        The extraction.
    engine
        What computes its features; ``None`` where all are copied.
    """
    import flax
    import h5py
    import jax
    import PIL

    from featcache.core.version import __version__

    return {
        "backbone": resolved.network.name,
        # The name of user weights, "arch.custom", lacks the published configuration that they follow.
        "base": resolved.network.pretrained.name,
        "weights": resolved.network.weights_path,
        "request": resolved.digest,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "device": str(used_devices()[0].device_kind),
        "versions": {
            "featcache": __version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "h5py": h5py.__version__,
            "pillow": PIL.__version__,
            **({engine.name: engine.version} if engine else {}),
        },
        **({"engine": str(engine)} if engine else {}),
    }
