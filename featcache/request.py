"""What an extraction was asked for, resolved: network, layers, and the caches it may copy from."""

import hashlib
import os
import platform
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache import plan as planning
from featcache.backbones import classifier_folder
from featcache.backbones.sizes import ImageSize, read_size, with_size
from featcache.backbones.weights_lock import lock_file
from featcache.cache import FeatureCache, LayerSpec, partial_path
from featcache.cache.layout import STORED_DTYPES, previous_path
from featcache.classifier_folder import DOCUMENT
from featcache.computing import Computation
from featcache.errors import IntegrityError, UsageError, did_you_mean
from featcache.identity import Recipe, sha256_file, sha256_json
from featcache.image_statistics import LAYER as STATISTICS
from featcache.image_statistics import WIDTH
from featcache.paths import home
from featcache.sources import Dataset
from featcache.transforms import Transforms
from featcache.views import PLAIN, Views

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.backbones.taps import Layer


@dataclass(frozen=True)
class Wanted:
    """The arguments of an extraction that decide what is stored, as the user gave them.

    Parameters
    ----------
    backbone, layers, weights, transforms, dtype, compute_dtype, image_size, image_statistics
        See `featcache.extract`; the size is kept as height and width, and is that of `transforms`. Statistics
        that are asked for by the name of their layer are no other than these.
    views
        Which views of each image.
    """

    backbone: "str | LoadedBackbone"
    layers: tuple[str, ...]
    weights: str | Path | None
    transforms: Transforms | None
    dtype: str
    compute_dtype: str
    image_size: ImageSize | None = None
    image_statistics: bool = True
    views: Views = PLAIN

    def __post_init__(self) -> None:
        if STATISTICS in self.layers:
            object.__setattr__(self, "layers", tuple(name for name in self.layers if name != STATISTICS))
            object.__setattr__(self, "image_statistics", True)
        if self.image_size is not None:
            # However it was written: 150 and "150x150" are one request.
            size = read_size(self.image_size)
            object.__setattr__(self, "image_size", size)
            if self.transforms is not None:
                object.__setattr__(self, "transforms", self.transforms.with_size(*size))
        if self.dtype not in STORED_DTYPES:
            raise UsageError(f"no stored dtype {self.dtype!r}; {did_you_mean(self.dtype, STORED_DTYPES)}")
        if not self.layers:
            raise UsageError("no layer asked for; give at least one, such as pool")

    def digest(self) -> str | None:
        """Return a hash over the arguments and the code that interprets them; ``None`` where that is unsure.

        Where it is the same as when a cache was written, so is the recipe, and a run with nothing to do need
        not load a network to find that out.
        """
        if not isinstance(self.backbone, str) or self.weights == "random":
            return None
        weights = Path(self.weights).expanduser() if self.weights is not None else None
        if weights is not None and not weights.is_file():
            return None
        folder = classifier_folder(self.backbone)
        return sha256_json(
            {
                # Another classifier may lie in the same folder later; its document holds a hash of each file.
                "backbone": sha256_file(folder / DOCUMENT) if folder else self.backbone,
                "layers": list(self.layers),
                "weights": sha256_file(weights) if weights else None,
                # Weights whose hash nobody publishes are known by what was recorded of them.
                "recorded": sha256_file(lock_file()) if lock_file().is_file() else None,
                "transforms": self.transforms.to_json() if self.transforms else None,
                "dtype": self.dtype,
                "compute_dtype": self.compute_dtype,
                "image_size": self.image_size,
                "image_statistics": self.image_statistics,
                "views": self.views.to_json(),
                "code": code_digest(),
            }
        )


@dataclass(frozen=True)
class Request:
    """An extraction with its network loaded.

    Parameters
    ----------
    network, layers, transforms, compute_dtype, views
        What is computed.
    recipe, specs
        What it is identified by: the recipe as JSON values, and each layer's shape, dtype and fingerprint. The
        image statistics, where they are kept, are a layer here, but none of the network.
    digest
        `Wanted.digest`.
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
    ) -> Computation:
        """Return what computes this for records whose bytes hash to `hashes`."""
        return Computation(
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


def resolve(wanted: Wanted) -> Request:
    """Load the network and work out the recipe and the shapes; raises what loading raises."""
    network = with_size(_loaded(wanted.backbone, wanted.weights), wanted.image_size)
    layers = tuple(network.layers(wanted.layers, wanted.transforms))
    plain = network.recipe(
        transforms=wanted.transforms, compute_dtype=wanted.compute_dtype, stored_dtype=wanted.dtype
    )
    recipe = replace(plain, views=wanted.views.to_json())
    return Request(
        network=network,
        layers=layers,
        transforms=wanted.transforms or network.transforms,
        compute_dtype=wanted.compute_dtype,
        recipe=recipe.to_json(),
        specs=_specs(network, layers, wanted, recipe),
        digest=wanted.digest(),
        views=wanted.views,
    )


def with_layers_of(request: Request, wanted: Wanted, caches: Sequence[FeatureCache]) -> Request:
    """Keep the other layers that the target holds: adding an image to a cache must not drop one."""
    held = [name for cache in caches[:1] for name in cache.layers if name not in request.specs]
    if not held:
        return request
    names = tuple(caches[0].layers)
    return resolve(
        replace(wanted, backbone=request.network, layers=names, image_statistics=STATISTICS in names)
    )


def without_statistics(request: Request) -> Request:
    """Return the request for the network's layers alone."""
    return replace(request, specs={name: spec for name, spec in request.specs.items() if name != STATISTICS})


