"""Datasets of the Hugging Face library that are on disk: ``hf:PATH[?image=COLUMN&label=COLUMN&split=NAME]``.

A folder that ``save_to_disk`` wrote, or Parquet and Arrow files as they lie on the hub. Images are handed on as they
are stored (as under ``Image(decode=False)``): the bytes of the original files, by which rows are known. Nothing is
downloaded, and no code that comes with a dataset is run: what is read here are tables.
"""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from featcache.core.environment import home
from featcache.datasets.dataset import UNSPLIT, Dataset, Record, access_errors
from featcache.datasets.file_state import file_state, state_digest
from featcache.datasets.formats.folder import natural_key, read_regular_file
from featcache.datasets.formats.huggingface_errors import converting, reading
from featcache.datasets.formats.listed_files import order_classes
from featcache.errors import DataError, MissingFileError, UsageError, did_you_mean
from featcache.splits.slices import SPLITS

EXPECTED = (
    "expected hf:PATH: a folder that save_to_disk wrote, a .parquet or .arrow file, or a folder of these "
    "(train-00000-of-00002.parquet)"
)
_OPTIONS = ("image", "label", "split")
_SAVED = ("dataset_dict.json", "state.json")
"""Files that ``save_to_disk`` writes into the folder of a `DatasetDict` and of a `Dataset`."""
_FILES = (".parquet", ".arrow")


@dataclass(frozen=True)
class HfSpec:
    """What a spec asks for.

    Parameters
    ----------
    text
        The spec after ``hf:``.
    path
        A folder or a file.
    image, label
        Names of columns, where there is a choice.
    split
        The only split to take; all of them if empty.
    """

    text: str
    path: Path
    image: str = ""
    label: str = ""
    split: str = ""

    @classmethod
    def parse(cls, text: str) -> "HfSpec":
        """Read ``PATH[?image=…&label=…&split=…]``; options begin behind the last ``?``. Raises `UsageError`."""
        path, mark, query = text.rpartition("?")
        if not mark:
            path, query = text, ""
        if not path:
            raise UsageError(f"hf:{text}: no path; {EXPECTED}")
        pairs = parse_qsl(query, keep_blank_values=True)
        for key, value in pairs:
            if key not in _OPTIONS or not value:
                raise UsageError(f"hf:{text}: option {key}={value}; {did_you_mean(key, _OPTIONS)}")
        return cls(text, Path(path).expanduser(), **dict(pairs))


def open_hf(text: str) -> Dataset:
    """Read labels of a dataset on disk; images are read when wanted.

    Splits are those of a ``DatasetDict``, or the names that files begin with (``train-00000-of-00002.parquet``);
    ``validation`` is ``val``. A ``Dataset`` that was saved alone has none. A record's id is its split and index, and
    the name of its file where that is stored. Rows without an image, without a label, or labelled −1 are left out and
    counted. Images that are not in the table but in files beside it are read from there; addresses never are.

    Parquet is first converted to Arrow, once, into ``FEATCACHE_HOME/hf``: it takes as much space again.

    Parameters
    ----------
    text
        ``PATH``, and after a ``?`` options as in an address: ``image=COLUMN`` and ``label=COLUMN`` where the dataset
        has several, ``split=NAME`` to take one split only.

    Raises
    ------
    MissingFileError
        If there is nothing at that path.
    DataError
        If it is no such dataset or damaged, has no images or labels, a single class, or ``datasets`` is missing.
    UsageError
        If the spec is none, or names a column or split that is not there.
    StorageError
        If the disk has no room for what Parquet is converted to, or refuses it.
    """
    spec = HfSpec.parse(text)
    with access_errors(spec.path):
        parts = _find(spec)
    library = _library()
    with reading(spec.path):
        tables = _open_splits(library, spec, parts)
        image, label = _columns(library, tables, spec)
        splits = [_Split(name, table, image, spec.path) for name, table in tables.items()]
        labels = [_labels(library, table, label) for table in tables.values()]
        classes = _classes(library, tables, label, labels, spec)
        index = {name: number for number, name in enumerate(classes)}
        skipped: Counter[str] = Counter()
        records = [
            record
            for split, values in zip(splits, labels, strict=True)
            for record in split.records(values, index, skipped)
        ]
    if not records:
        left_out = ", ".join(f"{n} {why}" for why, n in skipped.items()) or "it has no rows"
        raise DataError(f"hf:{text} holds no labelled images: {left_out}")
    if len(classes) == 1:
        raise DataError(
            f"hf:{text} has one class ({classes[0]}); a classifier needs at least two. "
            "Where the dataset has another label, name it with ?label="
        )
    place = spec.path.resolve()
    location = f"hf:{place}?image={image}"
    return Dataset(f"hf:{text}", place.stem, classes, records, dict(skipped), location=location)


