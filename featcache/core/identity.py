"""The identity of features: recipes, their fingerprints, and the canonical JSON that they are computed from.

A `Recipe` holds everything that determines the features and nothing else; its fingerprint for a layer is the
sha256 of its canonical JSON. `differences` lists the fields in which two identities differ.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featcache.core.disk.names import open_regular_file

FORMAT_VERSION = 1

PLAIN_VIEWS = {"policy": "none", "seed": 0, "count": 1}
"""A recipe's ``views`` when only the plain image is cached."""


def canonical_json(value: Any) -> bytes:
    """Encode plain JSON values in the one form that is hashed: sorted keys, no spaces, ASCII, no NaN.

    Escaped to ASCII, because names of files that are not UTF-8 hold lone surrogates, which have no encoding.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sha256_json(value: Any) -> str:
    """Return the hexadecimal sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with os.fdopen(open_regular_file(path)[0], "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_tensors(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return the sha256 over named tensors: sorted name, dtype, shape and little-endian bytes of each.

    The same weights therefore hash alike from whichever file format they were read.

    Parameters
    ----------
    tensors
        Name and array of each; the order does not matter.
    """
    digest = hashlib.sha256()
    for name, array in sorted(tensors, key=lambda pair: pair[0]):
        digest.update(canonical_json([name, array.dtype.name, list(array.shape)]))
        plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
        # As bytes: bfloat16 has no buffer of its own.
        digest.update(np.ascontiguousarray(plain).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the features of an image.

    Parameters
    ----------
    arch
        Architecture name, such as ``"mobilenet_v2"``.
    revision
        Raised by hand when a family's code changes its numbers.
    config
        The architecture's configuration as plain JSON values.
    weights_sha256
        `sha256_tensors` of the loaded parameters and statistics.
    transforms
        `featcache.images.transforms.Transforms` as plain JSON values.
    views
        Policy, seed and count of the views of each image, the plain one included; `PLAIN_VIEWS` of plain images.
    compute_dtype, matmul_precision
        Precision of the network's activations and of its matrix products.
    stored_dtype
        Dtype of the features in the cache.
    """

    arch: str
    revision: int
    config: Mapping[str, Any]
    weights_sha256: str
    transforms: Mapping[str, Any]
    views: Mapping[str, Any] = field(default_factory=lambda: dict(PLAIN_VIEWS))
    compute_dtype: str = "float32"
    matmul_precision: str = "highest"
    stored_dtype: str = "float32"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, grouped by backbone, transforms and views."""
        return {
            "format_version": FORMAT_VERSION,
            "backbone": {
                "arch": self.arch,
                "revision": self.revision,
                # As it is read back: a tuple is a list then.
                "config": json.loads(canonical_json(dict(self.config))),
                "weights_sha256": self.weights_sha256,
            },
            "transforms": dict(self.transforms),
            "views": dict(self.views),
            "compute_dtype": self.compute_dtype,
            "matmul_precision": self.matmul_precision,
            "stored_dtype": self.stored_dtype,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Recipe":
        """Rebuild a recipe from `to_json`'s values."""
        backbone = value["backbone"]
        return cls(
            **{key: backbone[key] for key in ("arch", "revision", "config", "weights_sha256")},
            **{
                key: value[key]
                for key in ("transforms", "views", "compute_dtype", "matmul_precision", "stored_dtype")
            },
        )

    def fingerprint(self, layer: str) -> str:
        """Return the hexadecimal fingerprint of one layer's features under this recipe."""
        return fingerprint(self.to_json(), layer)


def fingerprint(recipe: Mapping[str, Any], layer: str) -> str:
    """Return the sha256 of the canonical JSON of a recipe (as `Recipe.to_json` gives it) and a layer."""
    return sha256_json({**recipe, "layer": layer})


@dataclass(frozen=True)
class LayerIdentity:
    """What decides a layer's features if what lies behind the layer is left aside.

    The fingerprint covers all weights. Features of other fingerprints are still the same where the weights agree as far
    as the layer, such as those of files with and without the original classifier.

    Parameters
    ----------
    recipe
        As `Recipe.to_json` gives it.
    layer
        The layer's name.
    weights_sha256
        `sha256_tensors` of the parameters and statistics of the stages as far as the layer; ``None`` where it is not
        known, as in caches and classifiers of earlier versions.
    fingerprint
        Of the features, where it was recorded: those of one fingerprint are the same.
    """

    recipe: Mapping[str, Any]
    layer: str
    weights_sha256: str | None
    fingerprint: str | None = None

    def same_as(self, other: "LayerIdentity") -> bool:
        """Return whether the features are known to be the same, by their fingerprint or as far as the layer."""
        if self.fingerprint is not None and self.fingerprint == other.fingerprint:
            return True
        if self.weights_sha256 is None or other.weights_sha256 is None:
            return False
        return self._as_far_as_the_layer() == other._as_far_as_the_layer()

    def _as_far_as_the_layer(self) -> str:
        backbone = self.recipe["backbone"]
        # The number of classes shapes the classifier alone; if the layer is behind that, its kernel is in the hash.
        config = {name: value for name, value in backbone["config"].items() if name != "classes"}
        own = {**backbone, "config": config, "weights_sha256": self.weights_sha256}
        return fingerprint({**self.recipe, "backbone": own}, self.layer)


def plain_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe (as `Recipe.to_json` gives it) for plain images alone, whatever views it asks for."""
    return {**recipe, "views": dict(PLAIN_VIEWS)}


_NOTHING = object()


def _pairs(have: Any, want: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield (path, value, value) for every leaf of either side; a missing branch is followed to its leaves."""
    branches = [value for value in (have, want) if isinstance(value, Mapping) and value]
    if len(branches) + (have is _NOTHING) + (want is _NOTHING) < 2:
        yield path, have, want
        return
    for key in dict.fromkeys(key for branch in branches for key in branch):
        old, new = (_NOTHING if value is _NOTHING else value.get(key, _NOTHING) for value in (have, want))
        yield from _pairs(old, new, (*path, str(key)))


def differences(have: Mapping[str, Any], want: Mapping[str, Any]) -> list[str]:
    """Return a line for each field in which two identities differ; empty where they are the same.

    The same means: the same canonical JSON, which is what is hashed. So 1 and 1.0 differ.

    Parameters
    ----------
    have
        What the cache or classifier was made with.
    want
        What was asked for.

    Returns
    -------
    list of str
        Lines such as ``"transforms.crop_pct: 0.875 in the cache, 1.0 asked for"``.
    """
    return [
        f"{'.'.join(path)}: {_short(old)} in the cache, {_short(new)} asked for"
        for path, old, new in _pairs(have, want)
        if _NOTHING in (old, new) or canonical_json(old) != canonical_json(new)
    ]


def first_of(lines: Sequence[str]) -> str:
    """Return the first of the lines of `differences`, and how many there are beyond it.

    Without any, two records of one recipe bear different fingerprints: one of them has been changed.
    """
    if not lines:
        return "the recipes agree and their fingerprints do not: one of the two records is damaged"
    more = len(lines) - 1
    return lines[0] + (f"; and {more} other difference{'s' if more > 1 else ''}" if more else "")


def _short(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:12] + "…" if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