def _specs(
    network: "LoadedBackbone", layers: "Sequence[Layer]", wanted: Wanted, recipe: Recipe
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


def require_positive(**numbers: int | None) -> None:
    """Refuse numbers below 1; ``None`` stands for the default."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(f"{name.replace('_', '-')} {number}: expected at least 1")


def backbone_label(network: "LoadedBackbone") -> str:
    """Return what a backbone is called in file names: its architecture, with the tag if that is not the default."""
    arch, default = network.pretrained.arch, network.tag == network.pretrained.tag
    return arch if default else network.name


def provenance_of(request: Request) -> dict[str, Any]:
    """Return what is recorded of a new cache and never compared: by what, where and when it is made."""
    import flax
    import h5py
    import jax
    import PIL

    from featcache import __version__

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


# Caches to copy from ----------------------------------------------------------------------------------------


def own_caches(target: Path, request: Request, *, overwrite: bool) -> list[FeatureCache]:
    """Open what is there of this target; refuse what is of another recipe, with the differences."""
    caches = []
    for path in (target, partial_path(target), previous_path(target)):
        if not path.exists():
            continue
        try:
            found = FeatureCache(path)
        except IntegrityError:
            # A file killed while being created, or a damaged leftover: only a final name must be answered for.
            if path == target and not overwrite:
                raise
            continue
        if not planning.serves(found.identity, request.recipe, request.specs):
            if overwrite:
                continue
            planning.refuse_difference(path, found.identity, request.recipe, request.specs)
        caches.append(found)
    return caches


def named_caches(paths: Sequence[str | os.PathLike[str]], request: Request) -> list[FeatureCache]:
    """Open the caches that the user wants rows copied from; refuse one of another recipe."""
    caches = []
    for path in paths:
        found = FeatureCache(path)  # says how far it is, where it is not finished
        planning.refuse_difference(Path(path), found.identity, request.recipe, request.specs)
        caches.append(found)
    return caches


def caches_in(folder: Path, request: Request) -> list[FeatureCache]:
    """Open the finished caches of this recipe in a folder; what does not fit or open is passed over."""
    caches = []
    for path in sorted(folder.glob("*.h5")):
        if path.name.endswith(".partial.h5"):
            continue
        try:
            found = FeatureCache(path)
        except (IntegrityError, OSError):
            continue
        if planning.serves(found.identity, request.recipe, request.specs):
            caches.append(found)
    return caches


def find_caches(
    target: Path,
    request: Request,
    wanted: Wanted,
    *,
    reuse: Sequence[str | os.PathLike[str]],
    overwrite: bool,
) -> tuple[Request, list[FeatureCache]]:
    """Return all caches that rows may be copied from, the preferred first, and the request with the target's layers.

    Where a cache that rows come from has no image statistics, they are left out: to add them, all of its images
    would have to be read again, which nobody asked for. `overwrite` does ask for it.

    Raises
    ------
    IdentityError
        If the target, or a cache to reuse, is of another recipe.
    """
    plain = without_statistics(request)
    own = own_caches(target, plain, overwrite=overwrite)
    if overwrite and request.image_statistics:
        own = [found for found in own if STATISTICS in found.layers]
    named = named_caches(reuse, plain)
    if not all(STATISTICS in found.layers for found in (*own, *named)):
        request = plain
    request = with_layers_of(request, wanted, own)
    for path, found in zip(reuse, named, strict=True):  # the target may hold more layers than were asked for
        planning.refuse_difference(Path(path), found.identity, request.recipe, request.specs)
    return request, [*own, *named, *caches_in(home() / "caches", request)]


def sources_of(caches: Sequence[FeatureCache]) -> list[planning.Source]:
    """Return what may be copied from caches: rows whose checksums hold, so that a damaged one is computed anew."""
    return [planning.Source(found.sha256, found.usable() & found.intact()) for found in caches]


@cache
def code_digest() -> str:
    """Return a hash over the code that decides features: backbones, decoding, transforms, identity."""
    root = Path(__file__).parent
    files = [*sorted((root / "backbones").rglob("*.py")), *(root / f"{n}.py" for n in _DECIDING)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


_DECIDING = (
    "decoding",
    "transforms",
    "augmentation",
    "augmentation_words",
    "views",
    "view_drawing",
    "identity",
    "computing",
    "image_statistics",
)
