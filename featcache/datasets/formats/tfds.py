"""Datasets of TensorFlow Datasets, without TensorFlow: ``tfds:name[/config][:version]``.

What is prepared on disk is found by its files before the library is imported, so that what is not there is an
immediate answer and never a network's time-out. The examples come from ``as_data_source`` over ArrayRecord or
Parquet; images are handed on as they are stored (as under ``SkipDecoding``): the bytes of the original files.
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from featcache.core.disk.names import FOLDER, described, kind_of, near_folders
from featcache.core.environment import offline
from featcache.datasets.dataset import Dataset, Record
from featcache.datasets.file_state import file_state, state_digest
from featcache.datasets.formats.arrow_files import require_sound_parquet
from featcache.datasets.names import shown
from featcache.datasets.tfds.array_record import require_small_chunks
from featcache.datasets.tfds.metadata import checked_builder, read_info, require_files_inside
from featcache.datasets.tfds.prepared import (
    TfdsSpec,
    find_prepared,
    prepared_names,
    prepared_versions,
    require_readable,
)
from featcache.datasets.tfds.readahead import ReadAhead
from featcache.errors import DataError, FeatcacheError, MissingFileError, UsageError, did_you_mean, first_line
from featcache.splits.slices import SPLITS

ID_FEATURES = ("tfds_id", "id", "image_id", "image/id", "file_name", "filename", "image/filename")
"""Text or whole-number features that name an example, in the order in which they are looked for."""


def open_tfds(text: str) -> Dataset:
    """Read labels of a prepared dataset; images are read when wanted.

    A record's id is its split and index, and the dataset's own name for it where there is one
    (`ID_FEATURES`). Splits are those of the dataset, ``validation`` being ``val``; examples labelled −1 (the
    test splits of competitions) are left out and counted. Scanning reads every example once, images included,
    because an example is stored as one piece; Parquet is read into memory by TFDS.

    Parameters
    ----------
    text
        ``name[/config][:version]``, and after a ``?`` options as in an address: ``data_dir=PATH``;
        ``download=yes``, to prepare it where it is not there and the network is allowed; ``image=FEATURE`` and
        ``label=FEATURE``, where the dataset has several.

    Raises
    ------
    MissingFileError
        If it is not prepared, and may not be or cannot be.
    DataError
        If its format needs TensorFlow, it has no image or class feature, a single class, or files that cannot be
        read.
    UsageError
        If the spec is none, or names a feature that is not there.
    """
    spec = TfdsSpec.parse(text)
    folder = find_prepared(spec) or _prepare(spec)
    info = read_info(folder)
    require_readable(folder, info)
    tfds = _library()
    skipped: Counter[str] = Counter()
    with _reading(folder), checked_builder(tfds, folder, info) as builder:
        features = _features(builder.info, spec)
        splits = [_Split(builder, folder, str(split), features) for split in builder.info.splits]
        records = [record for split in splits for record in split.records(skipped)]
    classes = tuple(builder.info.features[features[1]].names)
    if not records:
        left_out = ", ".join(f"{n} {why}" for why, n in skipped.items()) or "it has no examples"
        raise DataError(f"tfds:{text} in {folder} holds no labelled images: {left_out}")
    if len(classes) == 1:
        raise DataError(
            f"tfds:{text} has one class ({classes[0]}); a classifier needs at least two; "
            "where the dataset has another label, name it with ?label="
        )
    _require_named(records, classes, folder, features[1])
    place = f"tfds:{folder.resolve()}?image={features[0]}"
    return Dataset(f"tfds:{text}", spec.name, classes, records, dict(skipped), location=place)


def _require_named(records: Sequence[Record], classes: Sequence[str], folder: Path, label: str) -> None:
    """Refuse class names that are not those of the labels: their file can be changed without the examples."""
    where = f"the names of classes in {folder / label}.labels.txt do not fit the dataset"
    if len(set(classes)) < len(classes):
        twice = next(name for number, name in enumerate(classes) if name in classes[:number])
        raise DataError(f"{where}: {shown(twice)} stands twice. Prepare it again")
    if wrong := next((record for record in records if record.label >= len(classes)), None):
        raise DataError(
            f"{where}: example {wrong.id} has label {wrong.label}, and {len(classes)} classes have names, "
            f"0 to {len(classes) - 1}. Prepare it again"
        )


# Preparation ------------------------------------------------------------------------------------------------


def _prepare(spec: TfdsSpec) -> Path:
    """Prepare a dataset as ArrayRecord, where the spec asks for it and the network is allowed."""
    missing = f"tfds:{spec.text}: {spec.asked} is not prepared in {spec.data_dir}"
    there = _what_is_there(spec)
    if offline():
        raise MissingFileError(
            f"{missing}{there} and FEATCACHE_OFFLINE is set. Prepare it where there is a network and say where with "
            f"?data_dir=PATH or TFDS_DATA_DIR"
        )
    if not spec.download:
        raise MissingFileError(
            f"{missing}{there}. Say where it is with ?data_dir=PATH or TFDS_DATA_DIR, or let it be downloaded: "
            f"{spec.to_download}"
        )
    tfds = _library()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it says there what it does
            # Its code, and not `tfds.builder`, which takes what it finds on disk without our checks.
            made_by = tfds.builder_cls(spec.name)
            wanted = {"config": spec.config, "version": spec.version}
            asked = {option: value for option, value in wanted.items() if value}
            builder = made_by(data_dir=str(spec.data_dir), file_format="array_record", **asked)
            builder.download_and_prepare()
        return Path(os.fspath(builder.data_dir))
    except Exception as error:  # whatever a dataset's own code and its servers come up with
        raise MissingFileError(f"{missing}, and preparing it failed: {first_line(error)}") from error


def _what_is_there(spec: TfdsSpec) -> str:
    """Return why a dataset may not be found, in brackets: the folder, the version, or the name."""
    if (kind := kind_of(spec.data_dir)) != FOLDER:
        return (
            f" (that is {described(spec.data_dir, kind)}, no folder)"
            if kind
            else " (there is no such folder)"
        )
    if versions := prepared_versions(spec):
        return f" (there is {', '.join(versions)})"
    if above := near_folders(
        spec.data_dir, lambda folder: bool(prepared_versions(replace(spec, data_dir=folder)))
    ):
        return f" (it is in {above[0]})"
    names = prepared_names(spec.data_dir)
    return f" ({did_you_mean(spec.name, names)})" if names else ""


def _library() -> Any:
    try:
        return import_module("tensorflow_datasets")
    except ImportError as error:
        raise _not_installed(error) from error


def _not_installed(error: ImportError) -> DataError:
    return DataError(
        f"a tfds: dataset needs tensorflow-datasets, and array_record or pyarrow to read its files, but {error}; "
        "install them with: pip install tensorflow-datasets array_record pyarrow"
    )


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Map the readers' own errors, which missing or truncated files cause, to `DataError`."""
    try:
        yield
    except FeatcacheError:
        raise
    except ImportError as error:
        raise _not_installed(error) from error
    except Exception as error:
        raise DataError(
            f"cannot read the dataset in {folder}: {first_line(error)}. Prepare it again"
        ) from error


