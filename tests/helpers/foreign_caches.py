"""Cache files as another program would write them, from ``docs/reference/cache-format.md``: their checksums hold."""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from helpers.mutations import text_of

_TABLE = ("id", "sha256", "label", "split", "group", "target")


def cache_bytes(
    identity: Any,
    columns: Mapping[str, np.ndarray],
    features: Mapping[str, np.ndarray],
    header: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a cache's file; `identity` may be anything, `header` what takes the place of its parts."""
    if (
        isinstance(identity, dict)
        and isinstance(rows := identity.get("rows"), dict)
        and rows.get("sha256") == ""
    ):
        rows["sha256"] = table_digest(columns)
    parts: dict[str, bytes] = {}
    for name, values in features.items():
        parts[f"features/{name}"] = values.tobytes()
        parts[f"crc32/{name}"] = _crcs(identity, name, values, columns["status"]).tobytes()
    parts |= {f"rows/{name}": column.tobytes() for name, column in columns.items()}
    parts["identity"] = text_of(identity)
    start, body, spans = 1 << (19 if len(text_of(header or {})) > 1000 else 12), b"", {}
    for name, content in parts.items():
        spans[name] = [start + len(body), len(content)]
        body += content
    told = {"start": start, "size": start + len(body), "datasets": spans, **(header or {})}
    if header is None or header.get("sha256") == "":
        told["sha256"] = _digest(bytes(start) + body, told)
    text = text_of(told)
    check = hashlib.sha256(text).hexdigest().encode()
    return (b"featcache 1\n%b\n%b\n" % (check, text)).ljust(start, b"\0") + body


def table_digest(columns: Mapping[str, np.ndarray]) -> str:
    """Return the digest of a row table."""
    digest = hashlib.sha256()
    for name in _TABLE:
        if name in columns:
            column = columns[name]
            about = json.dumps([name, list(column.shape), column.dtype.itemsize], separators=(",", ":"))
            digest.update(about.encode() + column.tobytes())
    return digest.hexdigest()


def _digest(content: bytes, header: Mapping[str, Any]) -> str:
    """Return the digest over what never changes, as far as a header says what that is."""
    digest = hashlib.sha256()
    try:
        position = header["start"]
        rows = [
            span
            for name, span in header["datasets"].items()
            if name.startswith(("features/", "crc32/")) or name == "rows/status"
        ]
        for offset, length in sorted(rows):
            digest.update(content[position:offset])
            position = offset + length
        digest.update(content[position : header["size"]])
    except (AttributeError, LookupError, TypeError, ValueError):
        return "00" * 32
    return digest.hexdigest()


def _crcs(identity: Any, name: str, values: np.ndarray, status: np.ndarray) -> np.ndarray:
    """Return the checksum of every row, for the fingerprint that the identity gives, if it does."""
    try:
        layers = {layer["name"]: layer["fingerprint"] for layer in identity["layers"]}
        fingerprint = bytes.fromhex(layers[name])
    except (LookupError, TypeError, ValueError):
        fingerprint = bytes(32)
    raw = np.frombuffer(status.tobytes(), np.uint8)
    status = np.resize(raw, len(values)) if len(raw) else np.zeros(len(values), np.uint8)
    found = [
        zlib.crc32(
            b"" if status[row] else values[row].tobytes(),
            zlib.crc32(fingerprint + struct.pack("<qB", row, status[row])),
        )
        for row in range(len(values))
    ]
    return np.array([crc or 1 for crc in found], "<u4")
