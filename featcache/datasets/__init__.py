"""Dataset specs, such as ``folder:PATH`` or just a path; `open_dataset` turns one into records."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from featcache.core.argument_types import checked_types, spelled
from featcache.core.disk.names import near_names
from featcache.datasets.dataset import Dataset, Record
from featcache.datasets.formats.folder import open_folder
from featcache.datasets.formats.huggingface import open_hf
from featcache.datasets.formats.split_lists import open_lists
from featcache.datasets.formats.table import open_table
from featcache.datasets.formats.table_rows import READERS
from featcache.datasets.formats.tar import open_tar
from featcache.datasets.formats.tfds import open_tfds
from featcache.errors import DataError, MissingFileError, UsageError, did_you_mean

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
"""The kind of dataset that a file's suffix suggests, for error messages."""

_MARKS = {
    "hf": (("dataset_dict.json",), ("state.json",), ("dataset_info.json",)),
    "lists": (("meta/train.txt",), ("train.txt", "images")),
}
"""Files by which a folder is recognised as another kind of dataset than class folders, for error messages."""


@checked_types()
def open_dataset(
    spec: str | os.PathLike[str] | Dataset, *, data_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Scan a dataset without reading its images.

    Parameters
    ----------
    spec
        ``"folder:PATH"``, or a path alone; ``"csv:TABLE"``; ``"lists:PATH"``; ``"tfds:NAME"``;
        ``"tar:SHARDS"``; ``"hf:PATH"``. A dataset that is open already is returned.
    data_dir
        Folder of prepared TFDS datasets: the same as ``?data_dir=`` behind ``"tfds:NAME"``.

    Raises
    ------
    UsageError
        If the spec's kind is unknown, or missing for a path that is no folder; if `data_dir` is given for a dataset
        that is not of TFDS.
    DataError
        If the dataset is missing, empty or not usable.
    """
    opened = isinstance(spec, Dataset)
    name = spec.spec if opened else os.fspath(spec)
    kind, colon, rest = name.partition(":")
    if data_dir is not None:
        if opened or kind != "tfds" or "data_dir=" in rest:
            why = "says where it is itself" if kind == "tfds" else "is no dataset of TFDS (tfds:NAME)"
            raise UsageError(f"{spelled('data_dir')} {os.fspath(data_dir)}: {name!r} {why}; leave it out")
        rest += f"{'&' if '?' in rest else '?'}data_dir={quote(os.fspath(data_dir))}"
    if opened:
        return spec
    if colon and kind in _SOURCES:
        return _SOURCES[kind](rest)
    # A one-letter kind is a Windows drive, and one with a slash is a path that contains a colon.
    if colon and len(kind) > 1 and "/" not in kind and "\\" not in kind:
        if re.fullmatch(r"\d+\.\d+\.\d+", rest):
            raise UsageError(f"dataset {name!r}: no source {kind!r}; a dataset of TFDS is tfds:{name}")
        raise UsageError(f"dataset {name!r}: no source {kind!r}; {did_you_mean(kind, _SOURCES)}, or a path")
    return _open_path(name)


def _open_path(path: str) -> Dataset:
    """Open a folder of class folders; for any other path, name the likely kind in the error."""
    file, mark, _ = path.rpartition("?")  # options may stand behind it already
    meant = _SUFFIXES.get(Path(file if mark else path).suffix.casefold())
    if meant and not Path(path).expanduser().is_dir():
        near = "" if os.path.exists(file if mark else path) else near_names(file if mark else path)
        if near:
            raise MissingFileError(f"no dataset {path}; {near}")
        raise UsageError(f"dataset {path!r} says no kind and is no folder; did you mean {meant}:{path}?")
    try:
        return open_folder(path)
    except MissingFileError as error:
        if re.fullmatch(r"[a-z]\w*", path) and "did you mean" not in str(error):
            raise MissingFileError(f"{error}; a dataset of TFDS would be tfds:{path}") from None
        raise
    except DataError as error:
        if kind := _kind_of(Path(path).expanduser()):
            raise DataError(f"{error}. Did you mean {kind}:{path}?") from None
        raise


def _kind_of(folder: Path) -> str | None:
    """Return the kind of dataset that a folder looks like, by the names in it."""
    if os.path.exists(folder / "features.json"):  # of TFDS, whose dataset_info.json is another
        return None
    found = (
        kind
        for kind, marks in _MARKS.items()
        if any(all(os.path.exists(folder / name) for name in names) for names in marks)
    )
    return next(found, None)
