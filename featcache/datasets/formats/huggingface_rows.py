"""Rows of the Hugging Face library's tables: images and labels of one split, as records."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from featcache.core.disk.files import make_folder, replace_file
from featcache.core.disk.names import open_regular_file
from featcache.core.disk.storage import OTHER_HOME, storage_errors
from featcache.core.environment import home
from featcache.datasets.dataset import Record
from featcache.datasets.file_state import file_state, state_digest
from featcache.datasets.formats.arrow_files import copy_parquet, map_arrow
from featcache.datasets.formats.folder import read_regular_file
from featcache.datasets.inside import is_inside
from featcache.errors import DataError
from featcache.splits.slices import SPLITS

Column = Any
"""A column of a table, pyarrow's `ChunkedArray`."""

_MOST_FOOTER = 2**26


@dataclass
class Source:
    """A file of a dataset: its schema, and once it is mapped, its table.

    Parameters
    ----------
    file
        Arrow or Parquet.
    schema
        Of its columns, pyarrow's.
    mapped
        The Arrow file that its table is in.
    table
        pyarrow's.
    """

    file: Path
    schema: Any
    mapped: Path
    table: Any = None


def open_sources(files: Sequence[Path]) -> list[Source]:
    """Open files that are all Arrow, or all Parquet, of which no value is read yet.

    Raises
    ------
    DataError
        If one is damaged.
    """
    import pyarrow.parquet as pq

    if files and files[0].suffix == ".parquet":
        return [Source(file, pq.read_schema(file), file) for file in files]
    return [
        Source(file, table.schema, file, table) for file, table in zip(files, map_arrow(files), strict=True)
    ]


def map_columns(sources: Sequence[Source], image: str, label: str) -> None:
    """Give Parquet files a table of two columns: converted to Arrow, unless they were before, and mapped.

    Parameters
    ----------
    sources
        All files of a dataset.
    image, label
        Names of columns.

    Raises
    ------
    DataError
        If a file is damaged, or a column is of a type that holds no images or no labels.
    StorageError
        If what is converted cannot be written.
    """
    missing = [source for source in sources if source.table is None]
    kept = [place for source in missing if (place := _convert(source, image, label))]
    try:
        tables = map_arrow([source.mapped for source in missing])
    except DataError:
        if not kept:
            raise
        for place in kept:  # made by an earlier run, and one of them was damaged since
            place.unlink(missing_ok=True)
        for source in missing:
            _convert(source, image, label)
        tables = map_arrow([source.mapped for source in missing])
    for source, table in zip(missing, tables, strict=True):
        source.table = table
    for source in sources:
        _require_types(source.file, source.table.column(image), source.table.column(label))


def _joined(sources: Sequence[Source], name: str) -> Column:
    import pyarrow as pa

    columns = [source.table.column(name) for source in sources]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=columns[0].type)


def _require_types(file: Path, image: Column, label: Column) -> None:
    """Refuse types of which few bytes can become much: lists of nothings, views of one text from everywhere."""
    from pyarrow import types

    parts = (
        {field.name: field.type for field in image.type} if types.is_struct(image.type) else {"": image.type}
    )
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    if parts.keys() not in ({""}, {"bytes", "path"}) or not all(
        any(is_(t) for is_ in texts) for t in parts.values()
    ):
        raise DataError(
            f"{file}: the column of images is of the type {image.type}; expected bytes, paths, or both"
        )
    if not (
        types.is_primitive(label.type) or types.is_null(label.type) or any(is_(label.type) for is_ in texts)
    ):
        raise DataError(
            f"{file}: the column of labels is of the type {label.type}; expected text or whole numbers"
        )