# Features ---------------------------------------------------------------------------------------------------


def _features(info: Any, spec: TfdsSpec) -> tuple[str, str]:
    """Return the names of the image and the class feature."""
    from tensorflow_datasets import features

    supervised = info.supervised_keys or ()
    return (
        _feature(info, features.Image, spec.image, supervised[:1], "image", spec),
        _feature(info, features.ClassLabel, spec.label, supervised[1:2], "label", spec),
    )


def _feature(info: Any, kind: type, asked: str, usual: Sequence[Any], option: str, spec: TfdsSpec) -> str:
    known = [name for name, feature in info.features.items() if isinstance(feature, kind)]
    if asked:
        if asked not in known:
            raise UsageError(
                f"tfds:{spec.text}: no {kind.__name__} feature {asked!r}; {did_you_mean(asked, known)}"
            )
        return asked
    chosen = [name for name in usual if name in known] or known
    if len(chosen) == 1:
        return chosen[0]
    if not known:
        raise DataError(
            f"tfds:{spec.text} has no {kind.__name__} feature at its top level, but {', '.join(info.features)}; "
            "expected images with one class each"
        )
    raise UsageError(
        f"tfds:{spec.text} has {len(known)} {kind.__name__} features: {', '.join(known)}; "
        f"choose one with ?{option}={known[0]}"
    )


