"""Rows of the Hugging Face library's tables: images and labels of one split, as records."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from featcache.core.disk.files import make_folder, replace_file
from featcache.core.disk.names import open_regular_file
from featcache.core.disk.storage import OTHER_HOME, storage_errors
from featcache.core.environment import home
from featcache.datasets.dataset import Record
from featcache.datasets.file_bytes import read_extent, read_regular_file
from featcache.datasets.file_state import file_state, size_and_times, state_digest
from featcache.datasets.formats.arrow_files import ArrowRows, arrow_columns, arrow_rows, copy_parquet
from featcache.datasets.inside import is_below
from featcache.errors import DataError, ImageError
from featcache.splits.slices import SPLITS

Column = Any
"""A column of a table, pyarrow's `ChunkedArray`."""

_Stored = tuple[Callable[[], bytes], int, int, bytes]
"""How an image is read, and size, time and state of it or its file."""

_MOST_FOOTER = 2**26


@dataclass
class Source:
    """A file of a dataset: its schema, and once they are read, its rows.

    Parameters
    ----------
    file
        Arrow or Parquet.
    schema
        Of its columns, pyarrow's.
    arrow
        The Arrow file that its images are in.
    state
        Of the file when its schema was read.
    rows
        Labels, and where the images are.
    """

    file: Path
    schema: Any
    arrow: Path
    state: bytes = b""
    rows: ArrowRows | None = None

    def require_state(self, status: os.stat_result) -> None:
        """Raise `DataError` if the file is another one by now."""
        if state_digest(status) != self.state:
            raise DataError(
                f"cannot read {self.file}: it was changed while it was read. Run the command again"
            )


def open_sources(files: Sequence[Path]) -> list[Source]:
    """Open files that are all Arrow, or all Parquet, of which no value is read yet.

    Raises
    ------
    DataError
        If one is damaged.
    """
    import pyarrow.parquet as pq

    if files and files[0].suffix == ".parquet":
        # What is converted later has to be the file whose columns are known.
        states = [state_digest(os.stat(file)) for file in files]
        return [
            Source(file, pq.read_schema(file), file, state) for file, state in zip(files, states, strict=True)
        ]
    return [
        Source(file, found.table.schema, file, state_digest(found.status))
        for file, found in zip(files, arrow_columns(files), strict=True)
    ]


def read_rows(sources: Sequence[Source], image: str, label: str) -> None:
    """Give files their rows; Parquet is converted to Arrow first, unless it was before.

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
    packed = [source for source in sources if source.file.suffix == ".parquet"]
    kept = [place for source in packed if (place := _convert(source, image, label))]
    try:
        found = arrow_rows([source.arrow for source in sources], image, label)
    except DataError:
        if not kept:
            raise
        for place in kept:  # made by an earlier run, and one of them was damaged since
            place.unlink(missing_ok=True)
        for source in packed:
            _convert(source, image, label)
        found = arrow_rows([source.arrow for source in sources], image, label)
    for source, rows in zip(sources, found, strict=True):
        source.rows = rows
        if source.file == source.arrow:
            source.require_state(rows.status)


def _joined(sources: Sequence[Source], name: str) -> Column:
    import pyarrow as pa

    columns = [source.rows.table.column(name) for source in sources if source.rows is not None]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=columns[0].type)


def _convert(source: Source, image: str, label: str) -> Path | None:
    """Convert columns of a Parquet file to Arrow; return the Arrow file if it was there already.

    A file that was written since is converted again. Programs may set a file's time, and some file systems keep no
    other state of it, so that the digest of its footer belongs to the name, too.
    """
    file = source.file

    def convert(stream: IO[bytes]) -> None:
        copy_parquet(file, list(dict.fromkeys((image, label))), stream)
        source.require_state(os.stat(file))

    descriptor, status = open_regular_file(str(file))
    try:
        source.require_state(status)
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
    place = source.arrow = home() / "hf" / f"{name}.arrow"
    if place.is_file():
        return place
    with storage_errors(place, "convert Parquet in", elsewhere=OTHER_HOME):
        make_folder(place.parent, elsewhere=OTHER_HOME)
        replace_file(place, convert)
    return None


class Split:
    """One split's images in its Arrow files.

    Parameters
    ----------
    name
        Of the split, as the dataset has it.
    sources
        Its files with their rows; at least one.
    path
        Of the dataset: its rows may name files below this folder, or the folder that it is in.
    """

    def __init__(self, name: str, sources: Sequence[Source], path: Path) -> None:
        self.name = name
        self.labels = _joined(sources, "label")
        self._sources = sources
        folder = path if path.is_dir() else path.parent
        self._folder, self._root = folder, os.path.realpath(folder)

    def records(
        self, labels: Sequence[str | None], index: Mapping[str, int], skipped: Counter[str]
    ) -> Iterator[Record]:
        """Yield the labelled images; `labels` are names of classes, `index` gives their numbers."""
        split = SPLITS.get(self.name.casefold(), self.name)
        where = f" ({self.name})" if self.name else ""
        for row, (label, (written, stored)) in enumerate(zip(labels, self._images(), strict=True)):
            # No file's name holds NUL, and a cache's ids would lose it.
            path = (written or "").replace("\0", "\\0")
            if label is None:
                skipped[f"row without a label{where}"] += 1
            elif stored is None and not path:
                skipped[f"row without an image{where}"] += 1
            else:
                name = "/".join(filter(None, (self.name, str(row), os.path.basename(path))))
                read, size, mtime_ns, state = stored or self._beside(path)
                yield Record(name, index[label], split, read, size, mtime_ns, state=state)

    def _images(self) -> Iterator[tuple[str | None, _Stored | None]]:
        """Yield the path that each row names, and how its image is read if that is in the table."""
        for source in self._sources:
            assert source.rows is not None
            table, status = source.rows
            file, written, state = str(source.arrow), size_and_times(status), file_state(status)
            columns = (table.column(name).to_pylist() for name in ("path", "size", "offset", "held"))
            for path, size, offset, held in zip(*columns, strict=True):
                stored = None
                if held is not None:
                    stored = partial(bytes, held), size, status.st_mtime_ns, state
                elif size is not None:
                    stored = (
                        partial(read_extent, file, offset, size, written),
                        size,
                        status.st_mtime_ns,
                        state,
                    )
                yield path, stored

    def _beside(self, path: str) -> _Stored:
        """Return how a file that a row names is read; what is no file is quarantined when that is tried."""
        file = os.path.join(self._folder, path)
        read = partial(_read_inside, file, self._folder, self._root)
        if not is_below(file, self._root):
            return read, 0, 0, b""
        try:
            status = os.stat(file)
        except (OSError, ValueError):
            return read, 0, 0, b""
        if not stat.S_ISREG(status.st_mode):
            return read, 0, 0, b""
        return read, status.st_size, status.st_mtime_ns, file_state(status)


def _read_inside(path: str, folder: Path, root: str) -> bytes:
    """Read a file that a row names; data must not decide what else of this machine is read."""
    if "://" in path:  # the folder's own path has no two slashes in a row
        raise ImageError("outside the dataset", "the row names an address, and nothing is fetched from there")
    if not is_below(path, root):
        raise ImageError(
            "outside the dataset",
            f"the row names a file outside of {folder}, which is not read; save the dataset with its images in it, or "
            "copy them beside it",
        )
    return read_regular_file(path)
