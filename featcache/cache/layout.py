"""Names, records and checksums of format v1: what reader and writer must agree on."""

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featcache.errors import IntegrityError
from featcache.identity import FORMAT_VERSION, canonical_json

FORMAT = "featcache"
STORED_DTYPES = ("float32", "float16")

PRESENT = 0
"""Status of a row that has features; any other value is 1 + an index into `QUARANTINE_REASONS`."""

ROW_COLUMNS: Mapping[str, np.dtype] = {
    "sha256": np.dtype("u1"),
    "label": np.dtype("<i4"),
    "split": np.dtype("<i2"),
    "size": np.dtype("<i8"),
    "mtime_ns": np.dtype("<i8"),
    "status": np.dtype("u1"),
}
"""Columns of ``rows/`` besides ``id``, which is fixed-length bytes."""


@dataclass(frozen=True)
class LayerSpec:
    """What the cache holds of one layer: shape of one row, stored dtype, fingerprint of its features."""

    shape: tuple[int, ...]
    dtype: str
    fingerprint: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"shape": list(self.shape), "dtype": self.dtype, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "LayerSpec":
        """Rebuild from `to_json`'s values."""
        return cls(tuple(value["shape"]), value["dtype"], value["fingerprint"])


@dataclass(frozen=True)
class RowTable:
    """Which image each row is: known in full before the first feature is computed.

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
        int64 ``[N]``: what the file system said; hints, not identity.
    """

    ids: tuple[str, ...]
    sha256: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    sizes: np.ndarray
    mtimes_ns: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns as they are stored."""
        return {
            "id": encode_ids(self.ids),
            "sha256": np.ascontiguousarray(self.sha256, ROW_COLUMNS["sha256"]),
            "label": np.ascontiguousarray(self.labels, ROW_COLUMNS["label"]),
            "split": np.ascontiguousarray(self.splits, ROW_COLUMNS["split"]),
            "size": np.ascontiguousarray(self.sizes, ROW_COLUMNS["size"]),
            "mtime_ns": np.ascontiguousarray(self.mtimes_ns, ROW_COLUMNS["mtime_ns"]),
        }

    def digest(self) -> str:
        """Return the sha256 over ids, hashes, labels and splits, which the cache's identity holds."""
        return table_digest(self.columns())


def table_digest(columns: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 over the identifying columns of a row table, as stored."""
    digest = hashlib.sha256()
    for name in ("id", "sha256", "label", "split"):
        column = np.ascontiguousarray(columns[name])
        digest.update(canonical_json([name, list(column.shape), column.dtype.itemsize]))
        digest.update(column.tobytes())
    return digest.hexdigest()


def encode_ids(ids: Sequence[str]) -> np.ndarray:
    """Return ids as fixed-length bytes; names that are not UTF-8 on disk survive (surrogateescape)."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in ids]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def decode_ids(column: np.ndarray) -> tuple[str, ...]:
    """Undo `encode_ids`."""
    return tuple(name.decode("utf-8", "surrogateescape") for name in column.tolist())


def row_crc(row: bytes | memoryview, fingerprint: str, index: int, status: int) -> int:
    """Return the checksum stored for a row; never 0, which means absent.

    It is seeded with the layer's fingerprint, the row's index and its status, so that a row in the wrong
    place, of the wrong layer or of another recipe fails like a damaged one.
    """
    seed = zlib.crc32(bytes.fromhex(fingerprint) + struct.pack("<qB", index, status))
    return zlib.crc32(row, seed) | 1


def row_crcs(rows: np.ndarray, fingerprint: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return uint32 ``[n]`` checksums of present rows ``[n, …]`` at their indices in the file."""
    if not len(rows):
        return np.zeros(0, np.uint32)
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    return np.array(
        [row_crc(row.data, fingerprint, int(i), PRESENT) for row, i in zip(flat, indices, strict=True)],
        np.uint32,
    )


def partial_path(path: Path) -> Path:
    """Return the name under which `path` is written until it is complete."""
    return path.with_name(f"{path.name.removesuffix('.h5')}.partial.h5")


def build_identity(
    *,
    recipe: Mapping[str, Any],
    layers: Mapping[str, LayerSpec],
    dataset: Mapping[str, Any],
    rows: RowTable,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the document that says what a cache is; stored as JSON with its own sha256."""
    return {
        "recipe": dict(recipe),
        "layers": {name: spec.to_json() for name, spec in layers.items()},
        "dataset": dict(dataset),
        "rows": {"count": len(rows), "sha256": rows.digest()},
        "provenance": dict(provenance),
    }


def storage_plan(identity: Mapping[str, Any], id_bytes: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return the path, shape and dtype of every preallocated dataset of a cache of this identity."""
    count = identity["rows"]["count"]
    plan: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    for name, value in identity["layers"].items():
        spec = LayerSpec.from_json(value)
        plan[f"features/{name}"] = ((count, *spec.shape), np.dtype(spec.dtype).newbyteorder("<"))
        plan[f"crc32/{name}"] = ((count,), np.dtype("<u4"))
    plan["rows/id"] = ((count,), np.dtype(f"S{id_bytes}"))
    for name, dtype in ROW_COLUMNS.items():
        plan[f"rows/{name}"] = ((count, 32) if name == "sha256" else (count,), dtype)
    return plan


def offsets_of(file: h5py.File, identity: Mapping[str, Any], size: int) -> dict[str, int]:
    """Return where each preallocated dataset starts in the file, in bytes.

    Every dataset is compared with what the identity says it must be (shape, dtype, contiguous) and with the
    file's `size`: a flipped bit in HDF5's own headers, which carry no checksum, must not be able to make
    intact bytes mean something else.

    Raises
    ------
    IntegrityError
        If anything differs, or the file is shorter than its layout.
    """
    if "rows/id" not in file:
        raise IntegrityError(f"{file.filename} has no row table: it is damaged")
    plan = storage_plan(identity, file["rows/id"].dtype.itemsize)
    offsets = {}
    for path, (shape, dtype) in plan.items():
        dataset = file.get(path)
        if not isinstance(dataset, h5py.Dataset) or (dataset.shape, dataset.dtype) != (shape, dtype):
            raise IntegrityError(f"{file.filename}: {path} is not what the file's identity says: damaged")
        offset = dataset.id.get_offset()
        length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if length and (offset is None or dataset.chunks is not None or offset + length > size):
            raise IntegrityError(f"{file.filename}: {path} reaches beyond the file: truncated or damaged")
        offsets[path] = offset or 0
    return offsets


def read_identity(file: h5py.File) -> dict[str, Any]:
    """Return the identity of an open cache file, checked against its own sha256.

    Raises
    ------
    IntegrityError
        If the file is no cache, is of a newer format, or its identity is damaged.
    """
    import json

    name = file.filename
    if file.attrs.get("format") != FORMAT:
        raise IntegrityError(f"{name} is an HDF5 file but not a featcache cache")
    version = int(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise IntegrityError(
            f"{name} has format version {version}; this featcache reads up to {FORMAT_VERSION}: upgrade featcache"
        )
    if "identity" not in file or "identity_sha256" not in file:
        raise IntegrityError(f"{name} has no identity: it is damaged or was never finished")
    document = bytes(file["identity"][()])
    if hashlib.sha256(document).digest() != bytes(file["identity_sha256"][()]):
        raise IntegrityError(f"{name}: the identity does not match its checksum: damaged or edited by hand")
    return json.loads(document)
