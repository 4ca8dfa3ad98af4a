"""What a prepared TFDS dataset says of itself, read once and checked, before TFDS sees it.

TFDS makes features of ``features.json`` by importing the module that each class is said to be in, from wherever Python
looks: in a notebook, from beside the data. Other entries name files whose lines become class names, or templates of
file names that lead anywhere. So TFDS never reads what was downloaded: it gets a folder of its own with a copy of what
passed the checks, and the paths of the data afterwards, when these have been checked, too.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featcache.datasets.inside import is_inside, read_document, read_inside
from featcache.errors import DataError

INFO, FEATURES, LABELS = "dataset_info.json", "features.json", "*.labels.txt"

MAX_CLASSES = 1_000_000
MAX_FILES = 10_000
"""Files of labels: there is one for each feature that has any."""

_AGAIN = "Prepare the dataset again"
# Every module of features that TFDS has, but none of its tests.
_CLASS = re.compile(r"tensorflow_datasets\.core\.features\.(?!\w*test)[a-z_]+\.[A-Za-z]\w*", re.ASCII)
_TEMPLATE = re.compile(
    r"(?:[\w.@/-]|\{(?:DATASET|SPLIT|FILEFORMAT|SHARD_INDEX|NUM_SHARDS|SHARD_X_OF_Y)\})*", re.ASCII
)
_CLASS_KEYS = frozenset({"pythonClassName", "python_class_name"})
_LEGACY_CLASS_KEYS = _CLASS_KEYS | {"type"}
_JSON_IN_TEXT = frozenset({"json", "content"})
"""Keys whose text TFDS parses as JSON once more."""


def read_info(folder: Path) -> dict[str, Any]:
    """Return the checked content of ``dataset_info.json``.

    Raises
    ------
    DataError
        If it is missing, too large, leads elsewhere, is no JSON object, or names code or files.
    """
    document = read_document(folder, INFO, _AGAIN)
    _check(document, _CLASS_KEYS, folder / INFO)
    return document


@contextmanager
def checked_builder(library: Any, folder: Path, info: Mapping[str, Any]) -> Iterator[Any]:
    """Give a builder of TFDS that was made of checked copies; data sources are to be made while it is given.

    Parameters
    ----------
    library
        The package ``tensorflow_datasets``.
    folder
        Where the dataset is prepared.
    info
        What `read_info` returned.

    Raises
    ------
    DataError
        As from `read_info`, for all files of metadata; if a file of the data would lie outside of the folder.
    """
    features = read_document(folder, FEATURES, _AGAIN)
    _check(features, _LEGACY_CLASS_KEYS, folder / FEATURES)
    with tempfile.TemporaryDirectory(prefix="featcache-tfds-") as copy:
        for name, document in ((INFO, info), (FEATURES, features)):
            Path(copy, name).write_text(json.dumps(document), "utf-8")
        labels = sorted(folder.glob(LABELS))
        if len(labels) > MAX_FILES:
            raise DataError(
                f"{folder} has {len(labels)} files of labels; at most {MAX_FILES:,} are read. {_AGAIN}"
            )
        for path in labels:
            Path(copy, path.name).write_bytes(read_inside(folder, path.name, _AGAIN))
        builder = library.builder_from_directory(copy)
        builder.info.update_data_dir(str(folder))
        yield builder


def require_files_inside(folder: Path, files: list[str]) -> None:
    """Refuse a split whose files are not below the dataset's folder.

    Raises
    ------
    DataError
        Naming the first that is not.
    """
    for file in files:
        if not is_inside(file, folder):
            raise DataError(
                f"{folder / INFO} names the file {file}, which is outside of {folder} or a link that leads out; the "
                "data of a prepared dataset is only read from its own folder: copy the file into it"
            )


def _check(document: Any, class_keys: frozenset[str], where: Path) -> None:
    """Refuse every name of a class that is not TFDS's own, and what else would be looked up, wherever it is nested."""
    waiting: list[tuple[Any, frozenset[str]]] = [(document, class_keys)]
    while waiting:
        value, keys = waiting.pop()
        if isinstance(value, list):
            waiting += [(item, keys) for item in value]
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, str) and key in _JSON_IN_TEXT:
                    waiting.append((_parsed(item), _LEGACY_CLASS_KEYS))
                elif isinstance(item, dict | list):
                    waiting.append((item, keys))
                else:
                    _check_entry(key, item, keys, where)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # then TFDS cannot parse it either
        return None


def _check_entry(key: str, value: Any, class_keys: frozenset[str], where: Path) -> None:
    if key in class_keys and isinstance(value, str) and not _CLASS.fullmatch(value):
        raise DataError(
            f"{where} says that a feature is of the class {value!r}: to make one, its module would be imported, and "
            "code that comes with data is never run. Expected tensorflow_datasets.core.features.…; prepare the "
            "dataset again with features of TFDS itself"
        )
    if key in ("namesFile", "names_file") and value:
        raise DataError(
            f"{where} takes the names of classes from the file {value!r}, which is not read. {_AGAIN}"
        )
    if key in ("numClasses", "num_classes") and not _is_count(value):
        raise DataError(f"{where} says {str(value)[:80]!r} classes; expected 0 to {MAX_CLASSES:,}. {_AGAIN}")
    if key in ("filepathTemplate", "filepath_template") and not _TEMPLATE.fullmatch(str(value or "")):
        raise DataError(f"{where} names files {str(value)[:80]!r}, which is no template of TFDS. {_AGAIN}")


def _is_count(value: Any) -> bool:
    return value is None or (re.fullmatch(r"\d{1,7}", str(value)) is not None and int(value) <= MAX_CLASSES)
