"""Dataset names, dtypes and file names of format v1, shared by reader and writer."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.core.columns.name_column import encode_ids
from featcache.core.identity import LayerIdentity, canonical_json

FORMAT = "featcache"
STORED_DTYPES = ("float32", "float16")

ROW_COLUMNS: Mapping[str, np.dtype] = {
    "sha256": np.dtype("u1"),
    "label": np.dtype("<i4"),
    "split": np.dtype("<i2"),
    "size": np.dtype("<i8"),
    "mtime_ns": np.dtype("<i8"),
    "status": np.dtype("u1"),
}
"""Columns of ``rows/`` besides ``id``, which is fixed-length bytes."""

FURTHER_COLUMNS = ("group", "target")
"""Optional columns: the identity records which ones a cache has, and their types."""


@dataclass(frozen=True)
class LayerSpec:
    """Shape, dtype and fingerprint of a cached layer.

    Parameters
    ----------
    shape
        Of one view's features.
    dtype
        Stored dtype.
    fingerprint
        Of the features.
    views
        Number of views in a row, one after another.
    weights_sha256
        See `featcache.core.identity.LayerIdentity`; ``None`` in caches of earlier versions.
    """

    shape: tuple[int, ...]
    dtype: str
    fingerprint: str
    views: int = 1
    weights_sha256: str | None = None

    def identity(self, recipe: Mapping[str, Any], name: str) -> LayerIdentity:
        """Return what decides the features of the layer of this name under a recipe, as `Recipe.to_json` gives it."""
        return LayerIdentity(recipe, name, self.weights_sha256, self.fingerprint)

    @property
    def stored(self) -> np.dtype:
        """The stored dtype with its byte order, which is little-endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of a row as it is stored: of one view there is no axis of views."""
        return self.shape if self.views == 1 else (self.views, *self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return data_bytes(self.row_shape, self.stored)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        several = {"views": self.views} if self.views > 1 else {}
        weights = {} if self.weights_sha256 is None else {"weights_sha256": self.weights_sha256}
        plain = {"shape": list(self.shape), "dtype": self.dtype, "fingerprint": self.fingerprint}
        return plain | weights | several

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "LayerSpec":
        """Rebuild from `to_json`'s values."""
        return cls(
            tuple(value["shape"]),
            value["dtype"],
            value["fingerprint"],
            value.get("views", 1),
            value.get("weights_sha256"),
        )


@dataclass(frozen=True)
class RowTable:
    """The image of each row: complete before the first feature is computed.

    Parameters
    ----------
    ids
        Names of the images, relative to the dataset.
    sha256
        uint8 ``[N, 32]``: hashes of the encoded bytes.
    labels
        int32 ``[N]``: indices into the classes.
    splits
        int16 ``[N]``: indices into the split names.
    sizes, mtimes_ns
        int64 ``[N]``: of the files; recorded, not part of the identity.
    groups
        Name of each row's group, empty where it has none; ``None`` where no row has one.
    targets
        float32 ``[N, T]``: labels 0 and 1 (multilabel) or numbers (regression); ``None`` in a multiclass cache.
    """

    ids: Sequence[str]
    sha256: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    sizes: np.ndarray
    mtimes_ns: np.ndarray
    groups: Sequence[str] | None = None
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns as they are stored."""
        further: dict[str, np.ndarray] = {}
        if self.groups is not None:
            further["group"] = encode_ids(self.groups)
        if self.targets is not None:
            further["target"] = np.ascontiguousarray(self.targets, "<f4")
        return {
            "id": encode_ids(self.ids),
            "sha256": np.ascontiguousarray(self.sha256, ROW_COLUMNS["sha256"]),
            "label": np.ascontiguousarray(self.labels, ROW_COLUMNS["label"]),
            "split": np.ascontiguousarray(self.splits, ROW_COLUMNS["split"]),
            "size": np.ascontiguousarray(self.sizes, ROW_COLUMNS["size"]),
            "mtime_ns": np.ascontiguousarray(self.mtimes_ns, ROW_COLUMNS["mtime_ns"]),
            **further,
        }


def table_digest(columns: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 over the columns that identify each row's image, as stored.

    Sizes and times are not part of it: files that were only touched are the same dataset.
    """
    digest = hashlib.sha256()
    for name in ("id", "sha256", "label", "split", *FURTHER_COLUMNS):
        if name in FURTHER_COLUMNS and name not in columns:
            continue
        column = np.ascontiguousarray(columns[name])
        digest.update(canonical_json([name, list(column.shape), column.dtype.itemsize]))
        digest.update(column.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


PARTIAL, PREVIOUS = ".partial.h5", ".previous.h5"
"""How the names of an extraction's own files end."""


def partial_path(path: Path) -> Path:
    """Return the name under which `path` is written until it is complete."""
    return path.with_name(path.name.removesuffix(".h5") + PARTIAL)


def fresh_path(path: Path) -> Path:
    """Return the name under which the unfinished cache of `path` is created, before it holds anything."""
    return path.with_name(f"{partial_path(path).name}.new")


def previous_path(path: Path) -> Path:
    """Return the name under which an unfinished cache of older images is kept until `path` is complete."""
    return path.with_name(path.name.removesuffix(".h5") + PREVIOUS)


def build_identity(
    *,
    recipe: Mapping[str, Any],
    layers: Mapping[str, LayerSpec],
    dataset: Mapping[str, Any],
    rows: RowTable,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the identity document of a cache, which is stored as JSON."""
    columns = rows.columns()
    further = {
        name: {"shape": list(columns[name].shape[1:]), "dtype": columns[name].dtype.str}
        for name in FURTHER_COLUMNS
        if name in columns
    }
    return {
        "recipe": dict(recipe),
        # A list: the first layer is the default one, and JSON objects have no order.
        "layers": [{"name": name, **spec.to_json()} for name, spec in layers.items()],
        "dataset": dict(dataset),
        "rows": {"count": len(rows), "sha256": table_digest(columns)}
        | ({"columns": further} if further else {}),
        "provenance": dict(provenance),
    }


def layers_of(identity: Mapping[str, Any]) -> dict[str, LayerSpec]:
    """Return the layers of a cache of this identity, the default one first."""
    return {value["name"]: LayerSpec.from_json(value) for value in identity["layers"]}


def storage_plan(identity: Mapping[str, Any], id_bytes: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return the path, shape and dtype of every preallocated dataset of a cache of this identity."""
    count = identity["rows"]["count"]
    plan: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    for name, spec in layers_of(identity).items():
        plan[f"features/{name}"] = ((count, *spec.row_shape), spec.stored)
        plan[f"crc32/{name}"] = ((count,), np.dtype("<u4"))
    plan["rows/id"] = ((count,), np.dtype(f"S{id_bytes}"))
    for name, dtype in ROW_COLUMNS.items():
        plan[f"rows/{name}"] = ((count, 32) if name == "sha256" else (count,), dtype)
    for name, column in identity["rows"].get("columns", {}).items():
        plan[f"rows/{name}"] = ((count, *column["shape"]), np.dtype(column["dtype"]))
    return plan


def needed_bytes(identity: Mapping[str, Any], id_bytes: int) -> int:
    """Return the size in bytes of a cache of this identity, HDF5's own headers estimated."""
    plan = storage_plan(identity, id_bytes)
    return sum(data_bytes(shape, dtype) for shape, dtype in plan.values()) + 65536


def data_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Return the bytes of an array."""
    return math.prod(shape) * dtype.itemsize
