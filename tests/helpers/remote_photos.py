"""The same photos as files, as objects in memory, and on a web server: what is compared."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import fsspec
import numpy as np

from featcache.cache import FeatureCache
from featcache.datasets import Dataset
from helpers.object_server import ObjectServer

COLUMNS = ("ids", "sha256", "labels", "sizes", "status")


def files_below(folder: Path) -> dict[str, bytes]:
    """Return name to bytes of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def put(url: str, files: Mapping[str, bytes]) -> None:
    """Store objects below the URL of a folder."""
    store = fsspec.filesystem(url.partition("://")[0], use_listings_cache=False)
    for name, content in files.items():
        store.pipe_file(f"{url}/{name}", content)


def serve(server: ObjectServer, folder: str, files: Mapping[str, bytes]) -> None:
    """Serve files below a folder."""
    server.files |= {f"{folder}/{name}": content for name, content in files.items()}


def rows(data: Dataset) -> list[tuple[object, ...]]:
    """Return all of each record that decides a cache's row."""
    return [
        (record.id, record.label, record.split, record.group, record.size, record.read())
        for record in data.records
    ]


def shard_of(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def require_same(one: Path | str, other: Path | str) -> None:
    """Compare two caches but for the name of the dataset and the times of files."""
    a, b = FeatureCache(one), FeatureCache(other)
    for name in COLUMNS:
        assert np.array_equal(np.asarray(getattr(a, name)), np.asarray(getattr(b, name))), name
    assert {**a.identity["dataset"], "spec": ""} == {**b.identity["dataset"], "spec": ""}
    usable = a.rows_of()
    for layer in a.layers:
        assert np.array_equal(a.features(usable, layer), b.features(usable, layer))
