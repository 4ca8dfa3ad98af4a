"""An extraction with its network loaded: recipe, layers and their shapes."""

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
from featcache.core.identity import Recipe
from featcache.extraction.spec import ExtractionSpec
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.colour_statistics import WIDTH
from featcache.images.transforms import Transforms
from featcache.images.views import Views

if TYPE_CHECKING:
    from featcache.backbones.layer import Layer
    from featcache.backbones.loaded import LoadedBackbone


@dataclass(frozen=True, kw_only=True)
class ResolvedExtraction:
    """An extraction with its network loaded; everything else of it follows from these.

    Parameters
    ----------
    spec
        What was asked for.
    network, layers
        The backbone at the size asked for, and its layers; none where only the image statistics, or the prepared
        images, are asked for.
    digest
        `ExtractionSpec.digest` of the arguments as the user gave them; ``None`` where that is unsure.
    """

    spec: ExtractionSpec
    network: "LoadedBackbone"
    layers: "tuple[Layer, ...]"
    digest: str | None = None

    @property
    def transforms(self) -> Transforms:
        """How images become the network's input."""
        return self.spec.transforms or self.network.transforms

    @property
    def compute_dtype(self) -> str:
        """What the network computes in."""
        return self.spec.compute_dtype

    @property
    def views(self) -> Views:
        """Which views of each image are computed."""
        return self.spec.views

    @property
    def image_statistics(self) -> bool:
        """Whether the statistics of the plain images are computed as one layer more."""
        return self.spec.image_statistics

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """What identifies the features, as JSON values."""
        return self._recipe.to_json()

    @cached_property
    def specs(self) -> Mapping[str, LayerSpec]:
        """Each layer's shape, dtype and fingerprint; the image statistics are a layer here, but none of the network."""
        shapes = self.network.feature_shapes(self.layers, self.spec.transforms)
        # What is said of the images themselves is said of the plain ones.
        views = {str(layer): self.views.count for layer in self.layers}
        if self.image_statistics:
            shapes, views = shapes | {STATISTICS: (WIDTH,)}, views | {STATISTICS: 1}
        return {
            name: LayerSpec(shapes[name], self.spec.dtype, self._recipe.fingerprint(name), count)
            for name, count in views.items()
        }

    @cached_property
    def _recipe(self) -> Recipe:
        plain = self.network.recipe(
            transforms=self.spec.transforms, compute_dtype=self.compute_dtype, stored_dtype=self.spec.dtype
        )
        return replace(plain, views=self.views.to_json())

    def without_statistics(self) -> "ResolvedExtraction":
        """Return the same for the network's layers alone."""
        return replace(self, spec=replace(self.spec, image_statistics=False))


def resolve(spec: ExtractionSpec) -> ResolvedExtraction:
    """Load the network and find its layers; raises what loading raises."""
    network = with_size(_loaded(spec.backbone, spec.weights), spec.image_size)
    layers = tuple(network.layers(spec.layers, spec.transforms)) if spec.layers else ()
    return ResolvedExtraction(spec=spec, network=network, layers=layers, digest=spec.digest())


def _loaded(backbone: "str | LoadedBackbone", weights: str | Path | None) -> "LoadedBackbone":
    if not isinstance(backbone, str):
        return backbone
    from featcache.backbones import load

    return load(backbone, weights=weights)


def backbone_label(network: "LoadedBackbone") -> str:
    """Return what a backbone is called in file names: its architecture, with the tag if that is not the default."""
    arch, default = network.pretrained.arch, network.tag == network.pretrained.tag
    return arch if default else network.name


def provenance_of(resolved: ResolvedExtraction) -> dict[str, Any]:
    """Return what is recorded of a new cache and never compared: by what, where and when it is made."""
    import flax
    import h5py
    import jax
    import PIL

    from featcache.core.version import __version__

    return {
        "backbone": resolved.network.name,
        # Weights of one's own are of one of the published layouts, which "arch.custom" does not say.
        "base": resolved.network.pretrained.name,
        "weights": resolved.network.weights_path,
        "request": resolved.digest,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "device": str(jax.devices()[0].device_kind),
        "versions": {
            "featcache": __version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "h5py": h5py.__version__,
            "pillow": PIL.__version__,
        },
    }
