"""Datasets of the Hugging Face library that are on disk: ``hf:PATH[?image=COLUMN&label=COLUMN&split=NAME]``.

A folder that ``save_to_disk`` wrote, or Parquet and Arrow files as they lie on the hub. Images are handed on as they
are stored (as under ``Image(decode=False)``): the bytes of the original files, by which rows are known. Nothing is
downloaded, and no code that comes with a dataset is run: what is read here are tables.
"""

import contextlib
import errno
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from featcache.core.disk.names import expanded, meant_folders, near_names, require_file
from featcache.core.disk.storage import is_of_storage, storage_error
from featcache.datasets.dataset import UNSPLIT, Dataset, access_errors
from featcache.datasets.formats.huggingface_rows import Column, Source, Split, open_sources, read_rows
from featcache.datasets.formats.listed_files import order_classes
from featcache.datasets.inside import is_inside, read_document
from featcache.datasets.names import natural_key
from featcache.errors import DataError, FeatcacheError, UsageError, did_you_mean, first_line
from featcache.splits.slices import SPLITS

EXPECTED = (
    "expected hf:PATH: a folder that save_to_disk wrote, a .parquet or .arrow file, or a folder of these "
    "(train-00000-of-00002.parquet)"
)
_OPTIONS = ("image", "label", "split")
_SAVED = ("dataset_dict.json", "state.json")
"""Files that ``save_to_disk`` writes into the folder of a `DatasetDict` and of a `Dataset`."""
_FILES = (".parquet", ".arrow")
_AGAIN = "Save it again"


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
        return cls(text, expanded(path), **dict(pairs))


def open_hf(text: str) -> Dataset:
    """Read labels of a dataset on disk; images are read when wanted.

    Splits are those of a ``DatasetDict``, or the names that files begin with (``train-00000-of-00002.parquet``);
    ``validation`` is ``val``. A ``Dataset`` that was saved alone has none. A record's id is its split and index, and
    the name of its file where that is stored. Rows without an image, without a label, or labelled −1 are left out and
    counted. Images that are not in the table but in files beside it are read from there; addresses never are, nor what
    is outside of the dataset's folder.

    Every value is checked in a process of its own before it is read in this one. Of Parquet, images and labels are
    first converted to Arrow, once, into ``FEATCACHE_HOME/hf``: it takes as much space again.

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
        parts = _chosen_split(spec, _find(spec))
    library = _library()
    with _reading(spec.path):
        opened = open_sources([file for files in parts.values() for file in files])
        by_file = {source.file: source for source in opened}
        sources = {split: [by_file[file] for file in files] for split, files in parts.items()}
        features = {split: _features(library, found, spec) for split, found in sources.items()}
        image, label = _columns(library, features, spec)
        read_rows(opened, image, label)
        splits = [Split(split, found, spec.path) for split, found in sources.items()]
        labels = [_labels(library, features[split.name], label, split.labels) for split in splits]
        classes = _classes(library, features, label, labels, spec)
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
            f"hf:{text} has one class ({classes[0]}); a classifier needs at least two; "
            "where the dataset has another label, name it with ?label="
        )
    place = spec.path.resolve()
    location = f"hf:{place}?image={image}"
    return Dataset(f"hf:{text}", place.stem, classes, records, dict(skipped), location=location)


# Files --------------------------------------------------------------------------------------------------------


def _find(spec: HfSpec) -> Mapping[str, Sequence[Path]]:
    """Return the files of each split."""
    path = spec.path
    if not path.is_dir():
        expected = near_names(path) or f"{EXPECTED}."
        missing = (
            f"nothing at {path}; {expected} Nothing is downloaded here: fetch a dataset of the hub once with "
            f"datasets.load_dataset(NAME).save_to_disk(PATH)"
        )
        require_file(path, f"a file or folder; {EXPECTED}", missing=missing)
    if path.is_file() and path.suffix in _FILES:
        return {UNSPLIT: [path]}
    if path.is_dir() and any((path / name).is_file() for name in _SAVED):
        return _saved(path)
    found = [file for folder in (path, path / "data") for file in _files(folder)]
    if not found:
        near = meant_folders("hf", path, _is_dataset)
        raise DataError(f"{path} holds no dataset of the Hugging Face library; {near or EXPECTED}")
    if len({file.suffix for file in found}) > 1:
        raise UsageError(f"{path} holds .parquet and .arrow files; name those of one kind, {EXPECTED}")
    splits: dict[str, list[Path]] = {}
    for file in found:
        prefix = re.match(r"[a-z]+(?=[-_.])", file.name.casefold())
        known = prefix is not None and prefix[0] in SPLITS
        splits.setdefault(prefix[0] if prefix and known else UNSPLIT, []).append(file)
    return splits


def _is_dataset(folder: Path) -> bool:
    """Return whether a folder is a dataset by the names in it; of Parquet files, by those that name a split."""
    if any((folder / name).is_file() for name in _SAVED):
        return True
    return any(
        re.match(r"(train|validation|test)[-_.]", file.name)
        for file in (*_files(folder), *_files(folder / "data"))
    )


def _saved(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split of a folder that ``save_to_disk`` wrote; all are inside of it."""
    several, state = _SAVED
    if not (folder / several).is_file():
        return {UNSPLIT: _data_files(folder, read_document(folder, state, _AGAIN))}
    names = read_document(folder, several, _AGAIN).get("splits")
    return {
        name: _data_files(folder / name, read_document(folder / name, state, _AGAIN))
        for name in _names_inside(names, folder, folder / several)
    }


