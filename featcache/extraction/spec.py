"""The extraction spec: validated arguments that decide what is stored, before any network is loaded."""

import hashlib
import os
import reprlib
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones import classifier_folder
from featcache.backbones.input_size import ImageSize, read_size
from featcache.backbones.weights.levels import split_part
from featcache.backbones.weights.lock_file import lock_file
from featcache.cache.layout import STORED_DTYPES
from featcache.core.argument_types import spelled
from featcache.core.classifier_folder import DOCUMENT
from featcache.core.disk.storage import storage_errors
from featcache.core.identity import sha256_file, sha256_json
from featcache.errors import UsageError, did_you_mean
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.named_transforms import read_name
from featcache.images.rgb import RgbRule
from featcache.images.transforms import Transforms
from featcache.images.views import PLAIN, Views

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone


@dataclass(frozen=True, kw_only=True)
class ExtractionSpec:
    """The arguments of an extraction that decide what is stored, as the user gave them.

    Parameters
    ----------
    backbone, layers, weights, transforms, dtype, compute_dtype, image_size, rgb, image_statistics
        See `featcache.extract`; the size is stored as height and width, also in `transforms`, as is the rule. Naming
        the layer of the image statistics is the same as `image_statistics`.
    views
        The views of each image.
    """

    backbone: "str | LoadedBackbone"
    layers: tuple[str, ...]
    weights: str | Path | None = None
    transforms: Transforms | str | None = None
    dtype: str = "float32"
    compute_dtype: str = "float32"
    image_size: ImageSize | None = None
    rgb: str | None = None
    image_statistics: bool = True
    views: Views = PLAIN

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, str) and not hasattr(self.backbone, "recipe"):
            raise UsageError(
                f"backbone {reprlib.repr(self.backbone)}: expected a name such as mobilenet_v2, or a loaded backbone"
            )
        if STATISTICS in self.layers:
            object.__setattr__(self, "layers", tuple(name for name in self.layers if name != STATISTICS))
            object.__setattr__(self, "image_statistics", True)
        if self.image_size is not None:
            # Normalised, so that 150 and "150x150" have the same digest.
            size = read_size(self.image_size)
            object.__setattr__(self, "image_size", size)
            if isinstance(self.transforms, Transforms):
                object.__setattr__(self, "transforms", self.transforms.with_size(*size))
        if self.rgb is not None:
            RgbRule.parse(self.rgb)
            if isinstance(self.transforms, Transforms):
                object.__setattr__(self, "transforms", self.transforms.with_rgb(self.rgb))
        if isinstance(self.transforms, str):
            read_name(self.transforms)
        if self.dtype not in STORED_DTYPES:
            raise UsageError(f"no stored dtype {self.dtype!r}; {did_you_mean(self.dtype, STORED_DTYPES)}")

    def require_layer(self) -> None:
        """Refuse a spec of statistics alone: a cache needs features of the network."""
        if not self.layers:
            raise UsageError("no layer asked for; give at least one, such as pool")

    def digest(self) -> str | None:
        """Return a hash of the arguments and the code that interprets them.

        If it equals the digest in a cache, the recipe is the same too, so a run with nothing to do need not load a
        network. ``None`` if the arguments do not determine the recipe (a loaded backbone, random weights).
        """
        if not isinstance(self.backbone, str) or self.weights == "random":
            return None
        weights, part = split_part(self.weights) if self.weights is not None else (None, None)
        if weights is not None and not weights.is_file():
            return None
        folder = classifier_folder(self.backbone)
        return sha256_json(
            {
                # Another classifier may lie in the same folder later; its document holds a hash of each file.
                "backbone": _digest_of(folder / DOCUMENT) if folder else self.backbone,
                "layers": list(self.layers),
                "weights": _digest_of(weights) + (f"#{part}" if part else "") if weights else None,
                # The lock file holds the hashes of weights that are published without one.
                "recorded": _digest_of(lock_file()) if os.path.isfile(lock_file()) else None,
                "transforms": self.transforms.to_json()
                if isinstance(self.transforms, Transforms)
                else self.transforms,
                "dtype": self.dtype,
                "compute_dtype": self.compute_dtype,
                "image_size": self.image_size,
                "rgb": self.rgb,
                "image_statistics": self.image_statistics,
                "views": self.views.to_json(),
                "code": code_digest(),
            }
        )


def _digest_of(path: Path) -> str:
    with storage_errors(path, "read"):
        return sha256_file(path)


def require_positive(**numbers: int | None) -> None:
    """Raise `UsageError` for a number below 1; ``None`` stands for the default."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(f"{spelled(name)} {number}: expected at least 1")


@cache
def code_digest() -> str:
    """Return a hash of the source files that determine features: backbones, images, identity, runner."""
    root = Path(__file__).parents[1]
    folders = (sorted((root / name).rglob("*.py")) for name in ("backbones", "images"))
    digest = hashlib.sha256()
    for file in [*chain.from_iterable(folders), root / "core/identity.py", root / "extraction/runner.py"]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
