"""The same photos as files, as objects in memory, and on a web server: what is compared."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import fsspec

from featcache.datasets import Dataset
from helpers.object_server import ObjectServer


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