# Files --------------------------------------------------------------------------------------------------------


def _find(spec: HfSpec) -> Mapping[str, Sequence[Path]]:
    """Return the files of each split; one entry without files is a folder that ``save_to_disk`` wrote."""
    path = spec.path
    if not path.exists():
        raise MissingFileError(
            f"nothing at {path}; {EXPECTED}. Nothing is downloaded here: fetch a dataset of the hub once with "
            f"datasets.load_dataset(NAME).save_to_disk(PATH)"
        )
    if path.is_file() and path.suffix in _FILES:
        return {UNSPLIT: [path]}
    if path.is_dir() and any((path / name).is_file() for name in _SAVED):
        return {UNSPLIT: []}
    found = [file for folder in (path, path / "data") for file in _files(folder)]
    if not found:
        raise DataError(f"{path} holds no dataset of the Hugging Face library; {EXPECTED}")
    if len({file.suffix for file in found}) > 1:
        raise UsageError(f"{path} holds .parquet and .arrow files; name those of one kind, {EXPECTED}")
    splits: dict[str, list[Path]] = {}
    for file in found:
        prefix = re.match(r"[a-z]+(?=[-_.])", file.name.casefold())
        known = prefix is not None and prefix[0] in SPLITS
        splits.setdefault(prefix[0] if prefix and known else UNSPLIT, []).append(file)
    return splits


def _files(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((f for f in found if f.suffix in _FILES and f.is_file()), key=lambda f: natural_key(f.name))


def _library() -> Any:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"an hf: dataset needs the library datasets, but {error}; install it with: pip install 'featcache[hub]'"
        ) from error


def _open_splits(library: Any, spec: HfSpec, parts: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Return the library's dataset of each split that was asked for."""
    with _without_bars(library):
        if not any(parts.values()):
            saved = library.load_from_disk(str(spec.path))
            tables = dict(saved) if isinstance(saved, library.DatasetDict) else {UNSPLIT: saved}
        else:
            tables = {split: _table(library, files) for split, files in parts.items()}
    if spec.split and spec.split not in tables:
        known = [name for name in tables if name]
        there = did_you_mean(spec.split, known) if known else "it has no splits; leave ?split= out"
        raise UsageError(f"hf:{spec.text}: no split {spec.split!r}; {there}")
    return {spec.split: tables[spec.split]} if spec.split else tables


def _table(library: Any, files: Sequence[Path]) -> Any:
    names = [str(file.absolute()) for file in files]
    if files[0].suffix == ".parquet":
        # The library takes a file of the same path, size and time for the one that it converted before.
        converted = home() / "hf" / state_digest(*map(os.stat, names)).hex()
        with converting(converted):
            return library.Dataset.from_parquet(names, cache_dir=str(converted))
    return library.concatenate_datasets([library.Dataset.from_file(name) for name in names])


@contextlib.contextmanager
def _without_bars(library: Any) -> Iterator[None]:
    bars = library.utils.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if not bars:
            library.enable_progress_bars()


# Columns ------------------------------------------------------------------------------------------------------


def _columns(library: Any, tables: Mapping[str, Any], spec: HfSpec) -> tuple[str, str]:
    """Return the names of the image's and the label's column, which all splits have."""
    features = next(iter(tables.values())).features
    for split, table in tables.items():
        if set(table.features) != set(features):
            raise DataError(
                f"hf:{spec.text}: split {split} has columns {', '.join(table.features)}, others "
                f"{', '.join(features)}; save them alike"
            )
    images = [name for name, feature in features.items() if _is_image(library, feature)]
    named = [name for name, feature in features.items() if isinstance(feature, library.ClassLabel)]
    usual = [name for name in ("label", "labels") if name in features]
    return (
        _column(spec, "image", spec.image, images, list(features)),
        _column(spec, "label", spec.label, named or usual, list(features)),
    )


def _is_image(library: Any, feature: Any) -> bool:
    """Return whether a column holds images: declared so, or with their fields in a file that lost the declaration."""
    return isinstance(feature, library.Image) or (
        isinstance(feature, dict) and {*feature} == {"bytes", "path"}
    )


def _column(spec: HfSpec, option: str, asked: str, found: Sequence[str], columns: Sequence[str]) -> str:
    if asked:
        if asked not in columns:
            raise UsageError(f"hf:{spec.text}: no column {asked!r}; {did_you_mean(asked, columns)}")
        return asked
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"hf:{spec.text} has {len(found)} columns for the {option}: {', '.join(found)}; "
            f"choose one with ?{option}={found[0]}"
        )
    raise DataError(
        f"hf:{spec.text} has no column for the {option}, but {', '.join(columns)}; name one with ?{option}=COLUMN"
    )


