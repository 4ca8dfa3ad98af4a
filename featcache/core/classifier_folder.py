"""A classifier's folder on disk: replaced atomically, and refused when one of its files does not match its hash."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.core.identity import canonical_json, sha256_file, sha256_json
from featcache.errors import IntegrityError, MissingFileError, StorageError, UsageError

FORMAT = "featcache-classifier"
FORMAT_VERSION = 1
DOCUMENT = "classifier.json"
TENSORS = "head.safetensors"
BACKBONE = "backbone.safetensors"


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
    target = target.resolve()  # a link stays, and what it leads to is replaced
    require_place(target)
    fresh = target.with_name(f".{target.name}.new-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        _write(fresh, document, tensors, backbone)
        _replace_folder(fresh, target)
    except OSError as error:
        raise StorageError(
            f"cannot write the classifier to {target}: {error.strerror or error}; "
            "choose another place with --output"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write(
    folder: Path,
    document: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    backbone: Iterable[bytes | memoryview] | None,
) -> None:
    from safetensors.numpy import save

    if backbone is not None:
        with (folder / BACKBONE).open("wb") as stream:
            stream.writelines(backbone)
        # A reader from before there was this file says that there are no weights of this name.
        document = {**document, "weights": BACKBONE, "backbone_sha256": sha256_file(folder / BACKBONE)}
    (folder / TENSORS).write_bytes(
        save({name: np.atleast_1d(_stored(value)) for name, value in tensors.items()})
    )
    whole = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **document,
        "head_sha256": sha256_file(folder / TENSORS),
    }
    whole["document_sha256"] = sha256_json(whole)
    text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    # Names that are not UTF-8 hold lone surrogates, which only JSON's own escapes can write.
    (folder / DOCUMENT).write_bytes(text.encode("utf-8", "backslashreplace"))


def _stored(value: np.ndarray) -> np.ndarray:
    # Numbers of rows and labels, which a knn head remembers, stay whole numbers.
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
    from safetensors.numpy import load_file

    document = read_document(folder)
    tensors = folder / TENSORS
    if not tensors.is_file() or sha256_file(tensors) != document["head_sha256"]:
        raise IntegrityError(f"{tensors} is missing, damaged or of another classifier; train the head again")
    return document, load_file(tensors)


def read_document(folder: Path) -> dict[str, Any]:
    """Return a classifier's document, after verifying the hash of its own backbone if it has one.

    Raises
    ------
    MissingFileError
        If there is none.
    IntegrityError
        If it or the backbone is damaged or was edited by hand, or of a newer version.
    """
    document = _read_document(folder)
    backbone = folder / BACKBONE
    if "backbone_sha256" in document and not (
        backbone.is_file() and sha256_file(backbone) == document["backbone_sha256"]
    ):
        raise IntegrityError(
            f"{backbone} is missing, damaged or of another classifier; put the file back, or fine-tune again"
        )
    return document


def own_weights(folder: Path, document: Mapping[str, Any]) -> str | None:
    """Return where the backbone's weights are: the file beside the document, or the path that the document names."""
    return str((folder / BACKBONE).absolute()) if "backbone_sha256" in document else document["weights"]


def require_place(target: Path) -> None:
    """Raise `UsageError` if `target` exists and is not a classifier: it must not be overwritten."""
    if target.exists() and not (target / DOCUMENT).is_file() and any(_listing(target)):
        raise UsageError(f"{target} exists and is no classifier; choose another place with --output")


def _listing(folder: Path) -> Sequence[str]:
    return os.listdir(folder) if folder.is_dir() else [folder.name]


def _replace_folder(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target`; an existing `target` is moved aside first and removed last."""
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    if not target.exists():
        os.replace(fresh, target)
        return
    os.replace(target, old)
    try:
        os.replace(fresh, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / DOCUMENT
    if not path.is_file():
        raise MissingFileError(
            f"no classifier in {folder} (no {DOCUMENT}); train one with: featcache train-head CACHE"
        )
    try:
        document = json.loads(path.read_text("utf-8"))
        checksum = document.pop("document_sha256")
        version = document["format_version"]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise IntegrityError(f"{path} is damaged: not a classifier's document") from error
    if document.get("format") == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
        raise IntegrityError(
            f"{path} has format version {version}, this featcache reads {FORMAT_VERSION}: upgrade featcache"
        )
    if sha256_json(json.loads(canonical_json(document))) != checksum:
        raise IntegrityError(f"{path} does not match its checksum: damaged or edited by hand")
    return document
