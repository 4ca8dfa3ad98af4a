"""A classifier's folder: written whole or not at all, and read only where nothing in it was changed.

A new one is written beside its place, durably, and then takes the place of the one that was there
(`featcache.core.disk.folder_swap`). Of several saves at once the last one stays, and none fails.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from featcache.core.disk.files import made_folder, write_durably
from featcache.core.disk.folder_swap import is_there, put_in_place, remove_folder
from featcache.core.disk.kernel_locks import folder_lock
from featcache.core.disk.names import (
    FOLDER,
    near_folders,
    near_names,
    read_file,
    require_file,
    require_folder,
    require_free,
    resolved,
)
from featcache.core.disk.storage import ELSEWHERE, storage_errors
from featcache.core.disk.syncing import sync_folder
from featcache.core.disk.temporaries import held_folder, remove_leftovers
from featcache.core.documents.classifier_document import CLASSIFIER
from featcache.core.documents.document_format import read_limited
from featcache.core.documents.json_text import plain
from featcache.core.identity import sha256_file, sha256_json
from featcache.errors import FeatcacheError, IntegrityError, UsageError, first_line

DOCUMENT = "classifier.json"
TENSORS = "head.safetensors"
BACKBONE = "backbone.safetensors"
_MOST_HEADER = 2**20
"""Bytes of the header of `TENSORS`, 100 for each of a head's few: of the parser's own limit, 100 MB, it makes 3 GB."""

_ATTEMPTS = 100
"""How often a folder is looked at again because another process replaced it meanwhile."""
_BESIDE_SAVES = 10
"""How often a folder is read while others may replace it; then they have to wait."""

_T = TypeVar("_T")


def write_folder(
    target: Path,
    document: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    *,
    backbone: Iterable[bytes | memoryview] | None = None,
) -> None:
    """Write a classifier's folder; a classifier that is there already is replaced atomically.

    Parameters
    ----------
    target
        The folder.
    document
        What the classifier is; JSON values.
    tensors
        The head's parameters.
    backbone
        The file of its own backbone (`featcache.backbones.finetuned`) in pieces, where it has one. The document's
        ``"weights"`` then name that file, relative to the folder, so that the folder can be moved.

    Raises
    ------
    UsageError
        If the folder exists and holds anything else.
    StorageError
        If it cannot be written.
    """
    needs = sum(np.asarray(value).nbytes for value in tensors.values()) if backbone is None else None
    with storage_errors(target, "write the classifier to", elsewhere=ELSEWHERE, needs=needs):
        target = resolved(target)  # a link stays, and what it leads to is replaced
        require_place(target)
        with made_folder(target.parent):
            remove_leftovers(target)
            with held_folder(target) as fresh:
                try:
                    _write(fresh, document, tensors, backbone)
                    sync_folder(fresh)
                    put_in_place(
                        fresh, target, DOCUMENT, check=require_place
                    )  # writing may have taken a while
                finally:
                    remove_folder(fresh, DOCUMENT)


def _write(
    folder: Path,
    document: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    backbone: Iterable[bytes | memoryview] | None,
) -> None:
    from safetensors.numpy import save

    if backbone is not None:
        write_durably(folder / BACKBONE, lambda stream: stream.writelines(backbone))
        # A reader from before there was this file says that there are no weights of this name.
        document = {**document, "weights": BACKBONE, "backbone_sha256": sha256_file(folder / BACKBONE)}
    head = save({name: np.atleast_1d(_stored(value)) for name, value in tensors.items()})
    write_durably(folder / TENSORS, head)
    whole = {
        "format": CLASSIFIER.name,
        "format_version": CLASSIFIER.version,
        **plain(document),
        "head_sha256": hashlib.sha256(head).hexdigest(),
    }
    whole["document_sha256"] = sha256_json(whole)
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # Names that are not UTF-8 hold lone surrogates, which only JSON's own escapes can write.
    write_durably(folder / DOCUMENT, text.encode("utf-8", "backslashreplace"))


def _stored(value: np.ndarray) -> np.ndarray:
    # Numbers of rows and labels, which a knn head remembers, stay whole numbers.
    if value.dtype == np.float16:  # the sample of what was seen, which needs no more digits
        return np.ascontiguousarray(value)
    kind = np.int32 if np.issubdtype(value.dtype, np.integer) else np.float32
    return np.ascontiguousarray(value, kind)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a classifier's document and the head's parameters.

    Raises
    ------
    MissingFileError
        If there is none.
    IntegrityError
        If it is damaged or was edited by hand, or of a newer version.
    """
    return _read_steadily(folder, _read_folder)


def read_beside_document(folder: Path, read: Callable[[dict[str, Any]], _T]) -> _T:
    """Return ``read(document)``: what else it reads of the folder is of the same save as the document.

    Parameters
    ----------
    folder
        Of the classifier.
    read
        Gets the document, once the hash of the classifier's own backbone is verified if it has one. Called again if
        it raises an error and the folder was replaced meanwhile.

    Raises
    ------
    MissingFileError
        If there is none.
    IntegrityError
        If the document or the backbone is damaged or was edited by hand, or of a newer version.
    """
    return _read_steadily(folder, lambda place: read(_read_document(place)))