def _convert(source: Source, image: str, label: str) -> Path | None:
    """Convert columns of a Parquet file to Arrow; return the Arrow file if it was there already.

    A file that was written since is converted again. Programs may set a file's time, and some file systems keep no
    other state of it, so that the digest of its footer belongs to the name, too.
    """
    file = source.file
    descriptor, status = open_regular_file(str(file))
    try:
        footer = int.from_bytes(os.pread(descriptor, 8, max(0, status.st_size - 8))[:4], "little") + 8
        end = os.pread(descriptor, min(footer, _MOST_FOOTER), max(0, status.st_size - footer))
    finally:
        os.close(descriptor)
    about = [
        str(file.resolve()).encode("utf-8", "surrogateescape"),
        state_digest(status),
        end,
        image.encode(),
        label.encode(),
    ]
    name = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in about)).hexdigest()[:32]
    place = source.mapped = home() / "hf" / f"{name}.arrow"
    if place.is_file():
        return place
    with storage_errors(place, "convert Parquet in", elsewhere=OTHER_HOME):
        make_folder(place.parent, elsewhere=OTHER_HOME)
        replace_file(place, partial(copy_parquet, file, list(dict.fromkeys((image, label)))))
    return None


class Split:
    """One split's images in its Arrow tables, which are mapped from disk and shared by the records of it.

    Parameters
    ----------
    name
        Of the split, as the dataset has it.
    sources
        Its files, mapped; at least one.
    image, label
        Names of columns.
    path
        Of the dataset: its rows may name files below this folder, or the folder that it is in.
    """

    def __init__(self, name: str, sources: Sequence[Source], image: str, label: str, path: Path) -> None:
        self.name = name
        self.labels, self._images = _joined(sources, label), _joined(sources, image)
        files = [os.stat(source.mapped) for source in sources]
        self._folder = path if path.is_dir() else path.parent
        self._mtime_ns = max((file.st_mtime_ns for file in files), default=0)
        self._state = file_state(*files)

    def records(
        self, labels: Sequence[str | None], index: Mapping[str, int], skipped: Counter[str]
    ) -> Iterator[Record]:
        """Yield the labelled images; `labels` are names of classes, `index` gives their numbers."""
        split = SPLITS.get(self.name.casefold(), self.name)
        where = f" ({self.name})" if self.name else ""
        for row, (size, written, label) in enumerate(zip(*self._sizes_and_paths(), labels, strict=True)):
            path = (written or "").replace(
                "\0", "\\0"
            )  # no file's name holds NUL, and a cache's ids would lose it
            if label is None:
                skipped[f"row without a label{where}"] += 1
            elif size is None and not path:
                skipped[f"row without an image{where}"] += 1
            else:
                name = "/".join(filter(None, (self.name, str(row), os.path.basename(path))))
                yield self._record(name, index[label], split, row, size, path)

    def _record(self, name: str, label: int, split: str, row: int, size: int | None, path: str) -> Record:
        if size is not None:
            read, mtime_ns, state = partial(self.read, row), self._mtime_ns, self._state
        else:
            file = os.path.join(self._folder, path)
            read, (size, mtime_ns, state) = (
                partial(_read_inside, file, self._folder),
                _file_facts(file, self._folder),
            )
        return Record(id=name, label=label, split=split, read=read, size=size, mtime_ns=mtime_ns, state=state)

    def _sizes_and_paths(self) -> tuple[list[int | None], list[str | None]]:
        """Return the length of each image's bytes and the path of its file, without reading the bytes."""
        from pyarrow import types

        compute: Any = import_module("pyarrow.compute")  # its functions are made when it is imported
        held = self._images
        if types.is_struct(held.type):
            sizes = compute.binary_length(compute.struct_field(held, "bytes"))
            return sizes.to_pylist(), compute.struct_field(held, "path").to_pylist()
        if types.is_string(held.type) or types.is_large_string(held.type):
            return [None] * len(held), held.to_pylist()
        return compute.binary_length(held).to_pylist(), [None] * len(held)

    def read(self, row: int) -> bytes:
        """Return the bytes of an image as they are stored."""
        value = self._images[row].as_py()
        return value["bytes"] if isinstance(value, dict) else value


def _read_inside(path: str, folder: Path) -> bytes:
    """Read a file that a row names; data must not decide what else of this machine is read."""
    if not is_inside(path, folder):
        raise OSError(
            f"the row names a file outside of {folder}, which is not read; save the dataset with its images in it, or "
            "copy them beside it"
        )
    return read_regular_file(path)


def _file_facts(path: str, folder: Path) -> tuple[int, int, bytes]:
    """Return a file's size, time and state, or nothing: what is no file is quarantined when it is read."""
    if not is_inside(path, folder):
        return 0, 0, b""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0, b""
    return status.st_size, status.st_mtime_ns, file_state(status)
