"""An extraction with its network loaded: recipe, layers and their shapes."""

import platform
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.input_size import with_size
from featcache.cache import LayerSpec
from featcache.core.identity import Recipe
from featcache.datasets import Dataset
from featcache.extraction.runner import FeatureRunner
from featcache.extraction.spec import ExtractionSpec
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.colour_statistics import WIDTH
from featcache.images.transforms import Transforms
from featcache.images.views import PLAIN, Views

if TYPE_CHECKING:
    from featcache.backbones.layer import Layer
    from featcache.backbones.loaded import LoadedBackbone


@dataclass(frozen=True)
class ResolvedExtraction:
    """An extraction with its network loaded.

    Parameters
    ----------
    network, layers, transforms, compute_dtype, views
        What is computed.
    recipe, specs
        What it is identified by: the recipe as JSON values, and each layer's shape, dtype and fingerprint. The
        image statistics, where they are kept, are a layer here, but none of the network.
    digest
        `ExtractionSpec.digest`.
    """

    network: "LoadedBackbone"
    layers: "tuple[Layer, ...]"
    transforms: Transforms
    compute_dtype: str
    recipe: Mapping[str, Any]
    specs: Mapping[str, LayerSpec]
    digest: str | None
    views: Views = PLAIN

    @property
    def image_statistics(self) -> bool:
        """Whether the statistics of the images are kept beside the layers."""
        return STATISTICS in self.specs

    def computation(
        self, data: Dataset, hashes: Sequence[bytes], *, batch_size: int | None, workers: int | None
    ) -> FeatureRunner:
        """Return what computes this for records whose bytes hash to `hashes`."""
        return FeatureRunner(
            self.network,
            self.layers,
            self.transforms,
            self.compute_dtype,
            data,
            hashes,
            batch_size,
            workers,
            self.image_statistics,
            self.views,
        )


def resolve(wanted: ExtractionSpec) -> ResolvedExtraction:
    """Load the network and work out the recipe and the shapes; raises what loading raises."""
    network = with_size(_loaded(wanted.backbone, wanted.weights), wanted.image_size)
    layers = tuple(network.layers(wanted.layers, wanted.transforms))
    plain = network.recipe(
        transforms=wanted.transforms, compute_dtype=wanted.compute_dtype, stored_dtype=wanted.dtype
    )
    recipe = replace(plain, views=wanted.views.to_json())
    return ResolvedExtraction(
        network=network,
        layers=layers,
        transforms=wanted.transforms or network.transforms,
        compute_dtype=wanted.compute_dtype,
        recipe=recipe.to_json(),
        specs=_specs(network, layers, wanted, recipe),
        digest=wanted.digest(),
        views=wanted.views,
    )


def _specs(
    network: "LoadedBackbone", layers: "Sequence[Layer]", wanted: ExtractionSpec, recipe: Recipe
) -> dict[str, LayerSpec]:
    shapes = network.feature_shapes(layers, wanted.transforms)
    if wanted.image_statistics:
        shapes |= {STATISTICS: (WIDTH,)}
    names = [*map(str, layers), *([STATISTICS] if wanted.image_statistics else [])]
    # What is said of the images themselves is said of the plain ones.
    views = {name: 1 if name == STATISTICS else wanted.views.count for name in names}
    return {
        name: LayerSpec(shapes[name], wanted.dtype, recipe.fingerprint(name), views[name]) for name in names
    }


def _loaded(backbone: "str | LoadedBackbone", weights: str | Path | None) -> "LoadedBackbone":
    if not isinstance(backbone, str):
        return backbone
    from featcache.backbones import load

    return load(backbone, weights=weights)


def backbone_label(network: "LoadedBackbone") -> str:
    """Return what a backbone is called in file names: its architecture, with the tag if that is not the default."""
    arch, default = network.pretrained.arch, network.tag == network.pretrained.tag
    return arch if default else network.name


def provenance_of(request: ResolvedExtraction) -> dict[str, Any]:
    """Return what is recorded of a new cache and never compared: by what, where and when it is made."""
    import flax
    import h5py
    import jax
    import PIL

    from featcache.core.version import __version__

    return {
        "backbone": request.network.name,
        # Weights of one's own are of one of the published layouts, which "arch.custom" does not say.
        "base": request.network.pretrained.name,
        "weights": request.network.weights_path,
        "request": request.digest,
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