def is_classifier(folder: Path) -> bool:
    """Return whether there is a classifier in a folder; it may be damaged."""
    return os.path.isfile(folder / DOCUMENT)


def own_weights(folder: Path, document: Mapping[str, Any]) -> str | None:
    """Return where the backbone's weights are: the file beside the document, or the path that the document names."""
    return str((folder / BACKBONE).absolute()) if "backbone_sha256" in document else document["weights"]


def require_place(target: Path) -> None:
    """Raise `UsageError` if `target` exists and is not a classifier: it must not be overwritten."""
    require_free(target, FOLDER, elsewhere=ELSEWHERE)
    for _ in range(_ATTEMPTS):
        # Looked at again where another save moved the folder away between two of these looks.
        with storage_errors(target, "look into", elsewhere=ELSEWHERE), _watch(target) as is_the_same:
            if _is_free(target):
                return
            if is_the_same():
                break
    raise UsageError(f"{target} exists and is no classifier; choose another place with --output")


def _is_free(target: Path) -> bool:
    try:
        return not target.exists() or (target / DOCUMENT).is_file() or not os.listdir(target)
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


def _read_steadily(folder: Path, read: Callable[[Path], _T]) -> _T:
    """Return ``read(folder)``, once more where a save replaced the folder while it was read."""
    for _ in range(_BESIDE_SAVES):
        with storage_errors(folder, "read"):
            if not is_there(folder, DOCUMENT):
                break
        with _watch(folder) as is_the_same:
            try:
                return read(folder)
            except (FeatcacheError, OSError):
                if is_the_same():
                    raise
    with folder_lock(resolved(folder).parent):  # saves are faster than reading: they have to wait
        return read(folder)


@contextmanager
def _watch(folder: Path) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether the path still names the same folder."""

    def number(place: Path | int) -> tuple[int, int] | None:
        try:
            state = os.stat(place)
        except OSError:
            return None
        return state.st_dev, state.st_ino

    # Held open, so that the system does not give its number to the next folder.
    try:
        held = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # nothing is there, or Windows cannot open folders
        held = None
    before = number(folder if held is None else held)
    try:
        yield lambda: before is not None and number(folder) == before
    finally:
        if held is not None:
            os.close(held)


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    document = _read_document(folder)
    tensors = folder / TENSORS
    with storage_errors(tensors, "read"):
        try:
            content = read_file(tensors)  # once: the file that is hashed is the file that is read
        except FileNotFoundError:
            content = b""
    if hashlib.sha256(content).hexdigest() != document.get("head_sha256"):
        raise IntegrityError(f"{tensors} is missing, damaged or of another classifier; train the head again")
    if (header := int.from_bytes(content[:8], "little")) > _MOST_HEADER:
        raise IntegrityError(
            f"{tensors} is damaged: its header has {header:,} bytes, expected at most {_MOST_HEADER:,}; train the head "
            "again"
        )
    try:
        return document, load(content)
    except (SafetensorError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{tensors} is damaged: it is no safetensors file of numbers ({first_line(error)}); train the head again"
        ) from error


def _read_document(folder: Path) -> dict[str, Any]:
    document = _checked_document(folder)
    backbone = folder / BACKBONE
    with storage_errors(backbone, "read"):
        if "backbone_sha256" in document and not (
            backbone.is_file() and sha256_file(backbone) == document["backbone_sha256"]
        ):
            raise IntegrityError(
                f"{backbone} is missing, damaged or of another classifier; put the file back, or fine-tune again"
            )
    return document


def _one_level_off(folder: Path) -> str:
    """Return ``"did you mean demo/classifier?"`` for a folder with classifiers in it, or in one; else an empty text."""
    meant = [str(place) for place in near_folders(folder, is_classifier)]
    return f"did you mean {' or '.join(meant[:3])}?" if meant else ""


def _checked_document(folder: Path) -> dict[str, Any]:
    path = folder / DOCUMENT
    near = _one_level_off(folder) if os.path.exists(folder) else near_names(folder, is_classifier)
    missing = f"no classifier in {folder} (no {DOCUMENT}); " + (
        near or "train one with: featcache train-head CACHE"
    )
    require_folder(folder, "a classifier, the folder that featcache train-head writes", missing=missing)
    require_file(path, "a classifier's document", missing=missing)
    with storage_errors(path, "read"):
        content = read_limited(path)
    document = CLASSIFIER.parse(content, path)
    checksum = document.pop("document_sha256", None)
    if sha256_json(document) != checksum:
        raise IntegrityError(f"{path} does not match its checksum: damaged or edited by hand")
    CLASSIFIER.check(document, path)
    return document