def _labels(library: Any, table: Any, column: str) -> list[str | None]:
    """Return the name of each row's class, ``None`` where it has none."""
    feature = table.features[column]
    values = table.data.column(column).to_pylist()
    if isinstance(feature, library.ClassLabel):
        names = feature.names
        return [None if value is None or value < 0 else names[value] for value in values]
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, int | str):
            raise DataError(
                f"column {column!r}, row {row}: a label of type {type(value).__name__}; expected a class: text or a "
                "whole number"
            )
    return [None if value in (None, "", -1) else str(value) for value in values]


def _classes(
    library: Any, tables: Mapping[str, Any], column: str, labels: Sequence[Sequence[str | None]], spec: HfSpec
) -> tuple[str, ...]:
    features = {split: table.features[column] for split, table in tables.items()}
    declared = {
        tuple(feature.names) if isinstance(feature, library.ClassLabel) else ()
        for feature in features.values()
    }
    if len(declared) > 1:
        raise DataError(
            f"hf:{spec.text}: the splits {', '.join(features)} name the classes of {column!r} differently; "
            "cast them to one ClassLabel and save them again, or take one with ?split="
        )
    names = next(iter(declared))
    present = {value for values in labels for value in values if value is not None}
    return names or tuple(order_classes(present, where=f"hf:{spec.text}"))


class _Split:
    """One split's images in its Arrow table, which is mapped from disk and shared by the records of it."""

    def __init__(self, name: str, table: Any, column: str, path: Path) -> None:
        self._name = name
        self._images = table.data.column(column)
        self._folder = path if path.is_dir() else path.parent
        files = [os.stat(entry["filename"]) for entry in table.cache_files]
        self._mtime_ns = max((file.st_mtime_ns for file in files), default=0)
        self._state = file_state(*files)

    def records(
        self, labels: Sequence[str | None], index: Mapping[str, int], skipped: Counter[str]
    ) -> Iterator[Record]:
        """Yield the labelled images; `labels` are names of classes, `index` gives their numbers."""
        split = SPLITS.get(self._name.casefold(), self._name)
        where = f" ({self._name})" if self._name else ""
        for row, (size, written, label) in enumerate(zip(*self._sizes_and_paths(), labels, strict=True)):
            path = (written or "").replace(
                "\0", "\\0"
            )  # no file's name holds NUL, and a cache's ids would lose it
            if label is None:
                skipped[f"row without a label{where}"] += 1
            elif size is None and not path:
                skipped[f"row without an image{where}"] += 1
            else:
                name = "/".join(filter(None, (self._name, str(row), os.path.basename(path))))
                yield self._record(name, index[label], split, row, size, path)

    def _record(self, name: str, label: int, split: str, row: int, size: int | None, path: str) -> Record:
        if size is not None:
            read, mtime_ns, state = partial(self.read, row), self._mtime_ns, self._state
        else:
            file = os.path.join(self._folder, path)
            read, (size, mtime_ns, state) = partial(read_regular_file, file), _file_facts(file)
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


def _file_facts(path: str) -> tuple[int, int, bytes]:
    """Return a file's size, time and state, or nothing: what is no file is quarantined when it is read."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0, b""
    return status.st_size, status.st_mtime_ns, file_state(status)
