"""Dataset specs, such as ``folder:PATH`` or just a path; `open_dataset` turns one into records."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from featcache.errors import MissingFileError, UsageError, did_you_mean
from featcache.sources.dataset import Dataset, Record
from featcache.sources.folder import open_folder
from featcache.sources.hf import open_hf
from featcache.sources.split_lists import open_lists
from featcache.sources.table import open_table
from featcache.sources.table_rows import READERS
from featcache.sources.tar import open_tar
from featcache.sources.tfds import open_tfds

__all__ = ["Dataset", "Record", "open_dataset"]

_SOURCES: Mapping[str, Callable[[str], Dataset]] = {
    "folder": open_folder,
    "csv": open_table,
    "lists": open_lists,
    "tfds": open_tfds,
    "tar": open_tar,
    "hf": open_hf,
}

_SUFFIXES = {**dict.fromkeys(READERS, "csv"), ".tar": "tar", ".arrow": "hf"}
"""What a file alone would be, if its kind stood before it."""


def open_dataset(spec: str) -> Dataset:
    """Scan a dataset without reading its images.

    Parameters
    ----------
    spec
        ``"folder:PATH"``, or a path alone; ``"csv:TABLE"``; ``"lists:PATH"``; ``"tfds:NAME"``;
        ``"tar:SHARDS"``; ``"hf:PATH"``.

    Raises
    ------
    UsageError
        If the spec's kind is unknown, or missing before what is no folder.
    DataError
        If there is nothing usable there.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in _SOURCES:
        return _SOURCES[kind](rest)
    # A one-letter kind is a Windows drive, and one with a slash is a path that contains a colon.
    if colon and len(kind) > 1 and "/" not in kind and "\\" not in kind:
        if re.fullmatch(r"\d+\.\d+\.\d+", rest):
            raise UsageError(f"dataset {spec!r}: no source {kind!r}; a dataset of TFDS is tfds:{spec}")
        raise UsageError(f"dataset {spec!r}: no source {kind!r}; {did_you_mean(kind, _SOURCES)}, or a path")
    return _open_path(spec)


def _open_path(path: str) -> Dataset:
    """Open a folder, or say what stands before a path that is none."""
    meant = _SUFFIXES.get(Path(path).suffix.casefold())
    if meant and not Path(path).expanduser().is_dir():
        raise UsageError(f"dataset {path!r} says no kind and is no folder; did you mean {meant}:{path}?")
    try:
        return open_folder(path)
    except MissingFileError as error:
        if re.fullmatch(r"[a-z]\w*", path):
            raise MissingFileError(f"{error}; a dataset of TFDS would be tfds:{path}") from None
        raise