class _Split:
    """One split's examples on disk, shared by the records of it.

    An example is a ``tf.train.Example``, and a feature at its top level one of its fields: the image as the file
    it was, the class as a number. Taking these two costs a tenth of decoding the whole example.
    """

    def __init__(self, builder: Any, folder: Path, split: str, features: tuple[str, str]) -> None:
        from tensorflow_datasets import decode

        info = builder.info.splits[split]
        require_files_inside(folder, [os.fspath(path) for path in info.filepaths])
        self._name = split
        self._image, self._label = features
        self._id = next((name for name in ID_FEATURES if name in builder.info.features), None)
        self._parse = import_module("tensorflow_datasets.proto").tf_example_pb2.Example.FromString
        before = _require_sound(folder, info)
        raw = decode.DeserializeMethod.RAW_BYTES
        examples: Any = builder.as_data_source(split, deserialize_method=raw) if info.num_examples else ()
        self._examples = ReadAhead(examples)
        # Asked again: opening it may have chosen another format than the one it was first prepared in.
        paths = [os.fspath(path) for path in builder.info.splits[split].filepaths]
        require_files_inside(folder, paths)
        self._files = {path: before[path] if path in before else os.stat(path) for path in paths}
        self._mtime_ns = max((file.st_mtime_ns for file in self._files.values()), default=0)
        self._state = file_state(*self._files.values())

    def records(self, skipped: Counter[str]) -> Iterator[Record]:
        """Yield the labelled examples; reads each once."""
        split = SPLITS.get(self._name.casefold(), self._name)
        for index in range(len(self._examples)):
            fields = self._fields(index)
            label = fields[self._label].int64_list.value[0]
            if label < 0:
                skipped[f"example without a label ({self._name})"] += 1
                continue
            name = f"{self._name}/{index}"
            if own := _name_of(fields[self._id]) if self._id else "":
                name += f"/{own}"
            size = sum(map(len, fields[self._image].bytes_list.value))
            read = partial(self.read, index)
            yield Record(name, label, split, read, size, self._mtime_ns, state=self._state)
        for path, file in self._files.items():
            if state_digest(os.stat(path)) != state_digest(file):
                raise DataError(
                    f"cannot read {path}: it was changed while it was read. Run the command again"
                )

    def read(self, index: int) -> bytes:
        """Return the image of an example as it is stored; raises ``OSError``."""
        try:
            return self._fields(index)[self._image].bytes_list.value[0]
        except Exception as error:  # the readers' own kinds, protobuf's, an example without this image
            raise OSError(
                f"cannot read example {index} of split {self._name}: {first_line(error)}"
            ) from error

    def _fields(self, index: int) -> Any:
        return self._parse(self._examples[index]).features.feature


def _require_sound(folder: Path, info: Any) -> dict[str, os.stat_result]:
    """Refuse files of a split that would take far more memory than they are, in each format that TFDS may choose.

    Parquet is read by another process first, as TFDS reads it whole and as it is. Returns what the file system said of
    each file before it was looked at.
    """
    found = {}
    for suffix, require in (("array_record", require_small_chunks), ("parquet", require_sound_parquet)):
        files = info.filename_template.replace(filetype_suffix=suffix).sharded_filepaths(info.num_shards)
        there = [os.fspath(file) for file in files if os.path.isfile(file)]
        require_files_inside(folder, there)
        for file in there:
            found[file] = os.stat(file)
            require(Path(file))
    return found


def _name_of(field: Any) -> str:
    if field.int64_list.value:
        return str(field.int64_list.value[0])
    return field.bytes_list.value[0].decode("utf-8", "backslashreplace") if field.bytes_list.value else ""