def _data_files(folder: Path, state: Mapping[str, Any]) -> list[Path]:
    files = state.get("_data_files")
    files = files if isinstance(files, list) else []
    names = [file.get("filename") if isinstance(file, dict) else None for file in files]
    return [folder / name for name in _names_inside(names, folder, folder / _SAVED[1])]


def _names_inside(names: Any, folder: Path, where: Path) -> list[str]:
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        if all(is_inside(folder / name, folder) for name in names):
            return names
        raise DataError(f"{where} names what is outside of {folder}, which is not read. {_AGAIN}")
    raise DataError(f"cannot read {where}: it names no files. {_AGAIN}")


def _files(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(
        (f for f in found if f.suffix in _FILES and not f.is_dir()), key=lambda f: natural_key(f.name)
    )


def _library() -> Any:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"an hf: dataset needs the library datasets, but {error}; install it with: pip install 'featcache[hub]'"
        ) from error


def _chosen_split(spec: HfSpec, parts: Mapping[str, Sequence[Path]]) -> Mapping[str, Sequence[Path]]:
    if not spec.split:
        return parts
    if spec.split not in parts:
        known = [name for name in parts if name]
        there = did_you_mean(spec.split, known) if known else "it has no splits; leave ?split= out"
        raise UsageError(f"hf:{spec.text}: no split {spec.split!r}; {there}")
    return {spec.split: parts[spec.split]}


# Columns ------------------------------------------------------------------------------------------------------


def _features(library: Any, sources: Sequence[Source], spec: HfSpec) -> Any:
    """Return what the library makes of the columns of files, which all have the same."""
    found = [library.Features.from_arrow_schema(source.schema) for source in sources]
    for source, features in zip(sources, found, strict=True):
        if features != found[0]:
            raise DataError(
                f"hf:{spec.text}: {source.file} has other columns than {sources[0].file}; save them alike"
            )
    return found[0]


def _columns(library: Any, parts: Mapping[str, Any], spec: HfSpec) -> tuple[str, str]:
    """Return the names of the image's and the label's column, which all splits have."""
    features = next(iter(parts.values()))
    for split, others in parts.items():
        if set(others) != set(features):
            raise DataError(
                f"hf:{spec.text}: split {split} has columns {', '.join(others)}, others "
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


def _labels(library: Any, features: Any, name: str, column: Column) -> list[str | None]:
    """Return the name of each row's class, ``None`` where it has none."""
    feature = features[name]
    values = column.to_pylist()
    if isinstance(feature, library.ClassLabel):
        names = feature.names
        return [None if value is None or value < 0 else names[value] for value in values]
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, int | str):
            raise DataError(
                f"column {name!r}, row {row}: a label of type {type(value).__name__}; expected a class: text or a "
                "whole number"
            )
    return [None if value in (None, "", -1) else str(value) for value in values]


def _classes(
    library: Any, parts: Mapping[str, Any], column: str, labels: Sequence[Sequence[str | None]], spec: HfSpec
) -> tuple[str, ...]:
    features = {split: columns[column] for split, columns in parts.items()}
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


# Errors ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise the library's own errors, which missing or truncated files cause, as `DataError`.

    Raises
    ------
    DataError
        If the dataset at `path` is damaged, or the system refuses to read it.
    """
    try:
        yield
    except FeatcacheError:
        raise
    except Exception as error:
        refused = _system_error(error)
        if refused is not None and not isinstance(refused, FileNotFoundError):
            raise DataError(str(storage_error(refused, path, "read"))) from error
        raise DataError(f"cannot read the dataset in {path}: {first_line(error)}. Save it again") from error


def _system_error(error: BaseException | None) -> OSError | None:
    """Return what the operating system said, which the library wraps, or says in words of its own."""
    while error is not None:
        if isinstance(error, OSError):
            if str(error).startswith("Not enough disk space"):
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if is_of_storage(error):
                return error
        error = error.__cause__ or error.__context__
    return None
